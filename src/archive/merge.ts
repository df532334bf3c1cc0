/**
 * Batches of many envelopes → one batch per segment. Dictionaries are merged by the bytes of their entries; numbers are copied.
 * Rows keep the order of positions, so that the same envelopes always give the same segment.
 */
import { letGoOfColumn } from '../core/buffers.ts';
import {
  type Column,
  type ColumnBatch,
  type ColumnSchema,
  type DictionaryColumn,
  isAbsent,
  NULL_ID,
} from '../core/columns.ts';
import { SERIES_FIELDS, SERIES_INTERVAL, SERIES_WORDS, SeriesTable } from '../core/series-table.ts';
import { letGoOfBatch } from '../core/travelling-batch.ts';
import { MergedDictionary } from './merged-dictionary.ts';

/** Some rows of one batch, with the values that the archive adds to each of them. */
export interface RowSelection {
  batch: ColumnBatch;
  /** Indexes into the batch, ascending; undefined: all rows. */
  rows: Uint32Array | undefined;
  journal: string;
  position: number;
  receivedAtMs: number;
  protocol: string;
  requestPath: string;
  /** Nothing else needs the batch afterwards: its columns are let go of one by one as they are merged. */
  isLastUse: boolean;
}

export function selectedCount(selection: Pick<RowSelection, 'batch' | 'rows'>): number {
  return selection.rows ? selection.rows.length : selection.batch.rowCount;
}

/** `schema` is a SEGMENT_COLUMNS table: the journal columns, then the batch's own. */
export function mergeSelections(schema: readonly ColumnSchema[], selections: readonly RowSelection[]): ColumnBatch {
  let rowCount = 0;
  for (const selection of selections) rowCount += selectedCount(selection);
  const columns: Record<string, Column> = {};
  const tables = tablesOf(selections);
  // What lies in a page goes as a whole.
  const usedUp = selections.filter(({ batch, isLastUse }) => isLastUse && !batch.page);
  for (const column of schema) {
    columns[column.name] = mergeColumn(column, selections, rowCount, tables);
    for (const { batch } of usedUp) {
      const source = batch.columns[column.name];
      if (source) letGoOfColumn(source);
    }
  }
  for (const { batch, isLastUse } of selections) if (isLastUse) letGoOfBatch(batch);
  return { rowCount, columns };
}

/** Batches of segments, one after another, as one. They are used up: each column is let go of once it is copied. */
export function concatBatches(schema: readonly ColumnSchema[], batches: readonly ColumnBatch[]): ColumnBatch {
  const selections = batches.map((batch) => ({ batch, rows: undefined }));
  const rowCount = batches.reduce((sum, batch) => sum + batch.rowCount, 0);
  const tables = tablesOf(selections);
  const columns: Record<string, Column> = {};
  for (const column of schema) {
    columns[column.name] = copyColumn(column, selections, rowCount, tables);
    for (const batch of batches) letGoOfColumn(batch.columns[column.name]!);
  }
  for (const batch of batches) letGoOfBatch(batch);
  return { rowCount, columns };
}

/** These rows of a batch, in this order; the batch stays as it is. */
export function selectRows(schema: readonly ColumnSchema[], batch: ColumnBatch, rows: Uint32Array): ColumnBatch {
  const columns: Record<string, Column> = {};
  const tables = tablesOf([{ batch }]);
  for (const column of schema) columns[column.name] = copyColumn(column, [{ batch, rows }], rows.length, tables);
  return { rowCount: rows.length, columns };
}

/** The tables that batches name their series in, by batch. */
type Tables = ReadonlyMap<ColumnBatch, SeriesTable>;

function tablesOf(selections: readonly Pick<RowSelection, 'batch'>[]): Tables {
  const byBatch = new Map<ColumnBatch, SeriesTable>();
  const byKey = new Map<string, SeriesTable>();
  for (const { batch } of selections) {
    if (!batch.series || byBatch.has(batch)) continue;
    const opened = new SeriesTable(batch.series.table);
    const table = byKey.get(opened.key) ?? opened;
    byKey.set(table.key, table);
    byBatch.set(batch, table);
  }
  return byBatch;
}

function mergeColumn(
  column: ColumnSchema,
  selections: readonly RowSelection[],
  rowCount: number,
  tables: Tables,
): Column {
  switch (column.name) {
    case 'journal':
      return constantText(selections, rowCount, (selection) => selection.journal);
    case 'protocol':
      return constantText(selections, rowCount, (selection) => selection.protocol);
    case 'request_path':
      return constantText(selections, rowCount, (selection) => selection.requestPath);
    case 'position':
      return constantLong('int64', selections, rowCount, (selection) => BigInt(selection.position));
    case 'received_at':
      return constantLong('timestampMs', selections, rowCount, (selection) =>
        BigInt(Math.trunc(selection.receivedAtMs)),
      );
  }
  return copyColumn(column, selections, rowCount, tables);
}

type Rows = Pick<RowSelection, 'batch' | 'rows'>;

function copyColumn(column: ColumnSchema, selections: readonly Rows[], rowCount: number, tables: Tables): Column {
  const { name, kind } = column;
  switch (kind) {
    case 'string':
    case 'binary':
      return mergeDictionaries(name, kind, selections, rowCount, tables);
    case 'double':
      return { kind, ...mergeNumbers(name, selections, rowCount, new Float64Array(rowCount)) };
    case 'int32':
      return { kind, ...mergeNumbers(name, selections, rowCount, new Int32Array(rowCount)) };
    default: {
      const merged = mergeNumbers(name, selections, rowCount, new BigInt64Array(rowCount));
      if (name === SERIES_INTERVAL && tables.size > 0) fillIntervals(selections, tables, merged);
      return { kind, ...merged };
    }
  }
}

function constantText(
  selections: readonly RowSelection[],
  rowCount: number,
  textOf: (selection: RowSelection) => string,
): Column {
  const dictionary = new MergedDictionary();
  const ids = new Uint32Array(rowCount);
  let row = 0;
  for (const selection of selections) {
    const count = selectedCount(selection);
    ids.fill(dictionary.idOf(Buffer.from(textOf(selection), 'utf8')), row, row + count);
    row += count;
  }
  return { kind: 'string', ids, ...dictionary.finish() };
}

function constantLong(
  kind: 'int64' | 'timestampMs',
  selections: readonly RowSelection[],
  rowCount: number,
  numberOf: (selection: RowSelection) => bigint,
): Column {
  const values = new BigInt64Array(rowCount);
  let row = 0;
  for (const selection of selections) {
    const count = selectedCount(selection);
    values.fill(numberOf(selection), row, row + count);
    row += count;
  }
  return { kind, values };
}

type Numbers = Float64Array | Int32Array | BigInt64Array;

function mergeNumbers<T extends Numbers>(
  name: string,
  selections: readonly Rows[],
  rowCount: number,
  values: T,
): { values: T; nulls?: Uint8Array } {
  let nulls: Uint8Array | undefined;
  let row = 0;
  for (const selection of selections) {
    const source = selection.batch.columns[name];
    if (!source || !('values' in source)) throw new Error(`BUG: batch without column ${name}`);
    const { rows } = selection;
    const count = selectedCount(selection);
    if (count > 0 && isAbsent(source)) {
      nulls ??= new Uint8Array(rowCount);
      nulls.fill(1, row, row + count);
    } else if (!rows) {
      values.set(source.values as never, row);
    } else {
      for (let i = 0; i < rows.length; i++) values[row + i] = source.values[rows[i]!]!;
    }
    if (source.nulls) {
      nulls ??= new Uint8Array(rowCount);
      if (!rows) nulls.set(source.nulls, row);
      else for (let i = 0; i < rows.length; i++) nulls[row + i] = source.nulls[rows[i]!]!;
    }
    row += count;
  }
  return nulls ? { values, nulls } : { values };
}

/** Of rows that name their series; those of `merged` are null so far. */
function fillIntervals(
  selections: readonly Rows[],
  tables: Tables,
  merged: { values: BigInt64Array; nulls?: Uint8Array },
): void {
  const words = new Uint32Array(merged.values.buffer);
  let row = 0;
  for (const { batch, rows } of selections) {
    const table = tables.get(batch);
    const count = rows ? rows.length : batch.rowCount;
    for (let i = 0; table && i < count; i++) {
      const series = batch.series!.ids[rows ? rows[i]! : i]!;
      if (series === NULL_ID) continue;
      // Where a row names its series, the column was null.
      if (table.copyInterval(series, words, row + i)) merged.nulls![row + i] = 0;
    }
    row += count;
  }
}

/** An id that no entry has been given yet. */
const UNMAPPED = NULL_ID - 1;

function mergeDictionaries(
  name: string,
  kind: 'string' | 'binary',
  selections: readonly Rows[],
  rowCount: number,
  tables: Tables,
): Column {
  // Not more than all sources together, and memory that is never touched costs nothing.
  const dictionary = new MergedDictionary(entryBytes(selections, name));
  const ids = new Uint32Array(rowCount);
  const field = tables.size > 0 ? SERIES_FIELDS.get(name) : undefined;
  const bySeries = new Map<SeriesTable, SeriesIds>();
  let row = 0;
  for (const selection of selections) {
    const { batch, rows } = selection;
    const source = batch.columns[name];
    if (!source || !('ids' in source)) throw new Error(`BUG: batch without column ${name}`);
    const count = selectedCount(selection);
    const own = source.offsets.length > 1 ? new OwnIds(source, dictionary) : undefined;
    const table = field === undefined ? undefined : tables.get(batch);
    if (table && field !== undefined) {
      const series = bySeries.get(table) ?? new SeriesIds(table, field, dictionary);
      bySeries.set(table, series);
      const seriesIds = batch.series!.ids;
      for (let i = 0; i < count; i++) {
        const at = rows ? rows[i]! : i;
        const id = seriesIds[at]!;
        ids[row++] = id !== NULL_ID ? series.of(id) : own ? own.of(source.ids[at]!) : NULL_ID;
      }
    } else if (own) {
      for (let i = 0; i < count; i++) ids[row++] = own.of(source.ids[rows ? rows[i]! : i]!);
    } else {
      ids.fill(NULL_ID, row, row + count);
      row += count;
    }
  }
  return { kind, ids, ...dictionary.finish() };
}

/** Ids of a batch's own dictionary → ids of the merged one. Entries are taken over only when a selected row uses them. */
class OwnIds {
  readonly #source: DictionaryColumn;
  readonly #dictionary: MergedDictionary;
  readonly #mapped: Uint32Array;

  constructor(source: DictionaryColumn, dictionary: MergedDictionary) {
    this.#source = source;
    this.#dictionary = dictionary;
    this.#mapped = new Uint32Array(source.offsets.length - 1).fill(UNMAPPED);
  }

  of(id: number): number {
    if (id === NULL_ID) return NULL_ID;
    const known = this.#mapped[id]!;
    if (known !== UNMAPPED) return known;
    const { bytes, offsets } = this.#source;
    const own = this.#dictionary.idOf(bytes.subarray(offsets[id]!, offsets[id + 1]!));
    this.#mapped[id] = own;
    return own;
  }
}

/** Series of a table → ids of a column's merged dictionary. */
class SeriesIds {
  readonly #table: SeriesTable;
  readonly #field: number;
  readonly #dictionary: MergedDictionary;
  readonly #mapped: Uint32Array;

  constructor(table: SeriesTable, field: number, dictionary: MergedDictionary) {
    this.#table = table;
    this.#field = field;
    this.#dictionary = dictionary;
    this.#mapped = new Uint32Array(table.seriesMax).fill(UNMAPPED);
  }

  of(series: number): number {
    const known = this.#mapped[series]!;
    if (known !== UNMAPPED) return known;
    const text = this.#table.records[series * SERIES_WORDS + this.#field]!;
    const own = text === NULL_ID ? NULL_ID : this.#dictionary.idOf(this.#table.textBytes(text));
    this.#mapped[series] = own;
    return own;
  }
}

function entryBytes(selections: readonly Rows[], name: string): number {
  let total = 0;
  for (const { batch } of selections) {
    const column = batch.columns[name];
    if (column && 'ids' in column) total += column.bytes.byteLength;
  }
  return total;
}
