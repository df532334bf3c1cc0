/**
 * WORKERS: several processes serve as one replica. One that is killed is replaced and finds its own journal; scrapes and probes get the
 * word of all, whichever process they meet; counters never fall. With fewer workers than before the rest of their journals is finished too.
 */
import { readFile } from 'node:fs/promises';
import { request } from 'undici';
import { expect, test } from 'vitest';
import { startFakeVendor } from '../support/fake-vendor.ts';
import { FleetLoad, KEY } from '../support/fleet-load.ts';
import { metricOf, type ProxyProcess, startProxy } from '../support/proxy-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const WORKERS = 3;

async function textOf({ url }: ProxyProcess, path: string): Promise<string> {
  return (await request(url + path)).body.text();
}

interface WorkerStatus {
  replica: { replica: string };
  books: { intake: { accepted: number } };
}

async function workersOf(proxy: ProxyProcess): Promise<Map<string, number>> {
  const { workers } = JSON.parse(await textOf(proxy, '/status')) as { workers: WorkerStatus[] };
  return new Map(workers.map(({ replica, books }) => [replica.replica, books.intake.accepted]));
}

async function childrenOf({ pid }: ProxyProcess): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return text.trim().split(' ').map(Number);
}

test('several processes are one replica', { timeout: 240_000 }, async () => {
  const dataFolder = await temporaryFolder();
  const vendor = await startFakeVendor({ apiKeys: [KEY] });
  const start = (workers: string): Promise<ProxyProcess> =>
    startProxy({
      dataFolder,
      env: {
        WORKERS: workers,
        REPLICA_ID: 'r',
        FORWARD_TO: vendor.url,
        DATADOG_API_KEY: KEY,
        REDUCTRAI_JOURNAL_LEASE: '1s',
        REDUCTRAI_ARCHIVE_FLUSH_AFTER: '30s',
        AUTO_CLEANUP_ENABLED: 'false',
      },
    });
  const load = new FleetLoad();
  let proxy = await start(String(WORKERS));
  try {
    load.urls.set('r', proxy.url);
    load.start();
    await expect.poll(() => load.acknowledged.size, { timeout: 60_000 }).toBeGreaterThan(100);
    const accepted = await workersOf(proxy);
    expect([...accepted.keys()].sort()).toEqual(['r', 'r-w1', 'r-w2']);
    for (const count of accepted.values()) expect(count).toBeGreaterThan(0);
    expect(JSON.parse(await textOf(proxy, '/health'))).toMatchObject({ status: 'ok', storage: 'connected' });

    // One dies; its successor has its journal, and the others go on.
    const before = await metricOf(proxy, 'envelopes_accepted_total');
    expect(before).toBeGreaterThan(100);
    const [, victim] = await childrenOf(proxy);
    process.kill(victim!, 'SIGKILL');
    await expect
      .poll(async () => (await childrenOf(proxy)).filter((pid) => pid !== victim).length, { timeout: 30_000 })
      .toBe(WORKERS);
    await expect.poll(async () => (await workersOf(proxy)).size, { timeout: 30_000 }).toBe(WORKERS);
    expect(await metricOf(proxy, 'envelopes_accepted_total')).toBeGreaterThanOrEqual(before);
    const soFar = load.acknowledged.size;
    await expect.poll(() => load.acknowledged.size - soFar, { timeout: 60_000 }).toBeGreaterThan(100);
    // The books balance, what the dead one had counted included.
    load.urls.delete('r');
    await expect
      .poll(
        async () => {
          const [accepted, recovered, archived, pending] = await Promise.all(
            ['accepted_total', 'archive_recovered', 'archived_total', 'archive_pending'].map((name) =>
              metricOf(proxy, `envelopes_${name}`),
            ),
          );
          return accepted! + recovered! - archived! - pending!;
        },
        { timeout: 10_000 },
      )
      .toBe(0);
    load.urls.set('r', proxy.url);

    proxy.child.kill('SIGHUP');
    await expect
      .poll(() => proxy.lines.filter((line) => line.includes('configuration read again')).length, { timeout: 10_000 })
      .toBe(WORKERS);

    // All die at once, and come back as one process.
    load.urls.delete('r');
    const workers = await childrenOf(proxy);
    await proxy.kill('SIGKILL');
    await expect
      .poll(async () => (await Promise.all(workers.map(isRunning))).some(Boolean), { timeout: 10_000 })
      .toBe(false);
    proxy = await start('1');
    load.urls.set('r', proxy.url);
    await expect.poll(() => metricOf(proxy, 'takeovers_total'), { timeout: 60_000 }).toBe(WORKERS - 1);
    const then = load.acknowledged.size;
    await expect.poll(() => load.acknowledged.size - then, { timeout: 60_000 }).toBeGreaterThan(50);
    await load.stop();
    proxy.child.kill('SIGTERM');
    expect(await proxy.exited, proxy.lines.slice(-20).join('\n')).toEqual({ code: 0, signal: null });

    // And again as several, which end in good order.
    proxy = await start('2');
    proxy.child.kill('SIGTERM');
    expect(await proxy.exited, proxy.lines.slice(-20).join('\n')).toEqual({ code: 0, signal: null });
  } finally {
    await proxy.kill();
    await vendor.close();
  }
  const retried = await load.expectKept({ DATA_DIR: dataFolder }, vendor);
  console.log(`${load.acknowledged.size} envelopes, ${retried} sent more than once`);
});

async function isRunning(pid: number): Promise<boolean> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return text !== '' && !/\) [ZX] /.test(text);
}
