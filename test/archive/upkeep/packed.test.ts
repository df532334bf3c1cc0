/** A merge writes the layout of the tier it goes to, and reads whatever its inputs have. */
import { expect, test } from 'vitest';
import { SegmentBuilder } from '../../../src/archive/segment-builder.ts';
import { mergeSegments } from '../../../src/archive/upkeep/merging.ts';
import { planUpkeep, type UpkeepRules } from '../../../src/archive/upkeep/plan.ts';
import type { Layout } from '../../../src/codec/codec.ts';
import { LAYOUT_KEY, PACKED_LAYOUT } from '../../../src/codec/packed/layout.ts';
import { createParquetCodec } from '../../../src/codec/parquet-codec.ts';
import { decodeLogs } from '../../../src/record/logs.ts';
import { SEGMENT_COLUMNS } from '../../../src/record/schema.ts';
import type { SegmentEntry } from '../../../src/store/commit-log.ts';
import { createMemoryStore } from '../../../src/store/memory-store.ts';
import { rowsOf } from '../../codec/packed/batches.ts';
import { createManualClock } from '../../support/manual-clock.ts';

const DAY_MS = 86_400_000;
const codec = createParquetCodec();
const bounds = { decodedBytesMax: 64 * 1024 * 1024, rowsMax: 100_000, rowGroupRowsMax: 1000 };
const rules = (warm: Layout, cold: Layout): UpkeepRules => ({
  tiers: [
    { tier: 'hot', days: 1, zstdLevel: 1 },
    { tier: 'warm', days: 2, zstdLevel: 3, layout: warm },
    { tier: 'cold', days: 30, zstdLevel: 3, layout: cold },
  ],
  compactAfterMs: DAY_MS,
  compactInputsMin: 4,
});

test('plain segments become packed ones, and packed ones merge again', async () => {
  const clock = createManualClock();
  const store = createMemoryStore({ clock });
  const receivedAtMs = clock.nowMs();
  let live: SegmentEntry[] = [];
  for (let n = 1; n <= 3; n++) {
    const items = Array.from({ length: 700 }, (_, i) => ({
      message: `${new Date(receivedAtMs + i).toISOString()} took ${(i * 7919) % 1000} ms for request ${n * 1000 + i}`,
      timestamp: receivedAtMs + i,
      user: { id: i % 9, at: `10.0.0.${i % 250}` },
    }));
    const body = Buffer.from(JSON.stringify(items));
    const decoded = decodeLogs({ protocol: 'logs-json', body, contentType: '', path: '/', receivedAtMs });
    if (!decoded.ok) throw new Error(decoded.reason);
    const identity = { replica: 'r-1', epoch: 1 };
    const builder = new SegmentBuilder(codec, { identity, zstdLevel: 1, rowGroupRowsMax: 1000, hoursMax: 6 });
    const head = { position: n, tenant: 'default', signal: 'logs', protocol: 'logs-json', requestPath: '/' } as const;
    builder.add({ ...head, receivedAtMs, batch: decoded.batch });
    for (const { entry, bytes } of builder.build(n, n)) {
      await store.put(entry.key, bytes, { condition: { kind: 'absent' } });
      live.push(entry);
    }
  }
  const read = async (bytes: Uint8Array) => {
    const { metadata, batch } = await codec.decode(SEGMENT_COLUMNS.logs, bytes);
    return { layout: metadata[LAYOUT_KEY], rows: rowsOf(batch) };
  };
  const before = [];
  for (const entry of live) before.push(...(await read((await store.get(entry.key)).bytes)).rows);
  expect(before).toHaveLength(2100);

  for (const [tier, days, warm, cold, layout] of [
    ['warm', 1.5, 'packed', 'plain', PACKED_LAYOUT],
    ['cold', 3, 'packed', 'packed', PACKED_LAYOUT],
    ['cold', 3, 'packed', 'plain', undefined],
  ] as const) {
    const found = live.map((entry) => ({ entry, committedAtMs: receivedAtMs }));
    const { merges } = planUpkeep(found, rules(warm, cold), receivedAtMs + days * DAY_MS);
    const outputs = [];
    for (const job of merges) {
      expect(job.to).toBe(tier);
      for await (const merged of mergeSegments(job, store, codec, bounds)) outputs.push(...merged.outputs);
    }
    const rows = [];
    for (const { bytes } of outputs) {
      const output = await read(bytes);
      expect(output.layout).toBe(layout);
      rows.push(...output.rows);
    }
    expect(rows).toEqual(before);
    if (tier === 'warm') {
      live = [];
      for (const [index, { entry, bytes }] of outputs.entries()) {
        const key = `default/logs/warm/dt=2026-01-01/hour=00/${index}.parquet`;
        await store.put(key, bytes, { condition: { kind: 'absent' } });
        live.push({ ...entry, key });
      }
    }
  }
});
