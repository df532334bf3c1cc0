/**
 * Events, check runs and what the Agent multiplexes on `/intake/`: request body → rows of the EVENTS columns. Each item is kept whole
 * in `body` as it was written; the other columns show its fields. API keys are replaced before anything is read.
 *
 * Kinds of rows: `event`, `check`, `intake` (what `/intake/` holds besides events; its `shape` tells where the events were),
 * `opaque`.
 */
import { isUtf8 } from 'node:buffer';
import type { ColumnBatch } from '../core/columns.ts';
import { ROWS_PER_ENVELOPE_MAX } from '../core/limits.ts';
import { JsonScanner, JsonSyntaxError } from '../wire/json-scanner.ts';
import { BatchBuilder } from './batch-builder.ts';
import type { StringWriter } from './column-writers.ts';
import type { Decode, DecodeInput } from './decoder.ts';
import {
  AGENT_EVENT_FIELDS,
  CHECK_RUN_FIELDS,
  EVENT_V1_FIELDS,
  type EventFields,
  emptyFields,
  readFields,
  readFieldsV2,
  type TextColumn,
} from './events-fields.ts';
import { type IntakeParts, readIntake } from './events-intake.ts';
import { redactKeys } from './events-redaction.ts';
import { SIGNAL_COLUMNS } from './schema.ts';

/** Protocols `events-v1-json`, `events-v2-json`, `check-run-json`, `intake-json`. */
export const decodeEvents: Decode = (input) => {
  try {
    const { body, holdsSecret } = redactKeys(input.body);
    const rows = new EventRows(input);
    fillRows(input, body, rows);
    return { ok: true, ...rows.finish(body), holdsSecret };
  } catch (error) {
    if (error instanceof JsonSyntaxError) return { ok: false, reason: error.message, offset: error.offset };
    throw error;
  }
};

function fillRows(input: DecodeInput, body: Uint8Array, rows: EventRows): void {
  const scanner = new JsonScanner(body);
  const type = scanner.type();
  switch (input.protocol) {
    case 'events-v1-json':
    case 'events-v2-json': {
      const read = input.protocol === 'events-v1-json' ? readV1 : readFieldsV2;
      rows.addItem(scanner, 'event', type === 'object' ? read : undefined);
      return;
    }
    case 'check-run-json':
      if (type !== 'array') {
        rows.addItem(scanner, 'check', type === 'object' ? readCheckRun : undefined);
        return;
      }
      scanner.enterArray();
      while (scanner.nextElement()) {
        rows.addItem(scanner, 'check', scanner.type() === 'object' ? readCheckRun : undefined);
      }
      return;
    case 'intake-json': {
      const parts = type === 'object' ? readIntake(scanner) : undefined;
      if (parts) rows.addIntake(scanner.bytes, parts);
      else rows.addItem(scanner, 'event', undefined);
      return;
    }
    default:
      throw new Error(`BUG: ${input.protocol} is no protocol of events`);
  }
}

type ReadFields = (scanner: JsonScanner) => EventFields;
const readV1: ReadFields = (scanner) => readFields(scanner, EVENT_V1_FIELDS);
const readCheckRun: ReadFields = (scanner) => readFields(scanner, CHECK_RUN_FIELDS);

const TEXT_COLUMNS = ['title', 'text', 'host', 'status', 'source', 'priority', 'aggregation_key'] as const;

function eventColumns() {
  const builder = new BatchBuilder(SIGNAL_COLUMNS.events);
  return {
    builder,
    item: builder.ints('item'),
    point: builder.ints('point'),
    kind: builder.strings('kind'),
    shape: builder.strings('shape'),
    raw: builder.strings('raw'),
    time: builder.longs('time'),
    tags: builder.strings('tags'),
    body: builder.strings('body'),
    texts: Object.fromEntries(TEXT_COLUMNS.map((name) => [name, builder.strings(name)])) as Record<
      TextColumn,
      StringWriter
    >,
  };
}

class EventRows {
  readonly #receivedAtMs: number;
  #columns = eventColumns();
  #itemCount = 0;
  #rowCount = 0;
  #opaqueCount = 0;

  constructor(input: DecodeInput) {
    this.#receivedAtMs = input.receivedAtMs;
  }

  /** The item at the cursor; opaque without `read`. */
  addItem(scanner: JsonScanner, kind: 'event' | 'check', read: ReadFields | undefined): void {
    scanner.skipSpace();
    const start = scanner.offset;
    const fields = read ? read(scanner) : undefined;
    if (!read) scanner.skipValue();
    this.#itemCount += 1;
    const slice = scanner.bytes.subarray(start, scanner.offset);
    if (fields) this.#add(kind, slice, fields, null);
    else this.#addOpaque(slice);
  }

  addIntake(bytes: Buffer, parts: IntakeParts): void {
    this.#add('intake', parts.rest, emptyFields(), parts.shape);
    const scanner = new JsonScanner(bytes, 0);
    for (const { start, end, source } of parts.events) {
      scanner.offset = start;
      const fields = scanner.type() === 'object' ? readFields(scanner, AGENT_EVENT_FIELDS) : emptyFields();
      fields.texts.source ??= source;
      this.#add('event', bytes.subarray(start, end), fields, null);
    }
    // What surrounds the events counts only where there are none: host metadata and the like.
    this.#itemCount += Math.max(1, parts.events.length);
  }

  #add(kind: string, body: Uint8Array, fields: EventFields, shape: string | null): void {
    if (this.#isFull()) return;
    const columns = this.#columns;
    const row = columns.builder.row;
    const isText = isUtf8(body);
    columns.kind.set(row, kind);
    columns.shape.set(row, shape);
    if (isText) columns.body.setBytes(row, body);
    else columns.raw.setBytes(row, body);
    for (const column in fields.texts) columns.texts[column as TextColumn].set(row, fields.texts[column as TextColumn]);
    if (fields.tags && isText) columns.tags.setBytes(row, fields.tags);
    this.#end(fields.timeMs);
  }

  #addOpaque(raw: Uint8Array): void {
    this.#opaqueCount += 1;
    if (this.#isFull()) return;
    const columns = this.#columns;
    columns.kind.set(columns.builder.row, 'opaque');
    columns.raw.setBytes(columns.builder.row, raw);
    this.#end(undefined);
  }

  /** Past the bound rows are only counted. */
  #isFull(): boolean {
    this.#rowCount += 1;
    return this.#rowCount > ROWS_PER_ENVELOPE_MAX;
  }

  #end(timeMs: number | undefined): void {
    const { builder, item, point, time } = this.#columns;
    item.set(builder.row, builder.row);
    point.set(builder.row, 0);
    time.set(builder.row, BigInt(timeMs ?? this.#receivedAtMs));
    builder.endRow();
  }

  /** With more rows than one envelope may yield, the body is one opaque row. */
  finish(body: Uint8Array): { batch: ColumnBatch; itemCount: number; opaqueCount: number } {
    const itemCount = this.#itemCount;
    if (this.#rowCount > ROWS_PER_ENVELOPE_MAX) {
      this.#columns = eventColumns();
      this.#rowCount = 0;
      this.#opaqueCount = 0;
      this.#addOpaque(body);
    }
    return { batch: this.#columns.builder.finish(), itemCount, opaqueCount: this.#opaqueCount };
  }
}

export { renderEvent, renderIntake } from './events-intake.ts';
