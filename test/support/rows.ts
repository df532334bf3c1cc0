/** Rows of a batch as plain objects, and grouped as renderers take them. Independent of how batches are built. */
import { selectRows } from '../../src/archive/merge.ts';
import { type ColumnBatch, type ColumnSchema, isAbsent, NULL_ID } from '../../src/core/columns.ts';
import { SERIES_INTERVAL, SERIES_TEXTS, SERIES_WORDS, SeriesTable } from '../../src/core/series-table.ts';
import type { Row, RowValue } from '../../src/record/decoder.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A decoded batch as a merge makes it: every column in full, in buffers of its own. */
export function wholeBatch(schema: readonly ColumnSchema[], batch: ColumnBatch): ColumnBatch {
  return selectRows(
    schema,
    batch,
    Uint32Array.from({ length: batch.rowCount }, (_, row) => row),
  );
}

/** Throws when a column does not fit its batch: wrong length, an id beyond the dictionary, text that is not UTF-8. */
export function rowsOf(batch: ColumnBatch): Row[] {
  const rows: Row[] = Array.from({ length: batch.rowCount }, () => ({}));
  for (const [name, column] of Object.entries(batch.columns)) {
    if (isAbsent(column)) {
      for (const row of rows) row[name] = null;
      continue;
    }
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
  fillFromSeries(rows, batch);
  return rows;
}

/** Columns that rows share with others of their series. Throws when a row has one of its own as well. */
function fillFromSeries(rows: Row[], { series }: ColumnBatch): void {
  if (!series) return;
  if (series.ids.length !== rows.length) throw new Error(`series of ${series.ids.length} rows of ${rows.length}`);
  const table = new SeriesTable(series.table);
  for (const [at, row] of rows.entries()) {
    const id = series.ids[at]!;
    if (id === NULL_ID) continue;
    for (const name of [...SERIES_TEXTS, SERIES_INTERVAL])
      if (row[name] !== null) throw new Error(`column ${name} row ${at} is set beside its series`);
    for (const [field, name] of SERIES_TEXTS.entries()) {
      const text = table.records[id * SERIES_WORDS + field]!;
      row[name] = text === NULL_ID ? null : utf8.decode(Uint8Array.from(table.textBytes(text)));
    }
    const interval = new BigInt64Array(1);
    if (table.copyInterval(id, new Uint32Array(interval.buffer), 0)) row[SERIES_INTERVAL] = interval[0]!;
  }
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
