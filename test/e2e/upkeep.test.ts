/** `tier run` on what real processes kept, while one of them serves: nothing is lost or seen twice, and memory is bounded. */
import { randomBytes } from 'node:crypto';
import { request } from 'undici';
import { expect, test } from 'vitest';
import { SegmentBuilder } from '../../src/archive/segment-builder.ts';
import { createParquetCodec } from '../../src/codec/parquet-codec.ts';
import { nodeFileSystem } from '../../src/core/file-system.ts';
import { MIB } from '../../src/core/limits.ts';
import { systemRandom } from '../../src/core/random.ts';
import { decodeLogs } from '../../src/record/logs.ts';
import { appendCommit } from '../../src/store/commit-records.ts';
import { openStore } from '../../src/store/open.ts';
import { createManualClock } from '../support/manual-clock.ts';
import { runCli, startProxy } from '../support/proxy-process.ts';
import { quietWitness } from '../support/quiet.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

async function lastLine(args: string[], env: Record<string, string>): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await runCli(args, env);
  expect(code, stdout + stderr).toBe(0);
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as Record<string, unknown>;
}

test('segments are merged while a replica goes on writing', async () => {
  const dataFolder = await temporaryFolder();
  const env = {
    DATA_DIR: dataFolder,
    REDUCTRAI_CLEANUP_COMPACT_AFTER: '0ms',
    REDUCTRAI_CLEANUP_GRACE: '0ms',
    LOG_LEVEL: 'warn',
  };
  const proxy = await startProxy({
    dataFolder,
    env: { ...env, LOG_LEVEL: 'info', REDUCTRAI_ARCHIVE_FLUSH_AFTER: '200ms', AUTO_CLEANUP_ENABLED: 'false' },
  });
  let sent = 0;
  let isOver = false;
  const load = (async () => {
    while (!isOver) {
      const answer = await request(`${proxy.url}/api/v2/logs`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify([{ message: `line ${sent}`, service: 'ageing' }]),
      });
      await answer.body.dump();
      if (answer.statusCode === 202) sent += 1;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  const segments = async (): Promise<number> => Number((await lastLine(['tier', 'status'], env)).segments);
  await expect.poll(segments, { timeout: 60_000, interval: 500 }).toBeGreaterThan(5);
  const [plan] = (await runCli(['tier', 'plan'], env)).stdout.split('\n');
  expect(JSON.parse(plan!)).toMatchObject({ what: 'merge', signal: 'logs', from: 'hot', to: 'hot' });
  const first = await lastLine(['tier', 'run'], env);
  expect(first).toMatchObject({ state: 'done', skipped: [] });
  expect(Number(first.mergedSegments)).toBeGreaterThan(5);
  isOver = true;
  await load;
  await proxy.kill('SIGTERM');
  await lastLine(['tier', 'run'], env);
  const counts = await lastLine(['query', 'SELECT count(*) AS n, count(DISTINCT message) AS d FROM logs'], env);
  expect(counts).toEqual({ n: sent, d: sent });
  const exported = (await runCli(['export', '--signal', 'logs'], env)).stdout.trim().split('\n');
  expect(new Set(exported).size).toBe(sent);
  expect((await runCli(['verify'], env)).stderr).toContain('all is well');
}, 240_000);

test('the memory of a merge does not grow with the partition', async () => {
  const dataFolder = await temporaryFolder();
  const clock = createManualClock();
  const { store } = await openStore(
    { target: `${dataFolder}/store` },
    { fileSystem: nodeFileSystem, clock, random: systemRandom, metrics: quietWitness().metrics },
  );
  // 16 flushes of one hour, 8 MiB each of text that hardly compresses: 128 MiB decoded.
  const identity = { replica: 'r-1', epoch: 1 };
  const flushes = 16;
  for (let n = 1; n <= flushes; n++) {
    const items = Array.from({ length: 512 }, (_, i) => ({ message: randomBytes(8 * 1024).toString('hex'), i }));
    const receivedAtMs = clock.nowMs() + n;
    const body = Buffer.from(JSON.stringify(items));
    const decoded = decodeLogs({ protocol: 'logs-json', body, contentType: '', path: '/', receivedAtMs });
    if (!decoded.ok) throw new Error(decoded.reason);
    const options = { identity, zstdLevel: 1, rowGroupRowsMax: 100_000, hoursMax: 6 };
    const builder = new SegmentBuilder(createParquetCodec(), options);
    builder.add({
      ...{ position: n, tenant: 'default', signal: 'logs', protocol: 'logs-json', requestPath: '/', receivedAtMs },
      batch: decoded.batch,
    });
    const adds = [];
    for (const { entry, bytes } of builder.build(n, n)) {
      await store.put(entry.key, bytes, { condition: { kind: 'absent' } });
      adds.push(entry);
    }
    await appendCommit(store, {
      ...{ format: 1, ...identity, number: n, first: n, last: n, envelopes: {}, rawBytes: {} },
      ...{ committedAtMs: receivedAtMs, adds, replaces: [] },
    });
  }
  await store.close();
  // Received at the manual clock's date, months ago: straight to the cold.
  const env = { DATA_DIR: dataFolder, STORAGE_COLD_RETENTION_DAYS: '36500', COLD_COMPRESSION_LEVEL: '1' };
  const summary = await lastLine(['tier', 'run'], env);
  expect(summary).toMatchObject({ state: 'done', mergedSegments: flushes, skipped: [] });
  expect(Number(summary.writtenSegments)).toBeGreaterThan(1);
  expect(Number(summary.writtenSegments)).toBeLessThan(flushes / 2);
  expect(Number(summary.peakMemoryBytes)).toBeLessThan(512 * MIB);
  console.info(`peak ${Math.round(Number(summary.peakMemoryBytes) / MIB)} MiB for 128 MiB of rows`);
  const counted = await lastLine(['query', 'SELECT count(DISTINCT message) AS n FROM logs'], env);
  expect(counted).toEqual({ n: flushes * 512 });
}, 240_000);

test('the cold tier in a folder of its own, also after it began elsewhere', async () => {
  const root = await temporaryFolder();
  const env = {
    DATA_DIR: `${root}/data`,
    REDUCTRAI_CLEANUP_GRACE: '0ms',
    STORAGE_HOT_ENABLED: 'false',
    STORAGE_WARM_ENABLED: 'false',
    LOG_LEVEL: 'warn',
  };
  const keep = async (message: string): Promise<void> => {
    const proxy = await startProxy({
      dataFolder: `${root}/data`,
      env: { ...env, LOG_LEVEL: 'info', AUTO_CLEANUP_ENABLED: 'false' },
    });
    const headers = { 'content-type': 'application/json' };
    const answer = await request(`${proxy.url}/api/v2/logs`, {
      method: 'POST',
      headers,
      body: JSON.stringify([{ message }]),
    });
    expect(answer.statusCode).toBe(202);
    await answer.body.dump();
    await proxy.kill('SIGTERM');
  };
  const messages = async (own: Record<string, string>): Promise<unknown> =>
    lastLine(['query', 'SELECT list(message ORDER BY message) AS all FROM logs'], { ...env, ...own });

  await keep('a');
  await lastLine(['tier', 'run'], env);
  const own = { STORAGE_COLD_PATH: `${root}/cold` };
  expect(await messages(own)).toEqual({ all: ['a'] });
  await keep('b');
  expect(await lastLine(['tier', 'run'], { ...env, ...own })).toMatchObject({ state: 'done', writtenSegments: 1 });
  await lastLine(['tier', 'run'], { ...env, ...own });
  expect(await messages(own)).toEqual({ all: ['a', 'b'] });
  expect((await runCli(['verify'], { ...env, ...own })).stderr).toContain('all is well');
  const cold = await lastLine(['tier', 'status'], { ...env, ...own });
  expect(cold).toMatchObject({ tier: 'cold', segments: 2, rows: 2 });

  const another = { ...env, ...own, DATA_DIR: `${root}/another` };
  const refused = await runCli(['tier', 'run'], another);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain('holds the tier of another store');
}, 120_000);
