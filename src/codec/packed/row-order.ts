/** Orders of rows: the one in which a batch's items were received, and batches in another order. */
import { type Column, type ColumnBatch, NULL_ID } from '../../core/columns.ts';

/** Rows by journal, position, item and point; undefined where the batch has no such columns. Rows that are equal in these stay in their order. */
export function receivedOrder({ columns, rowCount }: ColumnBatch): Uint32Array | undefined {
  const { journal, position, item, point } = columns;
  if (!journal || !('ids' in journal)) return undefined;
  const numbers = [position, item, point].map((column) => (column && 'values' in column ? column.values : undefined));
  const [positions, items, points] = numbers;
  if (!positions || !items || !points) return undefined;
  const rank = journalRanks(journal);
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
function journalRanks({ offsets, bytes }: Extract<Column, { ids: Uint32Array }>): number[] {
  const entry = (id: number): Uint8Array => bytes.subarray(offsets[id]!, offsets[id + 1]!);
  const sorted = Array.from({ length: offsets.length - 1 }, (_, id) => id).sort((a, b) =>
    Buffer.compare(entry(a), entry(b)),
  );
  const ranks: number[] = [];
  sorted.forEach((id, place) => {
    ranks[id] = place;
  });
  return ranks;
}

/** The same column with its rows in this order. Dictionaries are shared. */
export function reordered(column: Column, order: Uint32Array): Column {
  const count = order.length;
  if ('ids' in column) {
    const ids = new Uint32Array(count).fill(NULL_ID);
    for (let i = 0; i < count; i++) ids[i] = column.ids[order[i]!]!;
    return { ...column, ids };
  }
  const nulls = column.nulls ? { nulls: Uint8Array.from(order, (row) => column.nulls![row]!) } : {};
  switch (column.kind) {
    case 'double': {
      // As bits: moved as a number a NaN may lose its payload.
      const bits = new BigInt64Array(column.values.buffer, column.values.byteOffset, column.values.length);
      const moved = BigInt64Array.from(order, (row) => bits[row]!);
      return { kind: 'double', values: new Float64Array(moved.buffer), ...nulls };
    }
    case 'int32':
      return { kind: 'int32', values: Int32Array.from(order, (row) => column.values[row]!), ...nulls };
    default:
      return { kind: column.kind, values: BigInt64Array.from(order, (row) => column.values[row]!), ...nulls };
  }
}
