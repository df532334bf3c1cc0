/** Where the columns of a small batch go together. */
import { aligned } from '../core/travelling-batch.ts';

/** Up to so many words or bytes, a loop is quicker than the way into native code. */
const LOOP_MAX = 64;

/** All of it that is read is written before. */
function unzeroed(byteLength: number): ArrayBuffer {
  return Buffer.allocUnsafeSlow(byteLength).buffer as ArrayBuffer;
}

/** A buffer that the columns of one batch share, filled from the front; room for the layout comes first. */
export class SharedBuffer {
  readonly buffer: ArrayBuffer;
  readonly #words: Uint32Array;
  readonly #bytes: Uint8Array;
  #used: number;

  /** Both counts are `aligned`. */
  constructor(layout: number, bytes: number) {
    this.buffer = unzeroed(layout + bytes);
    this.#words = new Uint32Array(this.buffer);
    this.#bytes = new Uint8Array(this.buffer);
    this.#used = layout;
  }

  /** Copies the first `count` words; returns where they lie. */
  placeWords(words: Uint32Array, count: number): number {
    const at = this.#used;
    const to = at / 4;
    const target = this.#words;
    if (count > LOOP_MAX) target.set(words.subarray(0, count), to);
    else for (let i = 0; i < count; i++) target[to + i] = words[i]!;
    this.#used += aligned(count * 4);
    return at;
  }

  /** Copies the first `count` bytes; returns where they lie. */
  placeBytes(bytes: Uint8Array, count: number): number {
    const at = this.#used;
    const target = this.#bytes;
    if (count > LOOP_MAX) target.set(bytes.subarray(0, count), at);
    else for (let i = 0; i < count; i++) target[at + i] = bytes[i]!;
    this.#used += aligned(count);
    return at;
  }
}
