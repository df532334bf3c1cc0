/** Rows of a batch as plain objects, and grouped as renderers take them. Independent of how batches are built. */
import { type ColumnBatch, NULL_ID } from '../../src/core/columns.ts';
import type { Row, RowValue } from '../../src/record/decoder.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Throws when a column does not fit its batch: wrong length, an id beyond the dictionary, text that is not UTF-8. */
export function rowsOf(batch: ColumnBatch): Row[] {
  const rows: Row[] = Array.from({ length: batch.rowCount }, () => ({}));
  for (const [name, column] of Object.entries(batch.columns)) {
    const length = 'ids' in column ? column.ids.length : column.values.length;
    if (length !== batch.rowCount) throw new Error(`column ${name} has ${length} rows of ${batch.rowCount}`);
    for (let row = 0; row < batch.rowCount; row++) {
      let value: RowValue;
      if ('ids' in column) {
        const id = column.ids[row]!;
        if (id === NULL_ID) {
          value = null;
        } else {
          if (id + 1 >= column.offsets.length)
            throw new Error(`column ${name} row ${row}: id ${id} is not in its dictionary`);
          const bytes = column.bytes.subarray(column.offsets[id]!, column.offsets[id + 1]!);
          value = column.kind === 'string' ? utf8.decode(bytes) : Uint8Array.from(bytes);
        }
      } else {
        value = column.nulls?.[row] === 1 ? null : column.values[row]!;
      }
      rows[row]![name] = value;
    }
  }
  return rows;
}

/** Rows of one item each, in order of `item`, then `point`. */
export function itemsOf(rows: readonly Row[]): Row[][] {
  const items = new Map<string, Row[]>();
  for (const row of rows) {
    const key = `${row.item}`;
    const item = items.get(key);
    if (item) item.push(row);
    else items.set(key, [row]);
  }
  const groups = [...items.values()].sort((a, b) => Number(a[0]!.item) - Number(b[0]!.item));
  for (const group of groups) group.sort((a, b) => Number(a.point) - Number(b.point));
  return groups;
}
