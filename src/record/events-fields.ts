/**
 * What the columns of an event or check run show: its fields under the names that each protocol gives them. The item itself is in
 * `body`, so this is best effort: a field of another type than usual is left out of its column.
 *
 * Sources of the names: Datadog's API v1 (Event, ServiceCheck) and v2 (EventPayload), and the Agent's event JSON; see
 * datadog-intake.md §2.2.
 */
import type { JsonScanner } from '../wire/json-scanner.ts';
import { timeOfNumber, timeOfText } from './logs-time.ts';

export type TextColumn = 'title' | 'text' | 'host' | 'status' | 'source' | 'priority' | 'aggregation_key';

export interface EventFields {
  texts: Partial<Record<TextColumn, string>>;
  /** A JSON array as sent. */
  tags: Buffer | undefined;
  timeMs: number | undefined;
}

export type FieldNames = Record<string, TextColumn | 'time' | 'tags' | 'check-status'>;

export const EVENT_V1_FIELDS: FieldNames = {
  title: 'title',
  text: 'text',
  date_happened: 'time',
  host: 'host',
  alert_type: 'status',
  source_type_name: 'source',
  priority: 'priority',
  aggregation_key: 'aggregation_key',
  tags: 'tags',
};

export const AGENT_EVENT_FIELDS: FieldNames = {
  msg_title: 'title',
  msg_text: 'text',
  timestamp: 'time',
  host: 'host',
  alert_type: 'status',
  source_type_name: 'source',
  priority: 'priority',
  aggregation_key: 'aggregation_key',
  tags: 'tags',
};

export const CHECK_RUN_FIELDS: FieldNames = {
  check: 'title',
  message: 'text',
  timestamp: 'time',
  host_name: 'host',
  status: 'check-status',
  tags: 'tags',
};

/** Of `data.attributes`. */
const EVENT_V2_FIELDS: FieldNames = {
  title: 'title',
  message: 'text',
  timestamp: 'time',
  host: 'host',
  integration_id: 'source',
  aggregation_key: 'aggregation_key',
  tags: 'tags',
};

/** Of `data.attributes.attributes`. */
const EVENT_V2_DETAIL_FIELDS: FieldNames = { status: 'status', priority: 'priority' };

const CHECK_STATUSES = ['ok', 'warning', 'critical', 'unknown'];

export function emptyFields(): EventFields {
  return { texts: {}, tags: undefined, timeMs: undefined };
}

/** Reads the object at the scanner's cursor. */
export function readFields(scanner: JsonScanner, names: FieldNames): EventFields {
  const fields = emptyFields();
  readInto(scanner, new Map(Object.entries(names)), fields, undefined);
  return fields;
}

/** `{"data": {"attributes": {…, "attributes": {…}}}}`. */
export function readFieldsV2(scanner: JsonScanner): EventFields {
  const fields = emptyFields();
  const detail: Nested = { key: 'attributes', names: names(EVENT_V2_DETAIL_FIELDS) };
  const attributes: Nested = { key: 'attributes', names: names(EVENT_V2_FIELDS), nested: detail };
  readInto(scanner, new Map(), fields, { key: 'data', names: new Map(), nested: attributes });
  return fields;
}

interface Nested {
  key: string;
  names: Names;
  nested?: Nested;
}
type Names = Map<string, FieldNames[string]>;

function names(of: FieldNames): Names {
  return new Map(Object.entries(of));
}

function readInto(scanner: JsonScanner, known: Names, fields: EventFields, nested: Nested | undefined): void {
  scanner.enterObject();
  for (let key = scanner.nextKey(); key !== undefined; key = scanner.nextKey()) {
    const type = scanner.type();
    if (nested && key === nested.key && type === 'object') {
      readInto(scanner, nested.names, fields, nested.nested);
      continue;
    }
    const column = known.get(key);
    if (column === undefined) scanner.skipValue();
    else if (column === 'tags') readTags(scanner, type, fields);
    else if (type === 'string') setText(fields, column, scanner.readString());
    else if (type === 'number') setNumber(fields, column, scanner.readNumber());
    else scanner.skipValue();
  }
}

function readTags(scanner: JsonScanner, type: string, fields: EventFields): void {
  const slice = scanner.sliceValue();
  if (type === 'array') fields.tags = slice;
}

function setText(fields: EventFields, column: FieldNames[string], text: string): void {
  if (column === 'time') fields.timeMs = timeOfText(text) ?? fields.timeMs;
  else if (column === 'check-status') fields.texts.status = text;
  else if (column !== 'tags') fields.texts[column] = text;
}

function setNumber(fields: EventFields, column: FieldNames[string], value: number): void {
  if (column === 'time') fields.timeMs = timeOfNumber(value) ?? fields.timeMs;
  else if (column === 'check-status') fields.texts.status = CHECK_STATUSES[value] ?? String(value);
}
