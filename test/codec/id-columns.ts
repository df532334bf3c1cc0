/** Batches with a number and a text that are looked for, and enough beside them that filters find room. */
import { type Column, type ColumnBatch, type ColumnSchema, NULL_ID } from '../../src/core/columns.ts';

export const ID_SCHEMA: ColumnSchema[] = [
  { name: 'id', kind: 'int64', nullable: true, unsigned: true, bloom: true, help: '' },
  { name: 'text', kind: 'string', nullable: true, bloom: true, help: '' },
  { name: 'payload', kind: 'binary', nullable: false, help: '' },
];

export type Id = bigint | null;
export type Text = Buffer | null;

export function textColumn(kind: 'string' | 'binary', values: readonly Text[]): Column {
  const offsets = new Uint32Array(values.length + 1);
  values.forEach((bytes, i) => {
    offsets[i + 1] = offsets[i]! + (bytes?.byteLength ?? 0);
  });
  // An entry per row: equal texts come up more than once among them.
  const ids = Uint32Array.from(values, (bytes, i) => (bytes === null ? NULL_ID : i));
  return { kind, ids, offsets, bytes: Buffer.concat(values.filter((bytes) => bytes !== null)) };
}

export function longColumn(values: readonly Id[]): Column {
  const nulls = Uint8Array.from(values, (id) => (id === null ? 1 : 0));
  const longs = BigInt64Array.from(values, (id) => BigInt.asIntN(64, id ?? 0n));
  return { kind: 'int64', values: longs, ...(nulls.includes(1) ? { nulls } : {}) };
}

/** `payloadBytes` of each row do not compress. */
export function idBatch(
  ids: readonly Id[],
  texts: readonly Text[],
  random: () => number,
  payloadBytes = 160,
): ColumnBatch {
  const noise = (): Buffer => Buffer.from(Uint8Array.from({ length: payloadBytes }, () => Math.floor(random() * 256)));
  const columns = {
    id: longColumn(ids),
    text: textColumn('string', texts),
    payload: textColumn('binary', ids.map(noise)),
  };
  return { rowCount: ids.length, columns };
}
