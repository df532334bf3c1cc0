/**
 * Which segments may hold rows of a trace, told by the end of each file alone: its statistics and bloom filters (codec/bloom-filter.ts). What must hold: a segment
 * is left out only if it says that it has none.
 */
import { type AsyncBuffer, type ParquetQueryFilter, parquetMetadataAsync, parquetScan, type RowGroup } from 'hyparquet';
import type { Signal } from '../core/envelope.ts';
import { KIB } from '../core/limits.ts';
import type { SegmentEntry } from '../store/commit-log.ts';
import type { ByteRange } from '../store/object-store.ts';
import { logTraceIds, spanTraceIds, type TraceId } from './trace-id.ts';

export type ReadRange = (key: string, range: ByteRange) => Promise<Uint8Array>;

/** Enough for the footer and the filters of most segments. */
const TAIL_BYTES = 32 * KIB;
const ASKED_AT_ONCE = 8;
const COLUMN = 'trace_id';

/** In the same order. Of signals whose items belong to no trace all. */
export async function segmentsOfTrace(
  signal: Signal,
  entries: readonly SegmentEntry[],
  trace: TraceId,
  readRange: ReadRange,
): Promise<SegmentEntry[]> {
  if (signal !== 'traces' && signal !== 'logs') return [...entries];
  const values = signal === 'traces' ? spanTraceIds(trace) : logTraceIds(trace);
  const filter: ParquetQueryFilter = { [COLUMN]: { $in: values } };
  const isWanted = new Array<boolean>(entries.length);
  const rest = [...entries.keys()];
  const askers = Array.from({ length: Math.min(ASKED_AT_ONCE, rest.length) }, async () => {
    for (let index = rest.shift(); index !== undefined; index = rest.shift()) {
      isWanted[index] = await mayHold(entries[index]!, filter, readRange);
    }
  });
  await Promise.all(askers);
  return entries.filter((_, index) => isWanted[index]);
}

async function mayHold(entry: SegmentEntry, filter: ParquetQueryFilter, readRange: ReadRange): Promise<boolean> {
  const file = await tailFirst(entry, readRange);
  try {
    const metadata = await parquetMetadataAsync(file, { initialFetchSize: TAIL_BYTES });
    // Of a group without a single id there is no filter.
    const groups = metadata.row_groups.filter((group) => !isAllNull(group));
    const pruned = { ...metadata, row_groups: groups };
    const options = { file, metadata: pruned, columns: [COLUMN], pruningFilter: filter, useBloomFilters: true };
    return (await parquetScan(options)).ranges.length > 0;
  } catch {
    // Whatever is wrong with it is told when it is read.
    return true;
  }
}

function isAllNull({ columns, num_rows: rows }: RowGroup): boolean {
  const chunk = columns.find(({ meta_data: meta }) => meta?.path_in_schema[0] === COLUMN)?.meta_data;
  return chunk?.statistics?.null_count === rows;
}

/** A file whose end is fetched once, and other parts as they are asked for. Errors of the store are not kept from the caller. */
async function tailFirst({ key, sizeBytes }: SegmentEntry, readRange: ReadRange): Promise<AsyncBuffer> {
  const tailAt = Math.max(0, sizeBytes - TAIL_BYTES);
  const tail = await readRange(key, { offset: tailAt, length: sizeBytes - tailAt });
  return {
    byteLength: sizeBytes,
    slice: async (start, end = sizeBytes) => {
      const bytes =
        start >= tailAt
          ? tail.subarray(start - tailAt, end - tailAt)
          : await readRange(key, { offset: start, length: end - start });
      return Uint8Array.from(bytes).buffer;
    },
  };
}
