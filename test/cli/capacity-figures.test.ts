/**
 * The figures of `reductrai plan` are what the committed results of the benchmarks say: recomputed here from the very files they name. After newer results: put
 * what is expected here into src/cli/capacity/figures.ts, then `npm run docs`.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  CPU_SECONDS,
  RAW_BYTES,
  SOURCES,
  type Spread,
  STORED_BYTES_PER_POINT,
  STORED_BYTES_PER_SPAN,
  STORED_SHARE_OF_LOGS,
  STORED_SHARE_OF_SKETCHES,
} from '../../src/cli/capacity/figures.ts';
import { PROJECT } from '../support/proxy-process.ts';

interface Size {
  name: string;
  signal: string;
  items: number;
  rawBytes: number;
  storedBytes: { light: number; medium: number };
  writtenHeavyBytes: number;
  coldBytes: { plain: number; packed: number };
  forms?: { protocol: string; items: number; rawBytes: number; itemsPerSecond: { median: number } }[];
}
interface Stage {
  name: string;
  rawBytes: number;
  packedBytes?: number;
  items: number;
  itemsPerSecond: { median: number };
}
interface LoadCase {
  name: string;
  itemsPerSecond: number;
  cpuSecondsPerMillionItems: number;
  cpuSecondsPerRawGB: number;
}

const ITEMS_MIN = 500;

const read = <T>(path: string): T => JSON.parse(readFileSync(join(PROJECT, path), 'utf8')) as T;
const { sizes, stages } = read<{ sizes: Size[]; stages: Stage[] }>(SOURCES.sizes);
const { cases } = read<{ cases: LoadCase[] }>(SOURCES.load);

const digits3 = (value: number): number => Number(value.toPrecision(3));
const sourcesOf = (signal: string) =>
  sizes.filter((one) => one.signal === signal && one.items >= ITEMS_MIN && !one.name.includes('generator'));
const caseOf = (name: string): LoadCase => cases.find((one) => one.name === name)!;
const stageOf = (name: string): Stage => stages.find((one) => one.name === name)!;

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function storedBytes(signal: string, perOf: (size: Size) => number): Record<string, Spread> {
  const spread = (bytesOf: (size: Size) => number): Spread => {
    const values = sourcesOf(signal).map((size) => bytesOf(size) / perOf(size));
    return {
      median: digits3(median(values)),
      low: digits3(Math.min(...values)),
      high: digits3(Math.max(...values)),
    };
  };
  return {
    light: spread((size) => size.storedBytes.light),
    medium: spread((size) => size.storedBytes.medium),
    heavy: spread((size) => size.writtenHeavyBytes),
    plain: spread((size) => size.coldBytes.plain),
    packed: spread((size) => size.coldBytes.packed),
  };
}

const rawPerItem = (signal: string, protocol: string): number =>
  median(
    sourcesOf(signal)
      .flatMap(({ forms = [] }) => forms)
      .filter((form) => form.protocol === protocol)
      .map(({ rawBytes, items }) => rawBytes / items),
  );

/** From body to segment on one core, of sources that are large enough for it to mean something. */
const perSecond = (protocol: string): number =>
  median(
    sizes
      .filter(({ rawBytes, name }) => rawBytes >= 4 * 2 ** 20 && !name.includes('generator'))
      .flatMap(({ forms = [] }) => forms)
      .filter((form) => form.protocol === protocol)
      .map(({ itemsPerSecond }) => itemsPerSecond.median),
  );

test('stored bytes are the medians over the sources', () => {
  expect(sourcesOf('traces').length).toBeGreaterThan(2);
  expect(STORED_BYTES_PER_POINT).toEqual(storedBytes('metrics', ({ items }) => items));
  expect(STORED_BYTES_PER_SPAN).toEqual(storedBytes('traces', ({ items }) => items));
  expect(STORED_SHARE_OF_LOGS).toEqual(storedBytes('logs', ({ rawBytes }) => rawBytes));
  const { rawBytes, packedBytes } = stageOf('metrics/encode/all');
  expect(STORED_SHARE_OF_SKETCHES).toBe(digits3(packedBytes! / rawBytes));
});

test('raw bytes are those of the bodies that agents send', () => {
  const sketches = stageOf('metrics/decode/sketches-proto');
  expect(RAW_BYTES).toEqual({
    point: digits3(rawPerItem('metrics', 'series-v2-proto')),
    span: digits3(rawPerItem('traces', 'traces-agent-proto')),
    sketch: digits3(sketches.rawBytes / sketches.items),
  });
});

test('CPU is that of the load test', () => {
  const points = caseOf('corpus-series-proto/disk/forward').cpuSecondsPerMillionItems;
  const logs = caseOf('corpus-logs-json/disk/forward');
  const speed = (name: string): number => stageOf(`metrics/decode/${name}`).itemsPerSecond.median;
  expect(CPU_SECONDS).toEqual({
    perMillionPoints: digits3(points),
    perMillionSketches: digits3((points * speed('series-v2-proto')) / speed('sketches-proto')),
    perMillionSpans: digits3((points * perSecond('series-v2-proto')) / perSecond('traces-agent-proto')),
    perGbOfLogs: digits3(logs.cpuSecondsPerRawGB),
  });
});
