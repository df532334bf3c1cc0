/**
 * The SQL of what queries see. `<view>_raw` has every row and column as they rest; `metrics`, `logs`, `spans` and `events` show only items,
 * in columns made for people. Both exist, with all their columns, also when there is no segment yet or old ones lack a column.
 *
 * `time` stays TIMESTAMP WITH TIME ZONE as DuckDB reads it (session zone UTC): any conversion would hide the files' statistics from
 * its filters, and it compares with `now()`, texts and TIMESTAMPs alike.
 */
import type { ColumnSchema } from '../core/columns.ts';
import type { Signal } from '../core/envelope.ts';
import { ROLLUP_COLUMNS, SERIES_TEXTS } from '../record/rollup-schema.ts';
import { SEGMENT_COLUMNS } from '../record/schema.ts';
import { pathLiteral } from './duckdb.ts';
import { packedSqlColumns, unpackedSql } from './packed-sql.ts';
import { type TraceId, traceConditions } from './trace-id.ts';

export const VIEW_NAMES: Record<Signal, string> = {
  metrics: 'metrics',
  logs: 'logs',
  traces: 'spans',
  events: 'events',
};

/** Rows that are no items: what surrounds them, what was not understood, trace statistics. */
export const WHOLE_KINDS = ['payload', 'opaque', 'stats', 'intake'] as const;
export const IS_ITEM = `kind NOT IN (${WHOLE_KINDS.map((kind) => `'${kind}'`).join(',')})`;

/**
 * `as_json`: text as JSON, where a lone surrogate (which DuckDB's JSON refuses) shows as U+FFFD; null when it is no JSON.
 * `as_list`: a JSON array as texts.
 */
export const MACROS = [
  String.raw`CREATE MACRO as_json(t) AS coalesce(TRY_CAST(t AS JSON), TRY_CAST(regexp_replace(t, '\\u[dD][89a-fA-F][0-9a-fA-F]{2}', '\\ufffd', 'g') AS JSON))`,
  "CREATE MACRO as_list(t) AS json_extract_string(as_json(t), '$[*]')",
  "CREATE MACRO as_hex(n) AS format('{:016x}', n)",
] as const;

const TYPES: Record<ColumnSchema['kind'], string> = {
  string: 'VARCHAR',
  binary: 'BLOB',
  double: 'DOUBLE',
  int64: 'BIGINT',
  int32: 'INTEGER',
  timestampMs: 'TIMESTAMP WITH TIME ZONE',
  timestampNs: 'BIGINT',
};

const quoted = (name: string): string => `"${name}"`;

/** Files of one signal. */
export interface SegmentFiles {
  plain: readonly string[];
  /** In the packed layout (layouts.ts tells them). */
  packed: readonly string[];
}

/** All rows of these files with exactly the signal's columns; columns that a file lacks are null. */
export function relationSql(signal: Signal, { plain, packed }: SegmentFiles): string {
  const columns = SEGMENT_COLUMNS[signal];
  if (packed.length === 0) return relationOf(columns, plain);
  const extra = [
    ...packedSqlColumns(columns),
    { name: 'filename', type: 'VARCHAR' },
    { name: 'file_row_number', type: 'BIGINT' },
  ];
  const files = `read_parquet([${packed.map(pathLiteral).join(',')}], union_by_name = true, hive_partitioning = false, filename = true, file_row_number = true)`;
  const unpacked = unpackedSql(columns, `SELECT * FROM ${files} UNION ALL BY NAME ${nothingSql(columns, extra)}`);
  return plain.length === 0 ? unpacked : `${relationOf(columns, plain)} UNION ALL (${unpacked})`;
}

/** No rows, with these columns in their types. */
function nothingSql(columns: readonly ColumnSchema[], extra: readonly { name: string; type: string }[] = []): string {
  const typed = columns.map(({ name, kind, unsigned }) => ({ name, type: unsigned ? 'UBIGINT' : TYPES[kind] }));
  const nulls = [...typed, ...extra].map(({ name, type }) => `CAST(NULL AS ${type}) AS ${quoted(name)}`);
  return `SELECT ${nulls.join(', ')} WHERE false`;
}

function relationOf(columns: readonly ColumnSchema[], paths: readonly string[]): string {
  const nothing = nothingSql(columns);
  if (paths.length === 0) return nothing;
  const files = `read_parquet([${paths.map(pathLiteral).join(',')}], union_by_name = true, hive_partitioning = false)`;
  const names = columns.map((column) => quoted(column.name)).join(', ');
  return `SELECT ${names} FROM (SELECT * FROM ${files} UNION ALL BY NAME ${nothing})`;
}

export interface TimeRange {
  fromMs?: number | undefined;
  toMs?: number | undefined;
}

/** Conditions on `time` as it rests: from inclusive, to exclusive. Empty without a range. */
export function timeConditions(signal: Signal, { fromMs, toMs }: TimeRange): string[] {
  const bound = (ms: number) =>
    signal === 'traces' ? String(BigInt(Math.trunc(ms)) * 1_000_000n) : `make_timestamptz(${Math.trunc(ms) * 1000})`;
  return [
    ...(fromMs === undefined ? [] : [`time >= ${bound(fromMs)}`]),
    ...(toMs === undefined ? [] : [`time < ${bound(toMs)}`]),
  ];
}

/** `CREATE OR REPLACE VIEW`s of one signal over these files. */
export function viewsSql(signal: Signal, files: SegmentFiles, filter: TimeRange & { trace?: TraceId } = {}): string[] {
  const name = VIEW_NAMES[signal];
  const conditions = [
    ...timeConditions(signal, filter),
    ...(filter.trace ? traceConditions(signal, filter.trace) : []),
  ];
  const where = conditions.length === 0 ? '' : ` WHERE ${conditions.join(' AND ')}`;
  return [
    `CREATE OR REPLACE VIEW ${name}_raw AS SELECT * FROM (${relationSql(signal, files)})${where}`,
    `CREATE OR REPLACE VIEW ${name} AS SELECT ${FRIENDLY[signal].join(', ')} FROM ${name}_raw WHERE ${IS_ITEM}`,
  ];
}

export const ROLLUPS_VIEW = 'rollups';

/**
 * `rollups`: one row per series and window. `rollups_raw` as they rest, per segment; windows that grew out of another length show under
 * their own `every_s`.
 */
export function rollupViewsSql(files: ReadonlyMap<number, readonly string[]>, range: TimeRange = {}): string[] {
  const conditions = timeConditions('metrics', range);
  const where = conditions.length === 0 ? '' : ` WHERE ${conditions.join(' AND ')}`;
  const parts = [...files].map(
    ([everyMs, paths]) =>
      `SELECT *, CAST(${everyMs / 1000} AS BIGINT) AS every_s FROM (${relationOf(ROLLUP_COLUMNS, paths)})`,
  );
  if (parts.length === 0) parts.push(`SELECT *, CAST(0 AS BIGINT) AS every_s FROM (${relationOf(ROLLUP_COLUMNS, [])})`);
  const series = [...SERIES_TEXTS.filter((name) => name !== 'metric'), 'interval'].map(quoted).join(', ');
  return [
    `CREATE OR REPLACE VIEW ${ROLLUPS_VIEW}_raw AS SELECT * FROM (${parts.join(' UNION ALL ')})${where}`,
    `CREATE OR REPLACE VIEW ${ROLLUPS_VIEW} AS SELECT time, every_s, metric, CAST(sum(count) AS BIGINT) AS count, min(min) AS min, max(max) AS max,
      sum(sum) AS sum, sum(sum) / sum(count) AS avg, arg_max(last, last_time) AS last, type, host, as_list(tags) AS tags, unit, "interval" AS interval_s,
      kind, device, as_json(resources) AS resources, source_type_name,
      flatten(list(TRY_CAST(sketch_keys AS BIGINT[])) FILTER (sketch_keys IS NOT NULL)) AS sketch_keys,
      flatten(list(TRY_CAST(sketch_counts AS BIGINT[])) FILTER (sketch_keys IS NOT NULL)) AS sketch_counts
      FROM ${ROLLUPS_VIEW}_raw GROUP BY time, every_s, metric, ${series}`,
  ];
}

const json = (name: string): string => `as_json(${quoted(name)}) AS ${quoted(name)}`;

const FRIENDLY: Record<Signal, readonly string[]> = {
  metrics: [
    'time',
    'metric',
    'value',
    'type',
    'host',
    'as_list(tags) AS tags',
    'unit',
    '"interval" AS interval_s',
    'kind',
    'device',
    'source_type_name',
    'TRY_CAST("values" AS DOUBLE[]) AS value_list',
    'sketch_count',
    'sketch_min',
    'sketch_max',
    'sketch_avg',
    'sketch_sum',
    'TRY_CAST(sketch_keys AS BIGINT[]) AS sketch_keys',
    'TRY_CAST(sketch_counts AS BIGINT[]) AS sketch_counts',
    json('resources'),
    json('metadata'),
    json('attributes'),
    'received_at',
  ],
  logs: [
    'time',
    'status',
    'service',
    'host',
    'message',
    'source',
    "CASE WHEN tags = '' THEN CAST([] AS VARCHAR[]) ELSE string_split(tags, ',') END AS tags",
    'trace_id',
    'span_id',
    json('attributes'),
    'received_at',
  ],
  traces: [
    'make_timestamptz(time // 1000) AS time',
    'service',
    'name',
    'resource',
    'type',
    'duration',
    'duration / 1e6 AS duration_ms',
    'error',
    'trace_id',
    "coalesce(trace_id_high, '0000000000000000') || as_hex(trace_id) AS trace_id_hex",
    'span_id',
    'as_hex(span_id) AS span_id_hex',
    'parent_id',
    'as_hex(parent_id) AS parent_id_hex',
    'env',
    'host',
    'priority',
    'origin',
    json('meta'),
    json('metrics'),
    json('meta_struct'),
    json('span_links'),
    json('span_events'),
    'app_version',
    'language',
    'container_id',
    'runtime_id',
    'time AS time_ns',
    'received_at',
  ],
  events: [
    'time',
    'kind',
    'title',
    'text',
    'status',
    'host',
    'source',
    'priority',
    'aggregation_key',
    'as_list(tags) AS tags',
    json('body'),
    'received_at',
  ],
};
