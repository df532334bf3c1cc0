/**
 * Builds one ColumnBatch row by row. Columns are typed arrays that double when full; strings are interned per column.
 * Usage: set the row's columns in any order, then `endRow()`; a column not set is null (or zero where not nullable).
 *
 * Most batches are small, and a buffer per column costs more than what is in it: to make, to hand to another thread, to let go of.
 * So a small batch leaves in one buffer, copied out of writers that the next one uses again.
 */
import {
  absentColumn,
  type Column,
  type ColumnBatch,
  type ColumnKind,
  type ColumnSchema,
  type SeriesRows,
} from '../core/columns.ts';
import { MIB } from '../core/limits.ts';
import type { SeriesTableWriter } from '../core/series-table.ts';
import { BatchLayout, layoutBytes, PagedBatch } from '../core/travelling-batch.ts';
import {
  type ColumnWriter,
  type DoubleWriter,
  IdWriter,
  type Int32Writer,
  type Int64Writer,
  ROWS_AT_FIRST,
  type StringWriter,
  writerOf,
} from './column-writers.ts';
import { SharedBuffer } from './shared-buffer.ts';

/** A batch up to this size leaves in one buffer. Writers that are kept have grown to about as much. */
const SHARED_BYTES_MAX = MIB;
/** Writers kept for the next batch, per signal. */
const SPARE_MAX = 2;

export class BatchBuilder {
  /** Index of the row being filled. */
  row = 0;
  #capacity = ROWS_AT_FIRST;
  readonly #writers: Map<string, ColumnWriter>;
  readonly #list: ColumnWriter[];
  readonly #kinds: Map<string, ColumnKind>;
  readonly #schema: readonly ColumnSchema[];
  /** Numbers of rows' series in `seriesTable`; a row that has one leaves the columns of its series unset. */
  readonly series: IdWriter;
  seriesTable: SeriesTableWriter | undefined;
  #tableBytesBefore = 0;

  constructor(schema: readonly ColumnSchema[]) {
    this.#schema = schema;
    const spare = SPARE.get(schema)?.pop();
    if (spare) {
      ({ writers: this.#writers, list: this.#list, kinds: this.#kinds, capacity: this.#capacity } = spare);
      this.series = spare.series;
      return;
    }
    this.#writers = new Map();
    this.#list = [];
    this.#kinds = new Map();
    this.series = new IdWriter();
    for (const column of schema) {
      const writer = writerOf(column);
      this.#writers.set(column.name, writer);
      this.#kinds.set(column.name, column.kind);
      this.#list.push(writer);
    }
  }

  /** The writer of a `string` or `binary` column. Unknown names and other kinds are bugs. */
  strings(name: string): StringWriter {
    return this.#writer(name, ['string', 'binary']) as StringWriter;
  }

  doubles(name: string): DoubleWriter {
    return this.#writer(name, ['double']) as DoubleWriter;
  }

  /** `int64`, `timestampMs`, `timestampNs`. */
  longs(name: string): Int64Writer {
    return this.#writer(name, ['int64', 'timestampMs', 'timestampNs']) as Int64Writer;
  }

  ints(name: string): Int32Writer {
    return this.#writer(name, ['int32']) as Int32Writer;
  }

  #keepWriters(): void {
    const spare = SPARE.get(this.#schema) ?? [];
    SPARE.set(this.#schema, spare);
    if (spare.length >= SPARE_MAX) return;
    const [writers, list, kinds, capacity] = [this.#writers, this.#list, this.#kinds, this.#capacity];
    spare.push({ writers, list, kinds, capacity, series: this.series });
  }

  #writer(name: string, kinds: readonly ColumnKind[]): ColumnWriter {
    const writer = this.#writers.get(name);
    const kind = this.#kinds.get(name);
    if (!writer || !kind || !kinds.includes(kind)) throw new Error(`BUG: no column ${name} of kind ${kinds.join('|')}`);
    return writer;
  }

  endRow(): void {
    this.row += 1;
    if (this.row >= this.#capacity) {
      this.#capacity *= 2;
      for (const writer of this.#list) writer.grow(this.#capacity);
      this.series.grow(this.#capacity);
    }
  }

  /** The table in which `series` of this batch stand. Once. */
  useTable(table: SeriesTableWriter): void {
    this.seriesTable = table;
    this.#tableBytesBefore = table.usedBytes;
  }

  #seriesRows(ids: Uint32Array): SeriesRows {
    const table = this.seriesTable!;
    return { ids, table: table.buffer, addedBytes: table.usedBytes - this.#tableBytesBefore };
  }

  /** Once. */
  finish(): ColumnBatch {
    const rowCount = this.row;
    const hasSeries = !this.series.isAbsent;
    const list = this.#list;
    let bytes = 0;
    for (let i = 0; i < list.length; i++) {
      const writer = list[i]!;
      if (writer.isAbsent) continue;
      writer.fillTo(rowCount);
      bytes += writer.sharedBytes(rowCount);
    }
    if (hasSeries) {
      this.series.fillTo(rowCount);
      bytes += this.series.sharedIdBytes(rowCount);
    }
    if (bytes > SHARED_BYTES_MAX || this.#capacity > SPARE_ROWS_MAX) {
      const columns = absentColumns(this.#schema);
      for (let i = 0; i < list.length; i++)
        if (!list[i]!.isAbsent) columns[this.#schema[i]!.name] = list[i]!.finish(rowCount);
      return { rowCount, columns, ...(hasSeries ? { series: this.#seriesRows(this.series.finishIds(rowCount)) } : {}) };
    }
    const shared = new SharedBuffer(layoutBytes(this.#schema), bytes);
    const layout = new BatchLayout(shared.buffer, this.#schema);
    for (let i = 0; i < list.length; i++) {
      const writer = list[i]!;
      if (!writer.isAbsent) writer.copyTo(shared, rowCount, layout, i);
      writer.reset();
    }
    let series: SeriesRows | undefined;
    if (hasSeries) {
      const at = this.series.copyIdsTo(shared, rowCount);
      layout.setSeries(at);
      series = this.#seriesRows(new Uint32Array(shared.buffer, at, rowCount));
    }
    this.series.reset();
    this.#keepWriters();
    return new PagedBatch(rowCount, { buffer: shared.buffer, users: 1 }, this.#schema, series);
  }
}

const ABSENT = new Map<readonly ColumnSchema[], Record<string, Column>>();

/** A batch that has no column yet, to be filled. */
function absentColumns(schema: readonly ColumnSchema[]): Record<string, Column> {
  let absent = ABSENT.get(schema);
  if (!absent) {
    absent = Object.fromEntries(schema.map(({ name, kind }) => [name, absentColumn(kind)]));
    ABSENT.set(schema, absent);
  }
  return { ...absent };
}

interface Spare {
  writers: Map<string, ColumnWriter>;
  list: ColumnWriter[];
  kinds: Map<string, ColumnKind>;
  capacity: number;
  series: IdWriter;
}

/** Of more rows it would be memory that nobody counts. */
const SPARE_ROWS_MAX = 4096;
const SPARE = new Map<readonly ColumnSchema[], Spare[]>();
