/**
 * Series that this thread has decoded before. Agents send the same series with every flush, byte for byte but for the points, and mostly
 * in the same order: so each one remembers which followed it. What is recognised is not read again; its columns stand in a table.
 * Only items that their columns give back exactly are remembered.
 *
 * What is remembered goes with the tables: the thread's current one, and the one before it, out of which series that are still sent move.
 * So memory is bounded by two tables, and more series than one holds cost a look and a move, not the reading.
 */
import { threadId } from 'node:worker_threads';
import { MIB } from '../core/limits.ts';
import { SeriesTableWriter } from '../core/series-table.ts';
import { KnownBytes } from './known-bytes.ts';

/** What stands between the numbers of a JSON point, and between points. */
export interface PointFrame {
  beforeTime: KnownBytes;
  beforeValue: KnownBytes;
  behind: KnownBytes;
}

/** Where an item's columns stand. */
export interface TablePlace {
  table: number;
  series: number;
}

export class SeenItem {
  readonly hash: number;
  /** The item's bytes before its points and behind them. */
  readonly head: KnownBytes;
  readonly tail: KnownBytes;
  readonly frame: PointFrame | undefined;
  /** The item that followed it last. */
  next: SeenItem | undefined;
  /** Number of the table with which it is remembered. */
  keptWith = 0;
  /** Number of the table, and of the series in it. */
  table: number;
  series: number;

  constructor(hash: number, head: Uint8Array, tail: Uint8Array, { table, series }: TablePlace, frame?: PointFrame) {
    this.hash = hash;
    this.head = new KnownBytes(head);
    this.tail = new KnownBytes(tail);
    this.table = table;
    this.series = series;
    this.frame = frame;
  }
}

let current: SeriesTableWriter | undefined;
let before: SeriesTableWriter | undefined;

/** This thread's table; another one once it is full. To be asked for before anything is looked for in a body. */
export function currentTable(): SeriesTableWriter {
  if (!current || current.isFull) {
    before = current;
    current = new SeriesTableWriter(threadId, (current?.number ?? 0) + 1);
  }
  return current;
}

/** The current one or the one before; undefined: it is gone. */
export function tableOf(number: number): SeriesTableWriter | undefined {
  if (current?.number === number) return current;
  return before?.number === number ? before : undefined;
}

/** Of heads and tails that go with one table: when there are more, another table is begun. */
const REMEMBERED_BYTES_MAX = 16 * MIB;
/** Of an item to be remembered: larger ones are rare, and quick for their size. */
export const SEEN_BYTES_MAX = 16 * 1024;

export class SeenSeries {
  #items = new Map<number, SeenItem>();
  #itemsBefore = new Map<number, SeenItem>();
  #table = 0;
  #bytes = 0;

  /** Its bytes must be compared all the same. */
  find(hash: number): SeenItem | undefined {
    this.#turn();
    return this.#items.get(hash) ?? this.#itemsBefore.get(hash);
  }

  /** Was found here, or as what followed another, and stands in the current table. */
  keep(item: SeenItem): void {
    this.#turn();
    if (item.keptWith !== this.#table) this.add(item);
  }

  add(item: SeenItem): void {
    this.#turn();
    item.keptWith = this.#table;
    this.#items.set(item.hash, item);
    this.#bytes += item.head.length + item.tail.length;
    if (this.#bytes > REMEMBERED_BYTES_MAX) current?.close();
  }

  #turn(): void {
    const number = current?.number ?? 0;
    if (number === this.#table) return;
    this.#itemsBefore = number === this.#table + 1 ? this.#items : new Map();
    this.#items = new Map();
    this.#table = number;
    this.#bytes = 0;
  }
}
