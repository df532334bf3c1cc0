/** Roll-ups against a plain sum over the items as they were sent. */
import { describe, expect, it } from 'vitest';
import { rollUpAgain, rollUpPoints } from '../../../src/archive/upkeep/rollup.ts';
import type { ColumnBatch } from '../../../src/core/columns.ts';
import { seededRandom } from '../../../src/core/random.ts';
import { decodeMetrics } from '../../../src/record/metrics.ts';
import { SIGNAL_COLUMNS } from '../../../src/record/schema.ts';
import { ProtobufWriter } from '../../support/protobuf-writer.ts';
import { rowsOf as plainRowsOf, wholeBatch } from '../../support/rows.ts';

const RECEIVED_MS = 1_767_225_600_000;

interface Item {
  metric: string;
  points: [number, number | number[]][];
  type?: string;
  tags?: string[];
  host?: string;
  interval?: number;
}

function decoded(
  protocol: 'series-v1-json' | 'distribution-points-json' | 'sketches-proto',
  body: Buffer,
): ColumnBatch {
  const result = decodeMetrics({ protocol, body, contentType: '', path: '/', receivedAtMs: RECEIVED_MS });
  if (!result.ok) throw new Error(result.reason);
  return wholeBatch(SIGNAL_COLUMNS.metrics, result.batch);
}

function batchOf(protocol: 'series-v1-json' | 'distribution-points-json', items: readonly unknown[]): ColumnBatch {
  return decoded(protocol, Buffer.from(JSON.stringify({ series: items })));
}

/** With plain numbers. */
function rowsOf(batch: ColumnBatch): Record<string, unknown>[] {
  return plainRowsOf(batch).map((row) =>
    Object.fromEntries(
      Object.entries(row).map(([name, value]) => [name, typeof value === 'bigint' ? Number(value) : value]),
    ),
  );
}

/** What the rows must say, summed up one item after another. */
function summed(items: readonly Item[], everyMs: number): Map<string, number[]> {
  const windows = new Map<string, { values: number[]; last: number; lastTime: number }>();
  for (const { metric, points, tags, host, type, interval } of items) {
    for (const [seconds, value] of points) {
      const start = Math.floor((seconds * 1000) / everyMs) * everyMs;
      const key = JSON.stringify([start, metric, tags ?? null, host ?? null, type ?? null, interval ?? null]);
      const window = windows.get(key) ?? { values: [], last: 0, lastTime: Number.NEGATIVE_INFINITY };
      windows.set(key, window);
      const values = Array.isArray(value) ? value : [value];
      window.values.push(...values);
      if (seconds * 1000 >= window.lastTime) [window.last, window.lastTime] = [values.at(-1)!, seconds * 1000];
    }
  }
  return new Map(
    [...windows].map(([key, { values, last }]) => [
      key,
      [values.length, Math.min(...values), Math.max(...values), values.reduce((sum, one) => sum + one, 0), last],
    ]),
  );
}

function told(rows: readonly Record<string, unknown>[]): Map<string, number[]> {
  return new Map(
    rows.map(({ time, metric, tags, host, type, interval, count, min, max, sum, last }) => [
      JSON.stringify([time, metric, JSON.parse(String(tags)), host, type, interval]),
      [count, min, max, sum, last] as number[],
    ]),
  );
}

function madeUp(seed: number): Item[] {
  const random = seededRandom(seed);
  const pick = (count: number): number => Math.floor(random.next() * count);
  return Array.from({ length: 200 }, () => ({
    metric: `m.${pick(5)}`,
    type: ['gauge', 'count', 'rate'][pick(3)]!,
    tags: [['env:prod'], ['env:dev', 'é:🔑'], []][pick(3)]!,
    ...(pick(2) ? { host: `h-${pick(4)}` } : {}),
    ...(pick(3) ? { interval: 10 * (1 + pick(2)) } : {}),
    points: Array.from({ length: 1 + pick(4) }, (_, i): [number, number] => [
      RECEIVED_MS / 1000 - pick(10_000) - i,
      pick(2000) - 1000,
    ]),
  }));
}

describe('roll-ups', () => {
  for (let seed = 1; seed <= 20; seed++) {
    it(`say what the points say, also when rolled up again (seed ${seed})`, () => {
      const items = madeUp(seed);
      const raw = batchOf('series-v1-json', items);
      const { batch, rest } = rollUpPoints(raw, 300_000);
      expect(rest).toHaveLength(0);
      expect(told(rowsOf(batch))).toEqual(summed(items, 300_000));
      const again = rowsOf(rollUpAgain(batch, 3_600_000));
      expect(told(again)).toEqual(summed(items, 3_600_000));
      expect(rowsOf(rollUpPoints(raw, 3_600_000).batch)).toEqual(again);
    });
  }

  it('keeps series apart by everything that tells them apart, and windows below zero too', () => {
    const same = { metric: 'a', points: [[-1, 1]], tags: ['x'], type: 'gauge' };
    const others = [
      { type: 'count' },
      { tags: ['x', ''] },
      { tags: ['y'] },
      { host: 'x' },
      { interval: 1 },
      { metric: 'b' },
    ];
    const items = [same, ...others.map((other) => ({ ...same, ...other })), same];
    const rows = rowsOf(rollUpPoints(batchOf('series-v1-json', items), 60_000).batch);
    expect(rows.map(({ time, count }) => [time, count])).toEqual([[-60_000, 2], ...others.map(() => [-60_000, 1])]);
    expect(rows.map(({ metric }) => metric)).toEqual(['a', 'a', 'a', 'a', 'a', 'a', 'b']);
  });

  it('of distributions every value counts', () => {
    const items: Item[] = [
      {
        metric: 'd',
        points: [
          [100, [1, 2, 30]],
          [110, [4]],
        ],
        tags: ['x'],
      },
      { metric: 'd', points: [[90, [-7.5]]], tags: ['x'] },
    ];
    const [row, ...others] = rowsOf(rollUpPoints(batchOf('distribution-points-json', items), 300_000).batch);
    expect(others).toEqual([]);
    expect(row).toMatchObject({
      kind: 'distribution',
      count: 5,
      min: -7.5,
      max: 30,
      sum: 29.5,
      last: 4,
      last_time: 110_000,
    });
  });

  it('bins of sketches add up by key', () => {
    const sketch = (ts: number, count: number, [min, max, sum]: number[], keys: number[], counts: number[]) =>
      new ProtobufWriter()
        .string(1, 'latency')
        .message(7, (one) => {
          one
            .varint(1, ts)
            .varint(2, count)
            .double(3, min!)
            .double(4, max!)
            .double(5, sum! / count)
            .double(6, sum!);
          one.packedSint(7, keys).packedVarint(8, counts);
        })
        .finish();
    const body = new ProtobufWriter()
      .bytes(1, sketch(100, 3, [1, 9, 15], [-5, 7], [1, 2]))
      .bytes(1, sketch(110, 2, [0.5, 4, 4.5], [7, -9], [1, 1]))
      .bytes(1, sketch(400, 1, [2, 2, 2], [3], [1]))
      .finish();
    const { batch, rest } = rollUpPoints(decoded('sketches-proto', Buffer.from(body)), 300_000);
    expect(rest).toHaveLength(0);
    const first = { kind: 'sketch', time: 0, count: 5, min: 0.5, max: 9, sum: 19.5, last: null };
    expect(rowsOf(batch)).toMatchObject([
      { ...first, sketch_keys: '[-9,-5,7]', sketch_counts: '[1,1,3]' },
      { time: 300_000, count: 1, sketch_keys: '[3]', sketch_counts: '[1]' },
    ]);
    expect(rowsOf(rollUpAgain(batch, 3_600_000))).toMatchObject([
      { time: 0, count: 6, min: 0.5, max: 9, sum: 21.5, sketch_keys: '[-9,-5,3,7]', sketch_counts: '[1,1,1,3]' },
    ]);
  });

  it('leaves a distribution whole that is not all numbers', () => {
    const { batch, rest } = rollUpPoints(
      batchOf('distribution-points-json', [{ metric: 'd', points: [[100, [1, null]]] }]),
      60_000,
    );
    expect([rowsOf(batch).length, rest.length]).toEqual([0, 1]);
  });

  it('leaves over what has no number', () => {
    const items = [
      {
        metric: 'a',
        points: [
          [100, null],
          [110, 1],
        ],
      },
      { metric: 'nothing', points: [] },
      'not a series at all',
    ];
    const { batch, rest } = rollUpPoints(batchOf('series-v1-json', items), 300_000);
    expect(rowsOf(batch)).toHaveLength(1);
    expect(rest.length).toBeGreaterThanOrEqual(3);
  });
});
