/**
 * In which order an export reads segments. All rows of an item lie in segments of one flush, that is of one range of journal
 * positions; so ranges are read one after another, each sorted by itself. A whole archive is never sorted at once, as long as its metrics
 * are not merged: a merged segment holds rows of many flushes, and an item of theirs may have others in the segments of other hours.
 */
import { type JournalRange, rangesOf, type SegmentEntry } from '../store/commit-log.ts';
import { overlaps, type SegmentFilter } from './catalogue.ts';

/** Small flushes are read together, up to these bounds. */
const BATCH_ROWS_MAX = 500_000;
const BATCH_BYTES_MAX = 64 * 1024 * 1024;

interface Group {
  /** Of the earliest rows. */
  start: JournalRange;
  isMerged: boolean;
  segments: SegmentEntry[];
}

/**
 * Batches of segments such that no item has rows in two of them, in the order of replica, epoch and position. With a time range, only
 * batches that have a segment in it; but all segments of those, as an item is exported whole.
 */
export function planExport(segments: readonly SegmentEntry[], filter: SegmentFilter): SegmentEntry[][] {
  const ranges = segments.map(rangesOf);
  // A segment that does not tell its range could hold rows of any item.
  if (ranges.some((list) => list.length === 0)) {
    return segments.some((other) => overlaps(other, filter)) ? [[...segments]] : [];
  }
  const groups = grouped(segments, ranges);
  groups.sort((a, b) => compareRanges(a.start, b.start));
  return batched(groups.filter((group) => group.segments.some((entry) => overlaps(entry, filter))));
}

function compareRanges(a: JournalRange, b: JournalRange): number {
  const byReplica = a.replica < b.replica ? -1 : a.replica > b.replica ? 1 : 0;
  return byReplica || a.epoch - b.epoch || a.first - b.first || a.last - b.last;
}

function isSameJournal(a: JournalRange, b: JournalRange): boolean {
  return a.replica === b.replica && a.epoch === b.epoch;
}

/** Segments that share positions are one group; only an item of metrics has rows in more than one segment of a merge. */
function grouped(segments: readonly SegmentEntry[], ranges: readonly (readonly JournalRange[])[]): Group[] {
  const parents = segments.map((_, index) => index);
  const rootOf = (index: number): number => {
    let root = index;
    while (parents[root] !== root) root = parents[root]!;
    parents[index] = root;
    return root;
  };
  const spans = segments
    .flatMap(({ signal, ranges: merged }, index) =>
      merged && signal !== 'metrics' ? [] : ranges[index]!.map((range) => ({ ...range, index })),
    )
    .sort(compareRanges);
  let open: JournalRange & { index: number } = { replica: '', epoch: 0, first: 0, last: 0, index: -1 };
  for (const span of spans) {
    if (isSameJournal(open, span) && span.first <= open.last) {
      parents[rootOf(span.index)] = rootOf(open.index);
      open.last = Math.max(open.last, span.last);
    } else {
      open = { ...span };
    }
  }
  const groups = new Map<number, Group>();
  segments.forEach((entry, index) => {
    const start = ranges[index]![0]!;
    const group = groups.get(rootOf(index));
    if (!group) {
      groups.set(rootOf(index), { start, isMerged: entry.ranges !== undefined, segments: [entry] });
      return;
    }
    group.segments.push(entry);
    group.isMerged ||= entry.ranges !== undefined;
    if (compareRanges(start, group.start) < 0) group.start = start;
  });
  return [...groups.values()];
}

/** Neighbours of one journal, put together while they are small. */
function batched(groups: readonly Group[]): SegmentEntry[][] {
  const batches: SegmentEntry[][] = [];
  let open: { group: Group; rows: number; bytes: number } | undefined;
  for (const group of groups) {
    const rows = group.segments.reduce((sum, entry) => sum + entry.rowCount, 0);
    const bytes = group.segments.reduce((sum, entry) => sum + entry.sizeBytes, 0);
    const isNeighbour = open && !group.isMerged && !open.group.isMerged && isSameJournal(open.group.start, group.start);
    if (open && isNeighbour && open.rows + rows <= BATCH_ROWS_MAX && open.bytes + bytes <= BATCH_BYTES_MAX) {
      batches.at(-1)!.push(...group.segments);
      open.rows += rows;
      open.bytes += bytes;
    } else {
      batches.push([...group.segments]);
      open = { group, rows, bytes };
    }
  }
  return batches;
}
