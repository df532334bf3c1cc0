/**
 * Large buffers are let go of at once, not when the garbage collector comes to it: what the in-flight budget counts as released
 * must be released.
 */
import type { Column } from './columns.ts';

/**
 * A column may be a view of a buffer that a whole small batch shares (record/batch-builder.ts): then the buffer goes with the batch.
 */
function letGoOfOwn(view: ArrayBufferView): void {
  if (view.byteLength === view.buffer.byteLength) letGo(view);
}

/** Gives back the whole buffer behind `bytes`. The caller is its only user; afterwards it has length 0. */
export function letGo(bytes: ArrayBufferView): void {
  const { buffer } = bytes;
  // An empty one is gone already, or stands for all absent columns.
  if (buffer instanceof ArrayBuffer && buffer.byteLength > 0) buffer.transfer(0);
}

export function letGoOfColumn(column: Column): void {
  if ('ids' in column) {
    letGoOfOwn(column.ids);
    letGoOfOwn(column.offsets);
    letGoOfOwn(column.bytes);
  } else {
    letGoOfOwn(column.values);
    if (column.nulls) letGoOfOwn(column.nulls);
  }
}

/** Of the same bytes. */
export function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}
