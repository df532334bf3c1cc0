import { Packr, Unpackr } from 'msgpackr';
import { describe, expect, it } from 'vitest';
import { NESTING_MAX } from '../../src/core/limits.ts';
import { MsgpackError, MsgpackReader, msgpackToJson } from '../../src/wire/msgpack.ts';
import { RandomValues } from './msgpack-values.ts';

const packr = new Packr({ useRecords: false, mapsAsObjects: false });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: false, int64AsType: 'bigint' });
const pack = (value: unknown): Uint8Array => Uint8Array.from(packr.pack(value));
const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));

describe('integers', () => {
  const cases: [string, bigint][] = [
    ['00', 0n],
    ['7f', 127n],
    ['e0', -32n],
    ['ff', -1n],
    ['ccff', 255n],
    ['cdffff', 65535n],
    ['ceffffffff', 4294967295n],
    ['cf0020000000000000', 1n << 53n],
    ['cf001fffffffffffff', (1n << 53n) - 1n],
    ['cfffffffffffffffff', (1n << 64n) - 1n],
    ['cf0000000000000001', 1n],
    ['d080', -128n],
    ['d18000', -32768n],
    ['d280000000', -2147483648n],
    ['d38000000000000000', -(1n << 63n)],
    ['d3ffe0000000000000', -(1n << 53n)],
    ['d3ffe0000000000001', -(1n << 53n) + 1n],
    ['d37fffffffffffffff', (1n << 63n) - 1n],
    ['d3ffffffffffffffff', -1n],
  ];
  it.each(cases)('%s is %s', (bytes, value) => {
    const reader = new MsgpackReader(hex(bytes));
    expect(reader.type()).toBe('integer');
    expect(reader.passInteger()).toBe(true);
    const got = reader.integer();
    expect(BigInt(got)).toBe(value);
    if (typeof got === 'number') expect(Number.isSafeInteger(got) || got === -(2 ** 53)).toBe(true);
    expect(reader.negative).toBe(value < 0n);
    expect(BigInt.asUintN(64, value)).toBe((BigInt(reader.high) << 32n) | BigInt(reader.low));
    expect(reader.atEnd()).toBe(true);
    expect(msgpackToJson(hex(bytes))).toEqual({ text: String(value), exact: true });
  });
});

describe('what JSON has no word for', () => {
  const cases: [string, string, string][] = [
    ['NaN', 'cb7ff8000000000000', '"NaN"'],
    ['-Infinity', 'caff800000', '"-Infinity"'],
    ['binary', 'c403010203', '{"$bin":"AQID"}'],
    ['string that is no UTF-8', 'a2ff41', '{"$str":"/0E="}'],
    ['key that is no UTF-8', '81a1ff01', '{"$str:/w==":1}'],
    ['key that is a number', '810501', '{"5":1}'],
    ['fixext', 'd6ff00000001', '{"$ext":-1,"data":"AAAAAQ=="}'],
    ['ext 8', 'c70205abcd', '{"$ext":5,"data":"q80="}'],
    ['key twice', '82a16101a16102', '{"a":1,"a":2}'],
  ];
  it.each(cases)('%s', (_name, bytes, text) => {
    expect(msgpackToJson(hex(bytes))).toEqual({ text, exact: false });
  });

  it('keeps what JSON can say, exactly', () => {
    expect(msgpackToJson(hex('cb8000000000000000')).text).toBe('-0');
    expect(msgpackToJson(hex('ca3dcccccd'))).toEqual({ text: '0.10000000149011612', exact: true });
    expect(msgpackToJson(hex('93c0c3c2'))).toEqual({ text: '[null,true,false]', exact: true });
    expect(msgpackToJson(pack('a"\\\u0001ü€😀\u2028'))).toEqual({
      text: JSON.stringify('a"\\\u0001ü€😀\u2028'),
      exact: true,
    });
  });
});

describe('malformed', () => {
  const cases: [string, string][] = [
    ['nothing', ''],
    ['0xc1', 'c1'],
    ['string cut', 'a361'],
    ['str 32 beyond the end', 'dbffffffff61'],
    ['bin 32 beyond the end', 'c6ffffffff61'],
    ['ext 32 beyond the end', 'c9ffffffff0161'],
    ['array 32 of four thousand million', 'ddffffffff00'],
    ['map 32 of four thousand million', 'dfffffffff0000'],
    ['map with a key only', '81a161'],
    ['float cut', 'cb0000'],
    ['bytes after the value', '0000'],
  ];
  it.each(cases)('%s', (_name, bytes) => {
    expect(() => msgpackToJson(hex(bytes))).toThrow(MsgpackError);
  });

  it('names the offset', () => {
    const error = caught(() => msgpackToJson(hex('92c0c1')));
    expect(error).toBeInstanceOf(MsgpackError);
    expect((error as MsgpackError).offset).toBe(2);
  });

  it('refuses nesting beyond the bound, and takes the bound itself', () => {
    const nested = (depth: number): Uint8Array => Uint8Array.from([...new Array<number>(depth).fill(0x91), 0xc0]);
    expect(msgpackToJson(nested(NESTING_MAX)).exact).toBe(true);
    expect(() => msgpackToJson(nested(NESTING_MAX + 1))).toThrow(/nested/);
    expect(() => new MsgpackReader(nested(100_000)).skip()).toThrow(/nested/);
    new MsgpackReader(nested(NESTING_MAX)).skip();
  });
});

function caught(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return undefined;
}

/** The same value in the form our JSON text has, from what msgpackr read. */
function normal(value: unknown): unknown {
  if (typeof value === 'bigint') return value >= -(2n ** 53n) && value <= 2n ** 53n ? Number(value) : `#${value}`;
  if (Array.isArray(value)) return value.map(normal);
  if (value instanceof Map) return [...value].map(([key, inner]) => [key, normal(inner)]);
  return value;
}

describe('against msgpackr', () => {
  it('reads, skips and slices 200 random values alike', () => {
    const random = new RandomValues(7);
    for (let i = 0; i < 200; i++) {
      const bytes = pack(random.value(3));
      const reader = new MsgpackReader(bytes);
      reader.skip();
      expect(reader.atEnd()).toBe(true);
      expect(new MsgpackReader(bytes).sliceValue()).toEqual(Buffer.from(bytes));
      const { text } = msgpackToJson(bytes);
      const ours = JSON.parse(text.replace(/(?<=[[:,]|^)-?\d{16,}(?=[\],}]|$)/g, (n) => bigText(n))) as unknown;
      expect(JSON.stringify(normalObject(ours))).toBe(JSON.stringify(normal(unpackr.unpack(bytes))));
    }
  });

  it('never throws anything but MsgpackError on truncated or flipped bytes, and never reads past the end', () => {
    const random = new RandomValues(11);
    for (let i = 0; i < 40; i++) {
      const bytes = pack(random.value(2));
      for (let length = 0; length < bytes.length; length++) {
        const error = caught(() => msgpackToJson(bytes.subarray(0, length)));
        expect(error).toBeInstanceOf(MsgpackError);
        expect((error as MsgpackError).offset).toBeLessThanOrEqual(length);
        expect(caught(() => new MsgpackReader(bytes, 0, length).skip())).toBeInstanceOf(MsgpackError);
      }
      for (let round = 0; round < 40; round++) {
        const flipped = Uint8Array.from(bytes);
        flipped[random.below(flipped.length)]! ^= 1 << random.below(8);
        const error = caught(() => msgpackToJson(flipped));
        if (error !== undefined) expect(error).toBeInstanceOf(MsgpackError);
      }
    }
  });
});

function bigText(text: string): string {
  const value = BigInt(text);
  return value >= -(2n ** 53n) && value <= 2n ** 53n ? text : `"#${text}"`;
}

function normalObject(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(normalObject);
  if (value !== null && typeof value === 'object') {
    return Object.entries(value).map(([key, inner]) => [key, normalObject(inner)]);
  }
  return value;
}
