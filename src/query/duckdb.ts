/**
 * DuckDB, embedded and fenced in: memory and threads bounded, spilling to a folder of its own, no extensions from the network, and
 * no file in reach but the segments it is given. Loaded on first use: it is large, and only `query` and `export` need it.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { DuckDBConnection, DuckDBResult } from '@duckdb/node-api';
import { messageOf, ProxyError } from '../core/errors.ts';
import { duckDbConverter } from './duckdb-values.ts';
import type { QueryColumn, QueryValue } from './values.ts';

const THREADS = '2';

export interface DuckDbOptions {
  /** Absolute paths of the files that may be read. */
  paths: readonly string[];
  /** Folder in which a folder for spilled data is made; made itself when absent. */
  tempFolder: string;
  /** DuckDB's own spelling: `1GB`. */
  memoryLimit: string;
}

export interface QueryResult {
  columns: string[];
  types: QueryColumn[];
  /** In batches, as they are made. To be read once. */
  rows: AsyncIterable<QueryValue[][]>;
}

export interface DuckDb {
  /** Runs SQL of our own. */
  run(sql: string): Promise<void>;
  /** One statement of the user's that only reads. QUERY_INVALID for anything else, and for errors in it. */
  read(sql: string): Promise<QueryResult>;
  /** Rows of SQL of our own, as the bindings give them. */
  rows(sql: string): AsyncGenerator<unknown[][]>;
  /** Share done of what runs, 0 to 1; undefined while unknown. */
  progress(): number | undefined;
  interrupt(): void;
  close(): Promise<void>;
}

/** A path as DuckDB takes it: quoted, and no character of it a pattern. */
export function pathLiteral(path: string): string {
  return textLiteral(patternOf(path));
}

export function textLiteral(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

function patternOf(path: string): string {
  return path.replace(/[*?[]/g, '[$&]');
}

export async function openDuckDb(options: DuckDbOptions): Promise<DuckDb> {
  const api = await import('@duckdb/node-api');
  await mkdir(options.tempFolder, { recursive: true });
  // Engines must not share one: their files have the same names.
  const spillFolder = await mkdtemp(join(options.tempFolder, 'query-'));
  const removeSpill = () => rm(spillFolder, { recursive: true, force: true });
  try {
    const instance = await api.DuckDBInstance.create(':memory:', {
      memory_limit: options.memoryLimit,
      threads: THREADS,
      temp_directory: spillFolder,
      autoinstall_known_extensions: 'false',
      autoload_known_extensions: 'false',
    });
    const connection = await instance.connect();
    const close = async () => {
      connection.closeSync();
      instance.closeSync();
      await removeSpill();
    };
    try {
      await fence(connection, options.paths);
    } catch (error) {
      await close();
      throw error;
    }
    return createDuckDb(connection, api, close);
  } catch (error) {
    await removeSpill();
    throw error;
  }
}

async function fence(connection: DuckDBConnection, paths: readonly string[]): Promise<void> {
  await connection.run("SET TimeZone = 'UTC'");
  await connection.run('SET enable_progress_bar = true');
  await connection.run('SET enable_progress_bar_print = false');
  await connection.run('SET parquet_metadata_cache = true');
  const allowed = new Set([...paths, ...paths.map(patternOf)]);
  await connection.run(`SET allowed_paths = [${[...allowed].map(textLiteral).join(',')}]`);
  await connection.run('SET enable_external_access = false');
  await connection.run('SET lock_configuration = true');
}

function createDuckDb(
  connection: DuckDBConnection,
  api: typeof import('@duckdb/node-api'),
  close: () => Promise<void>,
): DuckDb {
  const convert = duckDbConverter(api);

  async function isSelect(sql: string): Promise<boolean> {
    const statements = await connection.extractStatements(sql);
    if (statements.count !== 1) return false;
    const prepared = await statements.prepare(0);
    try {
      if (prepared.statementType === api.StatementType.SELECT) return true;
      if (prepared.statementType !== api.StatementType.EXPLAIN) return false;
    } finally {
      prepared.destroySync();
    }
    // `EXPLAIN ANALYZE` runs what it explains, so that must only read too.
    const explained = /^\s*explain\s+(?:\([^()]*\)\s*)?(?:analyze\s+)?(?:\([^()]*\)\s*)?/i.exec(sql);
    return explained !== null && isSelect(sql.slice(explained[0].length));
  }

  return {
    run: async (sql) => {
      await connection.run(sql);
    },
    read: async (sql) => {
      let result: DuckDBResult;
      try {
        if (!(await isSelect(sql))) {
          throw new ProxyError(
            'QUERY_INVALID',
            'one SELECT (or EXPLAIN, DESCRIBE, SHOW) at a time; nothing can be written',
          );
        }
        result = await connection.stream(sql);
      } catch (error) {
        throw queryError(error);
      }
      const duckTypes = result.columnTypes();
      const columns = result.columnNames();
      const converters = duckTypes.map(convert);
      return {
        columns,
        types: duckTypes.map((type, index) => ({
          name: columns[index]!,
          type: String(type),
          isNumber: isNumber(api, type),
        })),
        rows: mapped(chunksOf(result), (rows) =>
          rows.map((row) => row.map((value, index) => converters[index]!(value))),
        ),
      };
    },
    rows: async function* (sql) {
      try {
        yield* chunksOf(await connection.stream(sql));
      } catch (error) {
        throw queryError(error);
      }
    },
    progress: () => {
      const { percentage } = connection.progress;
      return percentage < 0 ? undefined : Math.min(1, percentage / 100);
    },
    interrupt: () => connection.interrupt(),
    close,
  };
}

async function* chunksOf(result: DuckDBResult): AsyncGenerator<unknown[][]> {
  try {
    for (;;) {
      const chunk = await result.fetchChunk();
      if (!chunk || chunk.rowCount === 0) return;
      yield chunk.getRows();
    }
  } catch (error) {
    throw queryError(error);
  }
}

async function* mapped<A, B>(source: AsyncIterable<A>, map: (value: A) => B): AsyncGenerator<B> {
  for await (const value of source) yield map(value);
}

function isNumber(api: typeof import('@duckdb/node-api'), type: { typeId: number }): boolean {
  const { DuckDBTypeId: id } = api;
  const numbers: number[] = [
    id.TINYINT,
    id.SMALLINT,
    id.INTEGER,
    id.BIGINT,
    id.UTINYINT,
    id.USMALLINT,
    id.UINTEGER,
    id.UBIGINT,
    id.HUGEINT,
    id.UHUGEINT,
    id.FLOAT,
    id.DOUBLE,
    id.DECIMAL,
  ];
  return numbers.includes(type.typeId);
}

/** DuckDB says in its messages' first words what went wrong. */
function queryError(error: unknown): Error {
  if (error instanceof ProxyError) return error;
  const message = messageOf(error);
  if (/^(IO|HTTP) Error/.test(message)) return new ProxyError('STORE_UNAVAILABLE', message, { cause: error });
  return new ProxyError('QUERY_INVALID', message, { cause: error });
}
