/**
 * Three replicas behind real balancers with the project's own configuration files (each has agents of its own), one bucket, DURABILITY=store.
 * Requests spread evenly. All replicas are restarted one after the other under load, as a rolling update does, and no client may notice.
 * One is killed: it is asked no more, and it is asked again once it is back. By the test's own ledger everything acknowledged is in the
 * archive exactly once and at the vendor.
 */
import { createServer } from 'node:net';
import { join } from 'node:path';
import { request } from 'undici';
import { expect, test } from 'vitest';
import { type FakeVendor, startFakeVendor } from '../support/fake-vendor.ts';
import { expectFinished, FleetLoad, KEY, replicaEnv } from '../support/fleet-load.ts';
import { type ProxyProcess, runCli, startProxy } from '../support/proxy-process.ts';
import { startHaproxy } from '../support/servers/haproxy-server.ts';
import { startNginx } from '../support/servers/nginx-server.ts';
import { findS3Server, startS3Server } from '../support/servers/s3-server.ts';
import { findProgram, HOW_TO_INSTALL, keptPort } from '../support/servers/server-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const REPLICAS = ['a', 'b', 'c'];
/** Both balancers must have noticed before a replica stops listening; HAProxy's checks need 2 s. */
const NOTICE_MS = 4_000;
/** Until a balancer sends to a replica that is back: Nginx leaves it out for 2 s. */
const BACK_MS = 2_500;
const SPREAD_COUNT = 150;
/** Even would be a third. */
const SHARE_MIN = 1 / 5;
/** By then both balancers must have left out a replica that is dead. */
const OUT_AFTER_MS = 5_000;
const OUT_FOR_MS = 5_000;
/** Nginx, which has no health checks, tries it once every 2 s. */
const ASKED_MAX = 3;

type Start = (replicas: readonly string[]) => Promise<{ url: string; close(): Promise<void> }>;

interface Fleet {
  replicas: ProxyProcess[];
  ports: readonly number[];
  loads: readonly FleetLoad[];
  start(index: number): Promise<ProxyProcess>;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Requests that a replica has acknowledged. */
async function acknowledgedBy({ url }: ProxyProcess): Promise<number> {
  const text = await (await request(`${url}/metrics`)).body.text();
  const found = /^reductrai_requests_total\{route="\/api\/v2\/logs",status="202"\} (\d+)/m.exec(text);
  return Number(found?.[1] ?? 0);
}

/** Through one balancer alone. Resolves to the share of each replica, and to the load for the ledger. */
async function spreads(url: string, name: string, replicas: readonly ProxyProcess[]): Promise<[number[], FleetLoad]> {
  const load = new FleetLoad({ clients: 6, name });
  load.urls.set('balancer', url);
  const before = await Promise.all(replicas.map(acknowledgedBy));
  load.start();
  await expect.poll(() => load.acknowledged.size, { timeout: 60_000 }).toBeGreaterThan(SPREAD_COUNT);
  await load.stop();
  const after = await Promise.all(replicas.map(acknowledgedBy));
  const counts = after.map((count, index) => count - before[index]!);
  // Nothing came from anywhere else.
  expect(counts.reduce((sum, count) => sum + count)).toBe(load.acknowledged.size);
  const shares = counts.map((count) => count / load.acknowledged.size);
  expect(Math.min(...shares), `${name}: ${counts}`).toBeGreaterThan(SHARE_MIN);
  return [shares, load];
}

async function restartAll({ replicas, loads, start }: Fleet): Promise<void> {
  for (const index of replicas.keys()) {
    const before = loads.map((load) => load.acknowledged.size);
    const proxy = replicas[index]!;
    proxy.child.kill('SIGTERM');
    expect(await proxy.exited, proxy.lines.slice(-20).join('\n')).toEqual({ code: 0, signal: null });
    replicas[index] = await start(index);
    await pause(BACK_MS);
    for (const [of, load] of loads.entries()) expect(load.acknowledged.size).toBeGreaterThan(before[of]!);
  }
  for (const load of loads) expect(load.troubles).toEqual([]);
}

/** Somebody else listens in a dead replica's place, and counts what it is still asked: not for its health, but with a body. */
async function countAsked(port: number): Promise<{ asked(): number; close(): Promise<void> }> {
  let asked = 0;
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (data) => {
      if (data.toString('latin1').startsWith('POST ')) asked += 1;
      socket.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return { asked: () => asked, close: () => new Promise((resolve) => server.close(() => resolve())) };
}

/** Resolves to how often the dead replica was asked at first, and once it must be known. */
async function killOne({ replicas, ports, loads, start }: Fleet): Promise<[number, number]> {
  const index = 1;
  await replicas[index]!.kill('SIGKILL');
  const place = await countAsked(ports[index]!);
  await pause(OUT_AFTER_MS);
  const atFirst = place.asked();
  const before = loads.map((load) => load.acknowledged.size);
  await pause(OUT_FOR_MS);
  const later = place.asked() - atFirst;
  expect(atFirst).toBeGreaterThan(0);
  expect(later).toBeLessThanOrEqual(ASKED_MAX);
  for (const [of, load] of loads.entries()) {
    expect(load.acknowledged.size - before[of]!).toBeGreaterThan(5 * ASKED_MAX);
    // Other replicas were asked instead.
    expect(load.troubles).toEqual([]);
  }
  await place.close();
  replicas[index] = await start(index);
  await expect.poll(() => acknowledgedBy(replicas[index]!), { timeout: 20_000 }).toBeGreaterThan(5 * ASKED_MAX);
  return [atFirst, later];
}

async function behindBalancers(
  starts: Readonly<Record<string, Start>>,
  storeEnv: Record<string, string>,
  vendor: FakeVendor,
) {
  const root = await temporaryFolder();
  const ports: number[] = [];
  while (ports.length < REPLICAS.length) ports.push(await keptPort());
  const start = (index: number): Promise<ProxyProcess> =>
    startProxy({
      dataFolder: join(root, REPLICAS[index]!),
      env: {
        ...replicaEnv(REPLICAS[index]!, vendor, storeEnv),
        REDUCTRAI_PORT: String(ports[index]),
        REDUCTRAI_DRAIN_NOTICE: `${NOTICE_MS}ms`,
      },
    });
  const env = { DATA_DIR: join(root, 'reader'), ...storeEnv };
  const names = Object.keys(starts);
  const loads = names.map((name) => new FleetLoad({ clients: 3, name }));
  const all = [...loads];
  const replicas = await Promise.all(REPLICAS.map((_, index) => start(index)));
  const balancers: Awaited<ReturnType<Start>>[] = [];
  const told: string[] = [];
  try {
    for (const [index, name] of names.entries()) {
      const balancer = await starts[name]!(ports.map((port) => `127.0.0.1:${port}`));
      balancers.push(balancer);
      loads[index]!.urls.set('balancer', balancer.url);
      const [shares, load] = await spreads(balancer.url, `spread-${name}`, replicas);
      all.push(load);
      told.push(`${name} spreads ${shares.map((share) => `${Math.round(share * 100)} %`).join(', ')}`);
    }
    for (const load of loads) load.start();
    const fleet = { replicas, ports, loads, start };
    await restartAll(fleet);
    const [atFirst, later] = await killOne(fleet);
    told.push(`a dead replica is asked ${atFirst} times in ${OUT_AFTER_MS / 1000} s, then ${later} times`);
    await Promise.all(loads.map((load) => load.stop()));
    await expectFinished(env);
    for (const proxy of replicas) proxy.child.kill('SIGTERM');
    for (const proxy of replicas) {
      expect(await proxy.exited, proxy.lines.slice(-20).join('\n')).toEqual({ code: 0, signal: null });
    }
  } finally {
    await Promise.all(replicas.map((proxy) => proxy.kill()));
    await Promise.all(balancers.map((balancer) => balancer.close()));
  }
  for (const load of all) {
    expect(load.troubles).toEqual([]);
    expect(await load.expectKept(env, vendor)).toBe(0);
    told.push(`${load.acknowledged.size} envelopes`);
  }
  const verified = await runCli(['verify'], env);
  expect(verified.code, verified.stdout + verified.stderr).toBe(0);
  return told.join('; ');
}

const missing = [
  ...['haproxy', 'nginx'].filter((name) => findProgram(name) === undefined),
  ...(findS3Server() ? [] : ['S3 server']),
];

test.skipIf(missing.length > 0)(
  `behind HAProxy and Nginx: even spread, restarts that no client notices, a dead replica is left out${missing.length > 0 ? ` (no ${missing.join(', no ')}: ${HOW_TO_INSTALL})` : ''}`,
  // Once more: a machine that stands still for two seconds looks to HAProxy as if all replicas were gone.
  { timeout: 300_000, retry: 1 },
  async () => {
    const server = await startS3Server();
    const vendor = await startFakeVendor({ apiKeys: [KEY] });
    try {
      const storeEnv = {
        STORAGE_URL: `s3://${await server.bucket()}/kept?endpoint=${server.endpoint}`,
        S3_ACCESS_KEY: server.accessKeyId,
        S3_SECRET_KEY: server.secretAccessKey,
      };
      console.log(await behindBalancers({ haproxy: startHaproxy, nginx: startNginx }, storeEnv, vendor));
    } finally {
      await vendor.close();
      await server.close();
    }
  },
);
