/**
 * Items given back as they were sent: one JSON text per item, on one line, in the order of the journal. Rows of one item may lie in
 * several segments (its points span hours), so DuckDB sorts each flush (export-plan.ts) by position, item and point, spilling to disk
 * when it must. What passes through here is exact: bytes, bits of doubles, 64-bit integers.
 */
import { isUtf8 } from 'node:buffer';
import type { ColumnSchema } from '../core/columns.ts';
import type { Signal } from '../core/envelope.ts';
import type { Row, RowValue } from '../record/decoder.ts';
import { renderEvent } from '../record/events.ts';
import { renderLog } from '../record/logs.ts';
import { renderMetric } from '../record/metrics.ts';
import { SEGMENT_COLUMNS } from '../record/schema.ts';
import { renderSpan } from '../record/traces.ts';
import type { DuckDb } from './duckdb.ts';
import { openDuckDb } from './duckdb.ts';
import type { EngineOptions } from './engine.ts';
import { planExport } from './export-plan.ts';
import { filesByLayout } from './layouts.ts';
import { IS_ITEM, relationSql, type SegmentFiles, timeConditions, WHOLE_KINDS } from './views.ts';

export interface ExportOptions extends EngineOptions {
  signal: Signal;
  /**
   * Also what surrounds items, statistics, and what could not be taken apart, as `{"kind","protocol","shape","raw"}` with the bytes as
   * text, or `raw_base64` where they are no text.
   */
  includeAll?: boolean;
  render?: Record<Signal, (rows: Row[]) => string>;
}

const RENDER: Record<Signal, (rows: Row[]) => string> = {
  metrics: renderMetric,
  logs: renderLog,
  traces: renderSpan,
  events: renderEvent,
};

const WHOLE = new Set<RowValue>(WHOLE_KINDS);

/**
 * With `filter.fromMs` or `toMs`: items that have a row in that time, each of them whole. Errors as a query's.
 */
export async function* exportItems(options: ExportOptions): AsyncGenerator<string> {
  const { signal, catalogue, filter = {}, pathOf, ready, release, memoryLimit, tempFolder } = options;
  const ofSignal = catalogue.segments({ ...(filter.tenant === undefined ? {} : { tenant: filter.tenant }), signal });
  const batches = planExport(ofSignal, filter);
  if (batches.length === 0) return;
  const paths = batches.flat().map((entry) => pathOf(entry.key));
  const database = await openDuckDb({ paths, tempFolder, memoryLimit });
  try {
    for (const batch of batches) {
      const keys = batch.map((entry) => entry.key);
      await ready?.(keys);
      yield* exportBatch(database, await filesByLayout(database, batch, pathOf), options);
      await release?.(keys);
    }
  } finally {
    await database.close();
  }
}

async function* exportBatch(database: DuckDb, files: SegmentFiles, options: ExportOptions): AsyncGenerator<string> {
  const { signal, includeAll = false, render = RENDER } = options;
  const columns = SEGMENT_COLUMNS[signal];
  const rowOf = rowReader(columns);
  let item: Row[] = [];
  for await (const chunk of database.rows(batchSql(options))) {
    for (const values of chunk) {
      const row = rowOf(values);
      if (item.length > 0 && !isSameItem(item[0]!, row)) {
        yield textOf(item, render[signal]);
        item = [];
      }
      item.push(row);
    }
  }
  if (item.length > 0) yield textOf(item, render[signal]);

  function batchSql({ filter = {} }: ExportOptions): string {
    const relation = relationSql(signal, files);
    const range = timeConditions(signal, filter);
    const conditions = includeAll ? [] : [IS_ITEM];
    if (range.length > 0) {
      const inRange = `SELECT journal, position, item FROM (${relation}) WHERE ${range.join(' AND ')}`;
      conditions.push(`(journal, position, item) IN (${inRange})`);
    }
    const where = conditions.length === 0 ? '' : ` WHERE ${conditions.join(' AND ')}`;
    return `SELECT ${columns.map(exactColumn).join(', ')} FROM (${relation})${where} ORDER BY journal, position, item, point, kind`;
  }
}

/** Timestamps as the whole numbers they are stored as. */
function exactColumn(column: ColumnSchema): string {
  const name = `"${column.name}"`;
  return column.kind === 'timestampMs' ? `epoch_ms(${name}) AS ${name}` : name;
}

/** A whole row stands alone: several of one request may share an item number. */
function isSameItem(a: Row, b: Row): boolean {
  if (a.position !== b.position || a.item !== b.item || a.journal !== b.journal) return false;
  return !WHOLE.has(a.kind!) && !WHOLE.has(b.kind!);
}

function textOf(rows: Row[], render: (rows: Row[]) => string): string {
  const row = rows[0]!;
  const protocol = String(row.protocol);
  const isText = protocol.endsWith('-json') || protocol.endsWith('-text');
  const { raw } = row;
  if (WHOLE.has(row.kind!)) return wrapped(row, isText);
  // JSON can only say Unicode: other bytes are given as they are.
  if (isText && raw instanceof Uint8Array && !isUtf8(raw)) return wrapped(row, false);
  const text = render(rows);
  return protocol === 'logs-text' ? JSON.stringify(text) : text.replace(/[\r\n]+/g, ' ');
}

function wrapped(row: Row, isText: boolean): string {
  const { kind, protocol, shape, raw, body } = row;
  const head = { kind, protocol, shape };
  if (!(raw instanceof Uint8Array)) return JSON.stringify({ ...head, raw: body ?? null });
  const bytes = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength);
  if (isText && isUtf8(bytes)) return JSON.stringify({ ...head, raw: bytes.toString('utf8') });
  return JSON.stringify({ ...head, raw_base64: bytes.toString('base64') });
}

function rowReader(columns: readonly ColumnSchema[]): (values: readonly unknown[]) => Row {
  return (values) => {
    const row: Row = {};
    for (let i = 0; i < columns.length; i++) {
      const { name, kind } = columns[i]!;
      const value = values[i] as RowValue | { bytes: Uint8Array };
      if (value === null || value === undefined) row[name] = null;
      else if (kind === 'binary') row[name] = (value as { bytes: Uint8Array }).bytes;
      // Unsigned ids are the same 64 bits; renderers take them signed, as decoders hand them over.
      else if (typeof value === 'bigint') row[name] = BigInt.asIntN(64, value);
      else row[name] = value as RowValue;
    }
    return row;
  };
}
