/**
 * XXH64 with seed 0, as Parquet's bloom filters use it, in halves of 32 bits: a bigint per multiplication would cost more than all else that is done
 * with an id. Source: the xxHash fast digest algorithm specification.
 */

/** The primes of the specification, as low and high word. */
const P1L = 0x85ebca87 | 0;
const P1H = 0x9e3779b1 | 0;
const P2L = 0x27d4eb4f | 0;
const P2H = 0xc2b2ae3d | 0;
const P3L = 0x9e3779f9 | 0;
const P3H = 0x165667b1 | 0;
const P4L = 0xc2b2ae63 | 0;
const P4H = 0x85ebca77 | 0;
const P5L = 0x165667c5 | 0;
const P5H = 0x27d4eb2f | 0;

const LANE_BITS = [1, 7, 12, 18] as const;

/** Upper word of the product of two unsigned words. */
function upperProduct(a: number, b: number): number {
  const a0 = a & 0xffff;
  const a1 = a >>> 16;
  const b0 = b & 0xffff;
  const b1 = b >>> 16;
  const middle = a1 * b0 + ((a0 * b0) >>> 16);
  const other = a0 * b1 + (middle & 0xffff);
  return (a1 * b1 + (middle >>> 16) + (other >>> 16)) | 0;
}

/** A 64-bit number as two words, worked on in place: the hash is in it after `ofLong` or `ofBytes`. */
export class Xxhash64 {
  low = 0;
  high = 0;
  readonly #lanes = new Int32Array(8);

  /** Of the eight bytes of a 64-bit number. */
  ofLong(low: number, high: number): void {
    this.#set(P5L, P5H);
    this.#add(8, 0);
    this.#mixEight(low, high);
    this.#finish();
  }

  ofBytes(bytes: Uint8Array): void {
    const size = bytes.byteLength;
    let at = 0;
    if (size >= 32) {
      at = this.#stripes(bytes);
    } else {
      this.#set(P5L, P5H);
    }
    this.#add(size, 0);
    for (; at + 8 <= size; at += 8) this.#mixEight(wordAt(bytes, at), wordAt(bytes, at + 4));
    if (at + 4 <= size) {
      const word = wordAt(bytes, at);
      this.low ^= Math.imul(word, P1L);
      this.high ^= (Math.imul(word, P1H) + upperProduct(word, P1L)) | 0;
      this.#rotate(23);
      this.#multiply(P2L, P2H);
      this.#add(P3L, P3H);
      at += 4;
    }
    for (; at < size; at++) {
      const byte = bytes[at]!;
      this.low ^= Math.imul(byte, P5L);
      this.high ^= (Math.imul(byte, P5H) + upperProduct(byte, P5L)) | 0;
      this.#rotate(11);
      this.#multiply(P1L, P1H);
    }
    this.#finish();
  }

  /** Takes whole stripes of 32 bytes; returns where the rest begins. */
  #stripes(bytes: Uint8Array): number {
    // The four accumulators, low and high word each: P1 + P2, P2, 0, -P1.
    this.#set(P1L, P1H);
    this.#add(P2L, P2H);
    const lanes = this.#lanes;
    lanes[0] = this.low;
    lanes[1] = this.high;
    lanes[2] = P2L;
    lanes[3] = P2H;
    lanes[4] = 0;
    lanes[5] = 0;
    lanes[6] = -P1L;
    lanes[7] = ~P1H;
    const end = bytes.byteLength - 31;
    let at = 0;
    for (; at < end; at += 32) {
      for (let lane = 0; lane < 4; lane++) {
        const from = at + lane * 8;
        this.#set(lanes[2 * lane]!, lanes[2 * lane + 1]!);
        this.#round(wordAt(bytes, from), wordAt(bytes, from + 4));
        lanes[2 * lane] = this.low;
        lanes[2 * lane + 1] = this.high;
      }
    }
    let low = 0;
    let high = 0;
    for (let lane = 0; lane < 4; lane++) {
      this.#set(lanes[2 * lane]!, lanes[2 * lane + 1]!);
      this.#rotate(LANE_BITS[lane]!);
      this.#add(low, high);
      low = this.low;
      high = this.high;
    }
    for (let lane = 0; lane < 4; lane++) {
      this.#set(0, 0);
      this.#round(lanes[2 * lane]!, lanes[2 * lane + 1]!);
      this.#set(low ^ this.low, high ^ this.high);
      this.#multiply(P1L, P1H);
      this.#add(P4L, P4H);
      low = this.low;
      high = this.high;
    }
    return at;
  }

  #set(low: number, high: number): void {
    this.low = low | 0;
    this.high = high | 0;
  }

  #add(low: number, high: number): void {
    const sum = (this.low >>> 0) + (low >>> 0);
    this.high = (this.high + high + (sum > 0xffffffff ? 1 : 0)) | 0;
    this.low = sum | 0;
  }

  #multiply(low: number, high: number): void {
    const own = this.low;
    this.high = (upperProduct(own, low) + Math.imul(own, high) + Math.imul(this.high, low)) | 0;
    this.low = Math.imul(own, low);
  }

  /** By 1 to 31 bits to the left. */
  #rotate(bits: number): void {
    const low = this.low;
    this.low = (low << bits) | (this.high >>> (32 - bits));
    this.high = (this.high << bits) | (low >>> (32 - bits));
  }

  /** `round` of the specification: this accumulator and one input. */
  #round(low: number, high: number): void {
    this.high =
      (this.high +
        upperProduct(low, P2L) +
        Math.imul(low, P2H) +
        Math.imul(high, P2L) +
        ((this.low >>> 0) + (Math.imul(low, P2L) >>> 0) > 0xffffffff ? 1 : 0)) |
      0;
    this.low = (this.low + Math.imul(low, P2L)) | 0;
    this.#rotate(31);
    this.#multiply(P1L, P1H);
  }

  #mixEight(low: number, high: number): void {
    const { low: ownLow, high: ownHigh } = this;
    this.#set(0, 0);
    this.#round(low, high);
    this.low ^= ownLow;
    this.high ^= ownHigh;
    this.#rotate(27);
    this.#multiply(P1L, P1H);
    this.#add(P4L, P4H);
  }

  #finish(): void {
    // Shifts to the right by 33, 29 and 32 bits.
    this.low ^= this.high >>> 1;
    this.#multiply(P2L, P2H);
    this.low ^= (this.low >>> 29) | (this.high << 3);
    this.high ^= this.high >>> 29;
    this.#multiply(P3L, P3H);
    this.low ^= this.high;
  }
}

/** Little-endian. */
function wordAt(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}
