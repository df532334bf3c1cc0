/** A growing little-endian byte buffer, reused from page to page. */
import { letGo } from '../core/buffers.ts';

const CAPACITY_BYTES = 64 * 1024;

export class ByteWriter {
  #bytes: Buffer<ArrayBuffer>;
  length = 0;

  constructor(capacityBytes = CAPACITY_BYTES) {
    this.#bytes = Buffer.allocUnsafeSlow(capacityBytes);
  }

  /** `bytesKeptMax`: more room than that is given back. */
  clear(bytesKeptMax = Number.POSITIVE_INFINITY): void {
    this.length = 0;
    if (this.#bytes.byteLength <= bytesKeptMax) return;
    letGo(this.#bytes);
    this.#bytes = Buffer.allocUnsafeSlow(CAPACITY_BYTES);
  }

  reserve(count: number): void {
    const needed = this.length + count;
    if (needed <= this.#bytes.byteLength) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#bytes.byteLength * 2));
    this.#bytes.copy(grown, 0, 0, this.length);
    letGo(this.#bytes);
    this.#bytes = grown;
  }

  /** What was written, in a buffer of its own. The writer is used up. */
  finish(): Uint8Array {
    return new Uint8Array(this.#bytes.buffer.transfer(this.length));
  }

  /** Lets go of what was written at once: it may be large. The writer is used up. */
  release(): void {
    letGo(this.#bytes);
  }

  /** A view of what was written; good until the next write. */
  view(start = 0, end = this.length): Buffer {
    return this.#bytes.subarray(start, end);
  }

  byte(value: number): void {
    this.reserve(1);
    this.#bytes[this.length++] = value;
  }

  uint32(value: number): void {
    this.reserve(4);
    this.length = this.#bytes.writeUInt32LE(value >>> 0, this.length);
  }

  bytes(source: Uint8Array): void {
    this.reserve(source.byteLength);
    this.#bytes.set(source, this.length);
    this.length += source.byteLength;
  }

  /** Room for `count` bytes set to zero; returns where they start. */
  zeros(count: number): number {
    this.reserve(count);
    const start = this.length;
    this.#bytes.fill(0, start, start + count);
    this.length += count;
    return start;
  }

  /** Sets bits in a byte that was written before (little-endian bit packing). */
  orByte(at: number, bits: number): void {
    this.#bytes[at]! |= bits;
  }

  /** Unsigned LEB128 of a whole number below 2^53. */
  varint(value: number): void {
    let rest = value;
    while (rest >= 0x80) {
      this.byte((rest % 0x80) | 0x80);
      rest = Math.floor(rest / 0x80);
    }
    this.byte(rest);
  }

  varintBig(value: bigint): void {
    let rest = value;
    while (rest >= 0x80n) {
      this.byte(Number(rest & 0x7fn) | 0x80);
      rest >>= 7n;
    }
    this.byte(Number(rest));
  }

  /** Zigzag LEB128 of a whole number with |value| < 2^52. */
  zigzag(value: number): void {
    this.varint(value >= 0 ? value * 2 : -value * 2 - 1);
  }

  zigzagBig(value: bigint): void {
    this.varintBig(BigInt.asUintN(64, (value << 1n) ^ (value >> 63n)));
  }

  /**
   * Packs `count` numbers of `width` bits each, least significant bit first, as Parquet's hybrid and delta encodings do.
   * `count × width` must be a multiple of 8. Widths up to 32.
   */
  packed(values: Uint32Array | Uint8Array, start: number, count: number, width: number): void {
    if (width === 0) return;
    if (width > 24) {
      this.packedWide(values, start, count, width);
      return;
    }
    this.reserve((count * width) / 8);
    const bytes = this.#bytes;
    const end = start + count;
    let at = this.length;
    if (width === 8) {
      for (let i = start; i < end; i++) bytes[at++] = values[i]!;
    } else if (width === 16) {
      for (let i = start; i < end; i++) {
        const value = values[i]!;
        bytes[at++] = value;
        bytes[at++] = value >>> 8;
      }
    } else {
      let pending = 0;
      let bits = 0;
      for (let i = start; i < end; i++) {
        pending |= values[i]! << bits;
        bits += width;
        while (bits >= 8) {
          bytes[at++] = pending;
          pending >>>= 8;
          bits -= 8;
        }
      }
    }
    this.length = at;
  }

  /** The same of whole numbers of up to 53 bits: a few of them at a time, the low ones first. */
  packedWide(values: ArrayLike<number>, start: number, count: number, width: number): void {
    this.reserve((count * width) / 8);
    const bytes = this.#bytes;
    const end = start + count;
    let at = this.length;
    let pending = 0;
    let bits = 0;
    for (let i = start; i < end; i++) {
      let rest = values[i]!;
      for (let left = width; left > 0; left -= WIDE_STEP_BITS) {
        const high = Math.floor(rest / WIDE_STEP);
        pending |= (rest - high * WIDE_STEP) << bits;
        bits += Math.min(left, WIDE_STEP_BITS);
        rest = high;
        while (bits >= 8) {
          bytes[at++] = pending;
          pending >>>= 8;
          bits -= 8;
        }
      }
    }
    this.length = at;
  }
}

const WIDE_STEP_BITS = 16;
const WIDE_STEP = 2 ** WIDE_STEP_BITS;
