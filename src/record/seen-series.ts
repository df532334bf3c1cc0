/**
 * Series that this thread has decoded before. Agents send the same series with every flush, byte for byte but for the points, and mostly
 * in the same order: so each one remembers which followed it. What is recognised is not read again; its columns are taken from memory.
 * Only items that their columns give back exactly are remembered.
 */
import { threadId } from 'node:worker_threads';
import { MIB } from '../core/limits.ts';
import { SeriesTableWriter } from '../core/series-table.ts';
import { KnownBytes } from './known-bytes.ts';

/** Of a staged item, all but its points. */
export interface SeenColumns {
  metric: string | null;
  type: string | null;
  unit: string | null;
  host: string | null;
  device: string | null;
  tags: string | null;
  resources: string | null;
  sourceTypeName: string | null;
  metadata: string | null;
  attributes: string | null;
  interval: bigint | null;
}

/** What stands between the numbers of a JSON point, and between points. */
export interface PointFrame {
  beforeTime: KnownBytes;
  beforeValue: KnownBytes;
  behind: KnownBytes;
}

export class SeenItem {
  /** The item's bytes before its points and behind them. */
  readonly head: KnownBytes;
  readonly tail: KnownBytes;
  readonly columns: SeenColumns;
  readonly shape: string;
  readonly frame: PointFrame | undefined;
  /** The item that followed it last. */
  next: SeenItem | undefined;
  /** Where it stands in the table with this number. */
  tableNumber = 0;
  series = 0;
  /** Ids of the columns in the batch with this number, where the table had no room. */
  batchNumber = -1;
  readonly ids = new Uint32Array(10);

  constructor(head: Uint8Array, tail: Uint8Array, columns: SeenColumns, shape: string, frame?: PointFrame) {
    this.head = new KnownBytes(head);
    this.tail = new KnownBytes(tail);
    this.columns = columns;
    this.shape = shape;
    this.frame = frame;
  }
}

let table: SeriesTableWriter | undefined;
let tableNumber = 0;

/** This thread's table, and its number; another one once it is full. */
export function currentTable(): { table: SeriesTableWriter; number: number } {
  if (!table || table.isFull) {
    tableNumber += 1;
    table = new SeriesTableWriter(threadId, tableNumber);
  }
  return { table, number: tableNumber };
}

/** Beyond it all is forgotten: what is still sent comes back soon. */
const REMEMBERED_BYTES_MAX = 16 * MIB;
/** What an item takes beside its bytes and texts. */
const ITEM_BYTES = 700;
/** Larger ones are rare, and quick for their size. */
const LENGTH_MAX = 16 * 1024;

export class SeenSeries {
  readonly #items = new Map<string, SeenItem>();
  #bytes = 0;

  find(key: string): SeenItem | undefined {
    return this.#items.get(key);
  }

  /** `make` is asked for an item that is not known. Undefined for one too large to keep. */
  remember(key: string, make: () => SeenItem): SeenItem | undefined {
    const known = this.#items.get(key);
    if (known) return known;
    return key.length > LENGTH_MAX ? undefined : this.#add(key, make());
  }

  /** In place of what had this key. */
  replace(key: string, item: SeenItem): SeenItem | undefined {
    return key.length + item.tail.length > LENGTH_MAX ? undefined : this.#add(key, item);
  }

  #add(key: string, item: SeenItem): SeenItem {
    // Bytes twice (they are the key as well), and texts that are about as long.
    this.#bytes += ITEM_BYTES + 3 * (item.head.length + item.tail.length);
    if (this.#bytes > REMEMBERED_BYTES_MAX) {
      this.#items.clear();
      this.#bytes = 0;
    }
    this.#items.set(key, item);
    return item;
  }
}
