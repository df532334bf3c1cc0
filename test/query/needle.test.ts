/**
 * One trace among many segments: what is found is what a whole scan finds, and a small part of the bytes is read for it. Counted are the reads that DuckDB
 * logs, and those of ranges and objects of a store.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { Layout } from '../../src/codec/codec.ts';
import { PACKED_LAYOUT } from '../../src/codec/packed/layout.ts';
import { createParquetCodec } from '../../src/codec/parquet-codec.ts';
import type { Signal } from '../../src/core/envelope.ts';
import { ProxyError } from '../../src/core/errors.ts';
import { nodeFileSystem } from '../../src/core/file-system.ts';
import { seededRandom, systemRandom } from '../../src/core/random.ts';
import { openEngine } from '../../src/query/engine.ts';
import { jsonOfFields } from '../../src/query/table.ts';
import { traceIdOf } from '../../src/query/trace-id.ts';
import { segmentsOfTrace } from '../../src/query/trace-segments.ts';
import { MACROS, type SegmentFiles, viewsSql } from '../../src/query/views.ts';
import { SEGMENT_COLUMNS } from '../../src/record/schema.ts';
import type { SegmentEntry } from '../../src/store/commit-log.ts';
import { createMemoryStore } from '../../src/store/memory-store.ts';
import type { ByteRange, ObjectStore } from '../../src/store/object-store.ts';
import { openReadCache } from '../../src/store/read-cache.ts';
import { batchOf, type LogRow, randomSpans } from '../codec/packed/batches.ts';
import { createManualClock } from '../support/manual-clock.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const SEGMENTS = 6;
const SPANS = 8000;
const LOGS = 6000;
const codec = createParquetCodec();
const options = { level: 3, rowGroupRowsMax: 10_000, metadata: {} };
/** Segments as they would be without filters. */
const UNFILTERED = SEGMENT_COLUMNS.traces.map((column) => {
  const { bloom: _, ...rest } = column;
  return rest;
});

interface Segment {
  entry: SegmentEntry;
  bytes: Uint8Array;
}

/** Spans of `randomSpans`, with something beside the ids that does not compress away. */
function spans(part: number): LogRow[] {
  const noise = noiseOf(100 + part, 3);
  return randomSpans(part, SPANS).map((row) => ({ ...row, journal: `r-${part}`, meta: `{"n":"${noise()}"}` }));
}

function noiseOf(seed: number, words: number): () => string {
  const random = seededRandom(seed).next;
  return () => Array.from({ length: words }, () => Math.floor(random() * 2 ** 32).toString(36)).join('');
}

/** `ids`: of the traces they belong to. */
function logs(part: number, ids: readonly bigint[]): LogRow[] {
  const noise = noiseOf(200 + part, 4);
  const timeMs = 1_790_000_000_000;
  return randomSpans(part, LOGS).map((row, i) => ({
    ...Object.fromEntries(['journal', 'position', 'received_at', 'item', 'point'].map((name) => [name, row[name]!])),
    protocol: 'logs-json',
    request_path: '/',
    kind: 'log',
    time: BigInt(timeMs + i * 17),
    message: `${new Date(timeMs + i * 17).toISOString()} INFO request ${part * LOGS + i} of ${noise()} took ${(i * 7919) % 1000} ms`,
    service: 'web',
    // Every tenth line belongs to a trace, in the forms that libraries write.
    trace_id: i % 10 === 0 && ids[i] !== undefined ? formOf(ids[i], i) : null,
  }));
}

function formOf(id: bigint, i: number): string {
  const hex = id.toString(16).padStart(16, '0');
  return [id.toString(), hex, '0'.repeat(16) + hex][i % 3]!;
}

function segmentOf(
  signal: Signal,
  layout: Layout,
  part: number,
  rows: readonly LogRow[],
  schema = SEGMENT_COLUMNS[signal],
): Segment {
  const bytes = codec.encode(schema, batchOf(signal, rows as never), { ...options, layout });
  expect(Buffer.from(bytes).includes(PACKED_LAYOUT)).toBe(layout === 'packed');
  const day = Date.UTC(2026, 8, 21);
  const entry: SegmentEntry = {
    key: `data/default/${signal}/cold/2026/09/21/${layout}-${String(part).padStart(2, '0')}.parquet`,
    tenant: 'default',
    signal,
    tier: 'cold',
    rowCount: rows.length,
    sizeBytes: bytes.byteLength,
    timeMinMs: day,
    timeMaxMs: day + 86_399_999,
    ranges: [{ replica: 'r', epoch: part, first: 1, last: 1000 }],
  };
  return { entry, bytes };
}

const segments: Record<'traces' | 'logs', Record<Layout, Segment[]>> = {
  traces: { plain: [], packed: [] },
  logs: { plain: [], packed: [] },
};
const unfiltered: Segment[] = [];
/** Of the spans in the middle of a segment. */
let needle: bigint;

beforeAll(() => {
  for (let part = 0; part < SEGMENTS; part++) {
    const rows = spans(part);
    const ids = rows.map(({ trace_id: id }) => BigInt.asUintN(64, id as bigint));
    if (part === 4) needle = ids[1230]!;
    unfiltered.push(segmentOf('traces', 'plain', part, rows, UNFILTERED));
    for (const layout of ['plain', 'packed'] as const) {
      segments.traces[layout].push(segmentOf('traces', layout, part, rows));
      segments.logs[layout].push(segmentOf('logs', layout, part, logs(part, ids)));
    }
  }
}, 120_000);

async function written(list: readonly Segment[]): Promise<string[]> {
  const folder = await temporaryFolder();
  return Promise.all(
    list.map(async ({ entry, bytes }) => {
      const path = join(folder, entry.key);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, bytes);
      return path;
    }),
  );
}

/** A database with the product's views, that tells what a statement reads. */
async function countingDatabase(signal: Signal, files: SegmentFiles) {
  const instance = await DuckDBInstance.create(':memory:', { threads: '2' });
  const connection = await instance.connect();
  onTestFinished(() => {
    connection.closeSync();
    instance.closeSync();
  });
  const rows = async (sql: string) => (await connection.runAndReadAll(sql)).getRows();
  await rows("SET TimeZone = 'UTC'");
  // Else what one statement read is there for the next one.
  await rows('SET enable_external_file_cache = false');
  for (const sql of [...MACROS, ...viewsSql(signal, files)]) await rows(sql);
  await rows("CALL enable_logging('FileSystem', level = 'trace')");
  return async (sql: string) => {
    await rows('CALL truncate_duckdb_logs()');
    const found = await rows(sql);
    const [[bytes] = []] = await rows("SELECT sum(bytes) FROM duckdb_logs_parsed('FileSystem') WHERE op = 'READ'");
    return { found: found.map((row) => row.map(String).join(' ')).sort(), bytes: Number(bytes ?? 0) };
  };
}

describe.each(['plain', 'packed'] as const)('DuckDB over %s files', (layout) => {
  test('the spans of a trace', async () => {
    const paths = await written(segments.traces[layout]);
    const read = await countingDatabase('traces', { plain: [], packed: [], [layout]: paths });
    const columns = 'trace_id, span_id, parent_id, service, resource, meta';
    const hay = await read(`SELECT sum(hash(${columns})) FROM spans`);
    // A condition that no filter can serve.
    const scan = await read(`SELECT ${columns} FROM spans WHERE trace_id + 0::HUGEINT = ${needle}`);
    const found = await read(`SELECT ${columns} FROM spans WHERE trace_id = ${needle}`);
    expect(found.found.length).toBeGreaterThan(1);
    expect(found.found).toEqual(scan.found);
    expect(found.bytes).toBeLessThan(hay.bytes / 3);
    const absent = await read(`SELECT ${columns} FROM spans WHERE trace_id = 12345`);
    expect(absent.found).toEqual([]);
    expect(absent.bytes).toBeLessThan(hay.bytes / 10);

    // DuckDB takes other columns only where the id is, so that without filters it reads at least all ids.
    const plain = await countingDatabase('traces', { plain: await written(unfiltered), packed: [] });
    const without = await plain(`SELECT ${columns} FROM spans WHERE trace_id = 12345`);
    expect(absent.bytes).toBeLessThan(without.bytes * 0.7);
  });

  test('the logs of a trace', async () => {
    const paths = await written(segments.logs[layout]);
    const read = await countingDatabase('logs', { plain: [], packed: [], [layout]: paths });
    const id = formOf(needle, 1230);
    const hay = await read('SELECT sum(hash(trace_id, message)) FROM logs');
    const scan = await read(`SELECT trace_id, message FROM logs WHERE concat(trace_id, 'x') = '${id}x'`);
    const found = await read(`SELECT trace_id, message FROM logs WHERE trace_id = '${id}'`);
    expect(found.found.length).toBeGreaterThan(0);
    expect(found.found).toEqual(scan.found);
    expect(found.bytes).toBeLessThan(hay.bytes / 3);
  });
});

describe('which segments may hold a trace', () => {
  const trace = (id: bigint) => traceIdOf(id.toString())!;
  const rangesOf = (bytesOf: ReadonlyMap<string, Uint8Array>) => async (key: string, range: ByteRange) =>
    bytesOf.get(key)!.subarray(range.offset, range.offset + range.length);

  test('those that cannot tell stay: without filters, and damaged ones', async () => {
    const damaged = unfiltered.slice(0, 2).map(({ entry, bytes }, i) => ({
      entry: { ...entry, key: `${entry.key}-${i}` },
      bytes: i === 0 ? bytes.map(() => 7) : Buffer.concat([bytes.subarray(0, -40).fill(0xff), bytes.subarray(-40)]),
    }));
    const all = [...unfiltered, ...damaged];
    const bytesOf = new Map(all.map(({ entry, bytes }) => [entry.key, bytes]));
    const entries = all.map(({ entry }) => entry);
    expect(await segmentsOfTrace('traces', entries, trace(12_345n), rangesOf(bytesOf))).toEqual(entries);
  });

  test('those without any id go, and of other signals none', async () => {
    const rows = logs(0, []).map((row) => ({ ...row, trace_id: null }));
    const { entry, bytes } = segmentOf('logs', 'plain', 0, rows);
    const readRange = rangesOf(new Map([[entry.key, bytes]]));
    expect(await segmentsOfTrace('logs', [entry], trace(1n), readRange)).toEqual([]);
    expect(await segmentsOfTrace('metrics', [entry], trace(1n), readRange)).toEqual([entry]);
  });

  test('what the store says is told', async () => {
    const entries = segments.traces.plain.map(({ entry }) => entry);
    const away = () => Promise.reject(new ProxyError('STORE_UNAVAILABLE', 'away'));
    await expect(segmentsOfTrace('traces', entries, trace(1n), away)).rejects.toThrow('away');
  });
});

describe.each(['plain', 'packed'] as const)('a bucket of %s segments', (layout) => {
  async function ask(signal: 'traces' | 'logs', sql: string, trace: string | undefined) {
    const store = createMemoryStore({ clock: createManualClock() });
    for (const { entry, bytes } of segments[signal][layout]) {
      await store.put(entry.key, bytes, { condition: { kind: 'absent' } });
    }
    const fetched = { requests: 0, bytes: 0 };
    const counting: ObjectStore = Object.assign(Object.create(store), {
      get: async (key: string, range?: never) => {
        const got = await store.get(key, range);
        fetched.requests += 1;
        fetched.bytes += got.bytes.byteLength;
        return got;
      },
    });
    const folder = await temporaryFolder();
    const cache = await openReadCache(counting, {
      folder: join(folder, 'cache'),
      bytesMax: 1 << 30,
      isImmutable: () => true,
      fileSystem: nodeFileSystem,
      random: systemRandom,
    });
    const entries = segments[signal][layout].map(({ entry }) => entry);
    const filter = trace === undefined ? {} : { trace: traceIdOf(trace)! };
    const engine = await openEngine({
      catalogue: {
        commitCount: 1,
        segments: ({ signal: wanted, kind } = {}) => (wanted === signal && kind === 'sent' ? entries : []),
      },
      pathOf: (key) => cache.pathOf(key),
      ready: (keys) => cache.ready(keys),
      release: (keys) => cache.release(keys),
      readRange: (key, range) => cache.peek(key, range),
      memoryLimit: '500MB',
      tempFolder: join(folder, 'tmp'),
      filter,
    });
    try {
      const { columns, rows } = await engine.run(sql);
      const lines: string[] = [];
      for await (const chunk of rows) {
        for (const row of chunk) lines.push(jsonOfFields(columns.map((name, i) => [name, row[i]!])));
      }
      return { lines: lines.sort(), fetched };
    } finally {
      await engine.close();
    }
  }

  test.each(['decimal', 'hex', 'whole'])('spans and logs of one trace, by its %s id', async (form) => {
    const hex = needle.toString(16).padStart(16, '0');
    const trace = { decimal: needle.toString(), hex, whole: '0'.repeat(16) + hex }[form]!;
    const columns = 'trace_id, span_id, parent_id, service, resource, meta';
    const whole = await ask('traces', `SELECT ${columns} FROM spans WHERE trace_id = ${needle}`, undefined);
    const found = await ask('traces', `SELECT ${columns} FROM spans`, trace);
    expect(whole.lines.length).toBeGreaterThan(1);
    expect(found.lines).toEqual(whole.lines);
    expect(found.fetched.bytes).toBeLessThan(whole.fetched.bytes / 2);
    // One end of each segment, filters that lie before it, and the segments that are read.
    expect(found.fetched.requests).toBeLessThanOrEqual(SEGMENTS * 3 + 2);

    const forms = [needle.toString(), hex, '0'.repeat(16) + hex].map((text) => `'${text}'`).join(', ');
    const allLogs = await ask('logs', `SELECT message FROM logs WHERE trace_id IN (${forms})`, undefined);
    const itsLogs = await ask('logs', 'SELECT message FROM logs', trace);
    expect(allLogs.lines.length).toBeGreaterThan(0);
    expect(itsLogs.lines).toEqual(allLogs.lines);
    expect(itsLogs.fetched.bytes).toBeLessThan(allLogs.fetched.bytes / 2);
  });

  test('a trace that is nowhere', async () => {
    const { lines, fetched } = await ask('traces', 'SELECT count(*) AS n FROM spans', '12345');
    expect(lines).toEqual(['{"n":0}']);
    const all = segments.traces[layout].reduce((sum, { bytes }) => sum + bytes.byteLength, 0);
    expect(fetched.bytes).toBeLessThan(all / 2);
  });
});
