/**
 * Bytes of log texts on their way into columns: an arena for strings that have to be unescaped, and a column that recognises the value of the row before, so that the usual batch interns each text once.
 */
import type { StringWriter } from './column-writers.ts';

const BLOCK_BYTES_AT_FIRST = 4 * 1024;
const BLOCK_BYTES_MAX = 256 * 1024;

/** Hands out pieces of larger blocks. What was handed out is never reused, as the batch keeps views until it is finished. */
export class ByteArena {
  #block = Buffer.alloc(0);
  #used = 0;
  #nextBytes = BLOCK_BYTES_AT_FIRST;

  /** A view of `byteLength` bytes with unspecified content. */
  take(byteLength: number): Buffer {
    if (this.#used + byteLength > this.#block.byteLength) {
      this.#block = Buffer.allocUnsafeSlow(Math.max(this.#nextBytes, byteLength));
      this.#nextBytes = Math.min(this.#nextBytes * 4, BLOCK_BYTES_MAX);
      this.#used = 0;
    }
    const view = this.#block.subarray(this.#used, this.#used + byteLength);
    this.#used += byteLength;
    return view;
  }

  /** Gives back the unused end of the view taken last. */
  giveBack(byteLength: number): void {
    this.#used -= byteLength;
  }
}

const BACKSLASH = 0x5c;

/**
 * The text of a JSON string as UTF-8, without going through a JavaScript string. The string's grammar has been checked.
 * `exact` is false when it holds a lone surrogate, which UTF-8 cannot say: U+FFFD stands in its place.
 */
export class StringReader {
  exact = true;
  readonly #bytes: Buffer;
  readonly #arena: ByteArena;
  /** No backslash lies in [searchedFrom, backslash); at `backslash` is one (infinite: none to the end). */
  #searchedFrom = 0;
  #backslash = -1;

  constructor(bytes: Buffer, arena: ByteArena) {
    this.#bytes = bytes;
    this.#arena = arena;
  }

  /** The first backslash in [start, end), or -1. Going forward through the body, each byte is searched once. */
  #firstEscape(start: number, end: number): number {
    if (start < this.#searchedFrom) {
      const found = this.#bytes.subarray(start, end).indexOf(BACKSLASH);
      return found === -1 ? -1 : start + found;
    }
    if (this.#backslash < start) {
      const found = this.#bytes.indexOf(BACKSLASH, start);
      this.#backslash = found === -1 ? Number.POSITIVE_INFINITY : found;
    }
    this.#searchedFrom = start;
    return this.#backslash < end ? this.#backslash : -1;
  }

  /** `start` and `end` lie inside the quotes. The result stays unchanged as long as the body does. */
  read(start: number, end: number): Uint8Array {
    const source = this.#bytes;
    this.exact = true;
    const first = this.#firstEscape(start, end);
    if (first === -1) return source.subarray(start, end);
    // Unescaped text is never longer than what it was written as.
    const target = this.#arena.take(end - start);
    let to = source.copy(target, 0, start, first);
    let from = first;
    while (from < end) {
      const c = source[from]!;
      if (c !== BACKSLASH) {
        target[to++] = c;
        from += 1;
        continue;
      }
      const escaped = source[from + 1]!;
      if (escaped !== 0x75) {
        target[to++] = SIMPLE_ESCAPES[escaped]!;
        from += 2;
        continue;
      }
      let point = hexAt(source, from + 2);
      from += 6;
      if (point >= 0xd800 && point <= 0xdfff) {
        const low =
          point < 0xdc00 && source[from] === BACKSLASH && source[from + 1] === 0x75 ? hexAt(source, from + 2) : 0;
        if (low >= 0xdc00 && low <= 0xdfff) {
          point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
          from += 6;
        } else {
          point = 0xfffd;
          this.exact = false;
        }
      }
      to = writeUtf8(target, to, point);
    }
    this.#arena.giveBack(end - start - to);
    return target.subarray(0, to);
  }
}

/** By the byte after the backslash; 0: it is none of these. */
export const SIMPLE_ESCAPES = new Uint8Array(256);
for (const [escaped, byte] of ['""', '\\\\', '//', 'b\b', 'f\f', 'n\n', 'r\r', 't\t']) {
  SIMPLE_ESCAPES[escaped!.charCodeAt(0)] = byte!.charCodeAt(0);
}

export function hexAt(bytes: Buffer, at: number): number {
  let value = 0;
  for (let i = at; i < at + 4; i++) {
    const c = bytes[i]!;
    value = (value << 4) | (c <= 0x39 ? c - 0x30 : (c | 0x20) - 0x61 + 10);
  }
  return value;
}

export function writeUtf8(target: Buffer, at: number, point: number): number {
  let to = at;
  if (point < 0x80) {
    target[to++] = point;
  } else if (point < 0x800) {
    target[to++] = 0xc0 | (point >> 6);
    target[to++] = 0x80 | (point & 0x3f);
  } else if (point < 0x10000) {
    target[to++] = 0xe0 | (point >> 12);
    target[to++] = 0x80 | ((point >> 6) & 0x3f);
    target[to++] = 0x80 | (point & 0x3f);
  } else {
    target[to++] = 0xf0 | (point >> 18);
    target[to++] = 0x80 | ((point >> 12) & 0x3f);
    target[to++] = 0x80 | ((point >> 6) & 0x3f);
    target[to++] = 0x80 | (point & 0x3f);
  }
  return to;
}

/** Texts that a column remembers besides the one of the row before. */
const SLOTS = 32;

/** A column of few different texts (status, host, service, …), filled from JSON strings. */
export class RepeatingColumn {
  readonly #writer: StringWriter;
  readonly #bytes: Buffer;
  readonly #reader: StringReader;
  #lastPlace = -1;
  #lastId = 0;
  #lastExact = true;
  /** Per slot: where a text begins and ends in the body (0, 0: none), its id; and whether the column holds it exactly. From the second text on. */
  #slots: Uint32Array | undefined;

  constructor(writer: StringWriter, bytes: Buffer, reader: StringReader) {
    this.#writer = writer;
    this.#bytes = bytes;
    this.#reader = reader;
  }

  /**
   * Fills the row with the JSON string whose text lies at [start, end); returns whether the column holds it exactly. `place`: where
   * the same text was read first, as far as known; two texts with one place are the same.
   */
  set(row: number, start: number, end: number, place: number): boolean {
    if (place !== this.#lastPlace) {
      this.#find(start, end);
      this.#lastPlace = place;
    }
    this.#writer.setId(row, this.#lastId);
    return this.#lastExact;
  }

  #find(start: number, end: number): void {
    // Most bodies have one text only.
    if (this.#lastPlace === -1) {
      this.#add(start, end);
      return;
    }
    const bytes = this.#bytes;
    this.#slots ??= new Uint32Array(SLOTS * 4);
    const slots = this.#slots;
    const length = end - start;
    // Of a few bytes: texts of one column that differ mostly do so in these. (`end` is the closing quote.)
    const sample =
      length +
      bytes[start]! * 3 +
      bytes[start + (length >> 2)]! * 5 +
      bytes[start + (length >> 1)]! * 7 +
      bytes[end - 1]! * 11;
    const slot = (sample & (SLOTS - 1)) * 4;
    const known = slots[slot]!;
    if (known !== 0 && slots[slot + 1]! - known === length && isSame(bytes, known, start, length)) {
      this.#lastId = slots[slot + 2]!;
      this.#lastExact = slots[slot + 3] === 1;
      return;
    }
    this.#add(start, end);
    slots[slot] = start;
    slots[slot + 1] = end;
    slots[slot + 2] = this.#lastId;
    slots[slot + 3] = this.#lastExact ? 1 : 0;
  }

  #add(start: number, end: number): void {
    this.#lastId = this.#writer.intern((this.#reader.read(start, end) as Buffer).toString('utf8'));
    this.#lastExact = this.#reader.exact;
  }
}

function isSame(bytes: Buffer, a: number, b: number, length: number): boolean {
  for (let i = length - 1; i >= 0; i--) if (bytes[a + i] !== bytes[b + i]) return false;
  return true;
}
