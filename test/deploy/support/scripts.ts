/** The scripts of deploy/scripts as an operator runs them: with the product's own program, real replicas, a real HAProxy, and stand-ins for what is not here. */
import { chmod, cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { request } from 'undici';
import { onTestFinished } from 'vitest';
import manifest from '../../../package.json' with { type: 'json' };
import { BUNDLE, PROJECT, type ProxyProcess, startProxy } from '../../support/proxy-process.ts';
import { findProgram, freePort, HOW_TO_INSTALL, startServer } from '../../support/servers/server-process.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';
import { DEPLOY, type Outcome, type RunOptions, run } from './tools.ts';

export const SCRIPTS = join(DEPLOY, 'scripts');
/** Nobody listens there. */
export const NOWHERE = 'http://127.0.0.1:9';
/** Of the replicas that run here. */
export const VERSION = manifest.version;
const NODE_FOLDER = join(PROJECT, 'node_modules', 'node', 'bin');
export const PATH = [NODE_FOLDER, process.env.PATH ?? ''].join(delimiter);

/** `name` without `.sh`. */
export async function script(name: string, args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const env = { PATH, REDUCTRAI: join(BUNDLE, 'bin/reductrai'), ...options.env };
  return run('bash', [join(SCRIPTS, `${name}.sh`), ...args], { ...options, env });
}

/** Programs that write down how they are called, with the variables of `shown`, and then do what their lines say (bash). */
export interface StandIns {
  env: Record<string, string>;
  calls(): Promise<string[]>;
}

export async function standIns(lines: Readonly<Record<string, string>>, shown = ''): Promise<StandIns> {
  const folder = await temporaryFolder();
  for (const [name, does] of Object.entries(lines)) {
    const path = join(folder, name);
    await writeFile(path, `#!/usr/bin/env bash\necho "${shown ? `${shown} ` : ''}${name} $*" >>"$CALLS"\n${does}\n`);
    await chmod(path, 0o755);
  }
  const calls = join(folder, 'calls');
  await writeFile(calls, '');
  return {
    env: { PATH: [folder, PATH].join(delimiter), CALLS: calls },
    calls: async () => (await readFile(calls, 'utf8')).split('\n').filter(Boolean),
  };
}

export interface Replica {
  proxy: ProxyProcess;
  url: string;
  port: number;
}

/** A replica on a port of its own; `version`: one that says it is of that version. Ends with the test. */
export async function startReplica(name: string, env: Record<string, string> = {}, version?: string): Promise<Replica> {
  const port = Number(env.REDUCTRAI_PORT ?? (await freePort()));
  const program = version && version !== VERSION ? await bundleOf(version) : undefined;
  const proxy = await startProxy({
    dataFolder: env.DATA_DIR ?? (await temporaryFolder()),
    env: { REPLICA_ID: name, REDUCTRAI_INTAKE_DECODE_WORKERS: '1', ...env, REDUCTRAI_PORT: String(port) },
    // What follows becomes names of the shell's own and is not used.
    ...(program ? { prefix: ['sh', '-c', `exec ${program}/bin/reductrai serve`] } : {}),
  });
  onTestFinished(() => proxy.kill());
  return { proxy, url: proxy.url, port };
}

/** The bundle with another version in it, beside the real one: it needs the same node_modules. */
async function bundleOf(version: string): Promise<string> {
  const folder = `${BUNDLE}-${version}-${process.pid}`;
  await cp(BUNDLE, folder, { recursive: true });
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  for (const name of await readdir(folder)) {
    if (!name.endsWith('.js')) continue;
    const code = await readFile(join(folder, name), 'utf8');
    if (code.includes(`"${VERSION}"`))
      await writeFile(join(folder, name), code.replaceAll(`"${VERSION}"`, `"${version}"`));
  }
  return folder;
}

export interface Balancer {
  url: string;
  /** Of its runtime interface, both ways. */
  sockets: { path: string; address: string };
  pid: number;
}

/** The shipped configuration, or another one with its own variables. `sockets.path` is added to it where it has only one. */
export async function startBalancer(
  replicas: readonly number[],
  more: { config?: string; env?: Record<string, string>; args?: string[] } = {},
): Promise<Balancer> {
  const command = findProgram('haproxy');
  if (!command) throw new Error(`haproxy is not installed: ${HOW_TO_INSTALL}`);
  const folder = await temporaryFolder();
  const [port, adminPort] = [await freePort(), await freePort()];
  const path = join(folder, 'admin.sock');
  const address = `ipv4@127.0.0.1:${adminPort}`;
  const url = `http://127.0.0.1:${port}`;
  // The file has one socket, by ADMIN_SOCKET; a second one stands beside it.
  const second = join(folder, 'second.cfg');
  await writeFile(second, `global\n    stats socket "${path}" level admin mode 600\n`);
  const { child, close } = await startServer({
    command,
    args: [...(more.args ?? ['-db']), '-f', more.config ?? join(DEPLOY, 'haproxy/haproxy.cfg'), '-f', second],
    env: {
      LISTEN: `127.0.0.1:${port}`,
      ADMIN_SOCKET: address,
      ...Object.fromEntries(replicas.map((one, index) => [`REPLICA_${index + 1}`, `127.0.0.1:${one}`])),
      ...more.env,
    },
    isReady: async () => {
      const answer = await request(`${url}/livez`);
      await answer.body.dump();
      return answer.statusCode === 200;
    },
  });
  onTestFinished(close);
  return { url, sockets: { path, address }, pid: child.pid! };
}

/** One log, acknowledged. */
export async function sendLog(url: string, log: Record<string, unknown>): Promise<void> {
  const answer = await request(`${url}/api/v2/logs`, {
    method: 'POST',
    body: JSON.stringify([log]),
    headers: { 'content-type': 'application/json' },
  });
  await answer.body.dump();
  if (answer.statusCode !== 202) throw new Error(`status ${answer.statusCode}`);
}
