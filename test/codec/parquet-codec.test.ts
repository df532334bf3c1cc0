import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { describe, expect, test } from 'vitest';
import { createParquetCodec } from '../../src/codec/parquet-codec.ts';
import type { Column, ColumnBatch, ColumnSchema } from '../../src/core/columns.ts';
import { NULL_ID } from '../../src/core/columns.ts';
import { isProxyError } from '../../src/core/errors.ts';
import { seededRandom } from '../../src/core/random.ts';

const SCHEMA: ColumnSchema[] = [
  { name: 'position', kind: 'int64', nullable: false, help: '' },
  { name: 'time', kind: 'timestampMs', nullable: false, help: '' },
  { name: 'start', kind: 'timestampNs', nullable: true, help: '' },
  { name: 'span_id', kind: 'int64', nullable: true, unsigned: true, help: '' },
  { name: 'value', kind: 'double', nullable: true, help: '' },
  { name: 'item', kind: 'int32', nullable: true, help: '' },
  { name: 'text', kind: 'string', nullable: true, help: '' },
  { name: 'tags', kind: 'string', nullable: true, json: true, help: '' },
  { name: 'raw', kind: 'binary', nullable: true, help: '' },
];

const ODD_DOUBLES = [
  Number.NaN,
  -0,
  0,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  5e-324,
  1.7976931348623157e308,
  0.1,
];
/** Quiet and signalling, with payloads and sign. */
const NAN_BITS = [0x7ff8_0000_0000_0000n, 0x7ff0_0000_0000_0001n, 0xfff8_dead_beef_0001n, 0x7fff_ffff_ffff_ffffn];
const ODD_LONGS = [0n, -1n, 2n ** 63n - 1n, -(2n ** 63n), 1n << 53n, 1_700_000_000_123_456_789n];

function randomColumn(column: ColumnSchema, rows: number, random: () => number): Column {
  const style = Math.floor(random() * 4);
  const isNull = () => column.nullable && (style === 3 || random() < 0.2);
  if (column.kind === 'string' || column.kind === 'binary') {
    const entries: Buffer[] = [];
    const ids = new Uint32Array(rows);
    const distinct = style === 0 ? 1 : style === 1 ? 20 : rows;
    for (let i = 0; i < Math.max(distinct, 1); i++) {
      const size = random() < 0.1 ? 0 : Math.floor(random() * 40);
      const bytes = Buffer.from(Array.from({ length: size }, () => Math.floor(random() * 256)));
      entries.push(
        column.kind === 'binary'
          ? bytes
          : Buffer.from(column.json ? JSON.stringify([i]) : `é${i}-${bytes.toString('latin1')}`),
      );
    }
    for (let i = 0; i < rows; i++) ids[i] = isNull() ? NULL_ID : Math.floor(random() * entries.length);
    const offsets = new Uint32Array(entries.length + 1);
    entries.forEach((entry, i) => {
      offsets[i + 1] = offsets[i]! + entry.byteLength;
    });
    return { kind: column.kind, ids, offsets, bytes: Buffer.concat(entries) };
  }
  const nulls = new Uint8Array(rows);
  for (let i = 0; i < rows; i++) nulls[i] = isNull() ? 1 : 0;
  const some = nulls.includes(1) ? { nulls } : {};
  const pick = <T>(list: T[]): T => list[Math.floor(random() * list.length)]!;
  if (column.kind === 'double') {
    const values = new Float64Array(rows);
    const bits = new BigUint64Array(values.buffer);
    for (let i = 0; i < rows; i++) {
      values[i] = nulls[i] ? 0 : style === 0 ? 1.5 : random() < 0.2 ? pick(ODD_DOUBLES) : random() * 1000;
      if (!nulls[i] && random() < 0.1) bits[i] = pick(NAN_BITS);
    }
    return { kind: 'double', values, ...some };
  }
  if (column.kind === 'int32') {
    const values = new Int32Array(rows);
    for (let i = 0; i < rows; i++)
      values[i] = nulls[i] ? 0 : style === 0 ? 7 : random() < 0.1 ? pick([-(2 ** 31), 2 ** 31 - 1]) : i;
    return { kind: 'int32', values, ...some };
  }
  const values = new BigInt64Array(rows);
  for (let i = 0; i < rows; i++) {
    values[i] = nulls[i]
      ? 0n
      : style === 0 && column.kind !== 'timestampMs'
        ? BigInt(i) * 1_000_000_007n + 1_700_000_000_000_000_000n
        : style === 1
          ? // Readers refuse a millisecond time beyond the year 294247; decoders never write one.
            pick(column.kind === 'timestampMs' ? ODD_LONGS.slice(0, 2) : ODD_LONGS)
          : BigInt(Math.floor(random() * 1e6)) + 1_700_000_000_000n;
  }
  return { kind: column.kind, values, ...some } as Column;
}

function randomBatch(seed: number, rows: number): ColumnBatch {
  const random = seededRandom(seed).next;
  return {
    rowCount: rows,
    columns: Object.fromEntries(SCHEMA.map((column) => [column.name, randomColumn(column, rows, random)])),
  };
}

/** Values by row, comparable by `toEqual`: doubles as their bits, texts as hex. */
function plain(batch: ColumnBatch): Record<string, unknown[]> {
  return Object.fromEntries(
    SCHEMA.map(({ name }) => {
      const column = batch.columns[name]!;
      const list: unknown[] = [];
      for (let i = 0; i < batch.rowCount; i++) {
        if ('ids' in column) {
          const id = column.ids[i]!;
          list.push(
            id === NULL_ID
              ? null
              : Buffer.from(column.bytes.subarray(column.offsets[id]!, column.offsets[id + 1]!)).toString('hex'),
          );
        } else if (column.nulls?.[i]) list.push(null);
        else if (column.kind === 'double')
          list.push(new BigUint64Array(column.values.buffer, column.values.byteOffset)[i]);
        else list.push(column.values[i]);
      }
      return [name, list];
    }),
  );
}

describe('parquet codec', () => {
  const codec = createParquetCodec();
  const options = { level: 3, rowGroupRowsMax: 1000, metadata: { a: 'b' } };

  test.each(Array.from({ length: 40 }, (_, seed) => seed))(
    'seed %i comes back equal, and the same bytes twice',
    async (seed) => {
      const rows = [0, 1, 7, 8, 9, 127, 128, 129, 1000, 2500][seed % 10]!;
      const batch = randomBatch(seed, rows);
      const bytes = codec.encode(SCHEMA, batch, options);
      expect(Buffer.compare(bytes, codec.encode(SCHEMA, batch, options))).toBe(0);
      const back = await codec.decode(SCHEMA, bytes);
      expect(back.metadata).toMatchObject({ a: 'b', 'reductrai.format': '1' });
      expect(plain(back.batch)).toEqual(plain(batch));
    },
  );

  test('DuckDB reads the same values', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'codec-'));
    const instance = await DuckDBInstance.create(':memory:');
    const connection = await instance.connect();
    try {
      for (let seed = 100; seed < 110; seed++) {
        const batch = randomBatch(seed, [1, 9, 300, 3000][seed % 4]!);
        const file = join(folder, `${seed}.parquet`);
        writeFileSync(file, codec.encode(SCHEMA, batch, options));
        const reader = await connection.runAndReadAll(
          `SELECT position, epoch_ms("time") AS time, start, span_id, value, item, hex(encode(text)) AS text, hex(encode(tags)) AS tags, hex(raw) AS raw FROM read_parquet('${file}')`,
        );
        const expected = plain(batch);
        const rows = reader.getRowObjects();
        expect(rows.length).toBe(batch.rowCount);
        rows.forEach((row, i) => {
          // The bindings hand out doubles as numbers, so payloads of NaN are not told apart here.
          const bitsOf = (value: number) => new BigUint64Array(Float64Array.of(value).buffer)[0];
          const sent = expected.value![i] as bigint | null;
          const wanted = sent === null ? null : new Float64Array(BigUint64Array.of(sent).buffer)[0]!;
          if (wanted === null) expect(row.value).toBeNull();
          else if (Number.isNaN(wanted)) expect(row.value).toBeNaN();
          else expect(bitsOf(row.value as number)).toBe(bitsOf(wanted));
          const lower = (value: unknown) => (value === null ? null : String(value).toLowerCase());
          expect(
            [row.position, row.time, row.start, row.item, lower(row.text), lower(row.tags), lower(row.raw)],
            `${seed} row ${i}`,
          ).toEqual(['position', 'time', 'start', 'item', 'text', 'tags', 'raw'].map((name) => expected[name]![i]));
          const spanId = expected.span_id![i] as bigint | null;
          expect(row.span_id).toEqual(spanId === null ? null : BigInt.asUintN(64, spanId));
        });
      }
    } finally {
      connection.closeSync();
      instance.closeSync();
      rmSync(folder, { recursive: true });
    }
  });

  test('DuckDB prunes rightly where NaN and nulls are about', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'codec-'));
    const instance = await DuckDBInstance.create(':memory:');
    const connection = await instance.connect();
    try {
      const schema: ColumnSchema[] = [{ name: 'value', kind: 'double', nullable: true, help: '' }];
      const values = Float64Array.of(1, 2, Number.NaN, -0, 5);
      const file = join(folder, 'x.parquet');
      writeFileSync(
        file,
        codec.encode(schema, { rowCount: 5, columns: { value: { kind: 'double', values } } }, options),
      );
      const count = async (where: string) =>
        Number((await connection.runAndReadAll(`SELECT count(*) FROM '${file}' WHERE ${where}`)).getRows()[0]![0]);
      expect(await count('value > 100')).toBe(1);
      expect(await count('value = 0')).toBe(1);
      expect(await count('isnan(value)')).toBe(1);
      expect(await count('value < 3')).toBe(3);
    } finally {
      connection.closeSync();
      instance.closeSync();
      rmSync(folder, { recursive: true });
    }
  });

  test('DuckDB reads a file that holds a lone surrogate in JSON', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'codec-'));
    const instance = await DuckDBInstance.create(':memory:');
    const connection = await instance.connect();
    try {
      const schema: ColumnSchema[] = [{ name: 'tags', kind: 'string', nullable: true, json: true, help: '' }];
      const bytes = Buffer.from('["\\ud800"]');
      const tags: Column = {
        kind: 'string',
        ids: Uint32Array.of(0),
        offsets: Uint32Array.of(0, bytes.byteLength),
        bytes,
      };
      const file = join(folder, 'x.parquet');
      writeFileSync(file, codec.encode(schema, { rowCount: 1, columns: { tags } }, options));
      const reader = await connection.runAndReadAll(`SELECT tags FROM '${file}'`);
      expect(reader.getRows()).toEqual([['["\\ud800"]']]);
    } finally {
      connection.closeSync();
      instance.closeSync();
      rmSync(folder, { recursive: true });
    }
  });

  test('columns that the file lacks come back as nulls, unknown ones are left out', async () => {
    const old: ColumnSchema[] = SCHEMA.slice(0, 2).concat({ name: 'gone', kind: 'int32', nullable: true, help: '' });
    const { columns } = randomBatch(3, 10);
    const gone: Column = { kind: 'int32', values: new Int32Array(10) };
    const bytes = codec.encode(old, { rowCount: 10, columns: { ...columns, gone } }, options);
    const { batch } = await codec.decode(SCHEMA, bytes);
    expect(Object.keys(batch.columns)).toEqual(SCHEMA.map((column) => column.name));
    const read = plain(batch);
    expect(read.time).toEqual(plain({ rowCount: 10, columns }).time);
    for (const { name } of SCHEMA.slice(2)) expect(read[name], name).toEqual(Array(10).fill(null));
  });

  test('long texts, and bytes that are no UTF-8', async () => {
    const schema: ColumnSchema[] = [
      { name: 'text', kind: 'string', nullable: true, help: '' },
      { name: 'raw', kind: 'binary', nullable: true, help: '' },
    ];
    const texts = [Buffer.alloc(9_000_000, 'é'), Buffer.alloc(0), Buffer.from('x'), Buffer.alloc(5_000_000, 'ab')];
    const raws = [Buffer.from([0xff, 0x00, 0xc3]), Buffer.alloc(6_000_000, 0x80), Buffer.alloc(0), Buffer.from([0])];
    const columnOf = (kind: 'string' | 'binary', entries: Buffer[]): Column => ({
      kind,
      ids: Uint32Array.from(entries, (_, i) => i),
      offsets: Uint32Array.from([0, ...entries.map((_, i) => Buffer.concat(entries.slice(0, i + 1)).byteLength)]),
      bytes: Buffer.concat(entries),
    });
    const columns = { text: columnOf('string', texts), raw: columnOf('binary', raws) };
    const { batch } = await codec.decode(schema, codec.encode(schema, { rowCount: 4, columns }, options));
    for (const [name, entries] of [
      ['text', texts],
      ['raw', raws],
    ] as const) {
      const column = batch.columns[name]!;
      if (!('ids' in column)) throw new Error('BUG: not a dictionary column');
      const read = Array.from(column.ids, (id) =>
        Buffer.from(column.bytes.subarray(column.offsets[id]!, column.offsets[id + 1]!)),
      );
      expect(read.map((bytes, i) => Buffer.compare(bytes, entries[i]!))).toEqual([0, 0, 0, 0]);
    }
  });

  test('a changed byte in a page is noticed', async () => {
    const bytes = codec.encode(SCHEMA, randomBatch(2, 1000), options);
    const random = seededRandom(7).next;
    let noticed = 0;
    for (let i = 0; i < 40; i++) {
      const changed = Uint8Array.from(bytes);
      const at = 200 + Math.floor(random() * (bytes.length * 0.8));
      changed[at]! ^= 1 << Math.floor(random() * 8);
      try {
        await codec.decode(SCHEMA, changed);
      } catch (error) {
        if (!isProxyError(error, 'SEGMENT_UNREADABLE')) throw error;
        noticed += 1;
      }
    }
    // What is left are bytes of headers that readers do not look at.
    expect(noticed).toBeGreaterThanOrEqual(38);
  });

  test('garbage and cut files are unreadable, with a code', async () => {
    const bytes = codec.encode(SCHEMA, randomBatch(1, 100), options);
    for (const bad of [Buffer.from('nonsense'), bytes.subarray(0, bytes.length - 9), Buffer.alloc(0)]) {
      await expect(codec.decode(SCHEMA, bad)).rejects.toSatisfy((error) => isProxyError(error, 'SEGMENT_UNREADABLE'));
    }
  });
});
