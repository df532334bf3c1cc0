/** A table gives back what was put in, up to the last place that there is, and is never written to beyond it. */
import { describe, expect, it } from 'vitest';
import { NULL_ID } from '../../src/core/columns.ts';
import { seededRandom } from '../../src/core/random.ts';
import {
  SERIES_TEXTS,
  SERIES_WORDS,
  SeriesTable,
  type SeriesTableSize,
  SeriesTableWriter,
  type SeriesTexts,
} from '../../src/core/series-table.ts';

interface Series {
  texts: SeriesTexts;
  interval: bigint | null;
}

function madeUp(seed: number, count: number): Series[] {
  const random = seededRandom(seed);
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random.next() * values.length)]!;
  return Array.from({ length: count }, (_, i) => ({
    texts: Object.fromEntries(
      SERIES_TEXTS.map((name) => [name, pick([null, '', 'é', `${name}-${i}`, 'same', '\ud800', '"a"'.repeat(i % 7)])]),
    ) as SeriesTexts,
    interval: pick([null, 0n, 10n, -1n, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 32n]),
  }));
}

function read(table: SeriesTable, series: number): Series {
  const texts = SERIES_TEXTS.map((name, field) => {
    const id = table.records[series * SERIES_WORDS + field]!;
    return [name, id === NULL_ID ? null : Buffer.from(table.textBytes(id)).toString('utf8')];
  });
  const interval = new BigInt64Array(3);
  const has = table.copyInterval(series, new Uint32Array(interval.buffer), 1);
  return { texts: Object.fromEntries(texts) as SeriesTexts, interval: has ? interval[1]! : null };
}

/** As UTF-8 holds it. */
const asKept = ({ texts, interval }: Series): Series => ({
  texts: Object.fromEntries(
    Object.entries(texts).map(([name, text]) => [name, text?.toWellFormed() ?? null]),
  ) as SeriesTexts,
  interval,
});

describe('a table of series', () => {
  it.each([
    { seriesMax: 1000, textsMax: 10_000, textBytesMax: 100_000 },
    { seriesMax: 7, textsMax: 10_000, textBytesMax: 100_000 },
    { seriesMax: 1000, textsMax: 40, textBytesMax: 100_000 },
    { seriesMax: 1000, textsMax: 10_000, textBytesMax: 500 },
    { seriesMax: 0, textsMax: 0, textBytesMax: 0 },
  ] satisfies SeriesTableSize[])('gives back what it has room for: %o', (size) => {
    const writer = new SeriesTableWriter(3, 9, size);
    const kept: Series[] = [];
    let before = writer.usedBytes;
    for (const series of madeUp(5, 300)) {
      const number = writer.add(series.texts, series.interval);
      if (number === undefined) {
        expect(writer.isFull).toBe(true);
        break;
      }
      expect(number).toBe(kept.length);
      expect(writer.usedBytes).toBeGreaterThan(before);
      before = writer.usedBytes;
      kept.push(series);
    }
    if (size.seriesMax < 300 || size.textsMax < 300 || size.textBytesMax < 1000) expect(kept.length).toBeLessThan(300);
    else expect(kept).toHaveLength(300);
    const table = new SeriesTable(writer.buffer);
    for (const [number, series] of kept.entries()) expect(read(table, number)).toEqual(asKept(series));
    expect(writer.usedBytes).toBeLessThanOrEqual(writer.buffer.byteLength);
    // Full stays full.
    if (writer.isFull) expect(writer.add(madeUp(1, 1)[0]!.texts, null)).toBeUndefined();
  });

  it.each([1000, 60])('takes series over from another, as far as there is room (%i texts)', (textsMax) => {
    const from = new SeriesTableWriter(1, 1, { seriesMax: 300, textsMax: 10_000, textBytesMax: 100_000 });
    const all = madeUp(8, 60);
    const numbers = all.map(({ texts, interval }) => from.add(texts, interval)!);
    const to = new SeriesTableWriter(1, 2, { seriesMax: 50, textsMax, textBytesMax: 100_000 });
    // In another order, among others.
    to.add(all[3]!.texts, null);
    let moved = 0;
    for (const i of numbers.map((_, at) => (at * 7) % 60)) {
      const number = to.move(from, numbers[i]!);
      if (number === undefined) break;
      moved += 1;
      expect(read(new SeriesTable(to.buffer), number)).toEqual(asKept(all[i]!));
      expect(to.read(number)).toEqual(asKept(all[i]!));
    }
    expect(to.isFull).toBe(true);
    if (textsMax === 1000) expect(moved).toBe(49);
    else expect(moved).toBeLessThan(49);
    expect(to.move(from, 0)).toBeUndefined();
  });

  it('is told from others by its key, also where another thread has it', () => {
    const tables = [new SeriesTableWriter(1, 1), new SeriesTableWriter(1, 2), new SeriesTableWriter(2, 1)];
    const keys = tables.map(({ buffer }) => SeriesTable.keyOf(buffer));
    expect(new Set(keys).size).toBe(3);
    expect(SeriesTable.keyOf(structuredClone(tables[0]!.buffer))).toBe(keys[0]);
  });
});
