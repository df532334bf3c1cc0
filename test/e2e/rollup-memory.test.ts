/** The memory of a merge that rolls up a million series of one point each stays bounded. */
import { expect, test } from 'vitest';
import { SegmentBuilder } from '../../src/archive/segment-builder.ts';
import { createParquetCodec } from '../../src/codec/parquet-codec.ts';
import { nodeFileSystem } from '../../src/core/file-system.ts';
import { MIB } from '../../src/core/limits.ts';
import { systemRandom } from '../../src/core/random.ts';
import { decodeMetrics } from '../../src/record/metrics.ts';
import { appendCommit } from '../../src/store/commit-records.ts';
import { openStore } from '../../src/store/open.ts';
import { createManualClock } from '../support/manual-clock.ts';
import { runCli } from '../support/proxy-process.ts';
import { quietWitness } from '../support/quiet.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

test('a merge that rolls up many short series stays within its memory', async () => {
  const dataFolder = await temporaryFolder();
  const clock = createManualClock();
  const { store } = await openStore(
    { target: `${dataFolder}/store` },
    { fileSystem: nodeFileSystem, clock, random: systemRandom, metrics: quietWitness().metrics },
  );
  const identity = { replica: 'r-1', epoch: 1 };
  for (let n = 1; n <= 20; n++) {
    const receivedAtMs = clock.nowMs() + n;
    const series = Array.from({ length: 50_000 }, (_, i) => ({
      metric: `m.${i % 50}`,
      points: [[Math.floor(receivedAtMs / 1000), i]],
      tags: [`id:${n}-${i}`, 'env:prod'],
    }));
    const decoded = decodeMetrics({
      protocol: 'series-v1-json',
      body: Buffer.from(JSON.stringify({ series })),
      contentType: '',
      path: '/',
      receivedAtMs,
    });
    if (!decoded.ok) throw new Error(decoded.reason);
    const builder = new SegmentBuilder(createParquetCodec(), {
      identity,
      zstdLevel: 1,
      rowGroupRowsMax: 100_000,
      hoursMax: 6,
    });
    builder.add({
      position: n,
      tenant: 'default',
      signal: 'metrics',
      protocol: 'series-v1-json',
      requestPath: '/',
      receivedAtMs,
      batch: decoded.batch,
    });
    const adds = [];
    for (const { entry, bytes } of builder.build(n, n)) {
      await store.put(entry.key, bytes, { condition: { kind: 'absent' } });
      adds.push(entry);
    }
    await appendCommit(store, {
      format: 1,
      ...identity,
      number: n,
      first: n,
      last: n,
      envelopes: {},
      rawBytes: {},
      committedAtMs: receivedAtMs,
      adds,
      replaces: [],
    });
  }
  await store.close();
  const env = { DATA_DIR: dataFolder, STORAGE_COLD_RETENTION_DAYS: '36500', COLD_COMPRESSION_LEVEL: '1' };
  const { stdout, stderr, code } = await runCli(['tier', 'run'], env);
  expect(code, stderr).toBe(0);
  const summary = JSON.parse(stdout.trim().split('\n').at(-1)!) as { state: string; peakMemoryBytes: number };
  expect(summary.state).toBe('done');
  console.info(`peak ${Math.round(summary.peakMemoryBytes / MIB)} MiB for a million series`);
  expect(summary.peakMemoryBytes).toBeLessThan(512 * MIB);
}, 240_000);
