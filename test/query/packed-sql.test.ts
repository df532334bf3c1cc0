/** Packed and plain files side by side: the views show the same rows, byte for byte. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { LAYOUT_KEY, PACKED_LAYOUT } from '../../src/codec/packed/layout.ts';
import { FORM_MS_MAX, FORM_MS_MIN, TIME_FORMS, writeTime } from '../../src/codec/packed/time-forms.ts';
import { createParquetCodec } from '../../src/codec/parquet-codec.ts';
import { isProxyError } from '../../src/core/errors.ts';
import { seededRandom } from '../../src/core/random.ts';
import { openDuckDb } from '../../src/query/duckdb.ts';
import { filesByLayout } from '../../src/query/layouts.ts';
import { packedSqlColumns, unpackedSql } from '../../src/query/packed-sql.ts';
import { relationSql, type SegmentFiles } from '../../src/query/views.ts';
import { SEGMENT_COLUMNS } from '../../src/record/schema.ts';
import type { SegmentEntry } from '../../src/store/commit-log.ts';
import { batchOf, logBatch, randomLogs, randomPoints, randomSpans } from '../codec/packed/batches.ts';

const SCHEMA = SEGMENT_COLUMNS.logs;
const codec = createParquetCodec();
const options = { level: 3, rowGroupRowsMax: 400, metadata: {} };
let folder: string;
let instance: DuckDBInstance;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'packed-sql-'));
  instance = await DuckDBInstance.create(':memory:', { threads: '2' });
});

afterAll(() => {
  instance.closeSync();
  rmSync(folder, { recursive: true, force: true });
});

async function rowsOf(sql: string): Promise<unknown[][]> {
  const connection = await instance.connect();
  await connection.run("SET TimeZone = 'UTC'");
  const rows = (await connection.runAndReadAll(sql)).getRows();
  connection.closeSync();
  return rows;
}

/** A text per row, with the bytes of its columns. */
const shown = async (files: SegmentFiles, signal: 'logs' | 'traces' = 'logs'): Promise<string[]> => {
  const columns = SEGMENT_COLUMNS[signal].map(({ name, kind }) =>
    kind === 'string' ? `hex(encode("${name}"))` : `"${name}"`,
  );
  const relation = relationSql(signal, files);
  const rows = await rowsOf(`SELECT ${columns.join(', ')} FROM (${relation}) ORDER BY journal, position, item`);
  return rows.map((row) => row.map(String).join(' '));
};

test.each([1, 2, 3, 4])('the same rows of packed and plain files, seed %i', async (seed) => {
  const plain: string[] = [];
  const packed: string[] = [];
  for (const part of [0, 1]) {
    const rows = randomLogs(seed * 10 + part, 2500, seed % 2 ? 0.003 : 0.02);
    const batch = logBatch(rows.map((row) => ({ ...row, journal: `${row.journal}${part}` })));
    for (const [paths, layout] of [
      [plain, 'plain'],
      [packed, 'packed'],
    ] as const) {
      const bytes = codec.encode(SCHEMA, batch, { ...options, layout });
      const { metadata } = await codec.decode(SCHEMA, bytes);
      expect(metadata[LAYOUT_KEY]).toBe(layout === 'packed' ? PACKED_LAYOUT : undefined);
      const path = join(folder, `${seed}-${part}-${layout}.parquet`);
      writeFileSync(path, bytes);
      paths.push(path);
    }
  }
  const expected = await shown({ plain, packed: [] });
  expect(expected).toHaveLength(5000);
  expect(await shown({ plain: [], packed })).toEqual(expected);
  // Files of both layouts in one view.
  expect(await shown({ plain: [plain[0]!], packed: [packed[1]!] })).toEqual(expected);
});

test('parents of spans, in files of both layouts', async () => {
  const files = { plain: [] as string[], packed: [] as string[] };
  for (const part of [0, 1]) {
    const own = randomSpans(part, 3000);
    // Some have a parent in another trace, some an id that spans of other traces have too.
    const rows = own.map((row, i) => ({
      ...row,
      journal: `r-${part}`,
      ...(i % 40 === 7 ? { parent_id: own[(i * 37) % own.length]!.span_id! } : {}),
      ...(i % 40 === 9 ? { span_id: own[(i * 41) % own.length]!.span_id! } : {}),
    }));
    for (const layout of ['plain', 'packed'] as const) {
      const schema = SEGMENT_COLUMNS.traces;
      const bytes = codec.encode(schema, batchOf('traces', rows), { ...options, layout });
      const { metadata } = await codec.decode(schema, bytes);
      expect(metadata[LAYOUT_KEY]).toBe(layout === 'packed' ? PACKED_LAYOUT : undefined);
      const path = join(folder, `spans-${part}-${layout}.parquet`);
      writeFileSync(path, bytes);
      files[layout].push(path);
    }
  }
  const expected = await shown({ plain: files.plain, packed: [] }, 'traces');
  expect(expected).toHaveLength(6000);
  expect(await shown({ plain: [], packed: files.packed }, 'traces')).toEqual(expected);
  expect(await shown({ plain: [files.plain[0]!], packed: [files.packed[1]!] }, 'traces')).toEqual(expected);
});

test('values of metrics, in files of both layouts', async () => {
  const files = { plain: [] as string[], packed: [] as string[] };
  for (const part of [0, 1]) {
    const rows = randomPoints(part + 7, 3000).map((row) => ({ ...row, journal: `r-${part}` }));
    for (const layout of ['plain', 'packed'] as const) {
      const schema = SEGMENT_COLUMNS.metrics;
      const bytes = codec.encode(schema, batchOf('metrics', rows), { ...options, rowGroupRowsMax: 5000, layout });
      const { metadata } = await codec.decode(schema, bytes);
      expect(metadata[LAYOUT_KEY]).toBe(layout === 'packed' ? PACKED_LAYOUT : undefined);
      const path = join(folder, `points-${part}-${layout}.parquet`);
      writeFileSync(path, bytes);
      files[layout].push(path);
    }
  }
  const values = async (of: SegmentFiles): Promise<unknown[]> => {
    const relation = relationSql('metrics', of);
    return (await rowsOf(`SELECT value FROM (${relation}) ORDER BY journal, position, item`)).map(([value]) => value);
  };
  const expected = await values({ plain: files.plain, packed: [] });
  expect(expected).toHaveLength(6000);
  expect(await values({ plain: [], packed: files.packed })).toEqual(expected);
  expect(await values({ plain: [files.plain[0]!], packed: [files.packed[1]!] })).toEqual(expected);
});

test('which files are packed is told by their footers; a layout that is not known is refused', async () => {
  const entries: SegmentEntry[] = [];
  const add = (name: string, bytes: Uint8Array): void => {
    writeFileSync(join(folder, name), bytes);
    const ranges = name.startsWith('flushed') ? {} : { ranges: [{ replica: 'r-1', epoch: 1, first: 1, last: 2 }] };
    entries.push({ key: name, ...ranges } as SegmentEntry);
  };
  const batch = logBatch(randomLogs(1, 2500, 0.003));
  const packed = Buffer.from(codec.encode(SCHEMA, batch, { ...options, layout: 'packed' }));
  add("it's [packed]*.parquet", packed);
  add('plain.parquet', codec.encode(SCHEMA, batch, options));
  add('flushed.parquet', codec.encode(SCHEMA, batch, options));
  const pathOf = (key: string) => join(folder, key);
  const open = () =>
    openDuckDb({ paths: entries.map(({ key }) => pathOf(key)), tempFolder: join(folder, 'tmp'), memoryLimit: '1GB' });
  let database = await open();
  expect(await filesByLayout(database, entries, pathOf)).toEqual({
    plain: [pathOf('plain.parquet'), pathOf('flushed.parquet')],
    packed: [pathOf("it's [packed]*.parquet")],
  });
  await database.close();
  packed.write('packed-9', packed.lastIndexOf(PACKED_LAYOUT), 'latin1');
  add('later.parquet', packed);
  database = await open();
  const refused = filesByLayout(database, entries, pathOf);
  await expect(refused).rejects.toSatisfy((error) => isProxyError(error, 'SEGMENT_UNREADABLE'));
  await database.close();
});

test('every form of time as DuckDB writes it', async () => {
  const random = seededRandom(3).next;
  const times = [FORM_MS_MIN, FORM_MS_MAX - 1, ...Array.from({ length: 300 }, () => random())].map((at) =>
    at < 1 ? FORM_MS_MIN + Math.floor(at * (FORM_MS_MAX - FORM_MS_MIN)) : at,
  );
  const template = TIME_FORMS.map(({ letter }) => `\x01t${letter}|\x01d${letter}0|`).join('');
  const offsetMs = -86_399_001;
  const rows = times.map((ms) => `(make_timestamptz(${ms * 1000}), '${template}', ${offsetMs})`);
  const columns = SCHEMA.filter(({ name }) => name === 'time' || name === 'message');
  const rest = packedSqlColumns(columns)
    .filter(({ name }) => name !== 'message_template' && name !== 'message_d0')
    .map(({ name, type }) => `CAST(NULL AS ${type}) AS ${name}`);
  const relation = `SELECT *, CAST(NULL AS VARCHAR) AS message, ${rest.join(', ')} FROM (VALUES ${rows.join(', ')}) AS v(time, message_template, message_d0)`;
  const found = await rowsOf(`SELECT epoch_ms(time), message FROM (${unpackedSql(columns, relation)})`);
  for (const [ms, message] of found) {
    const own = Number(ms);
    const expected = TIME_FORMS.map(
      ({ letter }) => `${writeTime(letter, own)}|${writeTime(letter, own + offsetMs)}|`,
    ).join('');
    expect(message).toBe(expected);
  }
  expect(found).toHaveLength(times.length);
});
