/**
 * Items given back as they were sent: one JSON text per item, in the order of the journal. Rows of one item may lie in
 * several segments (its points span hours), so DuckDB sorts by position, item and point, spilling to disk when it must.
 */
import type { DuckDBValue } from '@duckdb/node-api';
import type { ColumnSchema } from '../core/columns.ts';
import type { Signal } from '../core/envelope.ts';
import type { Row, RowValue } from '../record/decoder.ts';
import { renderEvent } from '../record/events.ts';
import { renderLog } from '../record/logs.ts';
import { renderMetric } from '../record/metrics.ts';
import { SEGMENT_COLUMNS } from '../record/schema.ts';
import { renderSpan } from '../record/traces.ts';
import { type EngineOptions, openEngine } from './sql-engine.ts';

export interface ExportOptions extends EngineOptions {
  signal: Signal;
  /** Also what surrounds items, statistics, and what could not be taken apart. */
  includeAll?: boolean;
}

const RENDER: Record<Signal, (rows: Row[]) => string> = {
  metrics: renderMetric,
  logs: renderLog,
  traces: renderSpan,
  events: renderEvent,
};

const VIEW: Record<Signal, string> = {
  metrics: 'metrics_raw',
  logs: 'logs_raw',
  traces: 'spans_raw',
  events: 'events_raw',
};

/** Rows that are no items of their own. */
const WRAPPED = new Set<RowValue>(['payload', 'opaque', 'stats', 'intake']);

export async function* exportItems(options: ExportOptions): AsyncGenerator<string> {
  const { signal, filter } = options;
  const columns = SEGMENT_COLUMNS[signal];
  const engine = await openEngine({ ...options, filter: { ...filter, signal } });
  try {
    const conditions = timeConditions(signal, filter?.fromMs, filter?.toMs);
    const { rows } = await engine.run(
      `SELECT ${columns.map(exactColumn).join(', ')} FROM ${VIEW[signal]}${conditions} ORDER BY journal, position, item, point`,
    );
    let item: Row[] = [];
    for await (const chunk of rows) {
      for (const values of chunk) {
        const row = rowOf(columns, values);
        const first = item[0];
        if (first && !isSameItem(first, row)) {
          yield* renderItem(signal, item, options.includeAll === true);
          item = [];
        }
        item.push(row);
      }
    }
    if (item.length > 0) yield* renderItem(signal, item, options.includeAll === true);
  } finally {
    engine.close();
  }
}

/** Opaque rows of one request share an item number only by accident: each stands alone. */
function isSameItem(a: Row, b: Row): boolean {
  return (
    a.position === b.position &&
    a.item === b.item &&
    a.journal === b.journal &&
    a.kind === b.kind &&
    !WRAPPED.has(b.kind!)
  );
}

function* renderItem(signal: Signal, rows: Row[], includeAll: boolean): Generator<string> {
  const first = rows[0]!;
  if (!WRAPPED.has(first.kind!)) {
    yield RENDER[signal](rows);
  } else if (includeAll) {
    const raw = first.raw instanceof Uint8Array ? Buffer.from(first.raw).toString('base64') : null;
    const body = typeof first.body === 'string' ? { body: first.body } : {};
    yield JSON.stringify({ kind: first.kind, protocol: first.protocol, shape: first.shape, raw, ...body });
  }
}

function timeConditions(signal: Signal, fromMs: number | undefined, toMs: number | undefined): string {
  const time = signal === 'traces' ? 'epoch_ns("time") / 1000000' : 'epoch_ms("time")';
  const parts = [
    ...(fromMs === undefined ? [] : [`${time} >= ${Math.trunc(fromMs)}`]),
    ...(toMs === undefined ? [] : [`${time} < ${Math.trunc(toMs)}`]),
  ];
  return parts.length === 0 ? '' : ` WHERE ${parts.join(' AND ')}`;
}

/** Timestamps as the whole numbers they are stored as. */
function exactColumn(column: ColumnSchema): string {
  if (column.kind === 'timestampMs') return `epoch_ms("${column.name}") AS "${column.name}"`;
  if (column.kind === 'timestampNs') return `epoch_ns("${column.name}") AS "${column.name}"`;
  return `"${column.name}"`;
}

function rowOf(columns: readonly ColumnSchema[], values: readonly DuckDBValue[]): Row {
  const row: Row = {};
  columns.forEach((column, index) => {
    row[column.name] = exactValue(column, values[index] ?? null);
  });
  return row;
}

function exactValue(column: ColumnSchema, value: DuckDBValue): RowValue {
  if (value === null) return null;
  switch (column.kind) {
    case 'binary':
      return (value as { bytes: Uint8Array }).bytes;
    case 'int64':
    case 'timestampMs':
    case 'timestampNs':
      // Unsigned ids are the same 64 bits; renderers take them signed, as decoders hand them over.
      return BigInt.asIntN(64, BigInt(value as bigint));
    default:
      return value as RowValue;
  }
}
