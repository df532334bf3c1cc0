import { describe, expect, it } from 'vitest';
import { ByteWriter } from '../../src/codec/byte-writer.ts';
import { seededRandom } from '../../src/core/random.ts';

/** Bits one behind another, the least significant of each number first. */
function packedSlowly(values: readonly number[], width: number): number[] {
  let bits = 0n;
  for (const [i, value] of values.entries()) bits |= BigInt(value) << BigInt(i * width);
  return Array.from({ length: (values.length * width) / 8 }, (_, i) => Number((bits >> BigInt(i * 8)) & 0xffn));
}

describe('bit packing', () => {
  const random = seededRandom(1);
  it.each(Array.from({ length: 53 }, (_, i) => i + 1))('of %i bits', (width) => {
    const values = Array.from({ length: 64 }, (_, i) => {
      if (i < 2) return i === 0 ? 0 : 2 ** width - 1;
      return Math.floor(random.next() * 2 ** width);
    });
    const expected = packedSlowly(values.slice(8, 48), width);
    const wide = new ByteWriter(16);
    wide.byte(7);
    wide.packedWide(Float64Array.from(values), 8, 40, width);
    expect([...wide.view()]).toEqual([7, ...expected]);
    if (width > 32) return;
    const narrow = new ByteWriter(16);
    narrow.packed(Uint32Array.from(values), 8, 40, width);
    expect([...narrow.view()]).toEqual(expected);
  });
});
