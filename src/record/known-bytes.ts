/** Bytes that are looked for again and again at places where they mostly are: compared a word at a time, which takes less time than the way into native code. */
export class KnownBytes {
  readonly length: number;
  /** Four bytes each, little-endian, as many as there are whole ones. */
  readonly #words: Int32Array;
  /** The last four bytes: they may share some with the word before. Of fewer than four, the bytes themselves. */
  readonly #last: number;

  constructor(bytes: Uint8Array) {
    const view = viewOf(bytes);
    this.length = bytes.byteLength;
    this.#words = Int32Array.from({ length: this.length >>> 2 }, (_, i) => view.getInt32(i * 4, true));
    this.#last = this.length < 4 ? shortBytes(view, 0, this.length) : view.getInt32(this.length - 4, true);
  }

  /** Whether they stand at `offset`, before `end`, which is not beyond the view. */
  isAt(view: DataView, offset: number, end: number): boolean {
    if (offset + this.length > end) return false;
    if (this.length < 4) return shortBytes(view, offset, this.length) === this.#last;
    const words = this.#words;
    for (let i = 0; i < words.length; i++) if (view.getInt32(offset + i * 4, true) !== words[i]) return false;
    return view.getInt32(offset + this.length - 4, true) === this.#last;
  }
}

function shortBytes(view: DataView, offset: number, length: number): number {
  let bytes = 0;
  for (let i = 0; i < length; i++) bytes = bytes * 256 + view.getUint8(offset + i);
  return bytes;
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
