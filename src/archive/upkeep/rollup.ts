/**
 * Points → roll-ups: per series and window the count, least, largest, sum and last of the values; bins of sketches added up. NaN is
 * no value. Roll-ups of a finer window roll up the same way.
 */
import { type Column, type ColumnBatch, NULL_ID } from '../../core/columns.ts';
import { ROLLUP_COLUMNS, SERIES_TEXTS } from '../../record/rollup-schema.ts';
import { selectRows } from '../merge.ts';
import { dictionary, longsAndNulls, seriesNumbers } from './series.ts';

export interface RolledUp {
  /** ROLLUP_COLUMNS, by metric, series and time. */
  batch: ColumnBatch;
  /** Rows of the input that have no place in it: opaque ones, payloads, points without a value. */
  rest: Uint32Array;
}

/** `raw` has the columns of metric segments. Equal input gives equal output. */
export function rollUpPoints(raw: ColumnBatch, everyMs: number): RolledUp {
  const windows = new Windows(raw, everyMs);
  const kinds = textsOf(raw, 'kind');
  const times = longs(raw, 'time');
  const value = doubles(raw, 'value');
  const lists = parsedLists(raw, 'values');
  const sketch = {
    counts: longsAndNulls(raw, 'sketch_count'),
    min: doubles(raw, 'sketch_min'),
    max: doubles(raw, 'sketch_max'),
    sum: doubles(raw, 'sketch_sum'),
    keys: parsedLists(raw, 'sketch_keys'),
    bins: parsedLists(raw, 'sketch_counts'),
  };
  const rest: number[] = [];
  for (let row = 0; row < raw.rowCount; row++) {
    const timeMs = Number(times[row]);
    switch (kinds(row)) {
      case 'series': {
        const one = value.values[row]!;
        if (value.nulls?.[row] || Number.isNaN(one)) rest.push(row);
        else windows.add(row, timeMs, 1, one, one, one, one, timeMs);
        break;
      }
      case 'distribution': {
        const numbers = lists(row) ?? [];
        if (numbers.length === 0 || !isNumbers(numbers)) rest.push(row);
        else {
          let [min, max, sum] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0];
          for (const one of numbers) {
            min = Math.min(min, one);
            max = Math.max(max, one);
            sum += one;
          }
          windows.add(row, timeMs, numbers.length, min, max, sum, numbers.at(-1)!, timeMs);
        }
        break;
      }
      case 'sketch': {
        const count = Number(sketch.counts.values[row]);
        if (sketch.counts.nulls?.[row] || !(count > 0)) {
          rest.push(row);
          break;
        }
        const { min, max, sum } = sketch;
        const [least, most, total] = [min.values[row]!, max.values[row]!, sum.values[row]!];
        const at = windows.add(row, timeMs, count, least, most, total, undefined, timeMs);
        windows.addBins(at, sketch.keys(row), sketch.bins(row));
        break;
      }
      default:
        rest.push(row);
    }
  }
  return { batch: windows.finish(), rest: Uint32Array.from(rest) };
}

/** `rolled` has ROLLUP_COLUMNS. `everyMs` is a multiple of its window. */
export function rollUpAgain(rolled: ColumnBatch, everyMs: number): ColumnBatch {
  const windows = new Windows(rolled, everyMs);
  const times = longs(rolled, 'time');
  const lastTimes = longs(rolled, 'last_time');
  const counts = longs(rolled, 'count');
  const [min, max, sum, last] = [
    doubles(rolled, 'min'),
    doubles(rolled, 'max'),
    doubles(rolled, 'sum'),
    doubles(rolled, 'last'),
  ];
  const keys = parsedLists(rolled, 'sketch_keys');
  const bins = parsedLists(rolled, 'sketch_counts');
  for (let row = 0; row < rolled.rowCount; row++) {
    const at = windows.add(
      row,
      Number(times[row]),
      Number(counts[row]),
      min.values[row]!,
      max.values[row]!,
      sum.values[row]!,
      last.nulls?.[row] ? undefined : last.values[row]!,
      Number(lastTimes[row]),
    );
    windows.addBins(at, keys(row), bins(row));
  }
  return windows.finish();
}

class Windows {
  readonly #source: ColumnBatch;
  readonly #everyMs: number;
  readonly #seriesOf: (row: number) => number;
  /** By series: its first window, and that one's place in the lists below. Most series of a merge by the hour have few. */
  readonly #firstWindows: number[] = [];
  readonly #firstPlaces: number[] = [];
  /** By series: places of its other windows. */
  readonly #otherPlaces: (Map<number, number> | undefined)[] = [];
  /** A row of the series: it has its texts. */
  readonly #rows: number[] = [];
  readonly #starts: number[] = [];
  readonly #counts: number[] = [];
  readonly #mins: number[] = [];
  readonly #maxs: number[] = [];
  readonly #sums: number[] = [];
  readonly #lasts: (number | undefined)[] = [];
  readonly #lastTimes: number[] = [];
  readonly #bins: (Map<number, number> | undefined)[] = [];

  constructor(source: ColumnBatch, everyMs: number) {
    this.#source = source;
    this.#everyMs = everyMs;
    this.#seriesOf = seriesNumbers(source);
  }

  add(
    row: number,
    timeMs: number,
    count: number,
    min: number,
    max: number,
    sum: number,
    last: number | undefined,
    lastTimeMs: number,
  ): number {
    const series = this.#seriesOf(row);
    const window = Math.floor(timeMs / this.#everyMs);
    const isFirst = this.#firstWindows[series] === window;
    const at = isFirst ? this.#firstPlaces[series] : this.#otherPlaces[series]?.get(window);
    if (at === undefined) {
      const next = this.#rows.length;
      this.#begin(series, window, next);
      this.#rows.push(row);
      this.#starts.push(window * this.#everyMs);
      this.#counts.push(count);
      this.#mins.push(min);
      this.#maxs.push(max);
      this.#sums.push(sum);
      this.#lasts.push(last);
      this.#lastTimes.push(lastTimeMs);
      this.#bins.push(undefined);
      return next;
    }
    this.#counts[at]! += count;
    this.#mins[at] = Math.min(this.#mins[at]!, min);
    this.#maxs[at] = Math.max(this.#maxs[at]!, max);
    this.#sums[at]! += sum;
    // Of two at one time the one that was sent later.
    if (lastTimeMs >= this.#lastTimes[at]!) {
      this.#lasts[at] = last;
      this.#lastTimes[at] = lastTimeMs;
    }
    return at;
  }

  #begin(series: number, window: number, place: number): void {
    if (this.#firstWindows[series] === undefined) {
      this.#firstWindows[series] = window;
      this.#firstPlaces[series] = place;
      return;
    }
    this.#otherPlaces[series] ??= new Map();
    this.#otherPlaces[series].set(window, place);
  }

  addBins(at: number, keys: readonly unknown[] | undefined, counts: readonly unknown[] | undefined): void {
    if (!keys || !counts) return;
    this.#bins[at] ??= new Map();
    const bins = this.#bins[at];
    for (const [i, key] of keys.entries()) bins.set(Number(key), (bins.get(Number(key)) ?? 0) + Number(counts[i]));
  }

  finish(): ColumnBatch {
    const metricOf = textsOf(this.#source, 'metric');
    const order: number[] = [];
    const nameOf = (series: number): string => metricOf(this.#rows[this.#firstPlaces[series]!]!) ?? '';
    // Numbers of series that have no value are left out.
    const series = [...this.#firstPlaces.keys()].filter((one) => this.#firstPlaces[one] !== undefined);
    series.sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : nameOf(a) > nameOf(b) ? 1 : a - b));
    for (const one of series) {
      const windows = [[this.#firstWindows[one]!, this.#firstPlaces[one]!], ...(this.#otherPlaces[one] ?? [])];
      for (const [, place] of windows.sort(([a], [b]) => a! - b!)) order.push(place!);
    }
    const rowCount = order.length;
    const texts = selectRows(
      ROLLUP_COLUMNS.filter(({ name }) => name === 'interval' || (SERIES_TEXTS as readonly string[]).includes(name)),
      this.#source,
      Uint32Array.from(order, (at) => this.#rows[at]!),
    );
    const long = (kind: 'int64' | 'timestampMs', values: readonly number[]): Column => ({
      kind,
      values: BigInt64Array.from(order, (at) => BigInt(values[at]!)),
    });
    const double = (values: readonly number[]): Column => ({
      kind: 'double',
      values: Float64Array.from(order, (at) => values[at]!),
    });
    const columns: Record<string, Column> = {
      ...texts.columns,
      time: long('timestampMs', this.#starts),
      count: long('int64', this.#counts),
      min: double(this.#mins),
      max: double(this.#maxs),
      sum: double(this.#sums),
      last: {
        kind: 'double',
        values: Float64Array.from(order, (at) => this.#lasts[at] ?? 0),
        nulls: Uint8Array.from(order, (at) => (this.#lasts[at] === undefined ? 1 : 0)),
      },
      last_time: long('timestampMs', this.#lastTimes),
      ...this.#binColumns(order),
    };
    // In the order of the schema.
    return { rowCount, columns: Object.fromEntries(ROLLUP_COLUMNS.map(({ name }) => [name, columns[name]!])) };
  }

  #binColumns(order: readonly number[]): Record<string, Column> {
    const keys: (string | undefined)[] = [];
    const counts: (string | undefined)[] = [];
    for (const at of order) {
      const bins = this.#bins[at];
      const sorted = bins && [...bins].sort(([a], [b]) => a - b);
      keys.push(sorted && JSON.stringify(sorted.map(([key]) => key)));
      counts.push(sorted && JSON.stringify(sorted.map(([, count]) => count)));
    }
    return { sketch_keys: textColumn(keys), sketch_counts: textColumn(counts) };
  }
}

function isNumbers(list: readonly unknown[]): list is number[] {
  return list.every((one) => typeof one === 'number');
}

/** Each text is made once. */
function textsOf(batch: ColumnBatch, name: string): (row: number) => string | undefined {
  const { ids, offsets, bytes } = dictionary(batch, name);
  const made: (string | undefined)[] = [];
  return (row) => {
    const id = ids[row]!;
    if (id === NULL_ID) return undefined;
    made[id] ??= Buffer.from(bytes.buffer, bytes.byteOffset + offsets[id]!, offsets[id + 1]! - offsets[id]!).toString();
    return made[id];
  };
}

/** JSON arrays; undefined for null and for what is none. */
function parsedLists(batch: ColumnBatch, name: string): (row: number) => unknown[] | undefined {
  const textOf = textsOf(batch, name);
  let before: { text: string; list: unknown[] | undefined } | undefined;
  return (row) => {
    const text = textOf(row);
    if (text === undefined) return undefined;
    if (before?.text !== text) before = { text, list: listOf(text) };
    return before.list;
  };
}

function listOf(text: string): unknown[] | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    return Array.isArray(parsed) ? parsed : undefined;
  } catch {
    return undefined;
  }
}

function doubles(batch: ColumnBatch, name: string): { values: Float64Array; nulls?: Uint8Array } {
  const column = batch.columns[name];
  if (column?.kind !== 'double') throw new Error(`BUG: batch without numbers ${name}`);
  return column;
}

function longs(batch: ColumnBatch, name: string): BigInt64Array {
  return longsAndNulls(batch, name).values;
}

function textColumn(texts: readonly (string | undefined)[]): Column {
  const entries = new Map<string, number>();
  const ids = new Uint32Array(texts.length);
  for (const [row, text] of texts.entries()) {
    if (text === undefined) {
      ids[row] = NULL_ID;
      continue;
    }
    let id = entries.get(text);
    if (id === undefined) {
      id = entries.size;
      entries.set(text, id);
    }
    ids[row] = id;
  }
  const encoded = [...entries.keys()].map((text) => Buffer.from(text));
  const offsets = new Uint32Array(encoded.length + 1);
  for (const [i, one] of encoded.entries()) offsets[i + 1] = offsets[i]! + one.byteLength;
  return { kind: 'string', ids, offsets, bytes: new Uint8Array(Buffer.concat(encoded)) };
}
