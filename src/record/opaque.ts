/** The row of last resort: bytes that were accepted but cannot be taken apart. Kept whole, never dropped. */
import type { ColumnBatch } from '../core/columns.ts';
import type { Signal } from '../core/envelope.ts';
import { BatchBuilder } from './batch-builder.ts';
import { SIGNAL_COLUMNS } from './schema.ts';

/** One row of kind `opaque` with `raw`; `shape` says what the bytes are. */
export function opaqueBatch(signal: Signal, raw: Uint8Array, receivedAtMs: number, shape: string): ColumnBatch {
  const builder = new BatchBuilder(SIGNAL_COLUMNS[signal]);
  const perMs = signal === 'traces' ? 1_000_000n : 1n;
  builder.strings('kind').set(0, 'opaque');
  builder.strings('shape').set(0, shape);
  builder.strings('raw').setBytes(0, raw);
  builder.longs('time').set(0, BigInt(Math.trunc(receivedAtMs)) * perMs);
  builder.endRow();
  return builder.finish();
}
