/**
 * The messages of `/api/v0.2/traces` as tables, and any such message as JSON. Source: datadog-agent
 * pkg/proto/datadog/trace/{agent_payload,tracer_payload,span}.proto. Names are those of the v0.4 and v0.7 msgpack forms.
 */
import { isUtf8 } from 'node:buffer';
import { NESTING_MAX } from '../core/limits.ts';
import { textOfDouble } from '../wire/json-number.ts';
import { FIXED64, LENGTH_DELIMITED, type ProtobufReader, VARINT } from '../wire/protobuf.ts';

type ScalarType = 'string' | 'bytes' | 'uint64' | 'int64' | 'int32' | 'uint32' | 'bool' | 'double' | 'fixed64';

export interface ProtoField {
  name: string;
  type: ScalarType | 'message' | 'map';
  /** Of a message: its fields. */
  fields?: ProtoFields;
  /** Of a map (keys are strings): its values. */
  value?: ScalarType | 'message';
  repeated?: true;
}

export type ProtoFields = Readonly<Record<number, ProtoField>>;

const string = (name: string): ProtoField => ({ name, type: 'string' });
const scalar = (name: string, type: ScalarType): ProtoField => ({ name, type });
const list = (name: string, fields: ProtoFields): ProtoField => ({ name, type: 'message', fields, repeated: true });
const map = (name: string, value: ScalarType): ProtoField => ({ name, type: 'map', value });

const ARRAY_VALUE: ProtoFields = {
  1: scalar('type', 'int32'),
  2: string('string_value'),
  3: scalar('bool_value', 'bool'),
  4: scalar('int_value', 'int64'),
  5: scalar('double_value', 'double'),
};
const ANY_VALUE: ProtoFields = {
  ...ARRAY_VALUE,
  6: { name: 'array_value', type: 'message', fields: { 1: list('values', ARRAY_VALUE) } },
};

export const SPAN_LINK: ProtoFields = {
  1: scalar('trace_id', 'uint64'),
  2: scalar('trace_id_high', 'uint64'),
  3: scalar('span_id', 'uint64'),
  4: map('attributes', 'string'),
  5: string('tracestate'),
  6: scalar('flags', 'uint32'),
};

export const SPAN_EVENT: ProtoFields = {
  1: scalar('time_unix_nano', 'fixed64'),
  2: string('name'),
  3: { name: 'attributes', type: 'map', value: 'message', fields: ANY_VALUE },
};

export const SPAN: ProtoFields = {
  1: string('service'),
  2: string('name'),
  3: string('resource'),
  4: scalar('trace_id', 'uint64'),
  5: scalar('span_id', 'uint64'),
  6: scalar('parent_id', 'uint64'),
  7: scalar('start', 'int64'),
  8: scalar('duration', 'int64'),
  9: scalar('error', 'int32'),
  10: map('meta', 'string'),
  11: map('metrics', 'double'),
  12: string('type'),
  13: map('meta_struct', 'bytes'),
  14: list('span_links', SPAN_LINK),
  15: list('span_events', SPAN_EVENT),
};

const TRACE_CHUNK: ProtoFields = {
  1: scalar('priority', 'int32'),
  2: string('origin'),
  3: list('spans', SPAN),
  4: map('tags', 'string'),
  5: scalar('dropped_trace', 'bool'),
};

const TRACER_PAYLOAD: ProtoFields = {
  1: string('container_id'),
  2: string('language_name'),
  3: string('language_version'),
  4: string('tracer_version'),
  5: string('runtime_id'),
  6: list('chunks', TRACE_CHUNK),
  7: map('tags', 'string'),
  8: string('env'),
  9: string('hostname'),
  10: string('app_version'),
};

export const AGENT_PAYLOAD: ProtoFields = {
  1: string('hostName'),
  2: string('env'),
  5: list('tracerPayloads', TRACER_PAYLOAD),
  6: map('tags', 'string'),
  7: string('agentVersion'),
  8: scalar('targetTPS', 'double'),
  9: scalar('errorTPS', 'double'),
  10: scalar('rareSamplerEnabled', 'bool'),
  11: { name: 'idxTracerPayloads', type: 'bytes', repeated: true },
  12: string('APMMode'),
};

const WIRE_TYPES: Record<ProtoField['type'], number> = {
  string: LENGTH_DELIMITED,
  bytes: LENGTH_DELIMITED,
  message: LENGTH_DELIMITED,
  map: LENGTH_DELIMITED,
  uint64: VARINT,
  int64: VARINT,
  int32: VARINT,
  uint32: VARINT,
  bool: VARINT,
  double: FIXED64,
  fixed64: FIXED64,
};

/** What is written for a map's value that is not there: the type's default. */
const DEFAULTS: Record<ScalarType | 'message', string> = {
  string: '""',
  bytes: '""',
  message: '{}',
  uint64: '0',
  int64: '0',
  int32: '0',
  uint32: '0',
  bool: 'false',
  double: '0',
  fixed64: '0',
};

/** Whether the JSON made so far stands for exactly one message. */
export interface Exactness {
  exact: boolean;
}

/**
 * The message from the reader's cursor to its end. Keys in the order they first occur; fields that are absent (so: at their
 * default) are left out. `exactness.exact` becomes false where JSON cannot say it: NaN and ±Infinity (as strings), text that is no
 * UTF-8 (`{"$str":"<base64>"}`), a singular field or map key twice (written twice), and fields that are unknown or of another
 * wire type (under `unknown`, by number, each as base64 of its bytes with the tag). Throws `ProtobufError`.
 */
export function messageToJson(
  reader: ProtobufReader,
  fields: ProtoFields,
  exactness: Exactness,
  omit?: ReadonlySet<string>,
  depth = 0,
): string {
  if (depth > NESTING_MAX) reader.fail(`nested deeper than ${NESTING_MAX}`);
  const members = new Map<number, string[]>();
  const unknown = new Map<number, string[]>();
  const push = (lists: Map<number, string[]>, number: number, text: string): void => {
    const known = lists.get(number);
    if (known) known.push(text);
    else lists.set(number, [text]);
  };
  while (!reader.done()) {
    const at = reader.offset;
    const tag = reader.tag();
    const number = tag >>> 3;
    const field = fields[number];
    if (!field || WIRE_TYPES[field.type] !== (tag & 7) || omit?.has(field.name)) {
      exactness.exact = false;
      push(unknown, number, `"${Buffer.from(reader.skipField(tag, at)).toString('base64')}"`);
    } else if (field.type === 'map') {
      const entry = mapEntry(reader, field, exactness, depth);
      if (entry !== undefined) push(members, number, entry);
      else push(unknown, number, `"${reader.buffer.toString('base64', at, reader.offset)}"`);
    } else {
      push(members, number, valueText(reader, field.type, field.fields, exactness, depth));
    }
  }
  const texts: string[] = [];
  for (const [number, values] of members) {
    const field = fields[number]!;
    const name = JSON.stringify(field.name);
    if (field.type === 'map') {
      if (new Set(values.map(keyOf)).size < values.length) exactness.exact = false;
      texts.push(`${name}:{${values.join(',')}}`);
    } else if (field.repeated) {
      texts.push(`${name}:[${values.join(',')}]`);
    } else {
      if (values.length > 1) exactness.exact = false;
      for (const value of values) texts.push(`${name}:${value}`);
    }
  }
  if (unknown.size > 0) {
    texts.push(`"unknown":{${[...unknown].map(([number, values]) => `"${number}":[${values.join(',')}]`).join(',')}}`);
  }
  return `{${texts.join(',')}}`;
}

/** The key of a `"key":value` text. */
function keyOf(entry: string): string {
  return /^"(?:[^"\\]|\\.)*"/.exec(entry)![0];
}

/** `"key":value`; undefined when the entry holds more than one key and one value. */
function mapEntry(reader: ProtobufReader, field: ProtoField, exactness: Exactness, depth: number): string | undefined {
  const outer = reader.enter();
  let key: string | undefined;
  let value: string | undefined;
  let isOdd = false;
  const type = field.value!;
  while (!reader.done()) {
    const tag = reader.tag();
    const isKey = tag === ((1 << 3) | LENGTH_DELIMITED);
    const isValue = tag === ((2 << 3) | WIRE_TYPES[type]);
    if ((isKey && key !== undefined) || (isValue && value !== undefined)) isOdd = true;
    if (isKey) {
      key = textOf(reader, '$str:', exactness);
    } else if (isValue) {
      value = valueText(reader, type, field.fields, exactness, depth);
    } else {
      isOdd = true;
      reader.skip(tag & 7, tag >>> 3);
    }
  }
  reader.leave(outer);
  if (isOdd) {
    exactness.exact = false;
    return undefined;
  }
  return `${key ?? '""'}:${value ?? DEFAULTS[type]}`;
}

function valueText(
  reader: ProtobufReader,
  type: ScalarType | 'message',
  fields: ProtoFields | undefined,
  exactness: Exactness,
  depth: number,
): string {
  switch (type) {
    case 'string':
      return textOf(reader, undefined, exactness);
    case 'bytes':
      return `"${Buffer.from(reader.bytes()).toString('base64')}"`;
    case 'uint64':
      return String(reader.uint64());
    case 'int64':
      return String(reader.int64());
    case 'int32':
      return narrowed(reader.int64(), BigInt.asIntN, exactness);
    case 'uint32':
      return narrowed(reader.uint64(), BigInt.asUintN, exactness);
    case 'bool':
      return reader.bool() ? 'true' : 'false';
    case 'fixed64':
      return String(reader.fixed64());
    case 'double': {
      const value = reader.double();
      if (Number.isFinite(value)) return textOfDouble(value);
      exactness.exact = false;
      return `"${value}"`;
    }
    case 'message': {
      const outer = reader.enter();
      const text = messageToJson(reader, fields!, exactness, undefined, depth + 1);
      reader.leave(outer);
      return text;
    }
  }
}

/** 32-bit numbers are read as protobuf does: bits beyond are cut off, which is noted. */
function narrowed(value: bigint, cut: (bits: number, value: bigint) => bigint, exactness: Exactness): string {
  const kept = cut(32, value);
  if (kept !== value) exactness.exact = false;
  return String(kept);
}

/** A string field as JSON; one that is no UTF-8 as an object, or (with `keyPrefix`) as a key that says so. */
function textOf(reader: ProtobufReader, keyPrefix: string | undefined, exactness: Exactness): string {
  const bytes = Buffer.from(reader.bytes());
  if (isUtf8(bytes)) return JSON.stringify(bytes.toString('utf8'));
  exactness.exact = false;
  const base64 = bytes.toString('base64');
  return keyPrefix === undefined ? `{"$str":"${base64}"}` : `"${keyPrefix}${base64}"`;
}
