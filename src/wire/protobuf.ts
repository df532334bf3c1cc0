/**
 * A cursor over protobuf wire bytes (https://protobuf.dev/programming-guides/encoding). It knows no schema: callers switch on
 * tags, read the fields they know and keep the bytes of those they do not. Views, never copies; no call reads past `end`.
 *
 * Malformed input throws `ProtobufError` with the offset; decoders catch it once, at their edge.
 */
import { isUtf8 } from 'node:buffer';
import { viewOf } from '../core/buffers.ts';
import { NESTING_MAX } from '../core/limits.ts';

export const VARINT = 0;
export const FIXED64 = 1;
export const LENGTH_DELIMITED = 2;
export const GROUP_START = 3;
export const GROUP_END = 4;
export const FIXED32 = 5;

/** Strings up to this length are copied by hand, which is quicker than the way into native code. */
const SHORT_STRING_BYTES = 24;
const TWO_32 = 4294967296;
const WIDE_BYTES_MAX = 10;
/** The bits of four bytes of a varint that say that more follow. */
const GOES_ON = 0x80808080 | 0;

export class ProtobufError extends Error {
  readonly offset: number;

  constructor(reason: string, offset: number) {
    super(reason);
    this.name = 'ProtobufError';
    this.offset = offset;
  }
}

export class ProtobufReader {
  readonly buffer: Buffer;
  /** Where the cursor stands, counted from the start of the bytes given (not of this message). */
  offset: number;
  /** Where this message ends. */
  end: number;
  /** After `string`: false when the bytes are not UTF-8, so that the text is not what was sent. */
  stringExact = true;
  /** The varint passed last: low and high 32 bits, unsigned. */
  low = 0;
  high = 0;
  #view: DataView | undefined;

  constructor(bytes: Uint8Array, start = 0, end = bytes.byteLength) {
    this.buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.offset = start;
    this.end = end;
  }

  fail(reason: string, offset = this.offset): never {
    throw new ProtobufError(reason, offset);
  }

  done(): boolean {
    return this.offset >= this.end;
  }

  /** The next tag, `field × 8 + wire type`, up to 2^32 - 1: take the field by `tag >>> 3`. */
  tag(): number {
    const start = this.offset;
    // Fields up to 15 take one byte.
    const first = start < this.end ? this.buffer[start]! : 0x80;
    if (first < 0x80) {
      if (first < 8) this.fail('field number 0', start);
      this.offset = start + 1;
      return first;
    }
    this.passVarint();
    if (this.high !== 0) this.fail('tag beyond 32 bits', start);
    if (this.low < 8) this.fail('field number 0', start);
    return this.low;
  }

  /** A varint of up to 64 bits, into `low` and `high`. */
  passVarint(): void {
    const buffer = this.buffer;
    const end = this.end;
    const start = this.offset;
    let at = start;
    let low = 0;
    let high = 0;
    for (let shift = 0; ; shift += 7) {
      if (at >= end) this.fail('truncated varint', start);
      const byte = buffer[at]!;
      at += 1;
      const bits = byte & 0x7f;
      if (shift < 28) {
        low |= bits << shift;
      } else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else if (shift === 63) {
        if (byte > 1) this.fail('varint beyond 64 bits', start);
        high |= bits << 31;
      } else {
        high |= bits << (shift - 32);
      }
      if (byte < 0x80) break;
    }
    this.low = low >>> 0;
    this.high = high >>> 0;
    this.offset = at;
  }

  /** As `passVarint`, for ids and times: they mostly take nine or ten bytes, of which eight are read at once. */
  passWide(): void {
    const { buffer, view, offset, end } = this;
    if (end - offset >= WIDE_BYTES_MAX) {
      const first = view.getInt32(offset, true);
      const second = view.getInt32(offset + 4, true);
      const ninth = buffer[offset + 8]!;
      const tenth = ninth < 0x80 ? 0 : buffer[offset + 9]!;
      if ((first & second & GOES_ON) === GOES_ON && tenth <= 1) {
        const rest = sevens(second);
        this.low = (sevens(first) | (rest << 28)) >>> 0;
        this.high = ((rest >>> 4) | ((ninth & 0x7f) << 24) | (tenth << 31)) >>> 0;
        this.offset = offset + (ninth < 0x80 ? 9 : 10);
        return;
      }
    }
    this.passVarint();
  }

  /** An unsigned varint as a number; beyond 2^53 - 1 it throws (use `uint64` where such values are to be kept). */
  uint32Number(): number {
    const start = this.offset;
    const first = start < this.end ? this.buffer[start]! : 0x80;
    if (first < 0x80) {
      this.offset = start + 1;
      return first;
    }
    this.passVarint();
    if (this.high >= 0x200000) this.fail('number beyond 53 bits', start);
    return this.high * TWO_32 + this.low;
  }

  /** An unsigned varint as a number; beyond 2^53 - 1 it is NaN, and the caller keeps the bytes. */
  uint64Number(): number {
    this.passVarint();
    return this.high >= 0x200000 ? Number.NaN : this.high * TWO_32 + this.low;
  }

  uint64(): bigint {
    this.passVarint();
    if (this.high === 0) return BigInt(this.low);
    return (BigInt(this.high) << 32n) | BigInt(this.low);
  }

  /** Also int32 and enums, whose negative values are ten bytes long. */
  int64(): bigint {
    this.passVarint();
    if (this.high === 0) return BigInt(this.low);
    return (BigInt(this.high | 0) << 32n) | BigInt(this.low);
  }

  /** An int64 as a number; outside ±(2^53 - 1) it is NaN, and the caller keeps the bytes. */
  int64Number(): number {
    const start = this.offset;
    const first = start < this.end ? this.buffer[start]! : 0x80;
    if (first < 0x80) {
      this.offset = start + 1;
      return first;
    }
    this.passVarint();
    return safe((this.high | 0) * TWO_32 + this.low);
  }

  sint64(): bigint {
    const zigzag = this.uint64();
    return (zigzag >> 1n) ^ -(zigzag & 1n);
  }

  /** A zigzag varint as a number; outside ±(2^53 - 1) it is NaN, and the caller keeps the bytes. */
  sint64Number(): number {
    const start = this.offset;
    const first = start < this.end ? this.buffer[start]! : 0x80;
    if (first < 0x80) {
      this.offset = start + 1;
      return (first & 1) === 0 ? first >>> 1 : -((first + 1) >>> 1);
    }
    this.passVarint();
    // Halve without losing the bit that moves from the high to the low word.
    const low = ((this.low >>> 1) | (this.high << 31)) >>> 0;
    const half = (this.high >>> 1) * TWO_32 + low;
    if (half > Number.MAX_SAFE_INTEGER) return Number.NaN;
    return (this.low & 1) === 0 ? half : safe(-half - 1);
  }

  bool(): boolean {
    this.passVarint();
    return this.low !== 0 || this.high !== 0;
  }

  #fixed(size: 4 | 8): number {
    const start = this.offset;
    if (this.end - start < size) this.fail(`truncated fixed${size * 8}`, start);
    this.offset = start + size;
    return start;
  }

  /** Of the same bytes as `buffer`. */
  get view(): DataView {
    this.#view ??= viewOf(this.buffer);
    return this.#view;
  }

  double(): number {
    const at = this.#fixed(8);
    return this.view.getFloat64(at, true);
  }

  float(): number {
    const at = this.#fixed(4);
    return this.view.getFloat32(at, true);
  }

  fixed32(): number {
    const at = this.#fixed(4);
    return this.view.getUint32(at, true);
  }

  fixed64(): bigint {
    const at = this.#fixed(8);
    return this.view.getBigUint64(at, true);
  }

  /** Passes the length of a length-delimited field; the cursor stands at its content. Returns where that ends. */
  #length(): number {
    const start = this.offset;
    const length = this.uint32Number();
    if (length > this.end - this.offset) this.fail('length beyond the end of its message', start);
    return this.offset + length;
  }

  /** A view of the content of a length-delimited field. */
  bytes(): Uint8Array {
    const end = this.#length();
    const view = this.buffer.subarray(this.offset, end);
    this.offset = end;
    return view;
  }

  /** A text; sets `stringExact`. What is not UTF-8 is read as U+FFFD. */
  string(): string {
    const end = this.#length();
    const start = this.offset;
    const buffer = this.buffer;
    this.offset = end;
    this.stringExact = true;
    let at = start;
    while (at < end && buffer[at]! < 0x80) at += 1;
    if (at === end)
      return end - start <= SHORT_STRING_BYTES ? shortText(buffer, start, end) : buffer.toString('latin1', start, end);
    if (!isUtf8(buffer.subarray(at, end))) this.stringExact = false;
    return buffer.toString('utf8', start, end);
  }

  /** A reader over an embedded message; this cursor moves behind it. */
  message(): ProtobufReader {
    const end = this.#length();
    const inner = new ProtobufReader(this.buffer, this.offset, end);
    inner.#view = this.#view;
    this.offset = end;
    return inner;
  }

  /** As `message` without a new reader: `const outer = r.enter(); while (!r.done()) …; r.leave(outer)`. */
  enter(): number {
    const outer = this.end;
    this.end = this.#length();
    return outer;
  }

  leave(outer: number): void {
    this.offset = this.end;
    this.end = outer;
  }

  /** Passes a field whose tag was just read (`tag` for groups, whose end must name the same field). */
  skip(wireType: number, field = 0): void {
    switch (wireType) {
      case VARINT:
        this.passVarint();
        return;
      case FIXED64:
        this.#fixed(8);
        return;
      case LENGTH_DELIMITED:
        this.offset = this.#length();
        return;
      case GROUP_START:
        this.#skipGroup(field);
        return;
      case FIXED32:
        this.#fixed(4);
        return;
      default:
        this.fail(wireType === GROUP_END ? 'end of a group that was not begun' : `wire type ${wireType}`);
    }
  }

  /** `field` 0: whoever called did not say which field the group is, so that any end closes it. */
  #skipGroup(field: number): void {
    const open = [field];
    while (open.length > 0) {
      if (this.done()) this.fail('truncated group');
      const tag = this.tag();
      const wireType = tag & 7;
      if (wireType === GROUP_START) {
        open.push(tag >>> 3);
        if (open.length > NESTING_MAX) this.fail(`nested deeper than ${NESTING_MAX}`);
      } else if (wireType === GROUP_END) {
        const opened = open.pop();
        if (opened !== 0 && opened !== tag >>> 3) this.fail('group ends as another field');
      } else {
        this.skip(wireType);
      }
    }
  }

  /** Passes the field whose tag was read at `tagOffset`, and gives its bytes, tag included (a view). */
  skipField(tag: number, tagOffset: number): Uint8Array {
    this.skip(tag & 7, tag >>> 3);
    return this.buffer.subarray(tagOffset, this.offset);
  }
}

/** Four bytes of a varint, seven bits of each: 28. */
function sevens(word: number): number {
  return (word & 0x7f) | ((word >>> 1) & 0x3f80) | ((word >>> 2) & 0x1fc000) | ((word >>> 3) & 0xfe00000);
}

function safe(value: number): number {
  return Number.isSafeInteger(value) ? value : Number.NaN;
}

function shortText(buffer: Buffer, start: number, end: number): string {
  let text = '';
  for (let i = start; i < end; i++) text += String.fromCharCode(buffer[i]!);
  return text;
}
