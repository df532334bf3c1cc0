/**
 * Three replicas behind real balancers with the project's own configuration files (each has agents of its own), one store, DURABILITY=store: all are restarted one
 * after the other under load, as a rolling update does, and no client may notice. By the test's own ledger everything acknowledged is in
 * the archive exactly once and at the vendor.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { request } from 'undici';
import { expect, test } from 'vitest';
import { startFakeVendor } from '../support/fake-vendor.ts';
import { FleetLoad, KEY, replicaEnv } from '../support/fleet-load.ts';
import { PROJECT, type ProxyProcess, runCli, startProxy } from '../support/proxy-process.ts';
import {
  findProgram,
  freePort,
  HOW_TO_INSTALL,
  type ServerProcess,
  startServer,
} from '../support/servers/server-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const REPLICAS = ['a', 'b', 'c'];
/** Both balancers must have noticed before a replica stops listening; HAProxy's checks need 2 s. */
const NOTICE_MS = 4_000;
/** Until a balancer sends to a replica that is back: Nginx leaves it out for 2 s. */
const BACK_MS = 2_500;

type Start = (listenPort: number, replicaPorts: readonly number[]) => Promise<ServerProcess>;

async function answers(port: number): Promise<boolean> {
  const answer = await request(`http://127.0.0.1:${port}/livez`);
  await answer.body.dump();
  return answer.statusCode === 200;
}

const haproxy: Start = (listenPort, replicaPorts) =>
  startServer({
    command: findProgram('haproxy')!,
    args: ['-db', '-f', join(PROJECT, 'deploy/haproxy/haproxy.cfg')],
    env: {
      LISTEN: `127.0.0.1:${listenPort}`,
      ...Object.fromEntries(replicaPorts.map((port, index) => [`REPLICA_${index + 1}`, `127.0.0.1:${port}`])),
    },
    isReady: () => answers(listenPort),
  });

const nginx: Start = async (listenPort, replicaPorts) => {
  const folder = await temporaryFolder();
  const template = await readFile(join(PROJECT, 'deploy/nginx/reductrai.conf.template'), 'utf8');
  // What the official image does with envsubst.
  const server = template.replace(/\$\{(LISTEN|REPLICA_\d)\}/g, (_, name: string) =>
    name === 'LISTEN' ? `127.0.0.1:${listenPort}` : `127.0.0.1:${replicaPorts[Number(name.at(-1)) - 1]}`,
  );
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (of) => `${of}_temp_path ${folder}/${of};`,
  );
  const config = join(folder, 'nginx.conf');
  await writeFile(
    config,
    `daemon off; master_process off; pid ${folder}/pid; error_log stderr;
     events {}
     http { access_log off; ${temporary.join(' ')}
     ${server} }`,
  );
  return startServer({
    command: findProgram('nginx')!,
    args: ['-c', config, '-e', 'stderr'],
    isReady: () => answers(listenPort),
  });
};

async function rollingRestart(starts: readonly Start[]): Promise<string> {
  const root = await temporaryFolder();
  const vendor = await startFakeVendor({ apiKeys: [KEY] });
  const storeEnv = { STORAGE_URL: `file://${join(root, 'store')}` };
  const ports = await Promise.all(REPLICAS.map(() => freePort()));
  const start = (index: number): Promise<ProxyProcess> =>
    startProxy({
      dataFolder: join(root, REPLICAS[index]!),
      env: {
        ...replicaEnv(REPLICAS[index]!, vendor, storeEnv),
        REDUCTRAI_PORT: String(ports[index]),
        REDUCTRAI_DRAIN_NOTICE: `${NOTICE_MS}ms`,
      },
    });
  const loads = starts.map((_, index) => new FleetLoad({ clients: 3, name: `load-${index}` }));
  const replicas = await Promise.all(REPLICAS.map((_, index) => start(index)));
  const balancers: ServerProcess[] = [];
  try {
    for (const [index, startBalancer] of starts.entries()) {
      const listenPort = await freePort();
      balancers.push(await startBalancer(listenPort, ports));
      loads[index]!.urls.set('balancer', `http://127.0.0.1:${listenPort}`);
      loads[index]!.start();
    }
    for (const index of replicas.keys()) {
      const before = loads.map((load) => load.acknowledged.size);
      const proxy = replicas[index]!;
      proxy.child.kill('SIGTERM');
      expect(await proxy.exited, proxy.lines.slice(-20).join('\n')).toEqual({ code: 0, signal: null });
      replicas[index] = await start(index);
      await new Promise((resolve) => setTimeout(resolve, BACK_MS));
      for (const [of, load] of loads.entries()) expect(load.acknowledged.size).toBeGreaterThan(before[of]!);
    }
    await Promise.all(loads.map((load) => load.stop()));
    for (const proxy of replicas) proxy.child.kill('SIGTERM');
    for (const proxy of replicas) {
      expect(await proxy.exited, proxy.lines.slice(-20).join('\n')).toEqual({ code: 0, signal: null });
    }
  } finally {
    await Promise.all(replicas.map((proxy) => proxy.kill()));
    await Promise.all(balancers.map((balancer) => balancer.close()));
    await vendor.close();
  }
  const env = { DATA_DIR: join(root, 'a'), ...storeEnv };
  for (const load of loads) {
    expect(load.troubles).toEqual([]);
    expect(await load.expectKept(env, vendor)).toBe(0);
  }
  const verified = await runCli(['verify'], env);
  expect(verified.code, verified.stdout + verified.stderr).toBe(0);
  return loads.map((load) => `${load.acknowledged.size} envelopes`).join(', ');
}

const isThere = findProgram('haproxy') !== undefined && findProgram('nginx') !== undefined;

test.skipIf(!isThere)(
  `all replicas restarted one after the other behind HAProxy and Nginx, and no client notices${isThere ? '' : ` (not installed: ${HOW_TO_INSTALL})`}`,
  // Once more: a machine that stands still for two seconds looks to HAProxy as if all replicas were gone.
  { timeout: 300_000, retry: 1 },
  async () => {
    console.log(`haproxy, nginx: ${await rollingRestart([haproxy, nginx])}`);
  },
);
