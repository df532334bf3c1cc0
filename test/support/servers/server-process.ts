/** A real server as a child process: found among what is installed, started on a free port, waited for, killed with its tests. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, join } from 'node:path';
import { PROJECT } from '../proxy-process.ts';

/** .ci/run: a file that is there while test/servers/install.sh is at work beside the tests. What needs a server waits for its end. */
const installing = process.env.SERVERS_INSTALLING;
while (installing && existsSync(installing)) await new Promise((resolve) => setTimeout(resolve, 500));

/** What test/servers/install.sh puts there. */
export const SERVERS_FOLDER = process.env.REDUCTRAI_SERVERS ?? join(PROJECT, '.cache', 'servers');
export const HOW_TO_INSTALL = 'run test/servers/install.sh';

/** The path of a program, among the installed servers or on the PATH. */
export function findProgram(name: string): string | undefined {
  const folders = [join(SERVERS_FOLDER, 'bin'), ...(process.env.PATH ?? '').split(delimiter)];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}

/** For whoever comes back to it: no port that the system gives to an outgoing connection meanwhile. */
export async function keptPort(): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    const port = KEPT_PORTS.first + randomInt(KEPT_PORTS.count);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => resolve(true));
    });
    if (isFree) {
      await new Promise<void>((resolve) => server.close(() => resolve()));
      return port;
    }
    if (attempt === KEPT_ATTEMPTS_MAX) throw new Error('no free port');
  }
}

export interface ServerProcess {
  child: ChildProcess;
  output(): string;
  close(): Promise<void>;
}

export interface ServerOptions {
  command: string;
  args: string[];
  env?: Record<string, string>;
  cwd?: string;
  /** True once it serves. */
  isReady: () => Promise<boolean>;
  readyWithinMs?: number;
  /** What ends it. Default SIGKILL; one with children must be told, so that it ends them. */
  endsWith?: NodeJS.Signals;
}

/** Below what Linux gives to outgoing connections (ip_local_port_range). */
const KEPT_PORTS = { first: 20_000, count: 12_000 };
const KEPT_ATTEMPTS_MAX = 100;
const OUTPUT_CHARACTERS_MAX = 20_000;

export async function startServer(options: ServerOptions): Promise<ServerProcess> {
  const child = spawn(options.command, options.args, {
    env: { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '', ...options.env },
    ...(options.cwd ? { cwd: options.cwd } : {}),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream!.on('data', (text) => {
      output = (output + String(text)).slice(-OUTPUT_CHARACTERS_MAX);
    });
  }
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const killWithUs = (): void => {
    child.kill(options.endsWith ?? 'SIGKILL');
  };
  process.once('exit', killWithUs);
  const deadline = performance.now() + (options.readyWithinMs ?? 120_000);
  for (;;) {
    if (child.exitCode !== null) throw new Error(`${options.command} ended with ${child.exitCode}:\n${output}`);
    if (await options.isReady().catch(() => false)) break;
    if (performance.now() > deadline) {
      child.kill('SIGKILL');
      throw new Error(`${options.command} did not get ready:\n${output}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return {
    child,
    output: () => output,
    close: async () => {
      process.off('exit', killWithUs);
      killWithUs();
      await exited;
    },
  };
}
