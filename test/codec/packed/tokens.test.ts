import { expect, test } from 'vitest';
import { TOKEN, Tokens } from '../../../src/codec/packed/tokens.ts';
import { randomLogs } from './batches.ts';

const TIME_MS = 1_790_000_000_000;
const tokens = new Tokens();

function cut(text: string): [string, number][] {
  expect(tokens.cut(text, TIME_MS)).toBe(true);
  return Array.from({ length: tokens.count }, (_, i) => [
    text.slice(tokens.starts[i], tokens.ends[i]),
    tokens.kinds[i]!,
  ]);
}

test('tokens cover a text without a gap', () => {
  for (const { message, time } of randomLogs(1, 800, 0.3)) {
    const text = Buffer.from(String(message ?? ''), 'utf8').toString('latin1');
    if (!tokens.cut(text, Number(time))) continue;
    let at = 0;
    for (let i = 0; i < tokens.count; i++) {
      expect(tokens.starts[i]).toBe(at);
      expect(tokens.ends[i]!).toBeGreaterThan(at);
      at = tokens.ends[i]!;
    }
    expect(at).toBe(text.length);
  }
});

test('what varies is one token each: numbers, addresses, ids, times', () => {
  const text =
    'at 2026-09-21 14:13:20.000 host 10.0.0.1 took 0.25 ms for 49405caa-dad2-41c8-c2cd-466ac099b348 deadbeef';
  const found = cut(text).filter(([, kind]) => kind === TOKEN.variable || kind === TOKEN.time);
  expect(found).toEqual([
    ['2026-09-21 14:13:20', TOKEN.time],
    ['000', TOKEN.time],
    ['10.0.0.1', TOKEN.variable],
    ['0.25', TOKEN.variable],
    ['49405caa-dad2-41c8-c2cd-466ac099b348', TOKEN.variable],
    ['deadbeef', TOKEN.variable],
  ]);
});

test('quotes count unless they are escaped; the letter of an escape is no part of a word', () => {
  const text = String.raw`{"a":"x\"y\\","b":"\t12\n"}`;
  const quotes = cut(text).filter(([, kind]) => kind === TOKEN.quote);
  expect(quotes).toHaveLength(8);
  expect(cut(text).map(([token]) => token)).toContain('12');
});

test('a text with the mark of placeholders, or beyond the bounds, is left alone', () => {
  expect(tokens.cut('a\x01b', TIME_MS)).toBe(false);
  expect(tokens.cut('x'.repeat(256 * 1024 + 1), TIME_MS)).toBe(false);
  expect(tokens.cut('1 '.repeat(8192), TIME_MS)).toBe(false);
});
