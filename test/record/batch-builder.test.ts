import { describe, expect, it } from 'vitest';
import { letGoOfColumn } from '../../src/core/buffers.ts';
import type { ColumnBatch } from '../../src/core/columns.ts';
import { seededRandom } from '../../src/core/random.ts';
import {
  joinBatches,
  letGoOfBatch,
  type PackedBatch,
  packBatch,
  transferList,
  unpackBatch,
} from '../../src/core/travelling-batch.ts';
import { decodeLogs } from '../../src/record/logs.ts';
import { SIGNAL_COLUMNS } from '../../src/record/schema.ts';
import { rowsOf } from '../support/rows.ts';

function batchOf(items: readonly unknown[]): ColumnBatch {
  const body = Buffer.from(JSON.stringify(items));
  const decoded = decodeLogs({ protocol: 'logs-json', body, contentType: '', path: '/', receivedAtMs: 5 });
  if (!decoded.ok) throw new Error(decoded.reason);
  return decoded.batch;
}

/** Fields come and go, so that what one batch has set the next one has not. */
function madeUp(seed: number, count: number): unknown[] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, (_, i) => ({
    message: `${'é'.repeat(random.next() * 20)} ${i}`,
    ...(random.next() < 0.5 ? { service: `s-${Math.floor(random.next() * 4)}` } : {}),
    ...(random.next() < 0.5 ? { timestamp: Math.floor(random.next() * 1e12) } : {}),
    ...(random.next() < 0.3 ? { 'dd.trace_id': String(random.next()), n: random.next() } : {}),
  }));
}

describe('small batches', () => {
  it('do not show what was in the ones before', () => {
    const wanted = new Map<number, unknown>();
    const sizes = [1, 0, 300, 7, 1000, 2, 20];
    for (const [seed, size] of sizes.entries()) wanted.set(seed, rowsOf(batchOf(madeUp(seed, size))));
    // Each after others than before, while some of those are still held.
    const held: ColumnBatch[] = [];
    for (const seed of [3, 3, 6, 2, 0, 5, 1, 4, 6]) {
      const batch = batchOf(madeUp(seed, sizes[seed]!));
      expect(rowsOf(batch)).toEqual(wanted.get(seed));
      held.push(batch);
    }
    expect(rowsOf(held[0]!)).toEqual(wanted.get(3));
  });

  it('lie in one buffer, which goes with the batch and not with a column', () => {
    const batch = batchOf(madeUp(1, 50));
    expect(transferList([batch])).toEqual([batch.page!.buffer]);
    for (const column of Object.values(batch.columns)) letGoOfColumn(column);
    expect(rowsOf(batch)).toEqual(rowsOf(batchOf(madeUp(1, 50))));
    letGoOfBatch(batch);
    expect(() => rowsOf(batch)).toThrow();
  });

  it('travel packed, and are the same on the other side', () => {
    for (const size of [0, 1, 100]) {
      const packed = packBatch(batchOf(madeUp(9, size)));
      expect('columns' in packed).toBe(false);
      const there = structuredClone(packed, { transfer: transferList([packed]) });
      expect(there.rowCount).toBe(size);
      const unpacked = unpackBatch(there, SIGNAL_COLUMNS.logs);
      expect(rowsOf(unpacked)).toEqual(rowsOf(batchOf(madeUp(9, size))));
      expect(Object.keys(unpacked.columns)).toEqual(SIGNAL_COLUMNS.logs.map(({ name }) => name));
    }
  });

  it('several travel in one page, which goes with the last of them', () => {
    const sizes = [3, 0, 40, 1];
    const packed = sizes.map((size, seed) => packBatch(batchOf(madeUp(seed, size))) as PackedBatch);
    joinBatches(packed);
    expect(transferList(packed)).toHaveLength(1);
    const there = structuredClone(packed, { transfer: transferList(packed) });
    const [page] = transferList(there) as [ArrayBuffer];
    for (const [seed, size] of sizes.entries())
      expect(rowsOf(unpackBatch(there[seed]!, SIGNAL_COLUMNS.logs))).toEqual(rowsOf(batchOf(madeUp(seed, size))));
    // On their way again, without one that is not wanted any more: the page stays for it until then.
    const [first, second, ...others] = there as [PackedBatch, PackedBatch, ...PackedBatch[]];
    letGoOfBatch(first);
    letGoOfBatch(first);
    joinBatches([second]);
    joinBatches(others);
    expect(transferList([second, ...others])).toHaveLength(2);
    expect(page.detached).toBe(true);
    for (const [at, batch] of others.entries())
      expect(rowsOf(unpackBatch(batch, SIGNAL_COLUMNS.logs))).toEqual(rowsOf(batchOf(madeUp(at + 2, sizes[at + 2]!))));
  });

  it('large ones keep a buffer per column, and travel as they are', () => {
    const batch = batchOf(madeUp(2, 30_000));
    expect(transferList([batch]).length).toBeGreaterThan(10);
    expect(packBatch(batch)).toBe(batch);
    expect(unpackBatch(batch, SIGNAL_COLUMNS.logs)).toBe(batch);
  });
});
