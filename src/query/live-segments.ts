/** What is live: every commit record of every journal, segments added less segments replaced. */
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
          (filter.fromMs === undefined || entry.timeMaxMs >= filter.fromMs) &&
          (filter.toMs === undefined || entry.timeMinMs < filter.toMs),
      ),
  };
}
