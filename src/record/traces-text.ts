/**
 * JSON text written as bytes, straight from the bytes of the body: no string is made on the way. Each text is written over the one before,
 * unless that is kept.
 */
import { isUtf8 } from 'node:buffer';
import { viewOf } from '../core/buffers.ts';
import { textOfDouble } from '../wire/json-number.ts';
import { stopsIn } from '../wire/json-scanner.ts';

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
  #view = viewOf(this.#arena);
  /** What texts were read from last, and a view of it. */
  #source: Buffer | undefined;
  #sourceView = this.#view;
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
    this.#view = viewOf(arena);
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
    // Four bytes are written at once.
    this.#reserve(stop - start + 5);
    const arena = this.#arena;
    const from = this.#at;
    let at = from;
    let bits = 0;
    arena[at++] = QUOTE;
    if (bytes !== this.#source) {
      this.#source = bytes;
      this.#sourceView = viewOf(bytes);
    }
    const sourceView = this.#sourceView;
    const view = this.#view;
    let i = start;
    let words = 0;
    for (const last = stop - 4; i <= last; i += 4) {
      const word = sourceView.getInt32(i, true);
      if (stopsIn(word) !== 0) break;
      words |= word;
      view.setInt32(at, word, true);
      at += 4;
    }
    if ((words & 0x80808080) !== 0) bits = 0x80;
    for (; i < stop; i++) {
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

  /** JSON that was written before, source[from, to). */
  copy(source: Buffer, from: number, to: number): void {
    this.#reserve(to - from);
    this.#at += source.copy(this.#arena, this.#at, from, to);
  }

  /** Where texts lie, and where the one at hand ends. */
  get arena(): Buffer {
    return this.#arena;
  }

  get end(): number {
    return this.#at;
  }

  /** The text at hand stays where it is, for good; returns where it begins. */
  keep(): number {
    const start = this.#start;
    this.#start = this.#at;
    return start;
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

  /** The text's bytes; the next text overwrites them. */
  takeBytes(): Buffer {
    return this.#arena.subarray(this.#start, this.#at);
  }
}
