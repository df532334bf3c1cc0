import { expect, test } from 'vitest';
import type { Signal } from '../../src/core/envelope.ts';
import { outcomeOf, WAIT_ASKED_MS_MAX, waitAskedMs } from '../../src/upstream/outcome.ts';

const NOW_MS = Date.UTC(2026, 0, 2, 3, 4, 5);
const kindOf = (signal: Signal, status: number): string => outcomeOf(signal, status, {}, '', NOW_MS).kind;

test.each<[number, string, string]>([
  [200, 'delivered', 'delivered'],
  [202, 'delivered', 'delivered'],
  [301, 'retry', 'retry'],
  [400, 'refused', 'refused'],
  [401, 'unauthorized', 'unauthorized'],
  [403, 'unauthorized', 'unauthorized'],
  [404, 'retry', 'retry'],
  [405, 'retry', 'refused'],
  [408, 'retry', 'retry'],
  [413, 'refused', 'refused'],
  [415, 'retry', 'refused'],
  [422, 'retry', 'refused'],
  [425, 'retry', 'retry'],
  [429, 'retry', 'retry'],
  [500, 'retry', 'retry'],
  [599, 'retry', 'retry'],
])('status %i: %s, traces %s', (status, others, traces) => {
  for (const signal of ['metrics', 'logs', 'events'] as const) expect(kindOf(signal, status)).toBe(others);
  expect(kindOf('traces', status)).toBe(traces);
});

test.each<[Record<string, string>, number | undefined]>([
  [{}, undefined],
  [{ 'retry-after': '0' }, 0],
  [{ 'retry-after': ' 5 ' }, 5_000],
  [{ 'retry-after': '1.5' }, 1_500],
  [{ 'retry-after': 'Fri, 02 Jan 2026 03:04:15 GMT' }, 10_000],
  [{ 'retry-after': 'Fri, 02 Jan 2026 03:04:00 GMT' }, 0],
  [{ 'retry-after': 'soon' }, undefined],
  [{ 'retry-after': '-3' }, undefined],
  [{ 'retry-after': '999999999' }, WAIT_ASKED_MS_MAX],
  [{ 'x-ratelimit-reset': '12' }, 12_000],
  [{ 'retry-after': '3', 'x-ratelimit-reset': '12' }, 3_000],
  [{ 'retry-after': 'soon', 'x-ratelimit-reset': '12' }, 12_000],
])('%j asks for %j ms', (headers, expected) => {
  expect(waitAskedMs(headers, NOW_MS)).toBe(expected);
});
