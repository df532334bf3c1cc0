/**
 * Columns in memory: what decoding yields, what crosses threads (by transfer), what the codec writes.
 * A batch belongs to one signal and holds rows in the order of the items they came from. How one crosses threads: travelling-batch.ts.
 *
 * Strings and binaries are dictionary coded from the start: `ids[row]` points into the batch's own dictionary,
 * whose entries lie one after another in `bytes`, entry i at [offsets[i], offsets[i+1]). Id 0xFFFFFFFF is null.
 *
 * A decoded batch may leave out what is the same for many rows: a column that is null everywhere is empty (`isAbsent`), and what rows share with
 * others of their series stands in a table (`SeriesRows`). Merged batches have every column in full.
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
  /** Entries are all used, and in the order of the first rows that use them. */
  isInOrder?: true;
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

/** Rows that share what their columns say, as those of a series do. Classes are numbered in the order of their first rows. */
export interface RowClasses {
  /** Class of each row; undefined: there is one only. */
  of: Uint32Array | undefined;
  /** Rows of each class, one at least. */
  counts: Uint32Array;
}

/** Texts of a row group, told once for each class of rows. Entries are all used, and in the order of the first rows that use them. */
export interface ClassColumn {
  kind: 'string' | 'binary';
  classes: RowClasses;
  /** By class. */
  classIds: Uint32Array;
  offsets: Uint32Array;
  bytes: Uint8Array;
}

/** What a row group is written from: absent columns and classes stay as they are. */
export type GroupColumn = Column | ClassColumn;

export interface ColumnBatch {
  rowCount: number;
  /** By name; exactly the columns of the signal's schema less the journal columns, which the archive adds. */
  columns: Record<string, Column>;
  /** Where rows name their series; its columns are null in the batch's own. */
  series?: SeriesRows;
  /** Of a small batch: where all its columns lie, and `series.ids`. */
  page?: BatchPage;
}

/** One buffer for a small batch, or for several: what crosses threads costs by the buffer. */
export interface BatchPage {
  buffer: ArrayBuffer;
  /** Batches in it that are still needed. */
  users: number;
}

export interface SeriesRows {
  /** Number of the row's series in the table (core/series-table.ts); NULL_ID: the row has columns of its own. */
  ids: Uint32Array;
  table: SharedArrayBuffer;
  /** What the batch added to the table; it counts as part of the batch. */
  addedBytes: number;
}

/** Behind all absent columns: never to be transferred. */
export const NOTHING = new ArrayBuffer(0);
const NO_IDS = new Uint32Array(NOTHING);
const NO_BYTES = new Uint8Array(NOTHING);
const NO_DOUBLES = new Float64Array(NOTHING);
const NO_LONGS = new BigInt64Array(NOTHING);
const NO_INTS = new Int32Array(NOTHING);

const ABSENT: Record<ColumnKind, Column> = {
  string: { kind: 'string', ids: NO_IDS, offsets: NO_IDS, bytes: NO_BYTES },
  binary: { kind: 'binary', ids: NO_IDS, offsets: NO_IDS, bytes: NO_BYTES },
  double: { kind: 'double', values: NO_DOUBLES },
  int32: { kind: 'int32', values: NO_INTS },
  int64: { kind: 'int64', values: NO_LONGS },
  timestampMs: { kind: 'timestampMs', values: NO_LONGS },
  timestampNs: { kind: 'timestampNs', values: NO_LONGS },
};

/** A column that is null in every row. It is everybody's: not to be written to. */
export function absentColumn(kind: ColumnKind): Column {
  return ABSENT[kind];
}

/** Of a batch that has rows: the column is null in every one. */
export function isAbsent(column: Column): boolean {
  const view = 'ids' in column ? column.ids : column.values;
  // What was let go of is empty, too, and no column.
  return view.length === 0 && !(view.buffer as ArrayBuffer).detached;
}

/** With a value for each row. */
export function inFull(column: GroupColumn, rowCount: number): Column {
  if ('classes' in column) {
    const { kind, classes, classIds, offsets, bytes } = column;
    const ids = new Uint32Array(rowCount).fill(classIds[0]!);
    if (classes.of) for (let row = 0; row < rowCount; row++) ids[row] = classIds[classes.of[row]!]!;
    return { kind, ids, offsets, bytes };
  }
  if (rowCount === 0 || !isAbsent(column)) return column;
  if ('ids' in column) {
    return { ...column, ids: new Uint32Array(rowCount).fill(NULL_ID), offsets: new Uint32Array(1) };
  }
  const nulls = new Uint8Array(rowCount).fill(1);
  if (column.kind === 'double') return { ...column, values: new Float64Array(rowCount), nulls };
  if (column.kind === 'int32') return { ...column, values: new Int32Array(rowCount), nulls };
  return { ...column, values: new BigInt64Array(rowCount), nulls };
}

/** Bytes a batch holds, for budgets. */
export function batchBytes(batch: ColumnBatch): number {
  if (batch.page) return batch.page.buffer.byteLength + (batch.series?.addedBytes ?? 0);
  let total = batch.series ? batch.series.ids.byteLength + batch.series.addedBytes : 0;
  for (const column of Object.values(batch.columns)) {
    if ('ids' in column) {
      total += column.ids.byteLength + column.offsets.byteLength + column.bytes.byteLength;
    } else {
      total += column.values.byteLength + (column.nulls?.byteLength ?? 0);
    }
  }
  return total;
}
