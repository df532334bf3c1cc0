/**
 * Rows of the traces signal back as JSON text: what `export` shows and what tests compare with what was sent. Names are those of
 * v0.4; 64-bit numbers are plain integer literals. A row must carry its `protocol` column, as rows of segments do.
 */
import { MsgpackReader, msgpackToJson, msgpackValueToJson, renderKey } from '../wire/msgpack.ts';
import { ProtobufReader } from '../wire/protobuf.ts';
import type { Row } from './decoder.ts';
import { FIELDS, SHAPE_LETTERS } from './traces-fields.ts';
import { AGENT_PAYLOAD, messageToJson, SPAN } from './traces-proto-schema.ts';

const IDS = new Set<string>(['trace_id', 'span_id', 'parent_id']);
const TEXTS = new Set<string>(['service', 'name', 'resource', 'type']);
const LETTERS_TO_FIELDS = new Map([...SHAPE_LETTERS].map((letter, index) => [letter, FIELDS[index]!]));

/**
 * One item (a span has one row) as JSON text. Exactly what was sent, by value, unless the item holds what JSON cannot say; then
 * the text marks it as `msgpackToJson` and `messageToJson` tell, and the row's `raw` has the bytes. `stats` rows: the body.
 */
export function renderSpan(rows: readonly Row[]): string {
  const row = rows[0];
  if (!row) throw new Error('BUG: an item without rows');
  if (row.kind === 'payload') return renderPayload(row);
  const raw = row.raw;
  if (raw instanceof Uint8Array) return renderRaw(row, raw);
  return renderColumns(row);
}

/** A `payload` row: what surrounds the spans of a request, as JSON text, with empty span lists. */
export function renderPayload(row: Row): string {
  const raw = row.raw;
  if (!(raw instanceof Uint8Array)) throw new Error('BUG: a payload row without raw');
  if (row.protocol !== 'traces-agent-proto')
    return row.protocol === 'traces-v04-json' ? textOf(raw) : msgpackToJson(raw).text;
  return messageToJson(new ProtobufReader(raw), AGENT_PAYLOAD, { exact: true });
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}

function renderRaw(row: Row, raw: Uint8Array): string {
  switch (row.protocol) {
    case 'traces-v04-json':
      return textOf(raw);
    case 'traces-agent-proto':
      if (row.kind === 'span') return messageToJson(new ProtobufReader(raw), SPAN, { exact: true });
      return JSON.stringify({
        [row.shape === 'body' ? 'body' : 'idxTracerPayload']: Buffer.from(raw).toString('base64'),
      });
    default:
      return row.kind === 'span' ? renderSpanMap(raw) : msgpackToJson(raw).text;
  }
}

/** A v0.4 span map with anything in it; the values of meta_struct as base64 texts, like those of the column. */
function renderSpanMap(raw: Uint8Array): string {
  const reader = new MsgpackReader(raw);
  const pairs = reader.enterMap();
  if (pairs === undefined) return msgpackToJson(raw).text;
  const members: string[] = [];
  for (let i = 0; i < pairs; i++) {
    const key = renderKey(reader, { text: '', exact: true }, 0);
    const value = key === '"meta_struct"' ? renderMetaStruct(reader) : msgpackValueToJson(reader).text;
    members.push(`${key}:${value}`);
  }
  return `{${members.join(',')}}`;
}

function renderMetaStruct(reader: MsgpackReader): string {
  const pairs = reader.enterMap();
  if (pairs === undefined) return msgpackValueToJson(reader).text;
  const members: string[] = [];
  for (let i = 0; i < pairs; i++) {
    const key = renderKey(reader, { text: '', exact: true }, 0);
    const value = reader.passBinary()
      ? `"${reader.bytes.toString('base64', reader.start, reader.stop)}"`
      : msgpackValueToJson(reader).text;
    members.push(`${key}:${value}`);
  }
  return `{${members.join(',')}}`;
}

function renderColumns(row: Row): string {
  const shape = typeof row.shape === 'string' ? row.shape : '';
  const members: string[] = [];
  for (let i = 0; i < shape.length; i++) {
    const letter = shape[i]!;
    const isNegative = shape[i + 1] === '-';
    const field = LETTERS_TO_FIELDS.get(letter.toLowerCase());
    if (field === undefined) {
      if (letter !== '-') throw new Error(`BUG: shape ${shape}`);
      continue;
    }
    const isNil = letter !== letter.toLowerCase();
    members.push(`"${field}":${isNil ? 'null' : valueText(row, field, isNegative)}`);
  }
  return `{${members.join(',')}}`;
}

function valueText(row: Row, field: string, isNegative: boolean): string {
  const value = row[field === 'start' ? 'time' : field];
  if (value === undefined || value === null || value instanceof Uint8Array) {
    throw new Error(`BUG: shape names ${field}, which the row does not hold`);
  }
  if (TEXTS.has(field)) return JSON.stringify(value);
  if (IDS.has(field)) return String(isNegative ? BigInt.asIntN(64, BigInt(value)) : BigInt.asUintN(64, BigInt(value)));
  return String(value);
}
