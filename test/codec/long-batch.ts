/** Batches with enough rows for several pages: sorted, falling and random numbers, NaN, long texts, and pages of nulls. */
import { type Column, type ColumnBatch, type ColumnSchema, NULL_ID } from '../../src/core/columns.ts';
import { seededRandom } from '../../src/core/random.ts';
import { longColumn, textColumn } from './id-columns.ts';

export type Value = bigint | number | Uint8Array;

export function valueAt(column: Column, row: number): Value | null {
  if ('ids' in column) {
    const id = column.ids[row]!;
    return id === NULL_ID ? null : column.bytes.subarray(column.offsets[id]!, column.offsets[id + 1]!);
  }
  return column.nulls?.[row] === 1 ? null : column.values[row]!;
}

export const LONG_SCHEMA: ColumnSchema[] = [
  { name: 'position', kind: 'int64', nullable: false, help: '' },
  { name: 'falling', kind: 'timestampMs', nullable: false, help: '' },
  { name: 'item', kind: 'int32', nullable: true, help: '' },
  { name: 'value', kind: 'double', nullable: true, help: '' },
  { name: 'odd', kind: 'double', nullable: false, help: '' },
  { name: 'name', kind: 'string', nullable: true, help: '' },
  { name: 'late', kind: 'string', nullable: true, help: '' },
  { name: 'none', kind: 'string', nullable: true, help: '' },
  { name: 'id', kind: 'int64', nullable: true, unsigned: true, help: '' },
  { name: 'tags', kind: 'string', nullable: true, json: true, help: '' },
];

export function longBatch(rows: number): ColumnBatch {
  const random = seededRandom(3).next;
  const whole = (max: number): number => Math.floor(random() * max);
  const names = Array.from({ length: 300 }, (_, i) => Buffer.from(`${'ä'.repeat(i % 50)}-${i}`));
  const ids = (choose: (row: number) => number): Uint32Array => Uint32Array.from({ length: rows }, (_, i) => choose(i));
  const dictionary = textColumn('string', names) as Extract<Column, { ids: Uint32Array }>;
  const nulls = Uint8Array.from({ length: rows }, () => whole(2));
  const values = Float64Array.from({ length: rows }, () => (whole(3) - 1) * random());
  const odd = values.map((value, i) => (i === 77 ? Number.NaN : value));
  return {
    rowCount: rows,
    columns: {
      position: longColumn(Array.from({ length: rows }, (_, i) => BigInt(i) - 5000n)),
      falling: { kind: 'timestampMs', values: BigInt64Array.from({ length: rows }, (_, i) => BigInt(rows - i)) },
      item: { kind: 'int32', values: Int32Array.from({ length: rows }, () => whole(2 ** 31) - 2 ** 30), nulls },
      value: { kind: 'double', values, nulls },
      odd: { kind: 'double', values: odd },
      name: { ...dictionary, ids: ids(() => (whole(4) ? whole(300) : NULL_ID)) },
      // A page of nulls, then values.
      late: { ...dictionary, ids: ids((i) => (i < 140_000 ? NULL_ID : whole(300))) },
      none: { ...dictionary, ids: ids(() => NULL_ID) },
      id: longColumn(Array.from({ length: rows }, () => BigInt(whole(2 ** 32)) << 31n)),
      tags: { ...dictionary, ids: ids(() => whole(300)) },
    },
  };
}
