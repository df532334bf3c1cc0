/**
 * In which order an export reads segments. All rows of an item lie in segments of one flush, that is of one range of journal
 * positions; so ranges are read one after another, each sorted by itself. A whole archive is never sorted at once.
 */
import type { SegmentEntry } from '../store/commit-log.ts';
import { overlaps, type SegmentFilter } from './catalogue.ts';

/** Small flushes are read together, up to these bounds. */
const BATCH_ROWS_MAX = 500_000;
const BATCH_BYTES_MAX = 64 * 1024 * 1024;

interface Range {
  replica: string;
  epoch: number;
  first: number;
  last: number;
  segments: SegmentEntry[];
}

/** `…/<replica>-<epoch>-<first>-<last>[-late].parquet`, as archive/partition.ts names them. */
const NAME = /([^/]+)-(\d+)-(\d+)-(\d+)(?:-late)?\.parquet$/;

/**
 * Batches of segments such that no item has rows in two of them, in the order of replica, epoch and position. With a time range, only
 * batches that have a segment in it; but all segments of those, as an item is exported whole.
 */
export function planExport(segments: readonly SegmentEntry[], filter: SegmentFilter): SegmentEntry[][] {
  const ranges: Range[] = [];
  for (const entry of segments) {
    const name = NAME.exec(entry.key);
    // A segment that does not tell its range could hold rows of any item.
    if (!name) return segments.some((other) => overlaps(other, filter)) ? [[...segments]] : [];
    const [, replica, epoch, first, last] = name;
    ranges.push({
      replica: replica!,
      epoch: Number(epoch),
      first: Number(first),
      last: Number(last),
      segments: [entry],
    });
  }
  ranges.sort((a, b) => compare(a.replica, b.replica) || a.epoch - b.epoch || a.first - b.first || a.last - b.last);
  const wanted = joined(ranges).filter((range) => range.segments.some((entry) => overlaps(entry, filter)));
  return batched(wanted);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function isSameJournal(a: Range, b: Range): boolean {
  return a.replica === b.replica && a.epoch === b.epoch;
}

/** Ranges that share positions become one. */
function joined(sorted: readonly Range[]): Range[] {
  const result: Range[] = [];
  for (const range of sorted) {
    const last = result.at(-1);
    if (last && isSameJournal(last, range) && range.first <= last.last) {
      last.last = Math.max(last.last, range.last);
      last.segments.push(...range.segments);
    } else {
      result.push({ ...range, segments: [...range.segments] });
    }
  }
  return result;
}

/** Neighbours of one journal, put together while they are small. */
function batched(ranges: readonly Range[]): SegmentEntry[][] {
  const batches: SegmentEntry[][] = [];
  let open: { range: Range; rows: number; bytes: number } | undefined;
  for (const range of ranges) {
    const rows = range.segments.reduce((sum, entry) => sum + entry.rowCount, 0);
    const bytes = range.segments.reduce((sum, entry) => sum + entry.sizeBytes, 0);
    const fits = open && isSameJournal(open.range, range) && open.rows + rows <= BATCH_ROWS_MAX;
    if (open && fits && open.bytes + bytes <= BATCH_BYTES_MAX) {
      batches.at(-1)!.push(...range.segments);
      open.rows += rows;
      open.bytes += bytes;
    } else {
      batches.push([...range.segments]);
      open = { range, rows, bytes };
    }
  }
  return batches;
}
