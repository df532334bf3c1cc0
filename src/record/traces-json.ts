/**
 * v0.3/v0.4 bodies sent as JSON: an array of traces, each an array of spans. Maps and lists go into their columns as the very
 * bytes that were sent, so that every number and escape stays as it was.
 */
import { JsonScanner } from '../wire/json-scanner.ts';
import {
  DURATION,
  ERROR,
  META,
  META_STRUCT,
  METRICS,
  NAME,
  PARENT_ID,
  RESOURCE,
  SERVICE,
  SPAN_FIELDS,
  SPAN_ID,
  type SpanSink,
  START,
  TRACE_ID,
  TRACE_ID_HIGH_KEY,
  TYPE,
} from './traces-sink.ts';

const FIELDS = new Map<string, number>(SPAN_FIELDS.map((name, index) => [name, index]));
const INTEGER = /^-?(?:0|[1-9]\d*)$/;
/** A number that may be beyond doubles: a long run of digits, or an exponent of three digits. */
const MAYBE_HUGE = /\d{300}|[eE][+-]?0*\d{3}/;
const TRACE_ID_HIGH_QUOTED = Buffer.from(`"${TRACE_ID_HIGH_KEY}"`);
const TWO_32 = 4294967296;

/** The whole document at the scanner's cursor. */
export function decodeTracesJson(scanner: JsonScanner, sink: SpanSink): void {
  if (scanner.type() !== 'array') {
    sink.addOpaque(scanner.sliceValue());
    return;
  }
  scanner.enterArray();
  let chunk = 0;
  let isRestorable = true;
  while (scanner.nextElement()) {
    sink.beginChunk(chunk);
    chunk += 1;
    if (scanner.type() !== 'array') {
      sink.addOpaque(scanner.sliceValue(), 'chunk');
      continue;
    }
    scanner.enterArray();
    let count = 0;
    while (scanner.nextElement()) {
      decodeSpan(scanner, sink);
      count += 1;
    }
    if (count === 0) isRestorable = false;
  }
  if (!isRestorable) sink.addWhole('payload', Buffer.from(`[${'[],'.repeat(chunk - 1)}[]]`));
}

function decodeSpan(scanner: JsonScanner, sink: SpanSink): void {
  if (scanner.type() !== 'object') {
    sink.addOpaque(scanner.sliceValue());
    return;
  }
  const from = scanner.offset;
  scanner.enterObject();
  sink.beginSpan();
  for (;;) {
    const key = scanner.nextKey();
    if (key === undefined) break;
    const field = FIELDS.get(key);
    if (field === undefined) {
      sink.exact = false;
      scanner.skipValue();
      continue;
    }
    const type = scanner.type();
    sink.meet(field, type === 'null');
    if (type === 'null') scanner.skipValue();
    else readField(scanner, sink, field, type);
  }
  sink.endSpan(sink.exact ? undefined : scanner.bytes.subarray(from, scanner.offset));
}

function readField(scanner: JsonScanner, sink: SpanSink, field: number, type: string): void {
  switch (field) {
    case SERVICE:
    case NAME:
    case RESOURCE:
    case TYPE:
      if (type !== 'string') break;
      sink.setText(field, scanner.readString());
      if (!scanner.stringExact) sink.exact = false;
      return;
    case TRACE_ID:
    case SPAN_ID:
    case PARENT_ID:
    case START:
    case DURATION:
    case ERROR:
      readInteger(scanner, sink, field, type);
      return;
    case META:
    case METRICS:
    case META_STRUCT:
      if (type !== 'object') break;
      readObject(scanner, sink, field);
      return;
    default:
      if (type !== 'array') break;
      sink.setJsonBytes(field, scanner.sliceValue());
      return;
  }
  sink.exact = false;
  scanner.skipValue();
}

function readInteger(scanner: JsonScanner, sink: SpanSink, field: number, type: string): void {
  const slice = scanner.sliceValue();
  let text = slice.toString('latin1', 0, slice.length);
  if (type === 'string') {
    // Ids as texts: the columns are filled, the span stays inexact.
    sink.exact = false;
    text = text.slice(1, -1);
  }
  const isInteger = INTEGER.test(text);
  if (!isInteger || text === '-0') {
    sink.exact = false;
    return;
  }
  const negative = text.startsWith('-');
  let low: number;
  let high: number;
  if (text.length <= 15) {
    const value = Number(text);
    low = value >>> 0;
    high = Math.floor(value / TWO_32) >>> 0;
  } else {
    if (text.length > 20) {
      sink.exact = false;
      return;
    }
    const value = BigInt(text);
    if (value >= 1n << 64n || value < -(1n << 63n)) {
      sink.exact = false;
      return;
    }
    low = Number(BigInt.asUintN(32, value));
    high = Number(BigInt.asUintN(32, value >> 32n));
  }
  if (field === ERROR) sink.setError(low, high, negative);
  else if (field === START || field === DURATION) sink.setLong(field, low, high, negative);
  else sink.setId(field, low, high, negative);
}

function readObject(scanner: JsonScanner, sink: SpanSink, field: number): void {
  const slice = scanner.sliceValue();
  if (field === METRICS) {
    const text = slice.toString('latin1', 0, slice.length);
    const quoted = MAYBE_HUGE.test(text) ? withHugeNumbersQuoted(slice) : undefined;
    if (quoted !== undefined) {
      // A reader of the column would make Infinity of such a number, or fail.
      sink.exact = false;
      sink.setJsonBytes(field, Buffer.from(quoted));
      return;
    }
  }
  sink.setJsonBytes(field, slice);
  if (field === META && sink.wantsTraceIdHigh && slice.includes(TRACE_ID_HIGH_QUOTED)) {
    const high = memberText(slice, TRACE_ID_HIGH_KEY);
    if (high !== undefined) sink.setTraceIdHigh(high);
  }
}

/** The object's members as they are, but numbers beyond doubles as strings; undefined when there are none. */
function withHugeNumbersQuoted(object: Buffer): string | undefined {
  const scanner = new JsonScanner(object);
  const members: string[] = [];
  let isAnyHuge = false;
  scanner.enterObject();
  for (let key = scanner.nextKey(); key !== undefined; key = scanner.nextKey()) {
    const isNumber = scanner.type() === 'number';
    const text = scanner.sliceValue().toString('utf8');
    const isHuge = isNumber && !Number.isFinite(Number(text));
    if (isHuge) isAnyHuge = true;
    members.push(`${JSON.stringify(key)}:${isHuge ? `"${text}"` : text}`);
  }
  return isAnyHuge ? `{${members.join(',')}}` : undefined;
}

function memberText(object: Buffer, name: string): string | undefined {
  const scanner = new JsonScanner(object);
  scanner.enterObject();
  for (let key = scanner.nextKey(); key !== undefined; key = scanner.nextKey()) {
    if (key === name && scanner.type() === 'string') return scanner.readString();
    scanner.skipValue();
  }
  return undefined;
}
