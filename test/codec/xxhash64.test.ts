import { xxhash64 } from 'hyparquet/src/xxhash.js';
import { expect, test } from 'vitest';
import { Xxhash64 } from '../../src/codec/xxhash64.ts';
import { seededRandom } from '../../src/core/random.ts';

const value = ({ low, high }: Xxhash64): bigint => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
const hash = new Xxhash64();

test('what the reference implementation gives', () => {
  for (const [text, expected] of [
    ['', 0xef46db3751d8e999n],
    ['a', 0xd24ec4f1a98c6e5bn],
    ['abc', 0x44bc2cf5ad770999n],
  ] as const) {
    hash.ofBytes(Buffer.from(text));
    expect(value(hash)).toBe(expected);
  }
});

test("the same as a reader's, of every length and of 64-bit numbers", () => {
  const random = seededRandom(11).next;
  for (let size = 0; size < 200; size++) {
    for (const fill of [() => 0, () => 255, () => Math.floor(random() * 256)]) {
      const bytes = Uint8Array.from({ length: size }, fill);
      hash.ofBytes(bytes);
      expect(value(hash), `${size} bytes`).toBe(xxhash64(bytes));
    }
  }
  for (let i = 0; i < 2000; i++) {
    const bytes = Buffer.from(Uint8Array.from({ length: 8 }, () => Math.floor(random() * 256)));
    hash.ofLong(bytes.readInt32LE(0), bytes.readInt32LE(4));
    expect(value(hash)).toBe(xxhash64(bytes));
  }
});
