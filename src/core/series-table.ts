/**
 * Series that a decoding thread has seen before, in memory that all threads share. A row of a batch names its series by number instead of
 * carrying a dozen columns; what the number means is looked up once per series, not once per row, and crosses no thread.
 *
 * Append only: what a batch names was written before the batch was handed over, and never changes. A table that is full is left to the
 * batches that name it, and the thread begins another.
 */
import { LOW_WORD, NULL_ID } from './columns.ts';
import { MIB } from './limits.ts';

/** Columns of text that a series gives to all its rows. */
export const SERIES_TEXTS = [
  'kind',
  'shape',
  'metric',
  'type',
  'unit',
  'host',
  'device',
  'tags',
  'resources',
  'source_type_name',
  'metadata',
  'attributes',
] as const;

export type SeriesTexts = Record<(typeof SERIES_TEXTS)[number], string | null>;

/** The one column of numbers that a series gives, an `int64`. */
export const SERIES_INTERVAL = 'interval';

/** Place of a column of text in a record; undefined for columns that rows have of their own. */
export const SERIES_FIELDS: ReadonlyMap<string, number> = new Map(SERIES_TEXTS.map((name, at) => [name, at]));

const HAS_INTERVAL = SERIES_TEXTS.length;
const INTERVAL_LOW = HAS_INTERVAL + 1;
const INTERVAL_HIGH = HAS_INTERVAL + 2;
export const SERIES_WORDS = HAS_INTERVAL + 3;

export interface SeriesTableSize {
  seriesMax: number;
  textsMax: number;
  textBytesMax: number;
}

/** What is not written to takes no memory. */
const SIZE: SeriesTableSize = { seriesMax: 64 * 1024, textsMax: 128 * 1024, textBytesMax: 16 * MIB };

/** Words before the records: thread, number of the table, and the three sizes. */
const HEADER_WORDS = 5;

/** Reads a table; cheap to make. */
export class SeriesTable {
  readonly seriesMax: number;
  readonly textsMax: number;
  /** SERIES_WORDS for each series: ids of its texts, then the interval. */
  readonly records: Uint32Array;
  /** Text i lies at [offsets[i], offsets[i+1]) of `bytes`. */
  readonly offsets: Uint32Array;
  readonly bytes: Uint8Array;

  constructor(buffer: SharedArrayBuffer) {
    const [, , seriesMax, textsMax, textBytesMax] = new Uint32Array(buffer, 0, HEADER_WORDS);
    this.seriesMax = seriesMax!;
    this.textsMax = textsMax!;
    const recordsAt = HEADER_WORDS * 4;
    const offsetsAt = recordsAt + seriesMax! * SERIES_WORDS * 4;
    const bytesAt = offsetsAt + (textsMax! + 1) * 4;
    this.records = new Uint32Array(buffer, recordsAt, seriesMax! * SERIES_WORDS);
    this.offsets = new Uint32Array(buffer, offsetsAt, textsMax! + 1);
    this.bytes = new Uint8Array(buffer, bytesAt, textBytesMax!);
  }

  /** Equal for equal tables only, whatever thread has them. */
  static keyOf(buffer: SharedArrayBuffer): number {
    const header = new Uint32Array(buffer, 0, 2);
    return header[0]! * 2 ** 32 + header[1]!;
  }

  textBytes(id: number): Uint8Array {
    return this.bytes.subarray(this.offsets[id]!, this.offsets[id + 1]!);
  }

  /** Writes the series' interval as the 64-bit value at `index` of `words`; false where it is null. */
  copyInterval(series: number, words: Uint32Array, index: number): boolean {
    const at = series * SERIES_WORDS;
    if (this.records[at + HAS_INTERVAL] === 0) return false;
    words[index * 2 + LOW_WORD] = this.records[at + INTERVAL_LOW]!;
    words[index * 2 + 1 - LOW_WORD] = this.records[at + INTERVAL_HIGH]!;
    return true;
  }
}

export class SeriesTableWriter {
  readonly number: number;
  readonly buffer: SharedArrayBuffer;
  readonly #table: SeriesTable;
  readonly #ids = new Map<string, number>();
  #seriesCount = 0;
  #textCount = 0;
  #isFull = false;
  /** Of the table that series move here from: its texts → texts here; NULL_ID: none yet. */
  #moved: { from: SeriesTableWriter; texts: Uint32Array } | undefined;

  /** `thread` and `number` together are unique in the process. */
  constructor(thread: number, number: number, size: SeriesTableSize = SIZE) {
    const { seriesMax, textsMax, textBytesMax } = size;
    const words = HEADER_WORDS + seriesMax * SERIES_WORDS + textsMax + 1;
    this.number = number;
    this.buffer = new SharedArrayBuffer(words * 4 + textBytesMax);
    new Uint32Array(this.buffer).set([thread, number, seriesMax, textsMax, textBytesMax]);
    this.#table = new SeriesTable(this.buffer);
  }

  get isFull(): boolean {
    return this.#isFull;
  }

  /** Nothing is added any more. */
  close(): void {
    this.#isFull = true;
    this.#moved = undefined;
  }

  /** Bytes written so far. */
  get usedBytes(): number {
    return this.#seriesCount * SERIES_WORDS * 4 + this.#textCount * 4 + this.#table.offsets[this.#textCount]!;
  }

  /** Number of the series; undefined where there is no room any more. */
  add(texts: SeriesTexts, interval: bigint | null): number | undefined {
    const { records, seriesMax } = this.#table;
    if (this.#seriesCount === seriesMax) this.close();
    const at = this.#seriesCount * SERIES_WORDS;
    for (const [field, name] of SERIES_TEXTS.entries()) {
      if (this.#isFull) return undefined;
      const text = texts[name];
      records[at + field] = text === null ? NULL_ID : this.#idOf(text);
    }
    if (this.#isFull) return undefined;
    records[at + HAS_INTERVAL] = interval === null ? 0 : 1;
    records[at + INTERVAL_LOW] = Number(BigInt.asUintN(32, interval ?? 0n));
    records[at + INTERVAL_HIGH] = Number(BigInt.asUintN(32, (interval ?? 0n) >> 32n));
    this.#seriesCount += 1;
    return this.#seriesCount - 1;
  }

  /** A series of another table, as if it were added here. */
  move(from: SeriesTableWriter, series: number): number | undefined {
    const { records, seriesMax } = this.#table;
    if (this.#seriesCount === seriesMax) this.close();
    if (this.#isFull) return undefined;
    if (this.#moved?.from !== from) {
      this.#moved = { from, texts: new Uint32Array(from.#table.textsMax).fill(NULL_ID) };
    }
    const { texts } = this.#moved;
    const at = this.#seriesCount * SERIES_WORDS;
    const source = from.#table.records.subarray(series * SERIES_WORDS, (series + 1) * SERIES_WORDS);
    records.set(source, at);
    for (let field = 0; field < SERIES_TEXTS.length; field++) {
      const text = source[field]!;
      if (text === NULL_ID) continue;
      if (texts[text] === NULL_ID) texts[text] = this.#idOf(from.#text(text));
      if (this.#isFull) return undefined;
      records[at + field] = texts[text]!;
    }
    this.#seriesCount += 1;
    return this.#seriesCount - 1;
  }

  #text(id: number): string {
    return Buffer.from(this.#table.textBytes(id)).toString('utf8');
  }

  /** What was added under this number. */
  read(series: number): { texts: SeriesTexts; interval: bigint | null } {
    const at = series * SERIES_WORDS;
    const texts = SERIES_TEXTS.map((name, field) => {
      const text = this.#table.records[at + field]!;
      return [name, text === NULL_ID ? null : this.#text(text)] as const;
    });
    const interval = new BigInt64Array(1);
    const has = this.#table.copyInterval(series, new Uint32Array(interval.buffer), 0);
    return { texts: Object.fromEntries(texts) as SeriesTexts, interval: has ? interval[0]! : null };
  }

  #idOf(text: string): number {
    const known = this.#ids.get(text);
    if (known !== undefined) return known;
    const { offsets, bytes, textsMax } = this.#table;
    const id = this.#textCount;
    const start = offsets[id]!;
    const encoded = Buffer.from(text, 'utf8');
    if (id === textsMax || start + encoded.byteLength > bytes.byteLength) {
      this.close();
      return NULL_ID;
    }
    bytes.set(encoded, start);
    offsets[id + 1] = start + encoded.byteLength;
    this.#ids.set(text, id);
    this.#textCount += 1;
    return id;
  }
}
