/**
 * Rows of a group that name their series, in classes: what a column says is looked up once for each series, not once for each row. A row
 * between them that does not name one is a class of its own.
 */
import { absentColumn, type GroupColumn, NULL_ID, type RowClasses } from '../core/columns.ts';
import { SERIES_FIELDS, SERIES_WORDS, SeriesTable } from '../core/series-table.ts';
import { columnOf, hasColumn, seriesOf, type TravellingBatch } from '../core/travelling-batch.ts';
import { MergedDictionary, OwnIds } from './merged-dictionary.ts';

interface Rows {
  batch: TravellingBatch;
  rows: Uint32Array | undefined;
}

interface OpenTable {
  table: SeriesTable;
  index: number;
  /** Series → class; NULL_ID: none yet. */
  classOf: Uint32Array;
  /** Text → id in the column that is being made; NULL_ID: none yet. */
  idOf: Uint32Array;
}

/** Of a class: its series, and where its table is; or NULL_ID, its selection, and its row there. */
const SERIES = 0;
const SOURCE = 1;
const ROW = 2;
const WORDS = 3;

export class SeriesClasses {
  readonly classes: RowClasses;
  readonly #of: Uint32Array;
  readonly #selections: readonly Rows[];
  readonly #tables: OpenTable[] = [];
  #records = new Uint32Array(1024 * WORDS);
  #count = 0;

  /** Undefined where no row names a series. */
  static of(selections: readonly Rows[], rowCount: number): SeriesClasses | undefined {
    return selections.some(({ batch }) => seriesOf(batch)) ? new SeriesClasses(selections, rowCount) : undefined;
  }

  private constructor(selections: readonly Rows[], rowCount: number) {
    this.#selections = selections;
    this.#of = new Uint32Array(rowCount);
    const byKey = new Map<number, OpenTable>();
    let row = 0;
    for (const [index, selection] of selections.entries()) row = this.#addSelection(selection, index, row, byKey);
    const counts = new Uint32Array(this.#count);
    for (let i = 0; i < rowCount; i++) counts[this.#of[i]!]! += 1;
    this.classes = { of: this.#of, counts };
  }

  #addSelection({ batch, rows }: Rows, index: number, start: number, byKey: Map<number, OpenTable>): number {
    const count = rows ? rows.length : batch.rowCount;
    const of = this.#of;
    const series = seriesOf(batch);
    if (!series) {
      for (let i = 0; i < count; i++) of[start + i] = this.#add(NULL_ID, index, rows ? rows[i]! : i);
      return start + count;
    }
    const { ids } = series;
    const open = this.#open(series.table, byKey);
    const { classOf } = open;
    for (let i = 0; i < count; i++) {
      const at = rows ? rows[i]! : i;
      const number = ids[at]!;
      if (number === NULL_ID) {
        of[start + i] = this.#add(NULL_ID, index, at);
        continue;
      }
      let known = classOf[number]!;
      if (known === NULL_ID) {
        known = this.#add(number, open.index, 0);
        classOf[number] = known;
      }
      of[start + i] = known;
    }
    return start + count;
  }

  #open(buffer: SharedArrayBuffer, byKey: Map<number, OpenTable>): OpenTable {
    const key = SeriesTable.keyOf(buffer);
    const known = byKey.get(key);
    if (known) return known;
    const table = new SeriesTable(buffer);
    const classOf = new Uint32Array(table.seriesMax).fill(NULL_ID);
    const idOf = new Uint32Array(table.textsMax).fill(NULL_ID);
    const open = { table, index: this.#tables.length, classOf, idOf };
    this.#tables.push(open);
    byKey.set(key, open);
    return open;
  }

  #add(series: number, source: number, row: number): number {
    const at = this.#count * WORDS;
    if (at === this.#records.length) {
      const grown = new Uint32Array(at * 2);
      grown.set(this.#records);
      this.#records = grown;
    }
    this.#records[at + SERIES] = series;
    this.#records[at + SOURCE] = source;
    this.#records[at + ROW] = row;
    this.#count += 1;
    return this.#count - 1;
  }

  /** A column of SERIES_TEXTS. */
  texts(name: string): GroupColumn {
    const field = SERIES_FIELDS.get(name)!;
    const records = this.#records;
    const dictionary = new MergedDictionary();
    const classIds = new Uint32Array(this.#count);
    const own = new Map<number, OwnIds>();
    const touched: [OpenTable, number][] = [];
    for (let i = 0; i < this.#count; i++) {
      const series = records[i * WORDS + SERIES]!;
      const source = records[i * WORDS + SOURCE]!;
      if (series === NULL_ID) {
        classIds[i] = this.#ownId(name, dictionary, own, source, records[i * WORDS + ROW]!);
        continue;
      }
      const open = this.#tables[source]!;
      const text = open.table.records[series * SERIES_WORDS + field]!;
      if (text === NULL_ID) {
        classIds[i] = NULL_ID;
        continue;
      }
      let id = open.idOf[text]!;
      if (id === NULL_ID) {
        id = dictionary.idOf(open.table.textBytes(text));
        open.idOf[text] = id;
        touched.push([open, text]);
      }
      classIds[i] = id;
    }
    for (const [open, text] of touched) open.idOf[text] = NULL_ID;
    if (dictionary.size === 0) return absentColumn('string');
    return { kind: 'string', classes: this.classes, classIds, ...dictionary.finish() };
  }

  #ownId(name: string, dictionary: MergedDictionary, own: Map<number, OwnIds>, selection: number, row: number): number {
    let ids = own.get(selection);
    if (!ids) {
      const source = columnOf(this.#selections[selection]!.batch, name);
      if (!('ids' in source)) throw new Error(`BUG: column ${name} has no texts`);
      ids = new OwnIds(source, dictionary);
      own.set(selection, ids);
    }
    return ids.ofRow(row);
  }

  /** The column SERIES_INTERVAL. */
  intervals(name: string): GroupColumn {
    const count = this.#count;
    const words = new Uint32Array(count * 2);
    const isThere = new Uint8Array(count);
    let thereCount = 0;
    for (let i = 0; i < count; i++) {
      if (!this.#copyInterval(name, i, words)) continue;
      isThere[i] = 1;
      thereCount += 1;
    }
    if (thereCount === 0) return absentColumn('int64');
    const of = this.#of;
    const values = new BigInt64Array(of.length);
    const rowWords = new Uint32Array(values.buffer);
    for (let row = 0; row < of.length; row++) {
      rowWords[row * 2] = words[of[row]! * 2]!;
      rowWords[row * 2 + 1] = words[of[row]! * 2 + 1]!;
    }
    if (thereCount === count) return { kind: 'int64', values };
    const nulls = new Uint8Array(of.length);
    for (let row = 0; row < of.length; row++) nulls[row] = isThere[of[row]!]! ^ 1;
    return { kind: 'int64', values, nulls };
  }

  /** False where the class has none. */
  #copyInterval(name: string, index: number, words: Uint32Array): boolean {
    const series = this.#records[index * WORDS + SERIES]!;
    const source = this.#records[index * WORDS + SOURCE]!;
    if (series !== NULL_ID) return this.#tables[source]!.table.copyInterval(series, words, index);
    const { batch } = this.#selections[source]!;
    if (!hasColumn(batch, name)) return false;
    const column = columnOf(batch, name);
    const row = this.#records[index * WORDS + ROW]!;
    if ('ids' in column || column.nulls?.[row] === 1) return false;
    new BigInt64Array(words.buffer)[index] = column.values[row] as bigint;
    return true;
  }
}
