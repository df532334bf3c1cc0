/**
 * Columns in memory: what decoding yields, what crosses threads (by transfer), what the codec writes.
 * A batch belongs to one signal and holds rows in the order of the items they came from. All columns of a small one lie in one buffer:
 * what crosses threads costs by the buffer.
 *
 * Strings and binaries are dictionary coded from the start: `ids[row]` points into the batch's own dictionary,
 * whose entries lie one after another in `bytes`, entry i at [offsets[i], offsets[i+1]). Id 0xFFFFFFFF is null.
 */
export const NULL_ID = 0xffffffff;

/** Which of a 64-bit value's two words is the low one on this machine. */
export const LOW_WORD = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1 ? 0 : 1;

export type ColumnKind = 'string' | 'binary' | 'double' | 'int64' | 'int32' | 'timestampMs' | 'timestampNs';

/** One column of a signal's schema. `int64`, `timestampNs` hold BigInt64Array; uint64 ids are `int64` with `unsigned`. */
export interface ColumnSchema {
  name: string;
  kind: ColumnKind;
  nullable: boolean;
  /** The 64 bits are an unsigned number. */
  unsigned?: true;
  /** UTF-8 JSON text. Rests as a plain string: readers that check JSON refuse lone surrogates. */
  json?: true;
  /** Looked for by single values that do not repeat: segments have a bloom filter of it. Of strings, binaries and 64-bit integers. */
  bloom?: true;
  /** One line for docs/formats/segments.md. */
  help: string;
}

export interface DictionaryColumn {
  kind: 'string' | 'binary';
  ids: Uint32Array;
  offsets: Uint32Array;
  bytes: Uint8Array;
}

export interface DoubleColumn {
  kind: 'double';
  values: Float64Array;
  /** 1 where the value is null; absent: no nulls. */
  nulls?: Uint8Array;
}

export interface Int64Column {
  kind: 'int64' | 'timestampMs' | 'timestampNs';
  values: BigInt64Array;
  nulls?: Uint8Array;
}

export interface Int32Column {
  kind: 'int32';
  values: Int32Array;
  nulls?: Uint8Array;
}

export type Column = DictionaryColumn | DoubleColumn | Int64Column | Int32Column;

export interface ColumnBatch {
  rowCount: number;
  /** By name; exactly the columns of the signal's schema less the journal columns, which the archive adds. */
  columns: Record<string, Column>;
}

/** Bytes a batch holds, for budgets. */
export function batchBytes(batch: ColumnBatch): number {
  let total = 0;
  for (const column of Object.values(batch.columns)) {
    if ('ids' in column) {
      total += column.ids.byteLength + column.offsets.byteLength + column.bytes.byteLength;
    } else {
      total += column.values.byteLength + (column.nulls?.byteLength ?? 0);
    }
  }
  return total;
}

/**
 * A small batch on its way between threads: the one buffer of all its columns, and where each lies. To hand over sixty arrays costs more
 * than to fill them.
 */
export interface PackedBatch {
  rowCount: number;
  buffer: ArrayBuffer;
  /** Per column, in the order of the schema, byte offsets: of ids, offsets and bytes, with the lengths of these two; of values and nulls. */
  layout: Int32Array;
}

export type TravellingBatch = ColumnBatch | PackedBatch;

const ABSENT = -1;
const INTS_OF_DICTIONARY = 5;
const INTS_OF_NUMBERS = 2;

/** The batch itself where its columns have buffers of their own. */
export function packBatch(batch: ColumnBatch): TravellingBatch {
  const columns = Object.values(batch.columns);
  const [buffer, ...others] = batchTransferList(batch);
  if (!buffer || others.length > 0) return batch;
  const layout: number[] = [];
  for (const column of columns) {
    if ('ids' in column) {
      const { ids, offsets, bytes } = column;
      layout.push(ids.byteOffset, offsets.byteOffset, offsets.length, bytes.byteOffset, bytes.byteLength);
    } else {
      layout.push(column.values.byteOffset, column.nulls?.byteOffset ?? ABSENT);
    }
  }
  return { rowCount: batch.rowCount, buffer, layout: Int32Array.from(layout) };
}

/** `schema`: of the rows that were packed. */
export function unpackBatch(batch: TravellingBatch, schema: readonly ColumnSchema[]): ColumnBatch {
  if ('columns' in batch) return batch;
  const { rowCount, buffer, layout } = batch;
  const columns: Record<string, Column> = {};
  let at = 0;
  for (const { name, kind } of schema) {
    if (kind === 'string' || kind === 'binary') {
      const [ids, offsets, offsetCount, bytes, byteCount] = layout.subarray(at, at + INTS_OF_DICTIONARY);
      at += INTS_OF_DICTIONARY;
      columns[name] = {
        kind,
        ids: new Uint32Array(buffer, ids, rowCount),
        offsets: new Uint32Array(buffer, offsets, offsetCount),
        bytes: new Uint8Array(buffer, bytes, byteCount),
      };
      continue;
    }
    const [values, nullsAt] = layout.subarray(at, at + INTS_OF_NUMBERS);
    at += INTS_OF_NUMBERS;
    const nulls = nullsAt === ABSENT ? {} : { nulls: new Uint8Array(buffer, nullsAt, rowCount) };
    columns[name] = numbersOf(kind, buffer, values!, rowCount, nulls);
  }
  return { rowCount, columns };
}

function numbersOf(
  kind: Exclude<ColumnKind, 'string' | 'binary'>,
  buffer: ArrayBuffer,
  offset: number,
  length: number,
  nulls: { nulls?: Uint8Array },
): Column {
  switch (kind) {
    case 'double':
      return { kind, values: new Float64Array(buffer, offset, length), ...nulls };
    case 'int32':
      return { kind, values: new Int32Array(buffer, offset, length), ...nulls };
    default:
      return { kind, values: new BigInt64Array(buffer, offset, length), ...nulls };
  }
}

/** The buffers to hand over when a batch is posted to another thread. */
export function batchTransferList(batch: TravellingBatch): ArrayBuffer[] {
  if (!('columns' in batch)) return [batch.buffer, batch.layout.buffer as ArrayBuffer];
  const buffers = new Set<ArrayBuffer>();
  for (const column of Object.values(batch.columns)) {
    if ('ids' in column) {
      buffers.add(column.ids.buffer as ArrayBuffer);
      buffers.add(column.offsets.buffer as ArrayBuffer);
      buffers.add(column.bytes.buffer as ArrayBuffer);
    } else {
      buffers.add(column.values.buffer as ArrayBuffer);
      if (column.nulls) buffers.add(column.nulls.buffer as ArrayBuffer);
    }
  }
  return [...buffers];
}
