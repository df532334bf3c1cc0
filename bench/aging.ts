/**
 * What upkeep makes of the objects as first written, once they are cold: the product's own plan and merge with its default settings, but for
 * roll-ups, which come beside what was sent.
 */
import { mergeSegments } from '../src/archive/upkeep/merging.ts';
import { planUpkeep } from '../src/archive/upkeep/plan.ts';
import type { Codec, Layout } from '../src/codec/codec.ts';
import { MERGE_DECODED_BYTES_MAX, MERGE_ROWS_MAX, ROW_GROUP_ROWS_MAX } from '../src/core/limits.ts';
import type { SegmentEntry } from '../src/store/commit-log.ts';
import type { ObjectReader } from '../src/store/object-store.ts';
import { defaultOf, RECEIVED_AT_MS } from './pipeline.ts';

const DAY_MS = 86_400_000;
const BOUNDS = {
  decodedBytesMax: MERGE_DECODED_BYTES_MAX,
  rowsMax: MERGE_ROWS_MAX,
  rowGroupRowsMax: ROW_GROUP_ROWS_MAX,
};

/** The layout of the cold tier when nothing is set. */
export const COLD_LAYOUT = defaultOf('storage_cold.layout') as Layout;

/** The cold objects that these become. */
export async function aged(
  segments: readonly { entry: SegmentEntry; bytes: Uint8Array }[],
  codec: Codec,
  layout: Layout,
): Promise<Uint8Array[]> {
  const bytesOf = new Map(segments.map(({ entry, bytes }) => [entry.key, bytes]));
  const store = { get: async (key: string) => ({ bytes: bytesOf.get(key)! }) } as unknown as ObjectReader;
  const zstdLevel = defaultOf('storage_cold.compression_level') as number;
  const days = defaultOf('storage_cold.retention_days') as number;
  const live = segments.map(({ entry }) => ({ entry, committedAtMs: RECEIVED_AT_MS }));
  const tiers = [
    { tier: 'hot', days: 1, zstdLevel },
    { tier: 'cold', days, zstdLevel, layout },
  ] as const;
  const rules = { tiers, compactAfterMs: DAY_MS, compactInputsMin: 2 };
  const cold: Uint8Array[] = [];
  for (const job of planUpkeep(live, rules, RECEIVED_AT_MS + 40 * DAY_MS).merges) {
    for await (const { outputs } of mergeSegments(job, store, codec, BOUNDS)) {
      cold.push(...outputs.map(({ bytes }) => bytes));
    }
  }
  return cold;
}
