/**
 * What the same raw bodies take otherwise: general compressors over the bodies one after another, and the plain way of a competent
 * user, which is DuckDB reading the same JSON and writing Parquet with zstd.
 */
import { createWriteStream } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, gzipSync, zstdCompressSync } from 'node:zlib';
import type { SourceSignal } from './sources.ts';

/** Bytes; null: was not made. */
export interface Baselines {
  gzip6: number;
  zstd3: number;
  zstd19Long: number;
  duckdbParquet: number | null;
}

const COMPRESSORS = {
  gzip6: (bytes: Uint8Array) => gzipSync(bytes, { level: 6 }),
  zstd3: (bytes: Uint8Array) => zstdCompressSync(bytes, { params: { [constants.ZSTD_c_compressionLevel]: 3 } }),
  zstd19Long: (bytes: Uint8Array) =>
    zstdCompressSync(bytes, {
      params: {
        [constants.ZSTD_c_compressionLevel]: 19,
        [constants.ZSTD_c_enableLongDistanceMatching]: 1,
        [constants.ZSTD_c_windowLog]: 27,
      },
    }),
} as const;

export interface BaselineRun {
  bytes: Baselines;
  /** MB/s of one run each: an order of magnitude, not a measurement. */
  mbPerSecond: Record<keyof typeof COMPRESSORS, number>;
  /** Why `duckdbParquet` is null. */
  duckdbProblem?: string;
}

export async function runBaselines(
  signal: SourceSignal,
  bodies: readonly Uint8Array[],
  withDuckdb: boolean,
): Promise<BaselineRun> {
  const raw = Buffer.concat(bodies);
  const bytes: Baselines = { gzip6: 0, zstd3: 0, zstd19Long: 0, duckdbParquet: null };
  const mbPerSecond = { gzip6: 0, zstd3: 0, zstd19Long: 0 };
  for (const name of Object.keys(COMPRESSORS) as (keyof typeof COMPRESSORS)[]) {
    const startedMs = performance.now();
    bytes[name] = COMPRESSORS[name](raw).byteLength;
    mbPerSecond[name] = raw.byteLength / 1e3 / (performance.now() - startedMs);
  }
  if (!withDuckdb) return { bytes, mbPerSecond, duckdbProblem: 'left out' };
  try {
    bytes.duckdbParquet = await duckdbParquetBytes(signal, bodies);
    return { bytes, mbPerSecond };
  } catch (error) {
    return { bytes, mbPerSecond, duckdbProblem: error instanceof Error ? error.message : String(error) };
  }
}

/** One row per series, log or span; what is nested stays nested, as DuckDB infers it. */
const SELECTS: Record<SourceSignal, string> = {
  metrics: 'SELECT unnest(item) FROM (SELECT unnest(series) AS item FROM bodies)',
  logs: 'SELECT unnest(item) FROM (SELECT unnest(json) AS item FROM bodies)',
  traces: 'SELECT unnest(item) FROM (SELECT unnest(trace) AS item FROM (SELECT unnest(json) AS trace FROM bodies))',
};

async function duckdbParquetBytes(signal: SourceSignal, bodies: readonly Uint8Array[]): Promise<number> {
  const { DuckDBInstance } = await import('@duckdb/node-api');
  const folder = await mkdtemp(join(tmpdir(), 'reductrai-bench-'));
  try {
    const input = join(folder, 'bodies.ndjson');
    await pipeline(Readable.from(withNewlines(bodies)), createWriteStream(input));
    const output = join(folder, 'plain.parquet');
    const instance = await DuckDBInstance.create(':memory:', { threads: '1', temp_directory: folder });
    try {
      const connection = await instance.connect();
      const quoted = (path: string): string => `'${path.replaceAll("'", "''")}'`;
      const largest = bodies.reduce((most, { byteLength }) => Math.max(most, byteLength), 0);
      const records = signal === 'metrics' ? 'true' : 'false';
      await connection.run(
        `CREATE VIEW bodies AS SELECT * FROM read_json(${quoted(input)}, format = 'newline_delimited', records = '${records}', sample_size = -1, maximum_object_size = ${Math.max(16 << 20, largest * 2)})`,
      );
      await connection.run(`COPY (${SELECTS[signal]}) TO ${quoted(output)} (FORMAT parquet, COMPRESSION zstd)`);
      connection.closeSync();
    } finally {
      instance.closeSync();
    }
    return (await stat(output)).size;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function* withNewlines(bodies: readonly Uint8Array[]): Generator<Uint8Array> {
  const newline = Buffer.from('\n');
  for (const body of bodies) {
    yield body;
    yield newline;
  }
}
