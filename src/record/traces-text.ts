/**
 * JSON text written as bytes, straight from the bytes of the body: no string is made on the way. Texts lie in arenas that
 * are never overwritten, so that a finished text may be kept as a view until the batch is built.
 */
import { isUtf8 } from 'node:buffer';
import { textOfDouble } from '../wire/json-number.ts';

const ARENA_BYTES_AT_FIRST = 2 * 1024;
const ARENA_BYTES_MAX = 1024 * 1024;
/** Up to so many keys of one object, doubles are looked for by comparing hashes pairwise; beyond, in a Set. */
const KEYS_COMPARED_MAX = 48;

const HEX = '0123456789abcdef';
const COMMA = 0x2c;
const COLON = 0x3a;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

export class JsonText {
  #arena: Buffer = Buffer.allocUnsafeSlow(ARENA_BYTES_AT_FIRST);
  #start = 0;
  #at = 0;
  /** The text is ASCII so far. */
  ascii = true;
  readonly #hashes = new Int32Array(KEYS_COMPARED_MAX);
  #keyCount = 0;
  #keys: Set<string> | undefined;

  /** Begins a new text. What was begun and not taken is forgotten. */
  begin(): void {
    this.#at = this.#start;
    this.ascii = true;
  }

  /** Begins to watch for keys that occur twice (one object at a time). */
  beginKeys(): void {
    this.#keyCount = 0;
    this.#keys = undefined;
  }

  #reserve(count: number): void {
    if (this.#arena.length - this.#at >= count) return;
    const written = this.#at - this.#start;
    const wanted = Math.max(written + count, Math.min(this.#arena.length * 2, ARENA_BYTES_MAX));
    const arena = Buffer.allocUnsafeSlow(wanted);
    arena.set(this.#arena.subarray(this.#start, this.#at));
    this.#arena = arena;
    this.#start = 0;
    this.#at = written;
  }

  /** One ASCII character. */
  byte(code: number): void {
    if (this.#at >= this.#arena.length) this.#reserve(64);
    this.#arena[this.#at++] = code;
  }

  comma(): void {
    this.byte(COMMA);
  }

  colon(): void {
    this.byte(COLON);
  }

  /** ASCII text, copied as it is. */
  plain(text: string): void {
    const length = text.length;
    this.#reserve(length);
    const arena = this.#arena;
    let at = this.#at;
    for (let i = 0; i < length; i++) arena[at++] = text.charCodeAt(i);
    this.#at = at;
  }

  /** Any text that is JSON already. */
  json(text: string): void {
    const length = Buffer.byteLength(text, 'utf8');
    this.#reserve(length);
    if (length !== text.length) this.ascii = false;
    this.#at += this.#arena.write(text, this.#at, length, 'utf8');
  }

  /** A double; NaN and ±Infinity as strings. False: it was one of those. */
  double(value: number): boolean {
    if (value >= 0 && value < 10 && (value | 0) === value && !Object.is(value, -0)) {
      this.byte(0x30 + value);
      return true;
    }
    if (Number.isFinite(value)) {
      this.plain(textOfDouble(value));
      return true;
    }
    this.plain(`"${value}"`);
    return false;
  }

  /** Base64 of bytes[start, stop), quoted. */
  base64(bytes: Buffer, start: number, stop: number): void {
    this.plain(`"${bytes.toString('base64', start, stop)}"`);
  }

  /** The UTF-8 text bytes[start, stop), quoted and escaped. False: it is not UTF-8; what is not, is written as U+FFFD. */
  string(bytes: Buffer, start: number, stop: number): boolean {
    this.#reserve(stop - start + 2);
    const arena = this.#arena;
    const from = this.#at;
    let at = from;
    let bits = 0;
    arena[at++] = QUOTE;
    for (let i = start; i < stop; i++) {
      const c = bytes[i]!;
      if (c < 0x20 || c === QUOTE || c === BACKSLASH) {
        this.#at = at;
        return this.#escaped(bytes, start, stop, i, bits);
      }
      bits |= c;
      arena[at++] = c;
    }
    arena[at++] = QUOTE;
    this.#at = at;
    return bits < 0x80 || this.#checked(bytes, start, stop, from);
  }

  /** Goes on with `string` at a byte that needs an escape. */
  #escaped(bytes: Buffer, start: number, stop: number, resume: number, bitsSoFar: number): boolean {
    const from = this.#at - (resume - start) - 1;
    const offset = from - this.#start;
    let bits = bitsSoFar;
    for (let i = resume; i < stop; i++) {
      const c = bytes[i]!;
      this.#reserve(stop - i + 8);
      const arena = this.#arena;
      if (c === QUOTE || c === BACKSLASH) {
        arena[this.#at++] = BACKSLASH;
        arena[this.#at++] = c;
      } else if (c < 0x20) {
        this.plain(`\\u00${HEX[c >>> 4]}${HEX[c & 15]}`);
      } else {
        bits |= c;
        arena[this.#at++] = c;
      }
    }
    this.byte(QUOTE);
    return bits < 0x80 || this.#checked(bytes, start, stop, this.#start + offset);
  }

  /** The text from `from` on is not ASCII: is it UTF-8? If not, it is written anew. */
  #checked(bytes: Buffer, start: number, stop: number, from: number): boolean {
    this.ascii = false;
    if (isUtf8(bytes.subarray(start, stop))) return true;
    this.#at = from;
    this.json(JSON.stringify(bytes.toString('utf8', start, stop)));
    return false;
  }

  /** Notes the key bytes[start, stop). False: the object had it before (or its hash, which is treated alike: rarely). */
  isNewKey(bytes: Buffer, start: number, stop: number): boolean {
    const count = this.#keyCount++;
    if (count >= KEYS_COMPARED_MAX || this.#keys) return this.#isNewInSet(bytes, start, stop);
    let hash = 0x811c9dc5;
    for (let i = start; i < stop; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
    const hashes = this.#hashes;
    for (let i = 0; i < count; i++) if (hashes[i] === (hash | 0)) return false;
    hashes[count] = hash;
    return true;
  }

  /** Beyond the first keys, whose hashes are kept as text so that one Set serves all. */
  #isNewInSet(bytes: Buffer, start: number, stop: number): boolean {
    if (!this.#keys) {
      this.#keys = new Set();
      for (const hash of this.#hashes) this.#keys.add(`#${hash}`);
    }
    let hash = 0x811c9dc5;
    for (let i = start; i < stop; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
    if (this.#keys.has(`#${hash | 0}`)) return false;
    const key = bytes.toString('latin1', start, stop);
    if (this.#keys.has(`=${key}`)) return false;
    this.#keys.add(`=${key}`);
    return true;
  }

  get length(): number {
    return this.#at - this.#start;
  }

  /** The text as a string; the next text overwrites it. */
  takeText(): string {
    return this.ascii
      ? this.#arena.toString('latin1', this.#start, this.#at)
      : this.#arena.toString('utf8', this.#start, this.#at);
  }

  /** The text's bytes, which stay as they are for good. */
  takeBytes(): Buffer {
    const bytes = this.#arena.subarray(this.#start, this.#at);
    this.#start = this.#at;
    return bytes;
  }
}
