/**
 * Large buffers are let go of at once, not when the garbage collector comes to it: what the in-flight budget counts as released
 * must be released.
 */
import type { Column, ColumnBatch } from './columns.ts';

/** Gives back the whole buffer behind `bytes`. The caller is its only user; afterwards it has length 0. */
export function letGo(bytes: ArrayBufferView): void {
  const { buffer } = bytes;
  if (buffer instanceof ArrayBuffer && !buffer.detached) buffer.transfer(0);
}

export function letGoOfColumn(column: Column): void {
  if ('ids' in column) {
    letGo(column.ids);
    letGo(column.offsets);
    letGo(column.bytes);
  } else {
    letGo(column.values);
    if (column.nulls) letGo(column.nulls);
  }
}

export function letGoOfBatch(batch: ColumnBatch): void {
  for (const column of Object.values(batch.columns)) letGoOfColumn(column);
}
