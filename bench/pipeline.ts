/**
 * The way of a body to its Parquet object, made of the product's own functions in the order in which the product calls them, on one
 * thread and without journal, store and transfer between threads. Cuts follow the archive's bounds, so that sizes are those of the
 * objects that the product flushes.
 */
import { type AddedEnvelope, type BuiltSegment, SegmentBuilder } from '../src/archive/segment-builder.ts';
import type { Codec } from '../src/codec/codec.ts';
import { ZSTD_LEVELS } from '../src/config/declaration.ts';
import { KNOWN_SETTINGS } from '../src/config/registry.ts';
import { batchBytes, type ColumnBatch, NULL_ID } from '../src/core/columns.ts';
import type { Protocol, Signal } from '../src/core/envelope.ts';
import { HOURS_PER_FLUSH_MAX, ROW_GROUP_ROWS_MAX } from '../src/core/limits.ts';
import { packBatch } from '../src/core/travelling-batch.ts';
import { WHOLE_KINDS } from '../src/query/views.ts';
import { decodeEnvelope } from '../src/record/decode-envelope.ts';

export type Level = keyof typeof ZSTD_LEVELS;
export const LEVELS = Object.keys(ZSTD_LEVELS) as Level[];
/** What new segments are written with when nothing is set: the level of all speeds. */
export const HOT_LEVEL: Level = defaultOf('archive.compression') as Level;

/** When the first body is received; the others follow at this pace. A fixed time, so that sizes repeat. */
export const RECEIVED_AT_MS = 1_790_000_000_000;
export const RECEIVED_STEP_MS = 250;
const IDENTITY = { replica: 'bench', epoch: 1 };

export interface RawBody {
  signal: Signal;
  protocol: Protocol;
  contentType: string;
  path: string;
  /** Decompressed. */
  bytes: Uint8Array;
}

export function defaultOf(path: string): unknown {
  const known = KNOWN_SETTINGS.find((setting) => setting.path === path);
  if (!known) throw new Error(`BUG: no setting ${path}`);
  return known.setting.defaultOf({ hostname: 'bench', cpuCount: 2 });
}

/** A flush is due when one of these is reached. */
export interface FlushBounds {
  rawBytes: number;
  rows: number;
  heldBytes: number;
}

/** Those of the archive when nothing is set. */
const ARCHIVE_BOUNDS: FlushBounds = {
  rawBytes: defaultOf('archive.flush_bytes_max') as number,
  rows: defaultOf('archive.flush_rows_max') as number,
  heldBytes: (defaultOf('archive.held_bytes_max') as number) / 2,
};

const wholeKinds = new Set<string>(WHOLE_KINDS);

/** Throws when a body is refused: a benchmark of refusals says nothing. */
export function decodeBody(body: RawBody, index: number): { batch: ColumnBatch; items: number } {
  const decoded = decodeEnvelope({
    protocol: body.protocol,
    body: body.bytes,
    contentType: body.contentType,
    path: body.path,
    receivedAtMs: receivedAtMs(index),
  });
  if (!decoded.ok) throw new Error(`body ${index} (${body.protocol}) was refused: ${decoded.reason}`);
  return { batch: decoded.batch, items: decoded.itemCount };
}

const receivedAtMs = (index: number): number => RECEIVED_AT_MS + index * RECEIVED_STEP_MS;

/** Rows of what a sender would count: points of metrics, logs, spans, events. */
export function itemRows(batch: ColumnBatch): number {
  const kind = batch.columns.kind;
  if (!kind || !('ids' in kind)) throw new Error('BUG: a batch has a column kind');
  const isItem = Array.from({ length: kind.offsets.length - 1 }, (_, id) => {
    const name = Buffer.from(kind.bytes.subarray(kind.offsets[id]!, kind.offsets[id + 1]!)).toString('latin1');
    return !wholeKinds.has(name);
  });
  let count = 0;
  for (const id of kind.ids) if (isItem[id]) count += 1;
  // What stands in a table is a series or a distribution.
  for (const series of batch.series?.ids ?? []) if (series !== NULL_ID) count += 1;
  return count;
}

/** Position of the body with this index. */
export const positionOf = (index: number): number => index + 1;

/** As a decode worker hands it over. */
export function addedEnvelope(body: RawBody, index: number, batch: ColumnBatch): AddedEnvelope {
  return {
    position: positionOf(index),
    tenant: 'default',
    signal: body.signal,
    protocol: body.protocol,
    requestPath: body.path,
    receivedAtMs: receivedAtMs(index),
    batch: packBatch(batch),
  };
}

export function createBuilder(codec: Codec, level: Level, keeps?: { keepsBatches: true }): SegmentBuilder {
  return new SegmentBuilder(codec, {
    identity: IDENTITY,
    zstdLevel: ZSTD_LEVELS[level],
    rowGroupRowsMax: ROW_GROUP_ROWS_MAX,
    hoursMax: HOURS_PER_FLUSH_MAX,
    ...keeps,
  });
}

/**
 * Decodes and stores all bodies; `take` gets the segments of each cut. Flushes by age do not happen: the bodies come as fast as they
 * are decoded.
 */
export function storeAll(
  bodies: readonly RawBody[],
  codec: Codec,
  level: Level,
  take: (segments: BuiltSegment[]) => void,
  bounds: FlushBounds = ARCHIVE_BOUNDS,
): void {
  const builder = createBuilder(codec, level);
  let first = 0;
  let rows = 0;
  let heldBytes = 0;
  let rawBytes = 0;
  bodies.forEach((body, index) => {
    const { batch } = decodeBody(body, index);
    builder.add(addedEnvelope(body, index, batch));
    rows += batch.rowCount;
    heldBytes += batchBytes(batch);
    rawBytes += body.bytes.byteLength;
    const isDue = rows >= bounds.rows || rawBytes >= bounds.rawBytes || heldBytes >= bounds.heldBytes;
    if (!isDue && index < bodies.length - 1) return;
    take([...builder.build(positionOf(first), positionOf(index))]);
    first = index + 1;
    rows = 0;
    heldBytes = 0;
    rawBytes = 0;
  });
}
