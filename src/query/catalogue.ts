/**
 * What is live: all segments that commit records add, less all that they replace. Only this list decides what a query sees; a
 * file that no record names is not there. Records are read one journal after another, so a merge that happens meanwhile
 * shows either its inputs or its output.
 */
import type { Signal } from '../core/envelope.ts';
import type { SegmentEntry } from '../store/commit-log.ts';
import { readCommits } from '../store/commit-records.ts';
import type { ObjectReader } from '../store/object-store.ts';

export interface SegmentFilter {
  signal?: Signal;
  tenant?: string;
  /** Only segments with rows at or after / before these times, ms since the epoch. */
  fromMs?: number;
  toMs?: number;
}

export interface Catalogue {
  /** In order of their keys. */
  segments(filter?: SegmentFilter): SegmentEntry[];
  commitCount: number;
}

/** STORE_INVALID when a commit record is damaged or missing. */
export async function openCatalogue(reader: ObjectReader): Promise<Catalogue> {
  const live = new Map<string, SegmentEntry>();
  const replaced = new Set<string>();
  let commitCount = 0;
  for await (const record of readCommits(reader)) {
    commitCount += 1;
    for (const entry of record.adds) live.set(entry.key, entry);
    for (const key of record.replaces) replaced.add(key);
  }
  for (const key of replaced) live.delete(key);
  const all = [...live.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
  return {
    commitCount,
    segments: (filter = {}) =>
      all.filter(
        (entry) =>
          (filter.signal === undefined || entry.signal === filter.signal) &&
          (filter.tenant === undefined || entry.tenant === filter.tenant) &&
          overlaps(entry, filter),
      ),
  };
}

/** Whether a segment may hold rows of the range; one millisecond generous, as bounds of nanosecond times are rounded. */
export function overlaps(entry: SegmentEntry, { fromMs, toMs }: Pick<SegmentFilter, 'fromMs' | 'toMs'>): boolean {
  return (fromMs === undefined || entry.timeMaxMs + 1 >= fromMs) && (toMs === undefined || entry.timeMinMs - 1 < toMs);
}
