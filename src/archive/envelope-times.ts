/** Times of an envelope's rows: what hours they belong to, and what lies in each. Nearly always it is one hour, and no row needs to be told apart. */
import { LOW_WORD } from '../core/columns.ts';
import { columnOf, type TravellingBatch } from '../core/travelling-batch.ts';
import { hourOf, isUsableTime } from './partition.ts';

/** What belongs to none of the hours that get a segment of their own. */
export const LATE = 'late';

/** In ms since the epoch. */
export class TimeRange {
  min = Number.POSITIVE_INFINITY;
  max = Number.NEGATIVE_INFINITY;

  add(timeMs: number): void {
    if (timeMs < this.min) this.min = timeMs;
    if (timeMs > this.max) this.max = timeMs;
  }

  addRange({ min, max }: TimeRange): void {
    if (min < this.min) this.min = min;
    if (max > this.max) this.max = max;
  }
}

/** Rows of one envelope that go to one segment; undefined: all. */
export interface RowsOfGroup {
  group: number | typeof LATE;
  rows: Uint32Array | undefined;
  range: TimeRange;
}

export class EnvelopeTimes {
  readonly #range = new TimeRange();
  readonly #rowCount: number;
  readonly #timeOf: (row: number) => number;
  /** Of all rows, where they share it. */
  readonly #hour: number | undefined;
  /** By row, where they do not. */
  readonly #hours: Int32Array | undefined;

  /** Of at least one row. */
  constructor({ batch, receivedAtMs }: { batch: TravellingBatch; receivedAtMs: number }) {
    this.#rowCount = batch.rowCount;
    this.#timeOf = timesOf(batch);
    // Neighbours are mostly of the same time.
    let last = Number.NaN;
    for (let row = 0; row < this.#rowCount; row++) {
      const timeMs = this.#timeOf(row);
      if (timeMs === last) continue;
      last = timeMs;
      this.#range.add(timeMs);
    }
    const { min, max } = this.#range;
    const hour = hourOf(min, receivedAtMs);
    const isOne = min === max || (isUsableTime(min, receivedAtMs) && isUsableTime(max, receivedAtMs));
    if (isOne && hourOf(max, receivedAtMs) === hour) this.#hour = hour;
    else this.#hours = Int32Array.from({ length: this.#rowCount }, (_, row) => hourOf(this.#timeOf(row), receivedAtMs));
  }

  /** Adds the rows of each hour. */
  countHours(counts: Map<number, number>): void {
    if (this.#hour !== undefined) counts.set(this.#hour, (counts.get(this.#hour) ?? 0) + this.#rowCount);
    const hours = this.#hours;
    for (let start = 0; hours && start < hours.length; ) {
      const hour = hours[start]!;
      let end = start + 1;
      while (end < hours.length && hours[end] === hour) end += 1;
      counts.set(hour, (counts.get(hour) ?? 0) + end - start);
      start = end;
    }
  }

  split(own: ReadonlySet<number>): RowsOfGroup[] {
    const groupOf = (hour: number): number | typeof LATE => (own.has(hour) ? hour : LATE);
    if (this.#hour !== undefined) return [{ group: groupOf(this.#hour), rows: undefined, range: this.#range }];
    const hours = this.#hours!;
    const lists = new Map<number | typeof LATE, { rows: number[]; range: TimeRange }>();
    for (let row = 0; row < hours.length; row++) {
      const group = groupOf(hours[row]!);
      const list = lists.get(group) ?? { rows: [], range: new TimeRange() };
      lists.set(group, list);
      list.rows.push(row);
      list.range.add(this.#timeOf(row));
    }
    return [...lists].map(([group, { rows, range }]) => ({
      group,
      rows: lists.size === 1 ? undefined : Uint32Array.from(rows),
      range,
    }));
  }
}

/** Time of a row, whole. By halves: a bigint for each row costs more than all else that is done with it here. */
function timesOf(batch: TravellingBatch): (row: number) => number {
  const time = columnOf(batch, 'time');
  if (!('values' in time)) throw new Error('BUG: batch without time');
  const { values } = time;
  const words = new Int32Array(values.buffer, values.byteOffset, values.length * 2);
  const wholeOf = (row: number): number =>
    words[row * 2 + 1 - LOW_WORD]! * 2 ** 32 + (words[row * 2 + LOW_WORD]! >>> 0);
  return time.kind === 'timestampNs' ? (row) => Math.floor(wholeOf(row) / 1e6) : wholeOf;
}
