/**
 * Segments → fewer segments with the same rows. Inputs are read one at a time and put together until a bound is reached, so that memory
 * does not depend on how much a partition holds; each output replaces whole inputs, so that each can go live by itself. Metrics are
 * rolled up on the way where the tier they come into wants that.
 */
import { crc32 } from 'node:zlib';
import type { Codec } from '../../codec/codec.ts';
import { batchBytes, type ColumnBatch, type ColumnSchema } from '../../core/columns.ts';
import { ProxyError } from '../../core/errors.ts';
import { letGoOfBatch } from '../../core/travelling-batch.ts';
import { ROLLUP_COLUMNS } from '../../record/rollup-schema.ts';
import { SEGMENT_COLUMNS } from '../../record/schema.ts';
import { type JournalRange, rangesOf, type SegmentEntry } from '../../store/commit-log.ts';
import type { ObjectReader } from '../../store/object-store.ts';
import { everyText } from '../../store/segment-keys.ts';
import { concatBatches, selectRows } from '../merge.ts';
import type { MergeJob } from './plan.ts';
import { rollUpAgain, rollUpPoints } from './rollup.ts';
import { sortedBySeries } from './series.ts';

export interface MergeBounds {
  /** Decoded bytes put together in one output, beside the input that crosses it. */
  decodedBytesMax: number;
  rowsMax: number;
  rowGroupRowsMax: number;
}

export interface Merged {
  inputs: SegmentEntry[];
  /** The points, their roll-up, or both; neither where a roll-up of nothing is all that is kept. */
  outputs: MergedSegment[];
}

export interface MergedSegment {
  bytes: Uint8Array;
  /** Its key is not known yet, nor that of the segment that a roll-up is `of`. */
  entry: Omit<SegmentEntry, 'key'>;
  /** A roll-up beside its points, which are the output before. */
  isCompanion: boolean;
}

/** STORE_CORRUPT when an input is not what its commit record says: nothing of it may be replaced. */
export async function* mergeSegments(
  job: MergeJob,
  store: ObjectReader,
  codec: Codec,
  bounds: MergeBounds,
): AsyncGenerator<Merged> {
  const schema = job.inputEveryMs === undefined ? SEGMENT_COLUMNS[job.signal] : ROLLUP_COLUMNS;
  // Beside many short series their roll-up takes as much again; texts are held packed and plain, written in several ways.
  const decodedBytesMax = bounds.decodedBytesMax / (job.rollup ? 4 : isPacked(job) ? 2 : 1);
  let inputs: SegmentEntry[] = [];
  let batches: ColumnBatch[] = [];
  let decodedBytes = 0;
  let rows = 0;
  const output = (): Merged => {
    const concatenated = concatBatches(schema, batches);
    const isSeries = job.signal === 'metrics' && job.inputEveryMs === undefined;
    const batch = isSeries ? sortedBySeries(concatenated) : concatenated;
    const outputs = outputsOf(job, inputs, batch, codec, bounds.rowGroupRowsMax);
    letGoOfBatch(batch);
    const merged = { inputs, outputs };
    inputs = [];
    batches = [];
    decodedBytes = 0;
    rows = 0;
    return merged;
  };
  for (const input of job.inputs) {
    const batch = await readSegment(store, codec, input);
    const size = batchBytes(batch);
    if (batches.length > 0 && (decodedBytes + size > decodedBytesMax || rows + batch.rowCount > bounds.rowsMax)) {
      yield output();
    }
    inputs.push(input);
    batches.push(batch);
    decodedBytes += size;
    rows += batch.rowCount;
  }
  if (batches.length > 0) yield output();
}

function isPacked({ layout, signal }: MergeJob): boolean {
  return layout === 'packed' && signal !== 'events';
}

function outputsOf(
  job: MergeJob,
  inputs: readonly SegmentEntry[],
  batch: ColumnBatch,
  codec: Codec,
  rowGroupRowsMax: number,
): MergedSegment[] {
  const { rollup, inputEveryMs, zstdLevel, layout, signal, to } = job;
  const encoded = (schema: readonly ColumnSchema[], rows: ColumnBatch, everyMs?: number): MergedSegment => {
    const metadata = { 'reductrai.signal': signal, 'reductrai.tier': to };
    const rolledUp = everyMs === undefined ? {} : { 'reductrai.rollup': everyText(everyMs) };
    const bytes = codec.encode(schema, rows, {
      level: zstdLevel,
      layout,
      rowGroupRowsMax,
      metadata: { ...metadata, ...rolledUp },
    });
    const entry = entryOf(job, inputs, rows.rowCount, bytes);
    if (everyMs === undefined) return { bytes, entry, isCompanion: false };
    // A window begins before its first point.
    const timeMinMs = Math.floor(entry.timeMinMs / everyMs) * everyMs;
    return { bytes, entry: { ...entry, timeMinMs, rollup: { everyMs } }, isCompanion: false };
  };
  if (inputEveryMs !== undefined) {
    const wanted = rollup?.everyMs ?? inputEveryMs;
    // Windows are put together, never taken apart.
    const everyMs = wanted % inputEveryMs === 0 ? wanted : inputEveryMs;
    return [encoded(ROLLUP_COLUMNS, rollUpAgain(batch, everyMs), everyMs)];
  }
  const schema = SEGMENT_COLUMNS[signal];
  if (!rollup) return [encoded(schema, batch)];
  const { batch: rolled, rest } = rollUpPoints(batch, rollup.everyMs);
  const outputs: MergedSegment[] = [];
  // What cannot be rolled up is kept as it was sent.
  if (rollup.keepsRaw || rest.length === batch.rowCount) outputs.push(encoded(schema, batch));
  else if (rest.length > 0) outputs.push(encoded(schema, selectRows(schema, batch, rest)));
  if (rolled.rowCount > 0) {
    outputs.push({ ...encoded(ROLLUP_COLUMNS, rolled, rollup.everyMs), isCompanion: rollup.keepsRaw });
  }
  return outputs;
}

async function readSegment(store: ObjectReader, codec: Codec, entry: SegmentEntry): Promise<ColumnBatch> {
  const { bytes } = await store.get(entry.key);
  if (entry.crc32 !== undefined && crc32(bytes) !== entry.crc32) {
    throw new ProxyError('STORE_CORRUPT', `${entry.key}: its bytes do not match the checksum of its commit record`);
  }
  const { batch } = await codec.decode(entry.rollup ? ROLLUP_COLUMNS : SEGMENT_COLUMNS[entry.signal], bytes);
  if (batch.rowCount !== entry.rowCount) {
    throw new ProxyError('STORE_CORRUPT', `${entry.key}: ${batch.rowCount} rows instead of ${entry.rowCount}`);
  }
  return batch;
}

function entryOf(
  job: MergeJob,
  inputs: readonly SegmentEntry[],
  rowCount: number,
  bytes: Uint8Array,
): MergedSegment['entry'] {
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
