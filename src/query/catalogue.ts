/** The live segments (store/live-segments.ts) that a query or an export is to read. */
import type { Signal } from '../core/envelope.ts';
import type { SegmentEntry } from '../store/commit-log.ts';
import { readLiveSegments } from '../store/live-segments.ts';
import type { ObjectReader } from '../store/object-store.ts';
import type { TraceId } from './trace-id.ts';

export interface SegmentFilter {
  signal?: Signal;
  tenant?: string;
  /** What was sent (the default), its roll-ups, or both. */
  kind?: 'sent' | 'rollup' | 'all';
  /** Only segments with rows at or after / before these times, ms since the epoch. */
  fromMs?: number;
  toMs?: number;
  /** Of spans and logs only those of this trace. */
  trace?: TraceId;
}

export interface Catalogue {
  /** In order of their keys. */
  segments(filter?: SegmentFilter): SegmentEntry[];
  commitCount: number;
}

/** STORE_INVALID when a commit record is damaged or missing. */
export async function openCatalogue(reader: ObjectReader): Promise<Catalogue> {
  const { live, leftOut, commitCount } = await readLiveSegments(reader);
  const entries = [...live.values()].map(({ entry }) => entry).filter(({ key }) => !leftOut.has(key));
  const all = entries.sort((a, b) => (a.key < b.key ? -1 : 1));
  return {
    commitCount,
    segments: (filter = {}) =>
      all.filter(
        (entry) =>
          (filter.signal === undefined || entry.signal === filter.signal) &&
          isKind(entry, filter.kind ?? 'sent') &&
          (filter.tenant === undefined || entry.tenant === filter.tenant) &&
          overlaps(entry, filter),
      ),
  };
}

function isKind({ rollup }: SegmentEntry, kind: NonNullable<SegmentFilter['kind']>): boolean {
  return kind === 'all' || (kind === 'rollup') === (rollup !== undefined);
}

/** Whether a segment may hold rows of the range; one millisecond generous, as bounds of nanosecond times are rounded. */
export function overlaps(entry: SegmentEntry, { fromMs, toMs }: Pick<SegmentFilter, 'fromMs' | 'toMs'>): boolean {
  return (fromMs === undefined || entry.timeMaxMs + 1 >= fromMs) && (toMs === undefined || entry.timeMinMs - 1 < toMs);
}
