import { describe, expect, test } from 'vitest';
import { FORMAT_KEY, PACKED_GAIN_MIN } from '../../../src/codec/codec.ts';
import { LAYOUT_KEY, PACKED_LAYOUT, PARENT_BACK, VALUE_DIGITS } from '../../../src/codec/packed/layout.ts';
import { fromPacked, toPacked } from '../../../src/codec/packed/packed-layout.ts';
import { createParquetCodec } from '../../../src/codec/parquet-codec.ts';
import { isProxyError } from '../../../src/core/errors.ts';
import { seededRandom } from '../../../src/core/random.ts';
import { SEGMENT_COLUMNS } from '../../../src/record/schema.ts';
import { batchOf, inReceivedOrder, logBatch, randomLogs, randomPoints, randomSpans, rowsOf } from './batches.ts';

const SCHEMA = SEGMENT_COLUMNS.logs;
const codec = createParquetCodec();
const options = { level: 3, rowGroupRowsMax: 1000, metadata: { 'reductrai.signal': 'logs' } };

describe('rows go in and come out', () => {
  test.each([1, 2, 3, 4, 5, 6])('byte for byte, seed %i', async (seed) => {
    const batch = logBatch(randomLogs(seed, 1500, seed % 2 ? 0.005 : 0.3));
    const expected = inReceivedOrder(rowsOf(batch));
    const layouts = [...toPacked(SCHEMA, batch)];
    expect(layouts.length).toBeGreaterThan(1);
    for (const { batch: packed, schema } of layouts) {
      expect(Object.keys(packed.columns)).toEqual(schema.map(({ name }) => name));
      const templates = packed.columns.message_template!;
      const templated = 'ids' in templates ? templates.ids.filter((id) => id !== 0xffffffff).length : 0;
      expect(templated).toBeGreaterThan(600);
      expect(rowsOf(fromPacked(SCHEMA, packed))).toEqual(expected);
    }
    const bytes = codec.encode(SCHEMA, batch, { ...options, layout: 'packed' });
    const back = await codec.decode(SCHEMA, bytes);
    // Where a third of the lines is odd it may not pay.
    if (seed % 2) expect(back.metadata[LAYOUT_KEY]).toBe(PACKED_LAYOUT);
    const isPlain = back.metadata[LAYOUT_KEY] === undefined;
    expect(rowsOf(back.batch)).toEqual(isPlain ? rowsOf(batch) : expected);
  });

  test('in whatever order they were, and with the same bytes each time', async () => {
    const random = seededRandom(9).next;
    const rows = randomLogs(9, 1200, 0.005);
    const shuffled = rows.map((row) => ({ row, at: random() })).sort((a, b) => a.at - b.at);
    const batch = logBatch(shuffled.map(({ row }) => row));
    const bytes = codec.encode(SCHEMA, batch, { ...options, layout: 'packed' });
    expect(Buffer.compare(bytes, codec.encode(SCHEMA, batch, { ...options, layout: 'packed' }))).toBe(0);
    const back = await codec.decode(SCHEMA, bytes);
    expect(back.metadata[LAYOUT_KEY]).toBe(PACKED_LAYOUT);
    expect(rowsOf(back.batch)).toEqual(inReceivedOrder(rowsOf(batch)));
  });

  test('no rows, and one', async () => {
    for (const count of [0, 1]) {
      const batch = logBatch(randomLogs(1, count));
      for (const { batch: packed } of toPacked(SCHEMA, batch)) {
        expect(rowsOf(fromPacked(SCHEMA, packed))).toEqual(rowsOf(batch));
      }
      const back = await codec.decode(SCHEMA, codec.encode(SCHEMA, batch, { ...options, layout: 'packed' }));
      expect(rowsOf(back.batch)).toEqual(rowsOf(batch));
    }
  });
});

describe('spans', () => {
  test.each([1, 2, 3])('parents are found again, seed %i', async (seed) => {
    const batch = batchOf('traces', randomSpans(seed, 2000));
    const layouts = [...toPacked(SEGMENT_COLUMNS.traces, batch)];
    expect(layouts.length).toBeGreaterThan(1);
    for (const { batch: packed } of layouts) {
      const back = packed.columns[PARENT_BACK];
      if (back?.kind !== 'int32') throw new Error('no references');
      const found = back.values.filter((_, row) => back.nulls?.[row] !== 1);
      expect(found.length).toBeGreaterThan(1000);
      expect(Math.min(...found)).toBeLessThan(0);
      expect(Math.max(...found)).toBeGreaterThan(0);
      expect(rowsOf(fromPacked(SEGMENT_COLUMNS.traces, packed))).toEqual(rowsOf(batch));
    }
    const bytes = codec.encode(SEGMENT_COLUMNS.traces, batch, { ...options, layout: 'packed' });
    const back = await codec.decode(SEGMENT_COLUMNS.traces, bytes);
    expect(back.metadata[LAYOUT_KEY]).toBe(PACKED_LAYOUT);
    expect(rowsOf(back.batch)).toEqual(rowsOf(batch));
  });

  test('a reference out of the file is an error', () => {
    const [layout] = [...toPacked(SEGMENT_COLUMNS.traces, batchOf('traces', randomSpans(1, 100)))];
    const { batch } = layout!;
    for (const away of [200, -200]) {
      const back = { kind: 'int32' as const, values: new Int32Array(100).fill(away) };
      const broken = { ...batch, columns: { ...batch.columns, [PARENT_BACK]: back } };
      expect(() => fromPacked(SEGMENT_COLUMNS.traces, broken)).toThrow('parent');
    }
  });
});

describe('which layout', () => {
  test('packed only where that is smaller by the share that counts', async () => {
    const repeating = logBatch(randomLogs(3, 1500, 0.005));
    const plain = codec.encode(SCHEMA, repeating, options);
    const packed = codec.encode(SCHEMA, repeating, { ...options, layout: 'packed' });
    expect(packed.byteLength).toBeLessThanOrEqual(plain.byteLength * (1 - PACKED_GAIN_MIN));
    // Letters by chance: nothing comes up again.
    const random = seededRandom(4).next;
    const word = () => Array.from({ length: 60 }, () => String.fromCharCode(97 + Math.floor(random() * 26))).join('');
    const noise = logBatch(randomLogs(4, 300).map((row) => ({ ...row, message: word(), attributes: null })));
    const same = codec.encode(SCHEMA, noise, { ...options, layout: 'packed' });
    expect(Buffer.compare(same, codec.encode(SCHEMA, noise, options))).toBe(0);
  });

  test('a plain segment says nothing of layouts: older versions read it', async () => {
    const batch = logBatch(randomLogs(1, 50));
    const bytes = codec.encode(SCHEMA, batch, options);
    expect(Buffer.compare(bytes, codec.encode(SCHEMA, batch, { ...options, layout: 'plain' }))).toBe(0);
    const { metadata } = await codec.decode(SCHEMA, bytes);
    expect(metadata).toEqual({ 'reductrai.signal': 'logs', [FORMAT_KEY]: '1' });
  });

  test('what has nothing to pack is plain', () => {
    const { metrics } = SEGMENT_COLUMNS;
    const columns = Object.fromEntries(
      metrics.map(({ name, kind }) => {
        if (kind === 'string' || kind === 'binary') {
          return [name, { kind, ids: new Uint32Array(1), offsets: Uint32Array.of(0, 1), bytes: Buffer.from('a') }];
        }
        const values =
          kind === 'int32' ? new Int32Array(1) : kind === 'double' ? new Float64Array(1) : new BigInt64Array(1);
        return [name, { kind, values }];
      }),
    );
    const batch = { rowCount: 1, columns } as Parameters<typeof codec.encode>[1];
    const bytes = codec.encode(metrics, batch, { ...options, layout: 'packed' });
    expect(Buffer.compare(bytes, codec.encode(metrics, batch, options))).toBe(0);
  });
});

describe('what is no packed segment is refused', () => {
  const packed = (): Buffer =>
    Buffer.from(codec.encode(SCHEMA, logBatch(randomLogs(2, 1200, 0.005)), { ...options, layout: 'packed' }));
  const refused = (bytes: Uint8Array) =>
    expect(codec.decode(SCHEMA, bytes)).rejects.toSatisfy((error) => isProxyError(error, 'SEGMENT_UNREADABLE'));

  test('a layout that is not known', async () => {
    const bytes = packed();
    const at = bytes.lastIndexOf(PACKED_LAYOUT);
    bytes.write('packed-9', at, 'latin1');
    await refused(bytes);
  });

  test('a placeholder of a column that is not there, or of no kind', () => {
    const [layout] = [...toPacked(SCHEMA, logBatch(randomLogs(2, 1200)))];
    const { batch } = layout!;
    const template = batch.columns.message_template!;
    if (!('ids' in template)) throw new Error('templates are texts');
    for (const text of ['\x01s', '\x01sz', '\x01q0', '\x01t?', '\x01n0', '\x01da', '\x01']) {
      const bytes = Buffer.from(text, 'latin1');
      const ids = template.ids.map((_, row) => (row === 1199 ? 0 : 0xffffffff));
      const changed = { ...template, ids, offsets: Uint32Array.of(0, bytes.byteLength), bytes };
      const broken = { ...batch, columns: { ...batch.columns, message_template: changed } };
      expect(() => fromPacked(SCHEMA, broken), JSON.stringify(text)).toThrow();
    }
  });

  test('a changed byte in a page is noticed', async () => {
    const good = packed();
    const random = seededRandom(5).next;
    let noticed = 0;
    for (let round = 0; round < 60; round++) {
      const bad = Buffer.from(good);
      const at = 4 + Math.floor(random() * (bad.byteLength * 0.8));
      bad[at] = bad[at]! ^ (1 << Math.floor(random() * 8));
      try {
        await codec.decode(SCHEMA, bad);
      } catch (error) {
        if (!isProxyError(error, 'SEGMENT_UNREADABLE')) throw error;
        noticed += 1;
      }
    }
    // What is left are bytes of page headers, for which there is the checksum of the commit record.
    expect(noticed).toBeGreaterThanOrEqual(54);
  });
});

describe('points', () => {
  const METRICS = SEGMENT_COLUMNS.metrics;
  const bitsOf = (batch: ReturnType<typeof batchOf>): (bigint | null)[] => {
    const { value } = batch.columns;
    if (value?.kind !== 'double') throw new Error('no values');
    const bits = new BigInt64Array(value.values.buffer, value.values.byteOffset, value.values.length);
    return Array.from(bits, (one, row) => (value.nulls?.[row] === 1 ? null : one));
  };

  test.each([1, 2, 3])('come back to the bit, digits apart where that is exact, seed %i', async (seed) => {
    const rows = randomPoints(seed, 4000);
    const batch = batchOf('metrics', rows);
    const { value } = batch.columns;
    if (value?.kind !== 'double') throw new Error('no values');
    // NaNs of which the payload matters.
    const bits = new BigInt64Array(value.values.buffer);
    for (const row of [5, 1005, 2005]) bits[row] = 0x7ff8_0000_0000_0000n + BigInt(row);
    const [packed, ...others] = toPacked(METRICS, batch);
    expect(others).toEqual([]);
    const digits = packed!.batch.columns[VALUE_DIGITS];
    if (digits?.kind !== 'int64') throw new Error('no digits');
    const scaled = digits.nulls!.filter((isNull) => isNull === 0).length;
    // Three of four series; what is odd stays as it is.
    expect(scaled).toBeGreaterThan(2500);
    expect(scaled).toBeLessThan(3100);
    const order = rows
      .map(({ position, item }, at) => ({ position: Number(position), item: Number(item), at }))
      .sort((one, other) => one.position - other.position || one.item - other.item);
    const given = { bits: bitsOf(batch), rows: rowsOf(batch) };
    const expected = order.map(({ at }) => given.bits[at]);
    expect(bitsOf(fromPacked(METRICS, packed!.batch))).toEqual(expected);
    const bytes = codec.encode(METRICS, batch, { ...options, rowGroupRowsMax: 5000, layout: 'packed' });
    const back = await codec.decode(METRICS, bytes);
    expect(back.metadata[LAYOUT_KEY]).toBe(PACKED_LAYOUT);
    expect(bitsOf(back.batch)).toEqual(expected);
    expect(rowsOf(back.batch)).toEqual(order.map(({ at }) => given.rows[at]));
  });

  test('without values nothing is packed', () => {
    const batch = batchOf(
      'metrics',
      randomPoints(1, 20).map((row) => ({ ...row, value: null })),
    );
    expect([...toPacked(METRICS, batch)]).toEqual([]);
  });
});
