/** The corpus test's own means: what it calls equal, and that it notices what is not. */
import { describe, expect, test } from 'vitest';
import { canonicalItems, canonicalJson, canonicalOf } from '../support/corpus/canonical-json.ts';
import { Ledger } from '../support/corpus/ledger.ts';
import { parseLossless, sameJson } from '../support/json-value.ts';

describe('canonical JSON', () => {
  const values = [
    '1',
    '1.0',
    '10e-1',
    '-0',
    '0',
    '-0.0',
    '0e5',
    '100',
    '1e2',
    '1E+2',
    '9007199254740993',
    '9007199254740992',
    '0.1',
    '0.10000000000000001',
    '1e400',
    '"a"',
    '"\\u0061"',
    '"\\ud800"',
    '"\\\\"',
    '"\\""',
    '"é"',
    '"\\u00e9"',
    '""',
    'null',
    'true',
    'false',
    '[]',
    '[1]',
    '[ 1 , 2 ]',
    '[1,2]',
    '[2,1]',
    '{}',
    '{"a":1,"b":2}',
    '{ "a" : 1, "b":2 }',
    '{"b":2,"a":1}',
    '{"a":1,"a":1}',
    '{"a":1}',
    '{"a":{"b":["\\"",{}]}}',
  ];

  test('texts are equal exactly where the values are', () => {
    for (const a of values) {
      for (const b of values) {
        const same = sameJson(parseLossless(a), parseLossless(b));
        expect(canonicalJson(a) === canonicalJson(b), `${a} and ${b}`).toBe(same);
      }
    }
  });

  test('values in memory and texts agree', () => {
    const value = { a: [1, 100, 0.25, -0, 1e21, 5e-324], b: { c: null, d: true, e: 'é"\\\n' }, f: 2n ** 63n };
    const text = '{"a":[1,100,0.25,-0,1e21,5e-324],"b":{"c":null,"d":true,"e":"é\\"\\\\\\n"},"f":9223372036854775808}';
    expect(canonicalOf(value)).toBe(canonicalJson(text));
  });

  test.each(['', '[1', '{"a"}', '{"a":1,}', '[1]x', '"a', 'nul', '01', '[1,]'])('%j is refused', (text) => {
    expect(() => canonicalJson(text)).toThrow(SyntaxError);
  });

  test('items of every form of body', () => {
    expect(canonicalItems('[{"a":1}, 2]', 'list')).toEqual(['{"a":1}', '2']);
    expect(canonicalItems('{"series":[{"a":10}]}', 'series')).toEqual(['{"a":1e1}']);
    expect(canonicalItems('[[1,2],[],[3]]', 'chunks')).toEqual(['1', '2', '3']);
    expect(() => canonicalItems('{"other":[]}', 'series')).toThrow(SyntaxError);
  });
});

describe('the ledger', () => {
  const problemsOf = (requests: string[], exported: string): Promise<string[]> => {
    const ledger = new Ledger();
    for (const [index, request] of requests.entries()) ledger.expect(`request ${index}`, [...request]);
    return ledger.match(
      (async function* () {
        yield* exported;
      })(),
    );
  };

  test.each([
    [['abc', 'def'], 'abcdef'],
    [['abc', 'def'], 'defabc'],
    // One begins with the other, the same thing twice, one that looks like two.
    [['ab', 'abc', 'c'], 'abcabc'],
    [['ab', 'abc', 'c'], 'ababcc'],
    [['abc', 'abc'], 'abcabc'],
    [['a', 'a', 'aab'], 'aabaa'],
    [['abx', 'ab', 'abcd', 'c'], 'abcabcdabx'],
  ])('%j is found in %j', async (requests, exported) => {
    expect(await problemsOf(requests, exported)).toEqual([]);
  });

  test.each([
    ['an item is missing', ['abc', 'def'], 'abdef'],
    ['an item is wrong', ['abc', 'def'], 'abxdef'],
    ['an item is new', ['abc', 'def'], 'abcxdef'],
    ['two items changed places', ['abc', 'def'], 'acbdef'],
    ['a request is missing', ['abc', 'def'], 'abc'],
    ['a request is there twice', ['abc', 'def'], 'abcdefabc'],
    ['requests are mixed', ['abc', 'def'], 'abdcef'],
    ['the end is missing', ['abc'], 'ab'],
    ['nothing came', ['abc'], ''],
  ])('%s', async (_what, requests, exported) => {
    expect(await problemsOf(requests, exported)).not.toEqual([]);
  });
});
