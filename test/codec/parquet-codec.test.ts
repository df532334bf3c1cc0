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
    for (let i = 0; i < rows; i++)
      values[i] = nulls[i] ? 0 : style === 0 ? 1.5 : random() < 0.2 ? pick(ODD_DOUBLES) : random() * 1000;
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
        else if (column.kind === 'double') list.push(new BigUint64Array(Float64Array.of(column.values[i]!).buffer)[0]);
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
      for (let seed = 100; seed < 120; seed++) {
        const batch = randomBatch(seed, [1, 9, 300, 3000][seed % 4]!);
        const file = join(folder, `${seed}.parquet`);
        writeFileSync(file, codec.encode(SCHEMA, batch, options));
        const reader = await connection.runAndReadAll(
          `SELECT position, epoch_ms("time")::BIGINT AS t, epoch_ns("start"::TIMESTAMP_NS)::BIGINT AS start, span_id, value, item, hex(encode(text)) AS text, hex(encode(tags::VARCHAR)) AS tags, hex(raw) AS raw FROM read_parquet('${file}')`,
        );
        const expected = plain(batch);
        const rows = reader.getRowObjects();
        expect(rows.length).toBe(batch.rowCount);
        rows.forEach((row, i) => {
          const bits = row.value === null ? null : new BigUint64Array(Float64Array.of(row.value as number).buffer)[0];
          const lower = (value: unknown) => (value === null ? null : String(value).toLowerCase());
          expect(
            [row.position, row.item, bits, lower(row.text), lower(row.tags), lower(row.raw)],
            `${seed} row ${i}`,
          ).toEqual(['position', 'item', 'value', 'text', 'tags', 'raw'].map((name) => expected[name]![i]));
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

  test('garbage and cut files are unreadable, with a code', async () => {
    const bytes = codec.encode(SCHEMA, randomBatch(1, 100), options);
    for (const bad of [Buffer.from('nonsense'), bytes.subarray(0, bytes.length - 9), Buffer.alloc(0)]) {
      await expect(codec.decode(SCHEMA, bad)).rejects.toSatisfy((error) => isProxyError(error, 'SEGMENT_UNREADABLE'));
    }
  });
});
