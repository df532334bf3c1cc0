/**
 * A cursor over the bytes of one JSON document (RFC 8259). It checks the grammar of everything it passes, reads only what it
 * is asked for, and lets the caller keep the rest as the very bytes that were sent: duplicate keys, exact decimals, escapes.
 *
 * Malformed input throws `JsonSyntaxError` with the offset; decoders catch it once, at their edge.
 */
import { isUtf8 } from 'node:buffer';
import { viewOf } from '../core/buffers.ts';
import { NESTING_MAX } from '../core/limits.ts';
import { isExactDouble } from './json-number.ts';
import { sameBytes } from './same-bytes.ts';

export class JsonSyntaxError extends Error {
  readonly offset: number;

  constructor(reason: string, offset: number) {
    super(reason);
    this.name = 'JsonSyntaxError';
    this.offset = offset;
  }
}

export type JsonType = 'object' | 'array' | 'string' | 'number' | 'boolean' | 'null';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COMMA = 0x2c;
const COLON = 0x3a;
const MINUS = 0x2d;

/** Bits of a level: an element has been seen, so that a comma must come next; the container is an object. */
const SEEN = 1;
const IS_OBJECT = 2;
/** As many as make no buffer of their own. */
const LEVELS_AT_FIRST = 64;

const fatalUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export class JsonScanner {
  readonly bytes: Buffer;
  /** Where the cursor stands: at a value, or at what follows one. */
  offset = 0;
  /** After `readString`: false when the text is not exactly what was sent (lone surrogate, invalid UTF-8). */
  stringExact = true;
  /** After `readNumber`: false when the double does not stand for the decimal that was sent. */
  numberExact = true;
  /** After `passKey`: where the key lies. */
  keyStart = 0;
  keyEnd = 0;
  /** Of the same bytes, for reading several at once. */
  readonly view: DataView;
  /** Where the document ends. */
  readonly end: number;
  #depth = 0;
  /** At depth d: SEEN, IS_OBJECT. */
  #levels = new Uint8Array(LEVELS_AT_FIRST);

  constructor(bytes: Uint8Array, start = 0, end = bytes.byteLength) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.view = viewOf(bytes);
    this.offset = start;
    this.end = end;
    // A byte order mark is not JSON, but some senders write one and every parser skips it.
    if (start === 0 && end >= 3 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) this.offset = 3;
  }

  fail(reason: string, offset = this.offset): never {
    throw new JsonSyntaxError(reason, offset);
  }

  skipSpace(): void {
    const bytes = this.bytes;
    let at = this.offset;
    while (at < this.end) {
      const c = bytes[at]!;
      if (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09) break;
      at += 1;
    }
    this.offset = at;
  }

  /** Type of the value at the cursor, after white space. */
  type(): JsonType {
    this.skipSpace();
    if (this.offset >= this.end) this.fail('unexpected end of JSON');
    const c = this.bytes[this.offset]!;
    if (c === QUOTE) return 'string';
    if (c === OPEN_BRACE) return 'object';
    if (c === OPEN_BRACKET) return 'array';
    if (c === MINUS || (c >= 0x30 && c <= 0x39)) return 'number';
    if (c === 0x74 || c === 0x66) return 'boolean';
    if (c === 0x6e) return 'null';
    return this.fail('unexpected character');
  }

  /** True when only white space is left; else the document has trailing content. */
  atEnd(): boolean {
    this.skipSpace();
    return this.offset >= this.end;
  }

  enterObject(): void {
    this.#enter(OPEN_BRACE, 'an object');
  }

  enterArray(): void {
    this.#enter(OPEN_BRACKET, 'an array');
  }

  #enter(open: number, what: string): void {
    this.skipSpace();
    if (this.bytes[this.offset] !== open || this.offset >= this.end) this.fail(`expected ${what}`);
    this.offset += 1;
    this.#depth += 1;
    if (this.#depth > NESTING_MAX) this.fail(`nested deeper than ${NESTING_MAX}`);
    if (this.#depth === this.#levels.length) this.#addLevels();
    this.#levels[this.#depth] = open === OPEN_BRACE ? IS_OBJECT : 0;
  }

  #addLevels(): void {
    const levels = new Uint8Array(NESTING_MAX + 1);
    levels.set(this.#levels);
    this.#levels = levels;
  }

  /** Next key of the object entered last, cursor at its value; undefined at the closing brace, which is consumed. */
  nextKey(): string | undefined {
    if (!this.#nextMember(CLOSE_BRACE, 'an object')) return undefined;
    this.skipSpace();
    if (this.bytes[this.offset] !== QUOTE || this.offset >= this.end) this.fail('expected a key');
    const key = this.readString();
    this.skipSpace();
    if (this.bytes[this.offset] !== COLON || this.offset >= this.end) this.fail("expected ':'");
    this.offset += 1;
    this.skipSpace();
    return key;
  }

  /** Like `nextKey`, but the key stays unread, with its quotes at [keyStart, keyEnd). False at the closing brace. */
  passKey(): boolean {
    if (!this.#nextMember(CLOSE_BRACE, 'an object')) return false;
    this.skipSpace();
    if (this.bytes[this.offset] !== QUOTE || this.offset >= this.end) this.fail('expected a key');
    this.keyStart = this.offset;
    this.#passString();
    this.keyEnd = this.offset;
    this.skipSpace();
    if (this.bytes[this.offset] !== COLON || this.offset >= this.end) this.fail("expected ':'");
    this.offset += 1;
    this.skipSpace();
    return true;
  }

  /** How many bytes from the cursor on are those from `from` on, up to `length`. */
  sameBytes(from: number, length: number): number {
    return sameBytes(this.view, this.bytes, from, this.offset, Math.min(length, this.end - this.offset));
  }

  /**
   * Instead of `passKey`, after `sameBytes`: moves over bytes that were passed before between a value of an object (or its opening brace)
   * and the next value, which therefore need no checking. For members behind the first one to members behind the first one only.
   */
  passKnownKey(byteLength: number): void {
    this.#levels[this.#depth] = IS_OBJECT | SEEN;
    this.offset += byteLength;
  }

  /** True: the cursor is at the next element of the array entered last. False: its end was consumed. */
  nextElement(): boolean {
    if (!this.#nextMember(CLOSE_BRACKET, 'an array')) return false;
    this.skipSpace();
    return true;
  }

  #nextMember(close: number, what: string): boolean {
    this.skipSpace();
    if (this.offset >= this.end) this.fail(`unexpected end of JSON inside ${what}`);
    const c = this.bytes[this.offset]!;
    if (c === close) {
      this.offset += 1;
      this.#depth -= 1;
      return false;
    }
    const level = this.#levels[this.#depth]!;
    if ((level & SEEN) !== 0) {
      if (c !== COMMA) this.fail(`expected ',' in ${what}`);
      this.offset += 1;
      this.skipSpace();
      if (this.bytes[this.offset] === close) this.fail(`',' before the end of ${what}`);
    } else {
      this.#levels[this.#depth] = level | SEEN;
    }
    return true;
  }

  /** Reads the string at the cursor; sets `stringExact`. */
  readString(): string {
    const start = this.offset + 1;
    const flags = this.#passString();
    const end = this.offset - 1;
    this.stringExact = true;
    if (flags === 0) return this.bytes.toString('latin1', start, end);
    const inner = this.bytes.subarray(start, end);
    if ((flags & NON_ASCII) !== 0 && !isUtf8(inner)) this.stringExact = false;
    if ((flags & ESCAPED) === 0) return inner.toString('utf8');
    const text = JSON.parse(`"${inner.toString('utf8')}"`) as string;
    if (!text.isWellFormed()) this.stringExact = false;
    return text;
  }

  /** Moves over the string at the cursor and checks it. Returns 0 when its text is the very bytes between the quotes, all of them ASCII. */
  passString(): number {
    return this.#passString();
  }

  /** Moves over the string at the cursor and checks it; returns what is in it (NON_ASCII, ESCAPED). */
  #passString(): number {
    const bytes = this.bytes;
    if (bytes[this.offset] !== QUOTE || this.offset >= this.end) this.fail('expected a string');
    let at = this.offset + 1;
    let flags = 0;
    const end = this.end;
    const view = this.view;
    let seen = 0;
    for (const lastStep = end - 4; at <= lastStep; at += 4) {
      const word = view.getInt32(at, true);
      if (stopsIn(word) !== 0) break;
      seen |= word;
    }
    if ((seen & HIGHEST_BITS) !== 0) flags = NON_ASCII;
    while (at < end) {
      const c = bytes[at]!;
      if (c === QUOTE) {
        this.offset = at + 1;
        return flags;
      }
      if (c === BACKSLASH) {
        flags |= ESCAPED;
        at = this.#passEscape(at);
      } else if (c < 0x20) {
        this.fail('control character in a string', at);
      } else {
        if (c >= 0x80) flags |= NON_ASCII;
        at += 1;
      }
    }
    return this.fail('unterminated string');
  }

  #passEscape(at: number): number {
    switch (this.bytes[at + 1]) {
      case 0x22:
      case 0x5c:
      case 0x2f:
      case 0x62:
      case 0x66:
      case 0x6e:
      case 0x72:
      case 0x74:
        return at + 2;
      case 0x75: {
        if (at + 6 > this.end) this.fail('unterminated string');
        for (let i = at + 2; i < at + 6; i++) {
          const c = this.bytes[i]!;
          const isHex = (c >= 0x30 && c <= 0x39) || (c >= 0x41 && c <= 0x46) || (c >= 0x61 && c <= 0x66);
          if (!isHex) this.fail('bad \\u escape', i);
        }
        return at + 6;
      }
      default:
        return this.fail('bad escape', at);
    }
  }

  /** Reads the number at the cursor; sets `numberExact`. */
  readNumber(): number {
    const short = this.#readShortNumber();
    if (short !== undefined) {
      this.numberExact = true;
      return short;
    }
    const start = this.offset;
    this.#passNumber();
    const text = this.bytes.toString('latin1', start, this.offset);
    const value = Number(text);
    this.numberExact = isExactDouble(text, value);
    return value;
  }

  /**
   * A number of up to 15 digits without an exponent; undefined, the cursor unmoved, for any other. Its digits as an integer and the power
   * of ten are both exact doubles, so that the quotient is the double nearest to the decimal (Clinger 1990).
   */
  #readShortNumber(): number | undefined {
    const bytes = this.bytes;
    const end = this.end;
    let at = this.offset;
    const isNegative = bytes[at] === MINUS;
    if (isNegative) at += 1;
    const from = at;
    let digits = 0;
    let c = 0;
    for (; at < end; at += 1) {
      c = bytes[at]!;
      if (c < 0x30 || c > 0x39) break;
      digits = digits * 10 + (c - 0x30);
    }
    let count = at - from;
    // None, one zero too many, or more than are exact.
    if (count === 0 || count > SHORT_DIGITS_MAX || (count > 1 && bytes[from] === 0x30)) return undefined;
    let fraction = 0;
    if (at < end && c === 0x2e) {
      const point = at;
      for (at += 1; at < end; at += 1) {
        c = bytes[at]!;
        if (c < 0x30 || c > 0x39) break;
        digits = digits * 10 + (c - 0x30);
      }
      fraction = at - point - 1;
      count += fraction;
      if (fraction === 0 || count > SHORT_DIGITS_MAX) return undefined;
    }
    if (at < end && (c === 0x65 || c === 0x45)) return undefined;
    this.offset = at;
    const value = fraction === 0 ? digits : digits / POWERS_OF_TEN[fraction]!;
    return isNegative ? -value : value;
  }

  #passNumber(): void {
    const bytes = this.bytes;
    const end = this.end;
    let at = this.offset;
    if (bytes[at] === MINUS) at += 1;
    const first = at < end ? bytes[at]! : 0;
    if (first === 0x30) {
      at += 1;
    } else if (first >= 0x31 && first <= 0x39) {
      at = this.#passDigits(at);
    } else {
      this.fail('bad number', at);
    }
    if (at < end && bytes[at] === 0x2e) at = this.#passDigits(at + 1);
    if (at < end && (bytes[at] === 0x65 || bytes[at] === 0x45)) {
      at += 1;
      if (at < end && (bytes[at] === 0x2b || bytes[at] === MINUS)) at += 1;
      at = this.#passDigits(at);
    }
    this.offset = at;
  }

  #passDigits(start: number): number {
    const bytes = this.bytes;
    let at = start;
    while (at < this.end) {
      const c = bytes[at]!;
      if (c < 0x30 || c > 0x39) break;
      at += 1;
    }
    if (at === start) this.fail('bad number', at);
    return at;
  }

  readBoolean(): boolean {
    if (this.bytes[this.offset] === 0x74) {
      this.#passWord('true');
      return true;
    }
    this.#passWord('false');
    return false;
  }

  #passWord(word: 'true' | 'false' | 'null'): void {
    const end = this.offset + word.length;
    if (end > this.end || this.bytes.toString('latin1', this.offset, end) !== word) this.fail('unexpected word');
    this.offset = end;
  }

  /** Moves over the value at the cursor, checking its grammar. */
  skipValue(): void {
    const outer = this.#depth;
    do {
      switch (this.type()) {
        case 'string':
          this.#passString();
          break;
        case 'number':
          this.#passNumber();
          break;
        case 'boolean':
          this.readBoolean();
          break;
        case 'null':
          this.#passWord('null');
          break;
        case 'object':
          this.enterObject();
          break;
        case 'array':
          this.enterArray();
          break;
      }
      // Close every container that ends here, then stand at the next value of the innermost open one.
      while (this.#depth > outer) {
        const more = (this.#levels[this.#depth]! & IS_OBJECT) !== 0 ? this.#skipKey() : this.nextElement();
        if (more) break;
      }
    } while (this.#depth > outer);
  }

  #skipKey(): boolean {
    if (!this.#nextMember(CLOSE_BRACE, 'an object')) return false;
    this.skipSpace();
    this.#passString();
    this.skipSpace();
    if (this.bytes[this.offset] !== COLON || this.offset >= this.end) this.fail("expected ':'");
    this.offset += 1;
    return true;
  }

  /** Skips the value at the cursor and returns its bytes as sent (a view). */
  sliceValue(): Buffer {
    this.skipSpace();
    const start = this.offset;
    this.skipValue();
    return this.bytes.subarray(start, this.offset);
  }
}

const HIGHEST_BITS = 0x80808080;

/**
 * Four bytes of a string at once: the highest bit of each that is a quote, a backslash or a control character. The lowest bit set is right;
 * above it, there may be some too many.
 */
export function stopsIn(word: number): number {
  // The highest bits of a byte and of what it is compared with are the same: none of the three is set.
  const found = ((word ^ 0x22222222) - 0x01010101) | ((word ^ 0x5c5c5c5c) - 0x01010101) | (word - 0x20202020);
  return found & ~word & HIGHEST_BITS;
}

const SHORT_DIGITS_MAX = 15;
const POWERS_OF_TEN = Array.from({ length: SHORT_DIGITS_MAX + 1 }, (_, power) => 10 ** power);

const NON_ASCII = 1;
const ESCAPED = 2;

/** JSON text as a string, or undefined where it is not valid UTF-8 (the caller then keeps the bytes). */
export function textOfJson(bytes: Uint8Array): string | undefined {
  try {
    return fatalUtf8.decode(bytes);
  } catch {
    return undefined;
  }
}
