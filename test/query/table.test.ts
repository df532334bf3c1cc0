import { expect, test } from 'vitest';
import { cellOf, csvOf, formatTable, humanBytes, jsonOf } from '../../src/query/table.ts';

test('columns are aligned, numbers to the right', () => {
  expect(
    formatTable(
      ['name', 'n'],
      [
        ['a', '1'],
        ['bcdefg', '10'],
      ],
      80,
    ),
  ).toBe('name     n\n──────  ──\na        1\nbcdefg  10\n');
  expect(formatTable(['name'], [], 80)).toBe('name\n────\n');
});

test('a table fits its terminal, the widest cells are cut first', () => {
  const text = formatTable(['a', 'b'], [['short', 'x'.repeat(200)]], 40);
  for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(40);
  expect(text).toContain('short');
  expect(text).toContain('…');
});

test('nothing that steers a terminal gets through', () => {
  const text = formatTable(['m'], [['\u001b[31mred\u0007\u202e\u009b']], 80);
  expect(text).toContain('\\u001b[31mred\\u0007\\u202e\\u009b');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is looked for
  expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
});

test('wide characters count twice', () => {
  const [, , first, second] = formatTable(
    ['m', 'n'],
    [
      ['漢字', 'x'],
      ['abcd', 'y'],
    ],
    80,
  ).split('\n');
  expect([first, second]).toEqual(['漢字  x', 'abcd  y']);
});

test('values as JSON and as cells', () => {
  expect(jsonOf(2n ** 64n)).toBe('18446744073709551616');
  expect([Number.NaN, Number.NEGATIVE_INFINITY, -0, 0.1].map(jsonOf)).toEqual(['"NaN"', '"-Infinity"', '-0', '0.1']);
  expect(jsonOf(['a', null, { kind: 'json', text: '{"k":1}' }])).toBe('["a",null,{"k":1}]');
  expect([null, -0, 'x', [1, 'a']].map(cellOf)).toEqual(['', '-0', 'x', '[1,"a"]']);
  expect(['a', 'a,b', 'a"b', 'a\nb'].map(csvOf)).toEqual(['a', '"a,b"', '"a""b"', '"a\nb"']);
  expect([0, 1023, 1536, 5 * 1024 ** 3].map(humanBytes)).toEqual(['0 B', '1023 B', '1.5 KiB', '5.0 GiB']);
});
