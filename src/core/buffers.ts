/**
 * Large buffers are let go of at once, not when the garbage collector comes to it: what the in-flight budget counts as released
 * must be released.
 */
import { batchTransferList, type Column, type TravellingBatch } from './columns.ts';

/**
 * A column may be a view of a buffer that a whole small batch shares (record/batch-builder.ts): then the buffer goes with the batch.
 */
function letGoOfOwn(view: ArrayBufferView): void {
  if (view.byteLength === view.buffer.byteLength) letGo(view);
}

/** Gives back the whole buffer behind `bytes`. The caller is its only user; afterwards it has length 0. */
export function letGo(bytes: ArrayBufferView): void {
  const { buffer } = bytes;
  if (buffer instanceof ArrayBuffer && !buffer.detached) buffer.transfer(0);
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

export function letGoOfBatch(batch: TravellingBatch): void {
  for (const buffer of batchTransferList(batch)) if (!buffer.detached) buffer.transfer(0);
}
