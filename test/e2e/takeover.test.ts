/**
 * Promise 4 with `DURABILITY=store`: two replicas share nothing but the object store. One is killed and its disk deleted, one stands still
 * for longer than its lease and wakes up as a zombie; the other finishes what they had acknowledged. The test's own ledger is compared
 * with the archive (exactly once) and the vendor (at least once). A takeover starts within three lease intervals, and how long it takes for
 * what it adopts is printed (`TAKEOVER_MIB=1024` for more).
 */

import { createHash, randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { request } from 'undici';
import { describe, expect, test } from 'vitest';
import { type FakeVendor, startFakeVendor } from '../support/fake-vendor.ts';
import { FleetLoad, KEY, replicaEnv } from '../support/fleet-load.ts';
import { metricOf, type ProxyProcess, runCli, startProxy } from '../support/proxy-process.ts';
import { findS3Server, startS3Server } from '../support/servers/s3-server.ts';
import { HOW_TO_INSTALL } from '../support/servers/server-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const LEASE_MS = 12_000;
const STARTS_WITHIN_LEASES = 3;
const ADOPTED_MIB = Number(process.env.TAKEOVER_MIB ?? 256);
const SENDERS = 4;
const ITEMS_PER_BODY = 256;

/** Resolves to after how many lease intervals from now a replica is at work on what another has left. */
async function takeoverStarted(proxy: ProxyProcess, leaseMs: number): Promise<number> {
  const before = await metricOf(proxy, 'takeovers_total');
  const fromMs = performance.now();
  // A small journal is finished between two looks.
  const isStarted = async (): Promise<boolean> =>
    (await metricOf(proxy, 'takeovers_running')) > 0 || (await metricOf(proxy, 'takeovers_total')) > before;
  await expect.poll(isStarted, { timeout: STARTS_WITHIN_LEASES * leaseMs, interval: 100 }).toBe(true);
  const leases = (performance.now() - fromMs) / leaseMs;
  expect(leases).toBeLessThanOrEqual(STARTS_WITHIN_LEASES);
  return leases;
}

async function run(storeEnv: Record<string, string>, vendor: FakeVendor): Promise<void> {
  const root = await temporaryFolder();
  const load = new FleetLoad();
  const start = async (replica: string): Promise<ProxyProcess> => {
    const proxy = await startProxy({
      dataFolder: join(root, replica),
      env: { ...replicaEnv(replica, vendor, storeEnv), REDUCTRAI_JOURNAL_LEASE: `${LEASE_MS}ms` },
    });
    load.urls.set(replica, proxy.url);
    return proxy;
  };
  const some = async (count: number): Promise<void> => {
    const before = load.acknowledged.size;
    await expect.poll(() => load.acknowledged.size - before, { timeout: 60_000 }).toBeGreaterThan(count);
  };
  let a = await start('a');
  let b = await start('b');
  try {
    load.start();
    await some(100);

    // Killed, and its disk is gone.
    load.urls.delete('a');
    await a.kill('SIGKILL');
    await rm(join(root, 'a'), { recursive: true, force: true });
    await takeoverStarted(b, LEASE_MS);
    await expect.poll(() => metricOf(b, 'takeovers_total'), { timeout: 60_000, interval: 250 }).toBeGreaterThan(0);
    await some(50);

    // A new life of the same replica, with another epoch.
    a = await start('a');
    await some(50);

    // Stopped for longer than its lease; then it wakes up, and must commit nothing.
    b.child.kill('SIGSTOP');
    await takeoverStarted(a, LEASE_MS);
    await expect.poll(() => metricOf(a, 'takeovers_total'), { timeout: 60_000, interval: 250 }).toBeGreaterThan(0);
    b.child.kill('SIGCONT');
    expect(await b.exited).toEqual({ code: 1, signal: null });
    expect(b.lines.some((line) => line.includes('taken over') || line.includes('taken by'))).toBe(true);
    load.urls.delete('b');
    b = await start('b');
    await some(50);
    await load.stop();

    for (const proxy of [a, b]) {
      proxy.child.kill('SIGTERM');
      expect(await proxy.exited, proxy.lines.slice(-20).join('\n')).toEqual({ code: 0, signal: null });
    }
  } finally {
    await Promise.all([a.kill(), b.kill()]);
  }

  const retried = await load.expectKept({ DATA_DIR: join(root, 'b'), ...storeEnv }, vendor);
  // Some per death at most: what each client had under way.
  expect(retried).toBeLessThanOrEqual(36);
  console.log(`${load.acknowledged.size} envelopes, ${retried} sent more than once`);
  const shown = await runCli(['ha', 'status', '--format', 'ndjson'], { DATA_DIR: join(root, 'b'), ...storeEnv });
  expect(shown.code, shown.stderr).toBe(0);
  const states = shown.stdout
    .split('\n')
    .flatMap((line) => (line ? [(JSON.parse(line) as { state: string }).state] : []));
  // Two replicas released their leases; of the lives before only fences are left.
  expect(states.sort()).toEqual(['finished', 'finished', 'released', 'released']);
  const verified = await runCli(['verify'], { DATA_DIR: join(root, 'b'), ...storeEnv });
  expect(verified.code, verified.stdout + verified.stderr).toBe(0);
}

/** As many bodies of a MiB, of which no part is like another. Resolves to their hashes. */
async function sendBodies(url: string, count: number): Promise<Set<string>> {
  const hashes = new Set<string>();
  let left = count;
  const send = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const text = randomBytes(512 * 1024).toString('hex');
      const perItem = text.length / ITEMS_PER_BODY;
      const items = Array.from({ length: ITEMS_PER_BODY }, (_, item) => ({
        message: text.slice(item * perItem, (item + 1) * perItem),
        service: 'adopted',
      }));
      const body = JSON.stringify(items);
      for (let status = 503; status !== 202; ) {
        const answer = await request(`${url}/api/v2/logs`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'dd-api-key': KEY },
          body,
        });
        await answer.body.dump();
        status = answer.statusCode;
        expect([202, 503]).toContain(status);
      }
      hashes.add(createHash('sha256').update(body).digest('hex'));
    }
  };
  await Promise.all(Array.from({ length: SENDERS }, send));
  return hashes;
}

/** One replica takes bodies and dies before any is archived or delivered; resolves to what is to be printed. */
async function adopt(mib: number, storeEnv: Record<string, string>): Promise<string> {
  const leaseMs = LEASE_MS / 2;
  const root = await temporaryFolder();
  const vendor = await startFakeVendor({ apiKeys: [KEY], keepBodies: false, checkBodies: false });
  const start = (replica: string, more: Record<string, string> = {}): Promise<ProxyProcess> =>
    startProxy({
      dataFolder: join(root, replica),
      env: { ...replicaEnv(replica, vendor, storeEnv), REDUCTRAI_JOURNAL_LEASE: `${leaseMs}ms`, ...more },
    });
  await vendor.down();
  const a = await start('a', {
    REDUCTRAI_JOURNAL_BUDGET_BYTES: '1TiB',
    REDUCTRAI_INTAKE_INFLIGHT_BYTES_MAX: '64GiB',
    REDUCTRAI_ARCHIVE_HELD_BYTES_MAX: '32GiB',
    REDUCTRAI_ARCHIVE_FLUSH_AFTER: '1h',
    REDUCTRAI_ARCHIVE_FLUSH_BYTES_MAX: '16GiB',
  });
  const b = await start('b');
  try {
    const hashes = await sendBodies(a.url, mib);
    await a.kill('SIGKILL');
    await vendor.up();
    const leases = await takeoverStarted(b, leaseMs);
    await expect.poll(() => metricOf(b, 'takeovers_total'), { timeout: 600_000, interval: 250 }).toBe(1);
    expect(await metricOf(b, 'takeover_envelopes_total')).toBe(mib);
    const delivered = new Set(vendor.delivered().map(({ bodySha256 }) => bodySha256));
    expect([...hashes].filter((hash) => !delivered.has(hash))).toEqual([]);
    const seconds = await metricOf(b, 'takeover_duration_seconds_sum');
    b.child.kill('SIGTERM');
    expect(await b.exited, b.lines.slice(-20).join('\n')).toEqual({ code: 0, signal: null });
    const sql = 'SELECT count(*) AS items, count(DISTINCT message) AS messages FROM logs';
    const asked = await runCli(['query', '--format', 'ndjson', sql], { DATA_DIR: join(root, 'b'), ...storeEnv });
    const items = mib * ITEMS_PER_BODY;
    expect(JSON.parse(asked.stdout), asked.stderr).toEqual({ items, messages: items });
    const perGB = (seconds / mib) * (1e9 / 2 ** 20);
    return `${mib} MiB adopted in ${seconds.toFixed(1)} s: ${perGB.toFixed(1)} s per GB adopted; begun after ${leases.toFixed(1)} lease intervals`;
  } finally {
    await Promise.all([a.kill(), b.kill()]);
    await vendor.close();
  }
}

describe('a replica that is gone is finished by another', () => {
  const hasS3 = findS3Server() !== undefined;
  // The same promises and the same code: where there is a bucket to be had, that one is enough for one run.
  if (!hasS3 || process.env.TAKEOVER === 'all') {
    test('in a shared folder', { timeout: 300_000, retry: 0 }, async () => {
      const vendor = await startFakeVendor({ apiKeys: [KEY] });
      try {
        await run({ STORAGE_URL: `file://${await temporaryFolder()}` }, vendor);
      } finally {
        await vendor.close();
      }
    });
  }

  test.skipIf(!hasS3)(
    `in a bucket${hasS3 ? '' : ` (no server: ${HOW_TO_INSTALL})`}`,
    { timeout: 300_000, retry: 0 },
    async () => {
      const server = await startS3Server();
      const vendor = await startFakeVendor({ apiKeys: [KEY] });
      try {
        const url = `s3://${await server.bucket()}/kept?endpoint=${server.endpoint}`;
        await run(
          { STORAGE_URL: url, S3_ACCESS_KEY: server.accessKeyId, S3_SECRET_KEY: server.secretAccessKey },
          vendor,
        );
      } finally {
        await vendor.close();
        await server.close();
      }
    },
  );

  test.skipIf(!hasS3)(
    `${ADOPTED_MIB} MiB of bodies in a bucket${hasS3 ? '' : ` (no server: ${HOW_TO_INSTALL})`}`,
    { timeout: 900_000, retry: 0 },
    async () => {
      const server = await startS3Server();
      try {
        const url = `s3://${await server.bucket()}/kept?endpoint=${server.endpoint}`;
        const credentials = { S3_ACCESS_KEY: server.accessKeyId, S3_SECRET_KEY: server.secretAccessKey };
        console.log(await adopt(ADOPTED_MIB, { STORAGE_URL: url, ...credentials }));
      } finally {
        await server.close();
      }
    },
  );
});
