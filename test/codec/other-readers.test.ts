/**
 * Readers of the Arrow project, in C++ and in Rust, which share no code with ours, with DuckDB and with hyparquet: the same values to the bit, and filters and
 * page indexes that leave out what they may.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { LAYOUT_KEY } from '../../src/codec/packed/layout.ts';
import { createParquetCodec } from '../../src/codec/parquet-codec.ts';
import type { ColumnBatch, ColumnSchema } from '../../src/core/columns.ts';
import { SEGMENT_COLUMNS } from '../../src/record/schema.ts';
import { HOW_TO_INSTALL, SERVERS_FOLDER } from '../support/servers/server-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { LONG_SCHEMA, longBatch, type Value, valueAt } from './long-batch.ts';
import { batchOf, randomSpans } from './packed/batches.ts';

const python = join(SERVERS_FOLDER, 'readers', 'bin', 'python');
const isThere = existsSync(python);
const codec = createParquetCodec();

interface Asked {
  rows: number;
  groupsByFilter: number;
  pages: number;
}

interface Read {
  columns: Record<string, string>;
  queries: Asked[];
}

async function read(files: readonly { path: string; queries: string[] }[]): Promise<Read[]> {
  const script = join(import.meta.dirname, 'other-readers.py');
  const child = spawn(python, [script], { stdio: ['pipe', 'pipe', 'pipe'], timeout: 240_000 });
  child.stdin.end(JSON.stringify({ files }));
  const [output, problems] = await Promise.all([text(child.stdout), text(child.stderr)]);
  expect(output, problems).not.toBe('');
  return JSON.parse(output) as Read[];
}

function textOf(value: Value | null, unsigned: boolean): string {
  if (value === null) return '-';
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  return String(unsigned ? BigInt.asUintN(64, value as bigint) : value);
}

/** As other-readers.py makes them. */
function hashesOf(schema: readonly ColumnSchema[], { columns, rowCount }: ColumnBatch): Record<string, string> {
  return Object.fromEntries(
    schema.map(({ name, kind, unsigned }) => {
      const column = columns[name]!;
      const bits = column.kind === 'double' ? { ...column, kind: 'int64', values: bitsOf(column.values) } : column;
      const texts = Array.from({ length: rowCount }, (_, row) => {
        const value = valueAt(bits as never, row);
        if (kind !== 'double' || value === null) return textOf(value, unsigned === true);
        return BigInt.asUintN(64, value as bigint)
          .toString(16)
          .padStart(16, '0');
      });
      return [name, createHash('sha256').update(texts.join('\n')).digest('hex')];
    }),
  );
}

const bitsOf = (values: Float64Array): BigInt64Array =>
  new BigInt64Array(values.buffer, values.byteOffset, values.length);

describe.skipIf(!isThere)(`Arrow's readers${isThere ? '' : ` (not installed: ${HOW_TO_INSTALL})`}`, () => {
  test('the same values, by pages and by filters', async () => {
    const folder = await temporaryFolder();
    const long = longBatch(150_000);
    const spans = randomSpans(3, 4000);
    const options = { level: 3, rowGroupRowsMax: 262_144, metadata: {} };
    const ofSpans = { ...options, rowGroupRowsMax: 1000 };
    const schema = SEGMENT_COLUMNS.traces;
    const batch = batchOf('traces', spans);
    const files = {
      long: codec.encode(LONG_SCHEMA, long, options),
      plain: codec.encode(schema, batch, ofSpans),
      packed: codec.encode(schema, batch, { ...ofSpans, layout: 'packed' }),
    };
    const { metadata } = await codec.decode(schema, files.packed);
    expect(metadata[LAYOUT_KEY]).toBeDefined();
    const idOf = (row: number): bigint => BigInt.asUintN(64, spans[row]!.trace_id as bigint);
    const rowsOf = (id: bigint): number => spans.filter((_, row) => idOf(row) === id).length;
    const needles = [idOf(0), idOf(1717), idOf(3999), 12_345n];
    const queries = {
      long: ['position = 100', 'position < -4000', 'falling = to_timestamp_millis(5)', 'item > 3000000000'],
      plain: needles.map((id) => `trace_id = ${id}`),
      packed: needles.map((id) => `trace_id = ${id}`),
    };
    const names = ['long', 'plain', 'packed'] as const;
    for (const name of names) await writeFile(join(folder, `${name}.parquet`), files[name]);
    const [ofLong, ofPlain, ofPacked] = (await read(
      names.map((name) => ({ path: join(folder, `${name}.parquet`), queries: queries[name] })),
    )) as [Read, Read, Read];

    expect(ofLong.columns).toEqual(hashesOf(LONG_SCHEMA, long));
    expect(ofPlain.columns).toEqual(hashesOf(schema, batch));
    // Of two pages one is left out; of all rows nothing is, as the statistics of the chunk say it.
    expect(ofLong.queries.map(({ rows }) => rows)).toEqual([1, 1000, 1, 0]);
    expect(ofLong.queries.slice(0, 3).map(({ pages }) => pages)).toEqual([1, 1, 1]);
    for (const { queries: asked } of [ofPlain, ofPacked]) {
      expect(asked.map(({ rows }) => rows)).toEqual(needles.map(rowsOf));
      expect(asked.at(-1)).toEqual({ rows: 0, groupsByFilter: 4, pages: 0 });
      for (const { groupsByFilter } of asked) expect(groupsByFilter).toBeGreaterThan(0);
    }
  }, 300_000);
});
