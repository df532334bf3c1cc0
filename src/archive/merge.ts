/**
 * Batches of many envelopes → one batch per segment. Dictionaries are merged by the bytes of their entries; numbers are copied.
 * Rows keep the order of positions, so that the same envelopes always give the same segment.
 */
import type { RowGroupSource } from '../codec/codec.ts';
import { letGoOfColumn } from '../core/buffers.ts';
import {
  absentColumn,
  type Column,
  type ColumnBatch,
  type ColumnSchema,
  type GroupColumn,
  inFull,
  NULL_ID,
} from '../core/columns.ts';
import { SERIES_FIELDS, SERIES_INTERVAL } from '../core/series-table.ts';
import { columnOf, hasColumn, letGoOfBatch, type TravellingBatch, textBytesOf } from '../core/travelling-batch.ts';
import { MergedDictionary, OwnIds } from './merged-dictionary.ts';
import { SeriesClasses } from './series-classes.ts';

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
    const series = SeriesClasses.of(part, rowCount);
    // What lies in a page goes as a whole.
    const usedUp = part.flatMap(({ batch, isLastUse }) => (isLastUse && !batch.page ? [batch as ColumnBatch] : []));
    yield {
      rowCount,
      column: (schema) => {
        const merged = mergeColumn(schema, part, rowCount, series);
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
    for (const column of schema) columns[column.name] = inFull(group.column(column), rowCount);
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
  const series = SeriesClasses.of(selections, rowCount);
  const columns: Record<string, Column> = {};
  for (const column of schema) {
    columns[column.name] = inFull(copyColumn(column, selections, rowCount, series), rowCount);
    for (const batch of batches) letGoOfColumn(batch.columns[column.name]!);
  }
  for (const batch of batches) letGoOfBatch(batch);
  return { rowCount, columns };
}

/** These rows of a batch, in this order; the batch stays as it is. */
export function selectRows(schema: readonly ColumnSchema[], batch: ColumnBatch, rows: Uint32Array): ColumnBatch {
  const columns: Record<string, Column> = {};
  const selections = [{ batch, rows }];
  const series = SeriesClasses.of(selections, rows.length);
  for (const column of schema) {
    columns[column.name] = inFull(copyColumn(column, selections, rows.length, series), rows.length);
  }
  return { rowCount: rows.length, columns };
}

function mergeColumn(
  column: ColumnSchema,
  selections: readonly RowSelection[],
  rowCount: number,
  series: SeriesClasses | undefined,
): GroupColumn {
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
  return copyColumn(column, selections, rowCount, series);
}

type Rows = Pick<RowSelection, 'batch' | 'rows'>;

function copyColumn(
  { name, kind }: ColumnSchema,
  selections: readonly Rows[],
  rowCount: number,
  series: SeriesClasses | undefined,
): GroupColumn {
  if (series && name === SERIES_INTERVAL) return series.intervals(name);
  if (series && SERIES_FIELDS.has(name)) return series.texts(name);
  if (!selections.some(({ batch }) => hasColumn(batch, name))) return absentColumn(kind);
  switch (kind) {
    case 'string':
    case 'binary':
      return mergeDictionaries(name, kind, selections, rowCount);
    case 'double':
      return { kind, ...mergeNumbers(name, selections, rowCount, new Float64Array(rowCount)) };
    case 'int32':
      return { kind, ...mergeNumbers(name, selections, rowCount, new Int32Array(rowCount)) };
    default:
      return { kind, ...mergeNumbers(name, selections, rowCount, new BigInt64Array(rowCount)) };
  }
}

function constantText(
  selections: readonly RowSelection[],
  rowCount: number,
  textOf: (selection: RowSelection) => string,
): GroupColumn {
  const first = textOf(selections[0]!);
  if (selections.every((selection) => textOf(selection) === first)) {
    // In a buffer of its own, which is let go of once it is written.
    const bytes = Uint8Array.from(Buffer.from(first, 'utf8'));
    const classes = { of: undefined, counts: Uint32Array.of(rowCount) };
    return { kind: 'string', classes, classIds: new Uint32Array(1), offsets: Uint32Array.of(0, bytes.length), bytes };
  }
  const dictionary = new MergedDictionary();
  const ids = new Uint32Array(rowCount);
  let row = 0;
  for (const selection of selections) {
    const count = selectedCount(selection);
    ids.fill(dictionary.idOf(Buffer.from(textOf(selection), 'utf8')), row, row + count);
    row += count;
  }
  return { kind: 'string', ids, isInOrder: true, ...dictionary.finish() };
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
    const { rows } = selection;
    const count = selectedCount(selection);
    if (!hasColumn(selection.batch, name)) {
      nulls ??= new Uint8Array(rowCount);
      nulls.fill(1, row, row + count);
      row += count;
      continue;
    }
    const source = columnOf(selection.batch, name);
    if (!('values' in source)) throw new Error(`BUG: column ${name} has no numbers`);
    if (!rows) {
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

function mergeDictionaries(
  name: string,
  kind: 'string' | 'binary',
  selections: readonly Rows[],
  rowCount: number,
): Column {
  // Not more than all sources together, and memory that is never touched costs nothing.
  const dictionary = new MergedDictionary(entryBytes(selections, name));
  const ids = new Uint32Array(rowCount);
  let row = 0;
  for (const { batch, rows } of selections) {
    const count = rows ? rows.length : batch.rowCount;
    if (hasColumn(batch, name)) {
      const source = columnOf(batch, name);
      if (!('ids' in source)) throw new Error(`BUG: column ${name} has no texts`);
      new OwnIds(source, dictionary).copyTo(ids, row, rows);
    } else {
      ids.fill(NULL_ID, row, row + count);
    }
    row += count;
  }
  return { kind, ids, isInOrder: true, ...dictionary.finish() };
}

function entryBytes(selections: readonly Rows[], name: string): number {
  let total = 0;
  for (const { batch } of selections) total += textBytesOf(batch, name);
  return total;
}
