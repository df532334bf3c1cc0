/**
 * Builds one ColumnBatch row by row. Columns are typed arrays that double when full; strings are interned per column.
 * Usage: set the row's columns in any order, then `endRow()`; a column not set is null (or zero where not nullable).
 *
 * Most batches are small, and a buffer per column costs more than what is in it: to make, to hand to another thread, to let go of.
 * So a small batch leaves in one buffer, copied out of writers that the next one uses again.
 */
import { letGo } from '../core/buffers.ts';
import {
  type Column,
  type ColumnBatch,
  type ColumnKind,
  type ColumnSchema,
  LOW_WORD,
  NULL_ID,
} from '../core/columns.ts';

const ROWS_AT_FIRST = 256;
const ENTRIES_AT_FIRST = 64;
const ENTRY_BYTES_AT_FIRST = 2048;
/** A batch up to this size leaves in one buffer. */
const SHARED_BYTES_MAX = 256 * 1024;
const ALIGNMENT = 8;
/** Writers kept for the next batch, per signal. */
const SPARE_MAX = 2;

interface ColumnWriter {
  /** Makes room for at least `rows` rows. */
  grow(rows: number): void;
  /** Fills what was not set, up to `rows`, with the default. Rows before the last one set are never touched. */
  fillTo(rows: number): void;
  /** In buffers of its own; the writer is used up. */
  finish(rows: number): Column;
  /** What the column takes in a shared buffer. */
  sharedBytes(rows: number): number;
  /** A copy in a shared buffer; the writer may be used again after `reset`. */
  copyTo(shared: Shared, rows: number): Column;
  reset(): void;
}

/** A buffer that the columns of one batch share, filled from the front. */
class Shared {
  readonly #buffer: ArrayBuffer;
  #used = 0;

  constructor(bytes: number) {
    this.#buffer = new ArrayBuffer(bytes);
  }

  static bytesFor(bytes: number): number {
    return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
  }

  /** The first `length` elements. */
  copy<T extends Numbers>(values: T, length: number): T {
    const view = new (values.constructor as new (buffer: ArrayBuffer, offset: number, length: number) => T)(
      this.#buffer,
      this.#used,
      length,
    );
    view.set(values.subarray(0, length) as never);
    this.#used += Shared.bytesFor(length * values.BYTES_PER_ELEMENT);
    return view;
  }
}

export class StringWriter implements ColumnWriter {
  readonly #kind: 'string' | 'binary';
  #ids = new Uint32Array(ROWS_AT_FIRST);
  #next = 0;
  readonly #known = new Map<string, number>();
  /** Entries one behind another; entry i ends where entry i + 1 begins. */
  #bytes = Buffer.allocUnsafeSlow(ENTRY_BYTES_AT_FIRST);
  #offsets = new Uint32Array(ENTRIES_AT_FIRST);
  #count = 0;

  constructor(kind: 'string' | 'binary') {
    this.#kind = kind;
  }

  get byteLength(): number {
    return this.#offsets[this.#count]! + this.#ids.byteLength;
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
    const at = this.#room(bytes.byteLength);
    this.#bytes.set(bytes, at);
    return this.#end(at + bytes.byteLength);
  }

  /** Of an entry that is text. */
  textOf(id: number): string {
    return this.#bytes.toString('utf8', this.#offsets[id]!, this.#offsets[id + 1]!);
  }

  #addText(text: string): number {
    // A UTF-16 unit becomes three bytes at most.
    const at = this.#room(text.length * 3);
    return this.#end(at + this.#bytes.write(text, at, 'utf8'));
  }

  /** Where the next entry begins, with room for so many bytes. */
  #room(bytes: number): number {
    const at = this.#offsets[this.#count]!;
    if (at + bytes > this.#bytes.byteLength) {
      const grown = Buffer.allocUnsafeSlow(Math.max(at + bytes, this.#bytes.byteLength * 2));
      this.#bytes.copy(grown, 0, 0, at);
      letGo(this.#bytes);
      this.#bytes = grown;
    }
    return at;
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

  setId(row: number, id: number): void {
    if (row > this.#next) this.fillTo(row);
    this.#ids[row] = id;
    if (row >= this.#next) this.#next = row + 1;
  }

  grow(rows: number): void {
    if (this.#ids.length >= rows) return;
    const grown = new Uint32Array(Math.max(rows, this.#ids.length * 2));
    grown.set(this.#ids);
    letGo(this.#ids);
    this.#ids = grown;
  }

  fillTo(rows: number): void {
    if (this.#next >= rows) return;
    this.#ids.fill(NULL_ID, this.#next, rows);
    this.#next = rows;
  }

  finish(rows: number): Column {
    const bytesTotal = this.#offsets[this.#count]!;
    const ids = cut(this.#ids, rows);
    const offsets = cut(this.#offsets, this.#count + 1);
    const bytes = new Uint8Array((this.#bytes.buffer as ArrayBuffer).transfer(bytesTotal));
    return { kind: this.#kind, ids, offsets, bytes };
  }

  sharedBytes(rows: number): number {
    const words = Shared.bytesFor(rows * 4) + Shared.bytesFor((this.#count + 1) * 4);
    return words + Shared.bytesFor(this.#offsets[this.#count]!);
  }

  copyTo(shared: Shared, rows: number): Column {
    const ids = shared.copy(this.#ids, rows);
    const offsets = shared.copy(this.#offsets, this.#count + 1);
    // A plain array of bytes, not a Buffer.
    const bytes = shared.copy(new Uint8Array(this.#bytes.buffer), this.#offsets[this.#count]!);
    return { kind: this.#kind, ids, offsets, bytes };
  }

  reset(): void {
    this.#next = 0;
    this.#count = 0;
    this.#known.clear();
  }
}

class NumberWriter<T extends Float64Array | BigInt64Array | Int32Array, V extends number | bigint>
  implements ColumnWriter
{
  #values: T;
  /** `#values` as 32-bit words, for `setHalves`. */
  #words: Uint32Array | undefined;
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
  }

  set(row: number, value: V | undefined | null): void {
    if (row > this.#next) this.fillTo(row);
    if (value === undefined || value === null) {
      // A writer that is used again has the values of the batch before.
      this.#values[row] = this.#zero;
      if (this.#nullable) {
        this.#nulls ??= new Uint8Array(this.#values.length);
        this.#nulls[row] = 1;
        this.#hasNulls = true;
      }
    } else {
      this.#values[row] = value;
      // A row may be filled again after it ended (fields of a container that come behind its items).
      if (this.#nulls) this.#nulls[row] = 0;
    }
    if (row >= this.#next) this.#next = row + 1;
  }

  /** A 64-bit value as its unsigned halves, without a bigint. For columns of 64-bit integers only. */
  setHalves(row: number, low: number, high: number): void {
    if (row > this.#next) this.fillTo(row);
    this.#words ??= new Uint32Array(this.#values.buffer);
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
    this.#words = undefined;
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
    return Shared.bytesFor(rows * this.#values.BYTES_PER_ELEMENT) + (this.#hasNulls ? Shared.bytesFor(rows) : 0);
  }

  copyTo(shared: Shared, rows: number): Column {
    const values = shared.copy(this.#values, rows);
    return this.#wrap(values, this.#hasNulls && this.#nulls ? shared.copy(this.#nulls, rows) : undefined);
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

export class BatchBuilder {
  /** Index of the row being filled. */
  row = 0;
  #capacity = ROWS_AT_FIRST;
  #writers = new Map<string, ColumnWriter>();
  #list: ColumnWriter[] = [];
  #kinds = new Map<string, ColumnKind>();
  readonly #schema: readonly ColumnSchema[];

  constructor(schema: readonly ColumnSchema[]) {
    this.#schema = schema;
    const spare = SPARE.get(schema)?.pop();
    if (spare) {
      ({ writers: this.#writers, list: this.#list, kinds: this.#kinds, capacity: this.#capacity } = spare);
      return;
    }
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
    spare.push({ writers, list, kinds, capacity });
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
    }
  }

  /** Once. */
  finish(): ColumnBatch {
    const columns: Record<string, Column> = {};
    for (const writer of this.#list) writer.fillTo(this.row);
    let bytes = 0;
    for (const writer of this.#list) bytes += writer.sharedBytes(this.row);
    if (bytes <= SHARED_BYTES_MAX && this.#capacity <= SPARE_ROWS_MAX) {
      const shared = new Shared(bytes);
      for (const [name, writer] of this.#writers) {
        columns[name] = writer.copyTo(shared, this.row);
        writer.reset();
      }
      this.#keepWriters();
      return { rowCount: this.row, columns };
    }
    for (const [name, writer] of this.#writers) columns[name] = writer.finish(this.row);
    return { rowCount: this.row, columns };
  }
}

interface Spare {
  writers: Map<string, ColumnWriter>;
  list: ColumnWriter[];
  kinds: Map<string, ColumnKind>;
  capacity: number;
}

/** Of more rows it would be memory that nobody counts. */
const SPARE_ROWS_MAX = 4096;
const SPARE = new Map<readonly ColumnSchema[], Spare[]>();

function writerOf(column: ColumnSchema): ColumnWriter {
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
        (values, nulls) => ({ kind, values, ...(nulls ? { nulls } : {}) }),
      );
    case 'int64':
    case 'timestampMs':
    case 'timestampNs':
      return new NumberWriter<BigInt64Array, bigint>(
        nullable,
        0n,
        (length) => new BigInt64Array(length),
        (values, nulls) => ({ kind, values, ...(nulls ? { nulls } : {}) }),
      );
    case 'int32':
      return new NumberWriter<Int32Array, number>(
        nullable,
        0,
        (length) => new Int32Array(length),
        (values, nulls) => ({ kind, values, ...(nulls ? { nulls } : {}) }),
      );
  }
}
