/** Segments written a column of a row group at a time are those of all rows at once, however groups cut the batches. */
import { describe, expect, it } from 'vitest';
import { mergedGroups, mergeSelections, type RowSelection } from '../../src/archive/merge.ts';
import { createParquetCodec } from '../../src/codec/parquet-codec.ts';
import type { Protocol, Signal } from '../../src/core/envelope.ts';
import { seededRandom } from '../../src/core/random.ts';
import { openBatch, packBatch, transferList } from '../../src/core/travelling-batch.ts';
import { decodeEnvelope } from '../../src/record/decode-envelope.ts';
import { SEGMENT_COLUMNS, SIGNAL_COLUMNS } from '../../src/record/schema.ts';

const codec = createParquetCodec();

/** Small batches that travelled and large ones that did not, with series that come again and rows that are left out. */
function madeUp(signal: Signal, seed: number): RowSelection[] {
  const random = seededRandom(seed);
  const pick = (count: number): number => Math.floor(random.next() * count);
  return Array.from({ length: 12 }, (_, position) => {
    const items = Array.from({ length: position === 5 ? 9000 : pick(60) + 1 }, (_, i) =>
      signal === 'metrics'
        ? {
            metric: `m${i % 40}`,
            points: [[1_700_000_000 + position, pick(5)]],
            ...(i % 3 === 0 ? { host: `h${i % 5}` } : {}),
            ...(i % 4 === 0 ? { interval: 10 } : {}),
          }
        : { message: `${pick(30)} of ${i}`, ...(pick(2) === 0 ? { 'dd.trace_id': String(pick(1e9)) } : {}) },
    );
    const protocol: Protocol = signal === 'metrics' ? 'series-v1-json' : 'logs-json';
    const body = Buffer.from(JSON.stringify(signal === 'metrics' ? { series: items } : items));
    const decoded = decodeEnvelope({ protocol, body, contentType: '', path: '/', receivedAtMs: 5 });
    if (!decoded.ok) throw new Error(decoded.reason);
    const { batch } = decoded;
    const some = Uint32Array.from({ length: batch.rowCount }, (_, row) => row).filter(() => pick(3) > 0);
    return {
      batch: openBatch(packBatch(batch), SIGNAL_COLUMNS[signal]),
      rows: position % 3 === 0 ? some : undefined,
      ...{ journal: 'j-1', position, receivedAtMs: 5, protocol, requestPath: '/', isLastUse: true },
    };
  });
}

describe.each(['metrics', 'logs'] as const)('row groups of %s', (signal) => {
  it.each([1000, 777, 100_000])('of at most %i rows', (rowsMax) => {
    const schema = SEGMENT_COLUMNS[signal];
    // Known to the thread, so that all decode alike.
    madeUp(signal, 7);
    const options = { level: 3, metadata: { a: 'b' } };
    const whole = mergeSelections(schema, madeUp(signal, 7));
    const wanted = codec.encode(schema, whole, { ...options, rowGroupRowsMax: rowsMax });
    const selections = madeUp(signal, 7);
    const written = codec.encodeGroups(schema, mergedGroups(selections, rowsMax), options);
    expect(Buffer.compare(written, wanted)).toBe(0);
    // Nothing of what went in is left.
    for (const { batch } of selections) {
      const [buffer] = batch.page ? [batch.page.buffer] : transferList([batch]);
      expect(buffer?.byteLength).toBe(0);
    }
  });
});
