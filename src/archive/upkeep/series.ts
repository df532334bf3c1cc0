/**
 * Which rows of a batch of metrics are of one series, and the order in which they rest once they are merged: by series, then by time. Texts that
 * tell series apart become runs, times move in equal steps, and values change little from one to the next.
 */

import { entryRanks, reordered } from '../../codec/packed/row-order.ts';
import { letGo, letGoOfColumn } from '../../core/buffers.ts';
import { type Column, type ColumnBatch, type DictionaryColumn, NULL_ID } from '../../core/columns.ts';
import { SERIES_TEXTS } from '../../record/rollup-schema.ts';

/**
 * Rows → a dense number per series. Texts are compared by their places in the batch's dictionaries, which hold each text once; one
 * column after another narrows it down.
 */
export function seriesNumbers(batch: ColumnBatch): (row: number) => number {
  const columns = SERIES_TEXTS.map((name) => dictionary(batch, name));
  const interval = longsAndNulls(batch, 'interval');
  const steps = columns.map(() => new Map<number, number>());
  const intervals = new Map<bigint | undefined, number>();
  const lastStep = new Map<number, number>();
  let before = -1;
  let series = 0;
  const isSame = (row: number): boolean =>
    before >= 0 &&
    columns.every(({ ids }) => ids[row] === ids[before]) &&
    interval.values[row] === interval.values[before] &&
    interval.nulls?.[row] === interval.nulls?.[before];
  return (row) => {
    if (isSame(row)) return series;
    let number = 0;
    for (const [i, { ids, offsets }] of columns.entries()) {
      const id = ids[row]!;
      // Both factors are below 2^26 in a batch of bounded bytes.
      const key = number * (offsets.length + 1) + (id === NULL_ID ? offsets.length : id);
      const step = steps[i]!;
      let next = step.get(key);
      if (next === undefined) {
        next = step.size;
        step.set(key, next);
      }
      number = next;
    }
    const length = interval.nulls?.[row] ? undefined : interval.values[row];
    if (!intervals.has(length)) intervals.set(length, intervals.size);
    // As above: a batch has fewer rows than that.
    const key = number * 2 ** 26 + intervals.get(length)!;
    let found = lastStep.get(key);
    if (found === undefined) {
      found = lastStep.size;
      lastStep.set(key, found);
    }
    before = row;
    series = found;
    return series;
  };
}

export function dictionary(batch: ColumnBatch, name: string): DictionaryColumn {
  const column = batch.columns[name];
  if (!column || !('ids' in column)) throw new Error(`BUG: batch without texts ${name}`);
  return column;
}

export function longsAndNulls(batch: ColumnBatch, name: string): { values: BigInt64Array; nulls?: Uint8Array } {
  const column = batch.columns[name];
  if (!column || !('values' in column) || !(column.values instanceof BigInt64Array)) {
    throw new Error(`BUG: batch without numbers ${name}`);
  }
  return { values: column.values, ...(column.nulls ? { nulls: column.nulls } : {}) };
}

/**
 * The same rows by name of the metric, series and time; of equal ones as they were. Series of one name are in the order in which they came up. The
 * batch is used up.
 */
export function sortedBySeries(batch: ColumnBatch): ColumnBatch {
  const order = seriesOrder(batch);
  const columns: Record<string, Column> = {};
  for (const [name, column] of Object.entries(batch.columns)) {
    columns[name] = reordered(column, order);
    // Dictionaries go on to live in the new column.
    if ('ids' in column) letGo(column.ids);
    else letGoOfColumn(column);
  }
  return { rowCount: batch.rowCount, columns };
}

function seriesOrder(batch: ColumnBatch): Uint32Array {
  const { rowCount } = batch;
  const seriesOf = seriesNumbers(batch);
  const series = new Uint32Array(rowCount);
  const counts: number[] = [];
  const firstRows: number[] = [];
  for (let row = 0; row < rowCount; row++) {
    const number = seriesOf(row);
    series[row] = number;
    if (number === counts.length) {
      counts.push(0);
      firstRows.push(row);
    }
    counts[number]! += 1;
  }
  const metric = dictionary(batch, 'metric');
  const rank = entryRanks(metric);
  const rankOf = (number: number): number => {
    const id = metric.ids[firstRows[number]!]!;
    return id === NULL_ID ? -1 : rank[id]!;
  };
  const starts = new Uint32Array(counts.length);
  const sorted = counts.map((_, number) => number).sort((a, b) => rankOf(a) - rankOf(b) || a - b);
  let start = 0;
  for (const number of sorted) {
    starts[number] = start;
    start += counts[number]!;
  }
  const order = new Uint32Array(rowCount);
  const next = starts.slice();
  for (let row = 0; row < rowCount; row++) {
    const number = series[row]!;
    order[next[number]!] = row;
    next[number]! += 1;
  }
  const { values: times } = longsAndNulls(batch, 'time');
  for (const [number, count] of counts.entries())
    sortByTime(order.subarray(starts[number]!, starts[number]! + count), times);
  return order;
}

/** Mostly they are in order. */
function sortByTime(rows: Uint32Array, times: BigInt64Array): void {
  const isLess = (a: number, b: number): boolean => times[a]! < times[b]!;
  for (let i = 1; i < rows.length; i++) {
    if (!isLess(rows[i]!, rows[i - 1]!)) continue;
    rows.sort((a, b) => (isLess(a, b) ? -1 : isLess(b, a) ? 1 : a - b));
    return;
  }
}
