/**
 * Promise 4 with `DURABILITY=disk` on a volume that replicas share: the journal of one that is killed is finished by another, archive
 * exactly once and vendor at least once; should it come back meanwhile, it has its journal back at once. A journal whose replica never
 * comes back is deleted in the end. Senders come back to whichever replica answers.
 */
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startFakeVendor } from '../support/fake-vendor.ts';
import { FleetLoad, KEY } from '../support/fleet-load.ts';
import { metricOf, type ProxyProcess, startProxy } from '../support/proxy-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const LEASE_MS = 1_000;
/** Longer than a replica is away. */
const RETRY_WINDOW_MS = 20_000;

test('a journal on a shared volume is finished by another replica, and goes back to its own', {
  timeout: 240_000,
}, async () => {
  const dataFolder = await temporaryFolder();
  const vendor = await startFakeVendor({ apiKeys: [KEY] });
  const start = (replica: string): Promise<ProxyProcess> =>
    startProxy({
      dataFolder,
      env: {
        REPLICA_ID: replica,
        DURABILITY: 'disk',
        FORWARD_TO: vendor.url,
        DATADOG_API_KEY: KEY,
        REDUCTRAI_JOURNAL_LEASE: `${LEASE_MS}ms`,
        REDUCTRAI_JOURNAL_RETRY_WINDOW: `${RETRY_WINDOW_MS}ms`,
        REDUCTRAI_ARCHIVE_FLUSH_AFTER: '30s',
        REDUCTRAI_INTAKE_DECODE_WORKERS: '1',
      },
    });
  const load = new FleetLoad();
  const passing = new FleetLoad({ clients: 2, name: 'passing' });
  let a = await start('a');
  let b = await start('b');
  const c = await start('c');
  try {
    load.urls.set('a', a.url);
    load.urls.set('b', b.url);
    passing.urls.set('c', c.url);
    load.start();
    passing.start();
    await expect.poll(() => load.acknowledged.size, { timeout: 60_000 }).toBeGreaterThan(100);
    await expect.poll(() => passing.acknowledged.size, { timeout: 60_000 }).toBeGreaterThan(20);

    // Leaves work behind, and never comes back.
    vendor.script(() => ({ status: 503 }));
    await passing.stop();
    await c.kill('SIGKILL');
    // All it held was not flushed yet.
    load.urls.delete('a');
    await a.kill('SIGKILL');
    vendor.script(undefined);
    await expect.poll(() => metricOf(b, 'takeovers_total'), { timeout: 60_000 }).toBeGreaterThanOrEqual(2);

    a = await start('a');
    load.urls.set('a', a.url);
    const before = load.acknowledged.size;
    await expect.poll(() => load.acknowledged.size - before, { timeout: 60_000 }).toBeGreaterThan(50);

    // Comes back while the other cannot finish, since the vendor is away.
    vendor.script(() => ({ status: 503 }));
    load.urls.delete('a');
    await a.kill('SIGKILL');
    await expect.poll(() => metricOf(b, 'takeovers_running'), { timeout: 60_000, interval: 50 }).toBe(1);
    a = await start('a');
    expect(
      a.lines.some((line) => line.includes('waiting for it')),
      'waits for its journal',
    ).toBe(true);
    expect(
      b.lines.some((line) => line.includes('goes back to it')),
      'gives it back',
    ).toBe(true);
    // So does one whose adopter died over it.
    load.urls.delete('a');
    await a.kill('SIGKILL');
    await expect.poll(() => metricOf(b, 'takeovers_running'), { timeout: 60_000, interval: 50 }).toBe(1);
    load.urls.delete('b');
    await b.kill('SIGKILL');
    a = await start('a');
    b = await start('b');
    load.urls.set('b', b.url);
    vendor.script(undefined);
    load.urls.set('a', a.url);
    const then = load.acknowledged.size;
    await expect.poll(() => load.acknowledged.size - then, { timeout: 60_000 }).toBeGreaterThan(50);
    await load.stop();

    const isThere = (replica: string): Promise<boolean> =>
      access(join(dataFolder, 'journal', replica)).then(
        () => true,
        () => false,
      );
    await expect.poll(() => isThere('c'), { timeout: 60_000 }).toBe(false);
    expect(await isThere('a')).toBe(true);
    for (const proxy of [a, b]) {
      proxy.child.kill('SIGTERM');
      expect(await proxy.exited, proxy.lines.slice(-20).join('\n')).toEqual({ code: 0, signal: null });
    }
  } finally {
    await Promise.all([a, b, c].map((proxy) => proxy.kill()));
    await vendor.close();
  }
  for (const [id, times] of passing.acknowledged) load.acknowledged.set(id, times);
  const retried = await load.expectKept({ DATA_DIR: dataFolder }, vendor);
  console.log(`${load.acknowledged.size} envelopes, ${retried} sent more than once`);
});

test('what was left on disk is finished after DURABILITY was changed', { timeout: 120_000 }, async () => {
  const dataFolder = await temporaryFolder();
  const storeEnv = { STORAGE_URL: `file://${await temporaryFolder()}` };
  const vendor = await startFakeVendor({ apiKeys: [KEY] });
  const start = (durability: string): Promise<ProxyProcess> =>
    startProxy({
      dataFolder,
      env: {
        ...storeEnv,
        DURABILITY: durability,
        FORWARD_TO: vendor.url,
        DATADOG_API_KEY: KEY,
        REDUCTRAI_JOURNAL_LEASE: `${LEASE_MS}ms`,
        REDUCTRAI_ARCHIVE_FLUSH_AFTER: '30s',
      },
    });
  const load = new FleetLoad();
  vendor.script(() => ({ status: 503 }));
  let proxy = await start('disk');
  try {
    load.urls.set('r', proxy.url);
    load.start();
    await expect.poll(() => load.acknowledged.size, { timeout: 60_000 }).toBeGreaterThan(50);
    await load.stop();
    await proxy.kill('SIGKILL');
    vendor.script(undefined);
    proxy = await start('store');
    await expect.poll(() => metricOf(proxy, 'takeovers_total'), { timeout: 60_000 }).toBe(1);
    proxy.child.kill('SIGTERM');
    expect(await proxy.exited, proxy.lines.slice(-20).join('\n')).toEqual({ code: 0, signal: null });
  } finally {
    await proxy.kill();
    await vendor.close();
  }
  await load.expectKept({ DATA_DIR: dataFolder, ...storeEnv }, vendor);
});
