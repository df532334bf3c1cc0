/**
 * Promise 4 with `DURABILITY=store`: two replicas share nothing but the object store. One is killed and its disk deleted, one stands still
 * for longer than its lease and wakes up as a zombie; the other finishes what they had acknowledged. The test's own ledger is compared
 * with the archive (exactly once) and the vendor (at least once). Only an envelope that a client sent again because an answer was lost
 * may be there once per time it was sent: such a retry is not told across replicas yet.
 */

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { request } from 'undici';
import { describe, expect, test } from 'vitest';
import { type FakeVendor, startFakeVendor } from '../support/fake-vendor.ts';
import { FleetLoad, KEY, replicaEnv } from '../support/fleet-load.ts';
import { type ProxyProcess, runCli, startProxy } from '../support/proxy-process.ts';
import { findS3Server, startS3Server } from '../support/servers/s3-server.ts';
import { HOW_TO_INSTALL } from '../support/servers/server-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const LEASE_MS = 12_000;

async function metricOf({ url }: ProxyProcess, name: string): Promise<number> {
  const text = await (await request(`${url}/metrics`)).body.text();
  let sum = 0;
  for (const [, value] of text.matchAll(new RegExp(`^reductrai_${name}(?:\\{[^}]*\\})? (\\S+)`, 'gm')))
    sum += Number(value);
  return sum;
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
    await expect.poll(() => metricOf(b, 'takeovers_total'), { timeout: 60_000, interval: 250 }).toBeGreaterThan(0);
    await some(50);

    // A new life of the same replica, with another epoch.
    a = await start('a');
    await some(50);

    // Stopped for longer than its lease; then it wakes up, and must commit nothing.
    b.child.kill('SIGSTOP');
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
});
