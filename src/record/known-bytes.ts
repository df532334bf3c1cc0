/** Bytes that are looked for again and again at places where they mostly are: compared a word at a time, which takes less time than the way into native code. */
import { viewOf } from '../core/buffers.ts';

/** Where the words of many lie: an array of their own for each would take more than what is in it. */
const ARENA_WORDS = 64 * 1024;
let arena = new Int32Array(0);
let arenaUsed = 0;

export class KnownBytes {
  readonly length: number;
  /** From `#at`, four bytes each, little-endian, as many as there are whole ones. */
  readonly #words: Int32Array;
  readonly #at: number;
  /** The last four bytes: they may share some with the word before. Of fewer than four, the bytes themselves. */
  readonly #last: number;

  constructor(bytes: Uint8Array) {
    const view = viewOf(bytes);
    this.length = bytes.byteLength;
    const count = this.length >>> 2;
    if (arenaUsed + count > arena.length) {
      arena = new Int32Array(Math.max(ARENA_WORDS, count));
      arenaUsed = 0;
    }
    this.#words = arena;
    this.#at = arenaUsed;
    arenaUsed += count;
    for (let i = 0; i < count; i++) arena[this.#at + i] = view.getInt32(i * 4, true);
    this.#last = this.length < 4 ? shortBytes(view, 0, this.length) : view.getInt32(this.length - 4, true);
  }

  /** Whether they stand at `offset`, before `end`, which is not beyond the view. */
  isAt(view: DataView, offset: number, end: number): boolean {
    const length = this.length;
    if (offset + length > end) return false;
    if (length < 4) return shortBytes(view, offset, length) === this.#last;
    const words = this.#words;
    const wordsEnd = this.#at + (length >>> 2);
    for (let i = this.#at, at = offset; i < wordsEnd; i++, at += 4)
      if (view.getInt32(at, true) !== words[i]) return false;
    return view.getInt32(offset + length - 4, true) === this.#last;
  }
}

function shortBytes(view: DataView, offset: number, length: number): number {
  let bytes = 0;
  for (let i = 0; i < length; i++) bytes = bytes * 256 + view.getUint8(offset + i);
  return bytes;
}

/** Of the bytes from `start` to `end`, as 52 bits; `seed` sets apart what is looked for in one place and means another thing. */
export function hashBytes(view: DataView, start: number, end: number, seed = 0): number {
  let low = seed ^ (end - start);
  let high = low ^ 0x2545f491;
  let at = start;
  for (; at + 4 <= end; at += 4) {
    const word = view.getInt32(at, true);
    low = Math.imul(low ^ word, 0x85ebca6b);
    low ^= low >>> 15;
    high = Math.imul(high ^ word, 0xc2b2ae35);
    high ^= high >>> 13;
  }
  for (; at < end; at++) {
    low = Math.imul(low ^ view.getUint8(at), 0x85ebca6b);
    low ^= low >>> 15;
    high = Math.imul(high ^ view.getUint8(at), 0xc2b2ae35);
    high ^= high >>> 13;
  }
  return (high >>> 12) * 2 ** 32 + (low >>> 0);
}
