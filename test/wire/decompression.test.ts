import { deflateRawSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { ByteBudget } from '../../src/core/byte-budget.ts';
import { seededRandom } from '../../src/core/random.ts';
import { type Decompressed, decompress } from '../../src/wire/decompression.ts';

const MAX = 6 << 20;
const BUDGET_BYTES = 64 << 20;

function textOf(seed: number, bytes: number): Buffer {
  const random = seededRandom(seed);
  return Buffer.from(Array.from({ length: bytes }, () => 97 + Math.floor(random.next() * 8)));
}

function undone(body: Uint8Array, encoding: string, budget: ByteBudget): Decompressed & { ok: true } {
  const result = decompress(body, encoding, MAX, budget);
  if (!result.ok) throw new Error(result.reason);
  return result;
}

describe('a body that was compressed', () => {
  it.each([
    ['zstd', zstdCompressSync],
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['deflate', deflateRawSync],
  ] as const)('with %s comes back, small or large', (encoding, compress) => {
    const budget = ByteBudget.create(BUDGET_BYTES);
    for (const size of [1, 1000, 100_000, 30, 4 << 20, 5 << 20, 200]) {
      const text = textOf(size, size);
      const result = undone(compress(text), encoding, budget);
      expect(Buffer.compare(result.bytes, text)).toBe(0);
      expect(result.reservedBytes).toBe(size);
      // Up to a bound, memory is used again.
      expect(result.isShared === true).toBe(encoding === 'zstd' && size <= 4 << 20);
      budget.release(result.reservedBytes);
    }
  });

  it('by several encodings is undone from the last to the first, none of them in memory that another reads', () => {
    const budget = ByteBudget.create(BUDGET_BYTES);
    const text = textOf(1, 50_000);
    for (const [body, encoding] of [
      [zstdCompressSync(zstdCompressSync(text)), 'zstd, zstd'],
      [zstdCompressSync(gzipSync(text)), 'gzip, zstd'],
      [gzipSync(zstdCompressSync(text)), 'zstd,gzip'],
    ] as const) {
      const result = undone(body, encoding, budget);
      expect(Buffer.compare(result.bytes, text)).toBe(0);
      expect(result.isShared).toBeUndefined();
      budget.release(result.reservedBytes);
    }
  });

  it('stays as it is without an encoding, and is no larger than allowed', () => {
    const budget = ByteBudget.create(BUDGET_BYTES);
    const text = textOf(2, 100);
    expect(undone(text, 'identity', budget)).toEqual({ ok: true, bytes: text, reservedBytes: 0 });
    for (const encoding of ['zstd', 'gzip'] as const) {
      const body = (encoding === 'zstd' ? zstdCompressSync : gzipSync)(Buffer.alloc(MAX + 1));
      expect(decompress(body, encoding, MAX, budget)).toMatchObject({ ok: false, kind: 'too-large' });
      const broken = body.subarray(0, body.byteLength - 3);
      expect(decompress(broken, encoding, 2 * MAX, budget)).toMatchObject({ ok: false, kind: 'malformed' });
    }
    expect(decompress(text, 'br', MAX, budget)).toMatchObject({ ok: false, kind: 'unsupported-encoding' });
    expect(decompress(zstdCompressSync(text), 'zstd', MAX, ByteBudget.create(10))).toMatchObject({ kind: 'busy' });
    // Nothing stays reserved.
    expect(budget.tryReserve(BUDGET_BYTES)).toBe(true);
  });
});
