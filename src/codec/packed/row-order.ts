/** Orders of rows: the one in which a batch's items were received, and batches in another order. */
import type { Column, ColumnBatch, DictionaryColumn } from '../../core/columns.ts';

/** Rows by journal, position, item and point; undefined where the batch has no such columns. Rows that are equal in these stay in their order. */
export function receivedOrder({ columns, rowCount }: ColumnBatch): Uint32Array | undefined {
  const { journal, position, item, point } = columns;
  if (!journal || !('ids' in journal)) return undefined;
  const numbers = [position, item, point].map((column) => (column && 'values' in column ? column.values : undefined));
  const [positions, items, points] = numbers;
  if (!positions || !items || !points) return undefined;
  const rank = entryRanks(journal);
  const compare = (a: number, b: number): number => {
    const byJournal = rank[journal.ids[a]!]! - rank[journal.ids[b]!]!;
    if (byJournal !== 0) return byJournal;
    if (positions[a] !== positions[b]) return positions[a]! < positions[b]! ? -1 : 1;
    if (items[a] !== items[b]) return items[a]! < items[b]! ? -1 : 1;
    if (points[a] !== points[b]) return points[a]! < points[b]! ? -1 : 1;
    return a - b;
  };
  const order = Uint32Array.from({ length: rowCount }, (_, row) => row);
  for (let row = 1; row < rowCount; row++) if (compare(row - 1, row) > 0) return order.sort(compare);
  return order;
}

/** Place of each entry among all, by its bytes. */
export function entryRanks({ offsets, bytes }: DictionaryColumn): Uint32Array {
  const entry = (id: number): Uint8Array => bytes.subarray(offsets[id]!, offsets[id + 1]!);
  const ids = Array.from({ length: offsets.length - 1 }, (_, id) => id);
  const ranks = new Uint32Array(ids.length);
  for (const [place, id] of ids.sort((a, b) => Buffer.compare(entry(a), entry(b))).entries()) ranks[id] = place;
  return ranks;
}

/** The same column with its rows in this order. Dictionaries are shared. */
export function reordered(column: Column, order: Uint32Array): Column {
  const count = order.length;
  if ('ids' in column) {
    const ids = new Uint32Array(count);
    for (let i = 0; i < count; i++) ids[i] = column.ids[order[i]!]!;
    const { kind, offsets, bytes } = column;
    return { kind, ids, offsets, bytes };
  }
  const rest: { nulls?: Uint8Array } = {};
  if (column.nulls) {
    rest.nulls = new Uint8Array(count);
    for (let i = 0; i < count; i++) rest.nulls[i] = column.nulls[order[i]!]!;
  }
  // As bits: moved as a number a NaN may lose its payload. By halves: no bigint is made on the way.
  const words = column.values.BYTES_PER_ELEMENT / 4;
  const from = new Int32Array(column.values.buffer, column.values.byteOffset, column.values.length * words);
  const to = new Int32Array(count * words);
  for (let i = 0; i < count; i++) {
    for (let word = 0; word < words; word++) to[i * words + word] = from[order[i]! * words + word]!;
  }
  const { kind } = column;
  if (kind === 'int32') return { kind, values: to, ...rest };
  if (kind === 'double') return { kind, values: new Float64Array(to.buffer), ...rest };
  return { kind, values: new BigInt64Array(to.buffer), ...rest };
}
