/** Packed and plain files side by side: the views show the same rows, byte for byte. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { LAYOUT_KEY, PACKED_LAYOUT } from '../../src/codec/packed/layout.ts';
import { FORM_MS_MAX, FORM_MS_MIN, TIME_FORMS, writeTime } from '../../src/codec/packed/time-forms.ts';
import { createParquetCodec } from '../../src/codec/parquet-codec.ts';
import { seededRandom } from '../../src/core/random.ts';
import { packedSqlColumns, unpackedSql } from '../../src/query/packed-sql.ts';
import { relationSql } from '../../src/query/views.ts';
import { SEGMENT_COLUMNS } from '../../src/record/schema.ts';
import { logBatch, randomLogs } from '../codec/packed/log-batches.ts';

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
const shown = async (paths: string[]): Promise<string[]> => {
  const columns = SCHEMA.map(({ name, kind }) => (kind === 'string' ? `hex(encode("${name}"))` : `"${name}"`));
  const relation = relationSql('logs', paths);
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
  const expected = await shown(plain);
  expect(expected).toHaveLength(5000);
  expect(await shown(packed)).toEqual(expected);
  // Files of both layouts in one view.
  expect(await shown([plain[0]!, packed[1]!])).toEqual(expected);
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
