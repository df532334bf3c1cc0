/**
 * The protobuf messages of series and sketches, as tables, and one renderer that gives any of them back as JSON text with
 * nothing lost: what the table does not know stands under "unknown", field number → base64 of the field's bytes, tag included.
 * Sources: agent-payload proto/metrics/agent_payload.proto; Origin.metric_type (3) as the Agent's serializer writes it.
 *
 * The JSON: keys in table order, proto3 defaults left out, 64-bit integers as plain literals, non-finite doubles as "NaN",
 * "Infinity", "-Infinity". Where a known field cannot be shown exactly (invalid UTF-8, a repeated singular field, another wire
 * type, a NaN with a payload) its bytes stand under "unknown" as well.
 */
import { textOfDouble } from '../json-number.ts';
import { FIXED64, LENGTH_DELIMITED, type ProtobufReader, VARINT } from '../protobuf.ts';

type ScalarKind = 'string' | 'int32' | 'uint32' | 'sint32' | 'int64' | 'double';

export interface FieldSchema {
  name: string;
  kind: ScalarKind | MessageSchema;
  repeated?: true;
}

/** By field number, in the order of the keys in JSON. */
export type MessageSchema = ReadonlyMap<number, FieldSchema>;

const RESOURCE: MessageSchema = new Map<number, FieldSchema>([
  [1, { name: 'type', kind: 'string' }],
  [2, { name: 'name', kind: 'string' }],
]);

const ORIGIN: MessageSchema = new Map<number, FieldSchema>([
  [3, { name: 'metric_type', kind: 'int32' }],
  [4, { name: 'origin_product', kind: 'uint32' }],
  [5, { name: 'origin_category', kind: 'uint32' }],
  [6, { name: 'origin_service', kind: 'uint32' }],
]);

const METADATA: MessageSchema = new Map<number, FieldSchema>([[1, { name: 'origin', kind: ORIGIN }]]);

const POINT: MessageSchema = new Map<number, FieldSchema>([
  [2, { name: 'timestamp', kind: 'int64' }],
  [1, { name: 'value', kind: 'double' }],
]);

const SERIES: MessageSchema = new Map<number, FieldSchema>([
  [2, { name: 'metric', kind: 'string' }],
  [5, { name: 'type', kind: 'int32' }],
  [4, { name: 'points', kind: POINT, repeated: true }],
  [3, { name: 'tags', kind: 'string', repeated: true }],
  [1, { name: 'resources', kind: RESOURCE, repeated: true }],
  [8, { name: 'interval', kind: 'int64' }],
  [6, { name: 'unit', kind: 'string' }],
  [7, { name: 'source_type_name', kind: 'string' }],
  [9, { name: 'metadata', kind: METADATA }],
]);

const DOGSKETCH: MessageSchema = new Map<number, FieldSchema>([
  [1, { name: 'ts', kind: 'int64' }],
  [2, { name: 'cnt', kind: 'int64' }],
  [3, { name: 'min', kind: 'double' }],
  [4, { name: 'max', kind: 'double' }],
  [5, { name: 'avg', kind: 'double' }],
  [6, { name: 'sum', kind: 'double' }],
  [7, { name: 'k', kind: 'sint32', repeated: true }],
  [8, { name: 'n', kind: 'uint32', repeated: true }],
]);

const SKETCH: MessageSchema = new Map<number, FieldSchema>([
  [1, { name: 'metric', kind: 'string' }],
  [2, { name: 'host', kind: 'string' }],
  [4, { name: 'tags', kind: 'string', repeated: true }],
  [8, { name: 'metadata', kind: METADATA }],
  [7, { name: 'dogsketches', kind: DOGSKETCH, repeated: true }],
]);

const COMMON_METADATA: MessageSchema = new Map<number, FieldSchema>([
  [1, { name: 'agent_version', kind: 'string' }],
  [2, { name: 'timezone', kind: 'string' }],
  [3, { name: 'current_epoch', kind: 'double' }],
  [4, { name: 'internal_ip', kind: 'string' }],
  [5, { name: 'public_ip', kind: 'string' }],
  [6, { name: 'api_key', kind: 'string' }],
]);

const V3_METADATA: MessageSchema = new Map<number, FieldSchema>([
  [1, { name: 'tags', kind: 'string', repeated: true }],
  [2, { name: 'resources', kind: 'string', repeated: true }],
]);

export const MESSAGES = {
  series: SERIES,
  resource: RESOURCE,
  metadata: METADATA,
  sketch: SKETCH,
  /** What surrounds the items. */
  sketchPayload: new Map<number, FieldSchema>([[2, { name: 'metadata', kind: COMMON_METADATA }]]),
  v3Payload: new Map<number, FieldSchema>([[2, { name: 'metadata', kind: V3_METADATA }]]),
  /** Nothing is known: every field stands under "unknown". */
  anything: new Map<number, FieldSchema>(),
} satisfies Record<string, MessageSchema>;

export interface MessageText {
  text: string;
  /** False: something stands under "unknown". */
  exact: boolean;
}

/** JSON text of the message that `reader` stands at. Throws ProtobufError. */
export function jsonOfMessage(reader: ProtobufReader, schema: MessageSchema): MessageText {
  let allExact = true;
  const known = new Map<number, string[]>();
  const unknown = new Map<number, string[]>();
  const singles = new Map<number, Uint8Array>();
  const keep = (number: number, bytes: Uint8Array): void => {
    const list = unknown.get(number) ?? [];
    list.push(Buffer.from(bytes).toString('base64'));
    unknown.set(number, list);
  };
  while (!reader.done()) {
    const start = reader.offset;
    const tag = reader.tag();
    const number = tag >>> 3;
    const field = schema.get(number);
    if (!field) {
      keep(number, reader.skipField(tag, start));
      continue;
    }
    const texts = known.get(number) ?? [];
    const before = texts.length;
    const exactness = readField(reader, field, tag, texts);
    if (texts.length > 0) known.set(number, texts);
    const bytes = reader.buffer.subarray(start, reader.offset);
    if (exactness === 'inner') allExact = false;
    if (exactness === 'no') {
      keep(number, bytes);
    } else if (!field.repeated) {
      // Of several the last one counts, as protobuf says; those before it are kept as bytes.
      const earlier = singles.get(number);
      if (earlier) keep(number, earlier);
      singles.set(number, bytes);
    }
    if (!field.repeated && before > 0 && texts.length > before) texts.splice(0, before);
  }
  const members: string[] = [];
  for (const [number, field] of schema) {
    const texts = known.get(number);
    if (!texts) continue;
    if (field.repeated) members.push(`"${field.name}":[${texts.join(',')}]`);
    else if (!isDefault(texts[0]!)) members.push(`"${field.name}":${texts[0]}`);
  }
  if (unknown.size > 0) {
    const fields = [...unknown].map(([number, list]) => `"${number}":${JSON.stringify(list)}`);
    members.push(`"unknown":{${fields.join(',')}}`);
  }
  return { text: `{${members.join(',')}}`, exact: allExact && unknown.size === 0 };
}

/** A message that is there is no default, even when it is empty. */
function isDefault(text: string): boolean {
  return text === '0' || text === '""';
}

/** `no`: the field's bytes tell more than what was added; `inner`: so do bytes shown inside the message it holds. */
type Exactness = 'yes' | 'inner' | 'no';

/** Reads one occurrence of a field into `texts`. */
function readField(reader: ProtobufReader, field: FieldSchema, tag: number, texts: string[]): Exactness {
  const { kind } = field;
  const wireType = tag & 7;
  if (typeof kind !== 'string' || kind === 'string') {
    if (wireType !== LENGTH_DELIMITED) {
      reader.skip(wireType, tag >>> 3);
      return 'no';
    }
    if (kind === 'string') {
      texts.push(JSON.stringify(reader.string()));
      return reader.stringExact ? 'yes' : 'no';
    }
    const inner = jsonOfMessage(reader.message(), kind);
    texts.push(inner.text);
    return inner.exact ? 'yes' : 'inner';
  }
  if (field.repeated && wireType === LENGTH_DELIMITED) {
    let exact = true;
    const outer = reader.enter();
    while (!reader.done()) exact = readNumber(reader, kind, texts) && exact;
    reader.leave(outer);
    return exact ? 'yes' : 'no';
  }
  if (wireType !== (kind === 'double' ? FIXED64 : VARINT)) {
    reader.skip(wireType, tag >>> 3);
    return 'no';
  }
  return readNumber(reader, kind, texts) ? 'yes' : 'no';
}

const INT32 = 0x80000000n;

function readNumber(reader: ProtobufReader, kind: ScalarKind, texts: string[]): boolean {
  if (kind === 'double') {
    const value = reader.double();
    texts.push(doubleText(value));
    return !hasNaNPayload(reader, value);
  }
  if (kind === 'uint32') {
    const value = reader.uint64();
    texts.push(String(BigInt.asUintN(32, value)));
    return value < 2n * INT32;
  }
  const value = kind === 'sint32' ? reader.sint64() : reader.int64();
  if (kind === 'int64') {
    texts.push(String(value));
    return true;
  }
  texts.push(String(BigInt.asIntN(32, value)));
  return value >= -INT32 && value < INT32;
}

/** JSON text of a double; non-finite ones as strings. */
export function doubleText(value: number): string {
  return Number.isFinite(value) ? textOfDouble(value) : `"${value}"`;
}

/** After `reader.double()` gave `value`: it is a NaN whose bits are not those of the usual one, 0x7ff8000000000000. */
export function hasNaNPayload(reader: ProtobufReader, value: number): boolean {
  if (!Number.isNaN(value)) return false;
  const { buffer, offset } = reader;
  return buffer.readUInt32LE(offset - 8) !== 0 || buffer.readUInt32LE(offset - 4) !== 0x7ff80000;
}
