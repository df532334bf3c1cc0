/**
 * Segments → fewer segments with the same rows. Inputs are read one at a time and put together until a bound is reached, so that memory
 * does not depend on how much a partition holds; each output replaces whole inputs, so that each can go live by itself.
 */
import { crc32 } from 'node:zlib';
import type { Codec } from '../../codec/codec.ts';
import { letGoOfBatch } from '../../core/buffers.ts';
import { batchBytes, type ColumnBatch } from '../../core/columns.ts';
import { ProxyError } from '../../core/errors.ts';
import { SEGMENT_COLUMNS } from '../../record/schema.ts';
import { type JournalRange, rangesOf, type SegmentEntry } from '../../store/commit-log.ts';
import type { ObjectReader } from '../../store/object-store.ts';
import { concatBatches } from '../merge.ts';
import type { MergeJob } from './plan.ts';

export interface MergeBounds {
  /** Decoded bytes put together in one output, beside the input that crosses it. */
  decodedBytesMax: number;
  rowsMax: number;
  rowGroupRowsMax: number;
}

export interface Merged {
  inputs: SegmentEntry[];
  bytes: Uint8Array;
  /** Of the output; its key is not known yet. */
  entry: Omit<SegmentEntry, 'key'>;
}

/** STORE_CORRUPT when an input is not what its commit record says: nothing of it may be replaced. */
export async function* mergeSegments(
  job: MergeJob,
  store: ObjectReader,
  codec: Codec,
  bounds: MergeBounds,
): AsyncGenerator<Merged> {
  const schema = SEGMENT_COLUMNS[job.signal];
  let inputs: SegmentEntry[] = [];
  let batches: ColumnBatch[] = [];
  let decodedBytes = 0;
  let rows = 0;
  const output = (): Merged => {
    const batch = concatBatches(schema, batches);
    const bytes = codec.encode(schema, batch, {
      level: job.zstdLevel,
      rowGroupRowsMax: bounds.rowGroupRowsMax,
      metadata: { 'reductrai.signal': job.signal, 'reductrai.tier': job.to },
    });
    const rowCount = batch.rowCount;
    letGoOfBatch(batch);
    const merged = { inputs, bytes, entry: entryOf(job, inputs, rowCount, bytes) };
    inputs = [];
    batches = [];
    decodedBytes = 0;
    rows = 0;
    return merged;
  };
  for (const input of job.inputs) {
    const batch = await readSegment(store, codec, input);
    const size = batchBytes(batch);
    if (
      batches.length > 0 &&
      (decodedBytes + size > bounds.decodedBytesMax || rows + batch.rowCount > bounds.rowsMax)
    ) {
      yield output();
    }
    inputs.push(input);
    batches.push(batch);
    decodedBytes += size;
    rows += batch.rowCount;
  }
  if (batches.length > 0) yield output();
}

async function readSegment(store: ObjectReader, codec: Codec, entry: SegmentEntry): Promise<ColumnBatch> {
  const { bytes } = await store.get(entry.key);
  if (entry.crc32 !== undefined && crc32(bytes) !== entry.crc32) {
    throw new ProxyError('STORE_CORRUPT', `${entry.key}: its bytes do not match the checksum of its commit record`);
  }
  const { batch } = await codec.decode(SEGMENT_COLUMNS[entry.signal], bytes);
  if (batch.rowCount !== entry.rowCount) {
    throw new ProxyError('STORE_CORRUPT', `${entry.key}: ${batch.rowCount} rows instead of ${entry.rowCount}`);
  }
  return batch;
}

function entryOf(job: MergeJob, inputs: readonly SegmentEntry[], rowCount: number, bytes: Uint8Array): Merged['entry'] {
  return {
    tenant: job.tenant,
    signal: job.signal,
    tier: job.to,
    rowCount,
    sizeBytes: bytes.byteLength,
    crc32: crc32(bytes),
    timeMinMs: Math.min(...inputs.map(({ timeMinMs }) => timeMinMs)),
    timeMaxMs: Math.max(...inputs.map(({ timeMaxMs }) => timeMaxMs)),
    receivedMaxMs: job.receivedMaxMs,
    ranges: joinedRanges(inputs),
  };
}

/** Where the rows of these segments come from, neighbouring ranges joined. */
export function joinedRanges(inputs: readonly SegmentEntry[]): JournalRange[] {
  const all = inputs.flatMap((input) => [...rangesOf(input)]);
  all.sort(
    (a, b) => (a.replica < b.replica ? -1 : a.replica > b.replica ? 1 : 0) || a.epoch - b.epoch || a.first - b.first,
  );
  const joined: JournalRange[] = [];
  for (const range of all) {
    const before = joined.at(-1);
    const isNext = before?.replica === range.replica && before.epoch === range.epoch && range.first <= before.last + 1;
    if (isNext) before.last = Math.max(before.last, range.last);
    else joined.push({ ...range });
  }
  return joined;
}
