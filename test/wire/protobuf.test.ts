import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../src/core/random.ts';
import { ProtobufError, ProtobufReader } from '../../src/wire/protobuf.ts';
import { ProtobufWriter } from '../support/protobuf-writer.ts';

const varint = (value: bigint): ProtobufReader =>
  new ProtobufReader(new ProtobufWriter().raw(ProtobufWriter.varintBytes(value)).finish());
const reader = (...bytes: number[]): ProtobufReader => new ProtobufReader(Uint8Array.from(bytes));

/** Edges of every varint length and of both signs, and random bits between them. */
function integers(): bigint[] {
  const random = seededRandom(7);
  const values: bigint[] = [];
  for (let bits = 0n; bits <= 64n; bits++) {
    for (const near of [-2n, -1n, 0n, 1n]) values.push(BigInt.asUintN(64, (1n << bits) + near));
    values.push(BigInt.asUintN(Number(bits), BigInt(`0x${Buffer.from(random.bytes(8)).toString('hex')}`)));
  }
  return values;
}

describe('ProtobufReader', () => {
  it('passes wide varints as it passes any, wherever they end or break off', () => {
    const passed = (bytes: Uint8Array, end: number, isWide: boolean): unknown => {
      const one = new ProtobufReader(bytes, 0, end);
      try {
        if (isWide) one.passWide();
        else one.passVarint();
        return [one.low, one.high, one.offset];
      } catch (error) {
        if (!(error instanceof ProtobufError)) throw error;
        return `${error.message} at ${error.offset}`;
      }
    };
    const random = seededRandom(9);
    const odd = [...Array(200)].map(() =>
      Uint8Array.from(random.bytes(12), (byte) => byte | (random.next() < 0.9 ? 0x80 : 0)),
    );
    const bodies = [
      ...integers().map((value) => Uint8Array.from([...ProtobufWriter.varintBytes(value), 1, 0x80])),
      ...odd,
    ];
    for (const bytes of bodies) {
      for (let end = 0; end <= bytes.length; end++) {
        expect(passed(bytes, end, true), `${bytes} to ${end}`).toEqual(passed(bytes, end, false));
      }
    }
  });

  it('reads 64-bit integers of every width exactly', () => {
    for (const value of integers()) {
      const signed = BigInt.asIntN(64, value);
      const zigzag = (value >> 1n) ^ -(value & 1n);
      expect(varint(value).uint64()).toBe(value);
      expect(varint(value).int64()).toBe(signed);
      expect(varint(value).sint64()).toBe(zigzag);
      expect(varint(value).bool()).toBe(value !== 0n);
    }
  });

  it('reads integers as numbers where they are safe, and says where not', () => {
    const safe = (value: bigint): boolean => value >= -(2n ** 53n - 1n) && value <= 2n ** 53n - 1n;
    for (const value of integers()) {
      const signed = BigInt.asIntN(64, value);
      const zigzag = (value >> 1n) ^ -(value & 1n);
      expect(varint(value).int64Number()).toBe(safe(signed) ? Number(signed) : Number.NaN);
      expect(varint(value).sint64Number()).toBe(safe(zigzag) ? Number(zigzag) : Number.NaN);
      expect(varint(value).uint64Number()).toBe(safe(value) ? Number(value) : Number.NaN);
      if (safe(value)) expect(varint(value).uint32Number()).toBe(Number(value));
      else expect(() => varint(value).uint32Number()).toThrow(ProtobufError);
    }
  });

  it('reads doubles, floats and fixed integers bit for bit', () => {
    for (const value of [
      0,
      -0,
      1.5,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      5e-324,
      1.7976931348623157e308,
    ]) {
      const read = new ProtobufReader(new ProtobufWriter().double(1, value).finish());
      expect(read.tag()).toBe(0x09);
      expect(read.double()).toBe(value);
    }
    const read = new ProtobufReader(new ProtobufWriter().float(1, 0.1).fixed64(2, 0xfedcba9876543210n).finish());
    expect(read.tag()).toBe(0x0d);
    expect(read.float()).toBe(Math.fround(0.1));
    expect(read.tag()).toBe(0x11);
    expect(read.fixed64()).toBe(0xfedcba9876543210n);
    expect(read.done()).toBe(true);
  });

  it('works on a view that does not start at its buffer', () => {
    const bytes = new ProtobufWriter().raw([1, 2, 3]).double(1, 2.5).string(2, 'été').finish();
    const read = new ProtobufReader(bytes.subarray(3));
    read.tag();
    expect(read.double()).toBe(2.5);
    read.tag();
    expect(read.string()).toBe('été');
  });

  it('reads texts of any length, and tells what is no UTF-8', () => {
    for (const text of ['', 'a', 'a'.repeat(24), 'a'.repeat(25), 'é', `${'a'.repeat(30)}é`, '\u{1f600}', '\u0000']) {
      const read = new ProtobufReader(new ProtobufWriter().string(1, text).finish());
      read.tag();
      expect(read.string()).toBe(text);
      expect(read.stringExact).toBe(true);
    }
    const read = reader(0x0a, 3, 0x61, 0xff, 0x62, 0x0a, 1, 0x61);
    read.tag();
    expect(read.string()).toBe('a\ufffdb');
    expect(read.stringExact).toBe(false);
    read.tag();
    expect(read.string()).toBe('a');
    expect(read.stringExact).toBe(true);
  });

  it('reads embedded messages both ways', () => {
    const bytes = new ProtobufWriter()
      .message(1, (inner) => inner.varint(2, 300))
      .varint(3, 4)
      .finish();
    const one = new ProtobufReader(bytes);
    one.tag();
    const inner = one.message();
    expect([inner.tag(), inner.uint32Number(), inner.done()]).toEqual([0x10, 300, true]);
    expect([one.tag(), one.uint32Number(), one.done()]).toEqual([0x18, 4, true]);
    const two = new ProtobufReader(bytes);
    two.tag();
    const outer = two.enter();
    two.tag();
    two.leave(outer);
    expect([two.tag(), two.uint32Number(), two.done()]).toEqual([0x18, 4, true]);
  });

  it('skips every kind of field and gives its bytes', () => {
    const field = [0x0b, 0x10, 0x05, 0x1b, 0x1c, 0x0c];
    const bytes = new ProtobufWriter()
      .varint(1, -1)
      .double(2, 1)
      .float(3, 1)
      .string(4, 'abc')
      .raw(field)
      .varint(99, 1)
      .finish();
    const read = new ProtobufReader(bytes);
    const fields: number[][] = [];
    while (!read.done()) {
      const start = read.offset;
      fields.push([...read.skipField(read.tag(), start)]);
    }
    expect(fields.length).toBe(6);
    expect(fields[4]).toEqual(field);
    expect(fields.flat()).toEqual([...bytes]);
  });

  it.each([
    ['field number 0', [0x02, 0x00], 0],
    ['field number 0, written long', [0x80, 0x00], 0],
    ['truncated varint', [0x08, 0x80], 1],
    ['varint beyond 64 bits', [0x08, ...Array(9).fill(0xff), 0x02], 1],
    ['eleven bytes of varint', [0x08, ...Array(10).fill(0x80), 0x00], 1],
    ['length beyond the end', [0x0a, 0x05, 0x61], 1],
    ['length of 2^63', [0x0a, ...Array(8).fill(0x80), 0x80, 0x01], 1],
    ['truncated fixed64', [0x09, 1, 2, 3], 1],
    ['truncated fixed32', [0x0d, 1, 2, 3], 1],
    ['wire type 6', [0x0e, 1], 1],
    ['wire type 7', [0x0f, 1], 1],
    ['end of a group that was not begun', [0x0c], 1],
    ['group that ends as another', [0x0b, 0x14], 2],
    ['truncated group', [0x0b, 0x08, 0x01], 3],
    ['tag beyond 32 bits', [0xff, 0xff, 0xff, 0xff, 0x1f, 0x00], 0],
  ])('throws on malformed input, with the place: %s', (_what, bytes, offset) => {
    const read = reader(...bytes);
    let thrown: unknown;
    try {
      while (!read.done()) {
        const start = read.offset;
        read.skipField(read.tag(), start);
      }
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(ProtobufError);
    expect((thrown as ProtobufError).offset).toBeGreaterThanOrEqual(offset);
    expect((thrown as ProtobufError).offset).toBeLessThanOrEqual(bytes.length);
  });

  it('bounds the nesting of groups', () => {
    const read = new ProtobufReader(Buffer.alloc(100_000, 0x0b));
    expect(() => read.skipField(read.tag(), 0)).toThrow(/nested deeper/);
  });
});
