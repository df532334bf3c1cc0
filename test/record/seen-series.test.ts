/** Rows that name their series in a table say what rows with columns of their own say, also where a table ends in the middle of a batch. */
import { expect, test } from 'vitest';
import { mergeSelections } from '../../src/archive/merge.ts';
import { type ColumnBatch, NULL_ID } from '../../src/core/columns.ts';
import { SeriesTable } from '../../src/core/series-table.ts';
import { decodeMetrics } from '../../src/record/metrics.ts';
import { SEGMENT_COLUMNS } from '../../src/record/schema.ts';
import { rowsOf } from '../support/rows.ts';

/** All together more than a table has room for. */
const SERIES_PER_BODY = 9000;
const BODIES = 8;

function decoded(body: Buffer): ColumnBatch {
  const result = decodeMetrics({ protocol: 'series-v1-json', body, contentType: '', path: '/', receivedAtMs: 5 });
  if (!result.ok) throw new Error(result.reason);
  return result.batch;
}

function bodyOf(number: number): Buffer {
  const series = Array.from({ length: SERIES_PER_BODY }, (_, i) => ({
    metric: `m${number}.${i}`,
    points: [[i, 1]],
    ...(i % 3 === 0 ? { interval: 10 } : {}),
    ...(i % 5 === 0 ? { host: `h${i % 7}` } : {}),
  }));
  return Buffer.from(JSON.stringify({ series }));
}

test('rows of series that are sent again are equal, whatever table they stand in', () => {
  const batches: ColumnBatch[] = [];
  const wanted: unknown[] = [];
  const tables = new Set<number>();
  let coded = 0;
  let plain = 0;
  for (let number = 1; number <= BODIES; number++) {
    const first = decoded(bodyOf(number));
    const rows = rowsOf(first);
    const again = decoded(bodyOf(number));
    expect(rowsOf(again)).toEqual(rows);
    tables.add(SeriesTable.keyOf(again.series!.table));
    for (const id of again.series!.ids) if (id !== NULL_ID) coded += 1;
    for (const id of first.series!.ids) if (id === NULL_ID) plain += 1;
    batches.push(again);
    wanted.push(...rows);
  }
  // The rest of the batch in which a table ends is written out, the next batch begins another.
  expect(coded).toBeGreaterThan(3 * SERIES_PER_BODY);
  expect(plain).toBeGreaterThan(0);
  const last = decoded(bodyOf(BODIES));
  tables.add(SeriesTable.keyOf(last.series!.table));
  expect(tables.size).toBeGreaterThan(1);

  const selections = [...batches, last].map((batch, index) => ({
    ...{ batch, rows: undefined, journal: 'j-1', position: index + 1, receivedAtMs: 5 },
    ...{ protocol: 'series-v1-json', requestPath: '/', isLastUse: false },
  }));
  const merged = rowsOf(mergeSelections(SEGMENT_COLUMNS.metrics, selections)).map(
    ({ journal, position, received_at, protocol, request_path, ...row }) => row,
  );
  expect(merged.slice(0, wanted.length)).toEqual(wanted);
  expect(merged.slice(wanted.length)).toEqual(rowsOf(last));

  // Those of the table before move to the new one, in whatever order and between others they come; older ones are read again.
  for (const number of [BODIES - 1, 1, BODIES, 2, BODIES - 1, 1]) {
    const again = decoded(bodyOf(number));
    expect(rowsOf(again)).toEqual(wanted.slice((number - 1) * SERIES_PER_BODY, number * SERIES_PER_BODY));
    expect([...again.series!.ids].filter((id) => id !== NULL_ID).length).toBeGreaterThan(0);
  }
});
