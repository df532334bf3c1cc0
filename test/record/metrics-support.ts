/** Decoding in tests: a body in, its items' rows out, through what a reader of a batch would do. */
import { expect } from 'vitest';
import type { Protocol } from '../../src/core/envelope.ts';
import type { DecodeResult, Row } from '../../src/record/decoder.ts';
import { decodeMetrics, renderMetric } from '../../src/record/metrics.ts';
import { firstDifference, parseLossless } from '../support/json-value.ts';
import { itemsOf, rowsOf } from '../support/rows.ts';

export const RECEIVED_AT_MS = 1_700_000_000_123;

export function decode(protocol: Protocol, body: Uint8Array | string): DecodeResult {
  const bytes = typeof body === 'string' ? Buffer.from(body, 'utf8') : body;
  return decodeMetrics({ protocol, body: bytes, contentType: '', path: '/', receivedAtMs: RECEIVED_AT_MS });
}

export interface Decoded {
  result: DecodeResult & { ok: true };
  rows: Row[];
  /** Rows of each item, in order; without the payload row. */
  items: Row[][];
  payload: Row[] | undefined;
}

export function decoded(protocol: Protocol, body: Uint8Array | string): Decoded {
  const result = decode(protocol, body);
  if (!result.ok) throw new Error(`rejected at ${result.offset}: ${result.reason}`);
  const rows = rowsOf(result.batch);
  const groups = itemsOf(rows);
  return {
    result,
    rows,
    items: groups.filter((group) => group[0]!.kind !== 'payload'),
    payload: groups.find((group) => group[0]!.kind === 'payload'),
  };
}

export function expectSameJson(actual: string, expected: string): void {
  expect(firstDifference(parseLossless(actual), parseLossless(expected)), `${actual}\n${expected}`).toBeUndefined();
}

export function expectRendered(rows: readonly Row[], expected: string): void {
  expectSameJson(renderMetric(rows), expected);
}
