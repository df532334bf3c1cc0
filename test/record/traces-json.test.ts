/** Spans as JSON: numbers and keys however they are written. */
import { expect, test } from 'vitest';
import { seededRandom } from '../../src/core/random.ts';
import type { Row } from '../../src/record/decoder.ts';
import { decodeTraces, renderSpan } from '../../src/record/traces.ts';
import { firstDifference, parseLossless } from '../support/json-value.ts';
import { rowsOf } from '../support/rows.ts';

function rowOf(span: string): Row {
  const body = Buffer.from(`[[${span}]]`);
  const input = {
    protocol: 'traces-v04-json',
    body,
    contentType: '',
    path: '',
    receivedAtMs: 1_700_000_000_123,
  } as const;
  const result = decodeTraces(input);
  if (!result.ok) throw new Error(`refused: ${result.reason} at ${result.offset}`);
  const row: Row = { ...rowsOf(result.batch)[0]!, protocol: input.protocol };
  expect(firstDifference(parseLossless(renderSpan([row])), parseLossless(span)), span).toBeUndefined();
  return row;
}

/** As `rowsOf` gives unsigned columns. */
const signed = (value: unknown): bigint => BigInt.asIntN(64, value as bigint);

test('integers of any length', () => {
  const random = seededRandom(1);
  const texts = [
    '0',
    '1',
    '9999999999',
    '99999999999',
    '18446744073709551615',
    '9223372036854775807',
    '9223372036854775808',
  ];
  for (let i = 0; i < 3000; i++) {
    let text = String(1 + Math.floor(random.next() * 9));
    for (let n = Math.floor(random.next() * 20); n > 0; n--) text += Math.floor(random.next() * 10);
    texts.push(text);
  }
  for (const text of texts) {
    const isId = BigInt(text) < 1n << 64n;
    const row = rowOf(`{"trace_id":${text},"span_id": ${text} ,"parent_id":${text}}`);
    expect(row.raw === null, text).toBe(isId);
    if (isId)
      for (const column of ['trace_id', 'span_id', 'parent_id']) expect(signed(row[column])).toBe(signed(BigInt(text)));
    const isLong = BigInt(text) < 1n << 63n;
    const times = rowOf(`{"start":${text},"duration":${text}}`);
    expect(times.raw === null, text).toBe(isLong);
    if (isLong) expect([times.time, times.duration]).toEqual([BigInt(text), BigInt(text)]);
  }
});

test.each([
  '-1',
  '-9223372036854775808',
  '-0',
  '1.0',
  '1e3',
  '"12"',
  '1.5',
  '-18446744073709551615',
  '123456789012345678901',
])('a number written as %s comes back', (text) => {
  rowOf(`{"span_id":${text},"error":${text},"start":${text}}`);
  rowOf(`{"start":${text}}`);
});

test.each(['00', '01', '1x', '+1', '', '1 2'])('%j is no number', (text) => {
  expect(() => rowOf(`{"span_id":${text}}`)).toThrow('refused');
});

test('keys with escapes are the same keys, texts with escapes and beyond ASCII their texts', () => {
  expect(rowOf('{"n\\u0061me":"a\\u0062\\n","serv\\u0069ce":"é","resource":"漢","type":""}')).toMatchObject({
    name: 'ab\n',
    service: 'é',
    resource: '漢',
    type: '',
    raw: null,
  });
  expect(rowOf('{"name":"\\ud800","typ":"x"}').raw).not.toBeNull();
});
