import { expect, it } from 'vitest';
import { sortedBySeries } from '../../../src/archive/upkeep/series.ts';
import { seededRandom } from '../../../src/core/random.ts';
import type { Row } from '../../../src/record/decoder.ts';
import { decodeMetrics } from '../../../src/record/metrics.ts';
import { SIGNAL_COLUMNS } from '../../../src/record/schema.ts';
import { rowsOf, wholeBatch } from '../../support/rows.ts';

function made(seed: number): { rows: Row[]; sorted: Row[] } {
  const random = seededRandom(seed);
  const pick = (count: number): number => Math.floor(random.next() * count);
  const series = Array.from({ length: 200 }, () => ({
    ...(pick(10) > 0 ? { metric: `m.${pick(4)}` } : {}),
    points: Array.from({ length: pick(4) }, () => ({ timestamp: 1_790_000_000 + pick(50), value: pick(100) / 8 })),
    tags: [`t:${pick(3)}`],
    ...(pick(2) === 0 ? { interval: 10 * pick(3) } : {}),
    ...(pick(4) === 0 ? { unit: 'byte' } : {}),
  }));
  const body = Buffer.from(JSON.stringify({ series, odd: 1 }));
  const decoded = decodeMetrics({ protocol: 'series-v2-json', body, contentType: '', path: '/', receivedAtMs: 5 });
  if (!decoded.ok) throw new Error(decoded.reason);
  const rows = rowsOf(decoded.batch);
  return { rows, sorted: rowsOf(sortedBySeries(wholeBatch(SIGNAL_COLUMNS.metrics, decoded.batch))) };
}

const seriesOf = ({ kind, metric, type, unit, host, tags, interval }: Row): string =>
  [kind, metric, type, unit, host, tags, interval].map(String).join('|');

it('puts rows of a series beside one another, in the order of time, and loses none', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const { rows, sorted } = made(seed);
    const text = (row: Row): string => Object.values(row).map(String).join();
    expect(sorted.map(text).sort()).toEqual(rows.map(text).sort());
    const seen = new Set<string>();
    let before: Row | undefined;
    for (const row of sorted) {
      if (before && seriesOf(before) === seriesOf(row)) {
        expect(Number(row.time)).toBeGreaterThanOrEqual(Number(before.time));
        if (row.time === before.time && row.item === before.item) {
          expect(Number(row.point)).toBeGreaterThan(Number(before.point));
        }
      } else {
        expect(seen.has(seriesOf(row)), seriesOf(row)).toBe(false);
        seen.add(seriesOf(row));
        expect(String(row.metric ?? '') >= String(before?.metric ?? '')).toBe(true);
      }
      before = row;
    }
  }
});
