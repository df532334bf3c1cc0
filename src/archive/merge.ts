/**
 * Batches of many envelopes → one batch per segment. Dictionaries are merged by the bytes of their entries; numbers are copied.
 * Rows keep the order of positions, so that the same envelopes always give the same segment.
 */
import type { RowGroupSource } from '../codec/codec.ts';
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
import { columnOf, letGoOfBatch, seriesOf, type TravellingBatch, textBytesOf } from '../core/travelling-batch.ts';
import { MergedDictionary } from './merged-dictionary.ts';

/** Some rows of one batch, with the values that the archive adds to each of them. */
export interface RowSelection {
  /** Opened. */
  batch: TravellingBatch;
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

/**
 * The rows as row groups of at most `rowsMax`, whose columns are merged one at a time: a flush never holds all its rows twice. Each group must be
 * written whole before the next one is asked for. The schema that is asked by is a SEGMENT_COLUMNS table.
 */
export function* mergedGroups(selections: readonly RowSelection[], rowsMax: number): Generator<RowGroupSource> {
  for (const part of cutSelections(selections, rowsMax)) {
    const rowCount = countOf(part);
    const tables = tablesOf(part);
    // What lies in a page goes as a whole.
    const usedUp = part.flatMap(({ batch, isLastUse }) => (isLastUse && !batch.page ? [batch as ColumnBatch] : []));
    yield {
      rowCount,
      column: (schema) => {
        const merged = mergeColumn(schema, part, rowCount, tables);
        for (const { columns } of usedUp) {
          const source = columns[schema.name];
          if (source) letGoOfColumn(source);
        }
        return merged;
      },
    };
    for (const { batch, isLastUse } of part) if (isLastUse) letGoOfBatch(batch);
  }
}

/** All in one. `schema` is a SEGMENT_COLUMNS table: the journal columns, then the batch's own. */
export function mergeSelections(schema: readonly ColumnSchema[], selections: readonly RowSelection[]): ColumnBatch {
  const rowCount = countOf(selections);
  const columns: Record<string, Column> = {};
  for (const group of mergedGroups(selections, Math.max(1, rowCount)))
    for (const column of schema) columns[column.name] = group.column(column);
  return { rowCount, columns };
}

function countOf(selections: readonly RowSelection[]): number {
  return selections.reduce((sum, selection) => sum + selectedCount(selection), 0);
}

/** In their order, parts of as many rows as fit; a batch that is cut is used up with its last piece. */
function* cutSelections(selections: readonly RowSelection[], rowsMax: number): Generator<RowSelection[]> {
  let part: RowSelection[] = [];
  let free = rowsMax;
  for (const selection of selections) {
    const count = selectedCount(selection);
    for (let start = 0; start < count; ) {
      const end = Math.min(count, start + free);
      if (start === 0 && end === count) {
        part.push(selection);
      } else {
        const rows =
          selection.rows?.subarray(start, end) ?? Uint32Array.from({ length: end - start }, (_, i) => start + i);
        part.push({ ...selection, rows, isLastUse: selection.isLastUse && end === count });
      }
      free -= end - start;
      start = end;
      if (free > 0) continue;
      yield part;
      part = [];
      free = rowsMax;
    }
  }
  if (part.length > 0) yield part;
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

/** Of batches whose rows name their series: the numbers, and the table they stand in. */
type Tables = ReadonlyMap<TravellingBatch, { ids: Uint32Array; table: SeriesTable }>;

function tablesOf(selections: readonly Pick<RowSelection, 'batch'>[]): Tables {
  const byBatch = new Map<TravellingBatch, { ids: Uint32Array; table: SeriesTable }>();
  const byKey = new Map<string, SeriesTable>();
  for (const { batch } of selections) {
    const series = seriesOf(batch);
    if (!series || byBatch.has(batch)) continue;
    const opened = new SeriesTable(series.table);
    const table = byKey.get(opened.key) ?? opened;
    byKey.set(table.key, table);
    byBatch.set(batch, { ids: series.ids, table });
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
    const source = columnOf(selection.batch, name);
    if (!('values' in source)) throw new Error(`BUG: column ${name} has no numbers`);
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
    const named = tables.get(batch);
    const count = rows ? rows.length : batch.rowCount;
    for (let i = 0; named && i < count; i++) {
      const series = named.ids[rows ? rows[i]! : i]!;
      if (series === NULL_ID) continue;
      // Where a row names its series, the column was null.
      if (named.table.copyInterval(series, words, row + i)) merged.nulls![row + i] = 0;
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
    const source = columnOf(batch, name);
    if (!('ids' in source)) throw new Error(`BUG: column ${name} has no texts`);
    const count = selectedCount(selection);
    const own = source.offsets.length > 1 ? new OwnIds(source, dictionary) : undefined;
    const named = field === undefined ? undefined : tables.get(batch);
    if (named && field !== undefined) {
      const series = bySeries.get(named.table) ?? new SeriesIds(named.table, field, dictionary);
      bySeries.set(named.table, series);
      row = copySeriesIds(ids, row, selection, named.ids, series, own, source);
    } else if (own) {
      for (let i = 0; i < count; i++) ids[row++] = own.of(source.ids[rows ? rows[i]! : i]!);
    } else {
      ids.fill(NULL_ID, row, row + count);
      row += count;
    }
  }
  return { kind, ids, ...dictionary.finish() };
}

/** Writes ids of rows that name their series, and of those between them that do not. Resolves to the row behind. */
function copySeriesIds(
  ids: Uint32Array,
  start: number,
  { batch, rows }: Rows,
  seriesIds: Uint32Array,
  series: SeriesIds,
  own: OwnIds | undefined,
  source: DictionaryColumn,
): number {
  const { mapped } = series;
  const count = rows ? rows.length : batch.rowCount;
  for (let i = 0; i < count; i++) {
    const at = rows ? rows[i]! : i;
    const number = seriesIds[at]!;
    let id = NULL_ID;
    if (number !== NULL_ID) {
      id = mapped[number]!;
      if (id === UNMAPPED) id = series.map(number);
    } else if (own) {
      id = own.of(source.ids[at]!);
    }
    ids[start + i] = id;
  }
  return start + count;
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
  /** By number of the series; UNMAPPED: not asked for yet. */
  readonly mapped: Uint32Array;
  readonly #table: SeriesTable;
  readonly #field: number;
  readonly #dictionary: MergedDictionary;

  constructor(table: SeriesTable, field: number, dictionary: MergedDictionary) {
    this.#table = table;
    this.#field = field;
    this.#dictionary = dictionary;
    this.mapped = new Uint32Array(table.seriesMax).fill(UNMAPPED);
  }

  map(series: number): number {
    const text = this.#table.records[series * SERIES_WORDS + this.#field]!;
    const own = text === NULL_ID ? NULL_ID : this.#dictionary.idOf(this.#table.textBytes(text));
    this.mapped[series] = own;
    return own;
  }
}

function entryBytes(selections: readonly Rows[], name: string): number {
  let total = 0;
  for (const { batch } of selections) total += textBytesOf(batch, name);
  return total;
}
