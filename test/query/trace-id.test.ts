import { expect, test } from 'vitest';
import { logTraceIds, spanTraceIds, traceConditions, traceIdOf } from '../../src/query/trace-id.ts';

test('decimal and hex', () => {
  const decimal = traceIdOf('18446744073709551615')!;
  expect(spanTraceIds(decimal)).toEqual([2n ** 64n - 1n]);
  expect(logTraceIds(decimal)).toEqual([
    '18446744073709551615',
    'ffffffffffffffff',
    'FFFFFFFFFFFFFFFF',
    '0000000000000000ffffffffffffffff',
    '0000000000000000FFFFFFFFFFFFFFFF',
  ]);
  const whole = traceIdOf('68D0F5C3000000000000000000000a0B')!;
  expect(spanTraceIds(whole)).toEqual([0xa0bn]);
  expect(logTraceIds(whole)).toEqual([
    '2571',
    '0000000000000a0b',
    '0000000000000A0B',
    '68d0f5c3000000000000000000000a0b',
    '68D0F5C3000000000000000000000A0B',
  ]);
  expect(traceConditions('traces', whole)).toEqual([
    `((trace_id = 2571 AND coalesce(trace_id_high, '68d0f5c300000000') = '68d0f5c300000000'))`,
  ]);
  expect(spanTraceIds(traceIdOf('0x00000000000000ff')!)).toEqual([255n]);
  expect(traceConditions('traces', traceIdOf(`${'0'.repeat(31)}1`)!)).toEqual(['(trace_id = 1)']);
  expect(traceConditions('metrics', whole)).toEqual([]);
});

test('sixteen digits are both', () => {
  const both = traceIdOf('1234567890123456')!;
  expect(spanTraceIds(both)).toEqual([1234567890123456n, 0x1234567890123456n]);
  expect(traceConditions('traces', both)).toEqual(['(trace_id = 1234567890123456 OR trace_id = 1311768467284833366)']);
});

test.each(['', '-1', '18446744073709551616', 'abc', 'fffffffffffffffff', "1' OR '1'='1", '0x', '1.5'])(
  'no id: %s',
  (text) => {
    expect(traceIdOf(text)).toBeUndefined();
  },
);
