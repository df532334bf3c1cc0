/**
 * DuckDB over the live segments. Views `metrics`, `logs`, `spans`, `events` show items with friendly columns; `<name>_raw` every row
 * and column. What users run can read these views and nothing else: no other file, no setting, no network.
 */
import type { DuckDBConnection, DuckDBInstance, DuckDBValue } from '@duckdb/node-api';
import type { ColumnSchema } from '../core/columns.ts';
import type { Signal } from '../core/envelope.ts';
import { SEGMENT_COLUMNS } from '../record/schema.ts';
import type { Catalogue, SegmentFilter } from './live-segments.ts';

export interface EngineOptions {
  catalogue: Catalogue;
  /** Absolute path of an object's file. */
  pathOf: (key: string) => string;
  /** DuckDB's own spelling: `1GB`. */
  memoryLimit: string;
  /** Where large sorts spill to. */
  tempFolder: string;
  filter?: SegmentFilter;
}

export interface QueryResult {
  columns: string[];
  rows: AsyncIterable<DuckDBValue[][]>;
}

export interface Engine {
  /** Runs one statement; throws DuckDB's error for a bad one. */
  run(sql: string): Promise<QueryResult>;
  close(): void;
}

const VIEW_NAMES: Record<Signal, string> = { metrics: 'metrics', logs: 'logs', traces: 'spans', events: 'events' };

/** Rows that are items, not what surrounds them or what could not be taken apart. */
const ITEM_KINDS: Record<Signal, string> = {
  metrics: "('series', 'sketch', 'distribution')",
  logs: "('log')",
  traces: "('span')",
  events: "('event', 'check')",
};

/** Columns of no use to a question. */
const HIDDEN = new Set(['journal', 'position', 'item', 'point', 'shape', 'raw', 'request_path', 'payload', 'chunk']);
const JSON_LISTS: Partial<Record<Signal, readonly string[]>> = { metrics: ['tags'], events: ['tags'] };

export async function openEngine(options: EngineOptions): Promise<Engine> {
  const { DuckDBInstance } = await import('@duckdb/node-api');
  const instance = await DuckDBInstance.create(':memory:', {
    memory_limit: options.memoryLimit,
    temp_directory: options.tempFolder,
    threads: '2',
  });
  const connection = await instance.connect();
  const paths: string[] = [];
  for (const signal of Object.keys(VIEW_NAMES) as Signal[]) {
    const files = options.catalogue.segments({ ...options.filter, signal }).map((entry) => options.pathOf(entry.key));
    paths.push(...files);
    await connection.run(`CREATE VIEW ${VIEW_NAMES[signal]}_raw AS ${rawSelect(signal, files)}`);
    await connection.run(`CREATE VIEW ${VIEW_NAMES[signal]} AS ${friendlySelect(signal)}`);
  }
  await lockDown(connection, [...paths, options.tempFolder]);
  return createEngine(instance, connection);
}

async function lockDown(connection: DuckDBConnection, paths: readonly string[]): Promise<void> {
  const files = paths.slice(0, -1);
  await connection.run(`SET allowed_paths = [${files.map(quoted).join(', ')}]`);
  await connection.run(`SET allowed_directories = [${quoted(paths.at(-1)!)}]`);
  await connection.run('SET enable_external_access = false');
  await connection.run('SET lock_configuration = true');
}

function createEngine(instance: DuckDBInstance, connection: DuckDBConnection): Engine {
  return {
    run: async (sql) => {
      const result = await connection.stream(sql);
      return { columns: result.columnNames(), rows: result.yieldRows() };
    },
    close: () => {
      connection.closeSync();
      instance.closeSync();
    },
  };
}

export function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

const SQL_TYPES = {
  string: 'VARCHAR',
  binary: 'BLOB',
  double: 'DOUBLE',
  int64: 'BIGINT',
  int32: 'INTEGER',
  timestampMs: 'TIMESTAMPTZ',
  timestampNs: 'TIMESTAMP_NS',
} as const;

function sqlType(column: ColumnSchema): string {
  return column.unsigned ? 'UBIGINT' : SQL_TYPES[column.kind];
}

/** All rows and columns of a signal; with no segment yet, none, but of the right types. */
export function rawSelect(signal: Signal, files: readonly string[]): string {
  const columns = SEGMENT_COLUMNS[signal];
  if (files.length === 0) {
    const empty = columns.map((column) => `NULL::${sqlType(column)} AS "${column.name}"`).join(', ');
    return `SELECT ${empty} WHERE false`;
  }
  const list = files.map(quoted).join(', ');
  const names = columns.map((column) => `"${column.name}"`).join(', ');
  return `SELECT ${names} FROM read_parquet([${list}], union_by_name = true, hive_partitioning = false)`;
}

function friendlySelect(signal: Signal): string {
  const lists = JSON_LISTS[signal] ?? [];
  const shown = SEGMENT_COLUMNS[signal]
    .filter((column) => !HIDDEN.has(column.name))
    .map((column) => friendlyColumn(signal, column, lists))
    // Time first: it is what people look for.
    .sort((a, b) => Number(b.endsWith('"time"')) - Number(a.endsWith('"time"')));
  const extra = signal === 'traces' ? [`format('{:016x}', trace_id) AS trace_id_hex`] : [];
  return `SELECT ${[...shown, ...extra].join(', ')} FROM ${VIEW_NAMES[signal]}_raw WHERE kind IN ${ITEM_KINDS[signal]}`;
}

function friendlyColumn(signal: Signal, column: ColumnSchema, lists: readonly string[]): string {
  const { name } = column;
  if (lists.includes(name)) return `from_json("${name}", '["VARCHAR"]') AS "${name}"`;
  if (signal === 'logs' && name === 'tags') return `string_split(tags, ',') AS "tags"`;
  if (column.kind === 'timestampMs') return `make_timestamp(epoch_us("${name}")) AS "${name}"`;
  return `"${name}" AS "${name}"`;
}
