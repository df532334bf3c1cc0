/**
 * The columns of a batch while it is being filled: typed arrays that double when full, strings interned per column. What is not set is null, or
 * zero where that cannot be. A small column leaves as a copy in a buffer that its batch shares, so that the writer is used again.
 */
import { letGo, viewOf } from '../core/buffers.ts';
import { type Column, type ColumnSchema, LOW_WORD, NULL_ID } from '../core/columns.ts';
import { aligned, type BatchLayout } from '../core/travelling-batch.ts';
import type { SharedBuffer } from './shared-buffer.ts';

export const ROWS_AT_FIRST = 256;
const ENTRIES_AT_FIRST = 64;
const ENTRY_BYTES_AT_FIRST = 2048;

export interface ColumnWriter {
  /** Null in every row, so that nothing needs to be kept of it. */
  readonly isAbsent: boolean;
  /** Makes room for at least `rows` rows. */
  grow(rows: number): void;
  /** Fills what was not set, up to `rows`, with the default. Rows before the last one set are never touched. */
  fillTo(rows: number): void;
  /** In buffers of its own; the writer is used up. */
  finish(rows: number): Column;
  /** What the column takes in a shared buffer. */
  sharedBytes(rows: number): number;
  /** Copies it into a shared buffer, as this column of its layout; the writer may be used again after `reset`. */
  copyTo(shared: SharedBuffer, rows: number, layout: BatchLayout, column: number): void;
  reset(): void;
}

/** A number per row, NULL_ID where none is set. */
export class IdWriter {
  protected ids = new Uint32Array(ROWS_AT_FIRST);
  protected next = 0;

  get isAbsent(): boolean {
    return this.next === 0;
  }

  setId(row: number, id: number): void {
    // What is behind the last one set is null anyway.
    if (id === NULL_ID && row >= this.next) return;
    if (row > this.next) this.fillTo(row);
    this.ids[row] = id;
    if (row >= this.next) this.next = row + 1;
  }

  grow(rows: number): void {
    if (this.ids.length >= rows) return;
    const grown = new Uint32Array(Math.max(rows, this.ids.length * 2));
    grown.set(this.ids);
    letGo(this.ids);
    this.ids = grown;
  }

  fillTo(rows: number): void {
    if (this.next >= rows) return;
    this.ids.fill(NULL_ID, this.next, rows);
    this.next = rows;
  }

  /** In a buffer of its own; the writer is used up. */
  finishIds(rows: number): Uint32Array {
    return cut(this.ids, rows);
  }

  sharedIdBytes(rows: number): number {
    return aligned(rows * 4);
  }

  /** Returns where they lie. */
  copyIdsTo(shared: SharedBuffer, rows: number): number {
    return shared.placeWords(this.ids, rows);
  }

  reset(): void {
    this.next = 0;
  }
}

export class StringWriter extends IdWriter implements ColumnWriter {
  readonly #kind: 'string' | 'binary';
  readonly #known = new Map<string, number>();
  /** Entries one behind another; entry i ends where entry i + 1 begins. */
  #bytes = Buffer.allocUnsafeSlow(ENTRY_BYTES_AT_FIRST);
  #view: DataView | undefined;
  #offsets = new Uint32Array(ENTRIES_AT_FIRST);
  #count = 0;

  constructor(kind: 'string' | 'binary') {
    super();
    this.#kind = kind;
  }

  get byteLength(): number {
    return this.#offsets[this.#count]! + this.ids.byteLength;
  }

  /** Id of a text; the same text always has the same id. */
  intern(text: string): number {
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    const id = this.#addText(text);
    this.#known.set(text, id);
    return id;
  }

  /** Id of bytes that are not looked up (ids, bodies): every call makes an entry. The bytes are copied. */
  add(bytes: Uint8Array): number {
    const at = this.room(bytes.byteLength);
    this.#bytes.set(bytes, at);
    return this.#end(at + bytes.byteLength);
  }

  /** Of an entry that is text. */
  textOf(id: number): string {
    return this.#bytes.toString('utf8', this.#offsets[id]!, this.#offsets[id + 1]!);
  }

  #addText(text: string): number {
    // A UTF-16 unit becomes three bytes at most.
    const at = this.room(text.length * 3);
    return this.#end(at + this.#bytes.write(text, at, 'utf8'));
  }

  /** Where the next entry begins, with room for so many bytes. */
  room(bytes: number): number {
    const at = this.#offsets[this.#count]!;
    if (at + bytes > this.#bytes.byteLength) this.#growBytes(at, at + bytes);
    return at;
  }

  #growBytes(used: number, wanted: number): void {
    const grown = Buffer.allocUnsafeSlow(Math.max(wanted, this.#bytes.byteLength * 2));
    this.#bytes.copy(grown, 0, 0, used);
    letGo(this.#bytes);
    this.#bytes = grown;
    this.#view = undefined;
  }

  /**
   * Where entries lie, for who writes the next one himself: from `room` on, after `extend` in other bytes, and an entry by `close`. What
   * is not closed is overwritten.
   */
  get bytes(): Buffer {
    return this.#bytes;
  }

  get view(): DataView {
    this.#view ??= viewOf(this.#bytes);
    return this.#view;
  }

  /** More room behind `used`, up to where the next entry has been written. */
  extend(used: number): void {
    this.#growBytes(used, 0);
  }

  /** Id of the entry that was written from `room` to `end`. */
  close(end: number): number {
    return this.#end(end);
  }

  #end(at: number): number {
    this.#count += 1;
    if (this.#count === this.#offsets.length) {
      const grown = new Uint32Array(this.#count * 2);
      grown.set(this.#offsets);
      letGo(this.#offsets);
      this.#offsets = grown;
    }
    this.#offsets[this.#count] = at;
    return this.#count - 1;
  }

  set(row: number, text: string | undefined | null): void {
    this.setId(row, text === undefined || text === null ? NULL_ID : this.intern(text));
  }

  setBytes(row: number, bytes: Uint8Array | undefined | null): void {
    this.setId(row, bytes === undefined || bytes === null ? NULL_ID : this.add(bytes));
  }

  finish(rows: number): Column {
    const bytesTotal = this.#offsets[this.#count]!;
    const ids = this.finishIds(rows);
    const offsets = cut(this.#offsets, this.#count + 1);
    const bytes = new Uint8Array((this.#bytes.buffer as ArrayBuffer).transfer(bytesTotal));
    return { kind: this.#kind, ids, offsets, bytes };
  }

  sharedBytes(rows: number): number {
    const words = this.sharedIdBytes(rows) + aligned((this.#count + 1) * 4);
    return words + aligned(this.#offsets[this.#count]!);
  }

  copyTo(shared: SharedBuffer, rows: number, layout: BatchLayout, column: number): void {
    const byteLength = this.#offsets[this.#count]!;
    const ids = this.copyIdsTo(shared, rows);
    const offsets = shared.placeWords(this.#offsets, this.#count + 1);
    layout.setDictionary(column, ids, offsets, this.#count + 1, shared.placeBytes(this.#bytes, byteLength), byteLength);
  }

  override reset(): void {
    super.reset();
    if (this.#count === 0) return;
    this.#count = 0;
    this.#known.clear();
  }
}

class NumberWriter<T extends Float64Array | BigInt64Array | Int32Array, V extends number | bigint>
  implements ColumnWriter
{
  #values: T;
  /** `#values` as 32-bit words. */
  #words: Uint32Array;
  #nulls: Uint8Array | undefined;
  #hasNulls = false;
  #next = 0;
  readonly #nullable: boolean;
  readonly #zero: V;
  readonly #make: (length: number) => T;
  readonly #wrap: (values: T, nulls: Uint8Array | undefined) => Column;

  constructor(
    nullable: boolean,
    zero: V,
    make: (length: number) => T,
    wrap: (values: T, nulls: Uint8Array | undefined) => Column,
  ) {
    this.#nullable = nullable;
    this.#zero = zero;
    this.#make = make;
    this.#wrap = wrap;
    this.#values = make(ROWS_AT_FIRST);
    this.#words = new Uint32Array(this.#values.buffer);
  }

  get isAbsent(): boolean {
    return this.#nullable && this.#next === 0;
  }

  set(row: number, value: V | undefined | null): void {
    if (value === undefined || value === null) {
      // What is behind the last one set gets the default anyway.
      if (row >= this.#next) return;
      // A writer that is used again has the values of the batch before.
      this.#values[row] = this.#zero;
      if (this.#nullable) {
        this.#nulls ??= new Uint8Array(this.#values.length);
        this.#nulls[row] = 1;
        this.#hasNulls = true;
      }
    } else {
      if (row > this.#next) this.fillTo(row);
      this.#values[row] = value;
      // A row may be filled again after it ended (fields of a container that come behind its items).
      if (this.#nulls) this.#nulls[row] = 0;
    }
    if (row >= this.#next) this.#next = row + 1;
  }

  /** A 64-bit value as its unsigned halves, without a bigint. For columns of 64-bit integers only. */
  setHalves(row: number, low: number, high: number): void {
    if (row > this.#next) this.fillTo(row);
    this.#words[row * 2 + LOW_WORD] = low;
    this.#words[row * 2 + 1 - LOW_WORD] = high;
    if (this.#nulls) this.#nulls[row] = 0;
    if (row >= this.#next) this.#next = row + 1;
  }

  grow(rows: number): void {
    if (this.#values.length >= rows) return;
    const length = Math.max(rows, this.#values.length * 2);
    const grown = this.#make(length);
    grown.set(this.#values as never);
    letGo(this.#values);
    this.#values = grown;
    this.#words = new Uint32Array(grown.buffer);
    if (this.#nulls) {
      const nulls = new Uint8Array(length);
      nulls.set(this.#nulls);
      letGo(this.#nulls);
      this.#nulls = nulls;
    }
  }

  fillTo(rows: number): void {
    if (this.#next >= rows) return;
    // A writer that is used again has the values of the batch before.
    this.#values.fill(this.#zero as never, this.#next, rows);
    if (this.#nullable) {
      this.#nulls ??= new Uint8Array(this.#values.length);
      this.#nulls.fill(1, this.#next, rows);
      this.#hasNulls = true;
    }
    this.#next = rows;
  }

  finish(rows: number): Column {
    const values = cut(this.#values, rows);
    return this.#wrap(values, this.#hasNulls && this.#nulls ? cut(this.#nulls, rows) : undefined);
  }

  sharedBytes(rows: number): number {
    return aligned(rows * this.#values.BYTES_PER_ELEMENT) + (this.#hasNulls ? aligned(rows) : 0);
  }

  copyTo(shared: SharedBuffer, rows: number, layout: BatchLayout, column: number): void {
    const values = shared.placeWords(this.#words, (rows * this.#values.BYTES_PER_ELEMENT) / 4);
    const nulls = this.#hasNulls && this.#nulls ? shared.placeBytes(this.#nulls, rows) : undefined;
    layout.setNumbers(column, values, nulls);
  }

  reset(): void {
    if (this.#hasNulls) this.#nulls?.fill(0);
    this.#hasNulls = false;
    this.#next = 0;
  }
}

/** The first `length` elements in a buffer of just that size; what was given is gone. */
function cut<T extends Numbers>(values: T, length: number): T {
  const shortened = (values.buffer as ArrayBuffer).transfer(length * values.BYTES_PER_ELEMENT);
  return new (values.constructor as new (buffer: ArrayBuffer) => T)(shortened);
}

type Numbers = Float64Array | BigInt64Array | Int32Array | Uint32Array | Uint8Array;

export type DoubleWriter = NumberWriter<Float64Array, number>;
export type Int64Writer = NumberWriter<BigInt64Array, bigint>;
export type Int32Writer = NumberWriter<Int32Array, number>;

/** An empty one. */
export function writerOf(column: ColumnSchema): ColumnWriter {
  const { kind, nullable } = column;
  switch (kind) {
    case 'string':
    case 'binary':
      return new StringWriter(kind);
    case 'double':
      return new NumberWriter<Float64Array, number>(
        nullable,
        0,
        (length) => new Float64Array(length),
        (values, nulls) => (nulls ? { kind, values, nulls } : { kind, values }),
      );
    case 'int64':
    case 'timestampMs':
    case 'timestampNs':
      return new NumberWriter<BigInt64Array, bigint>(
        nullable,
        0n,
        (length) => new BigInt64Array(length),
        (values, nulls) => (nulls ? { kind, values, nulls } : { kind, values }),
      );
    case 'int32':
      return new NumberWriter<Int32Array, number>(
        nullable,
        0,
        (length) => new Int32Array(length),
        (values, nulls) => (nulls ? { kind, values, nulls } : { kind, values }),
      );
  }
}
