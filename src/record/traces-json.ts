/**
 * v0.3/v0.4 bodies sent as JSON: an array of traces, each an array of spans. Maps and lists go into their columns as the very
 * bytes that were sent, so that every number and escape stays as it was.
 */
import { JsonScanner } from '../wire/json-scanner.ts';
import { KnownObjects } from './known-objects.ts';
import { fieldNamed } from './traces-field-names.ts';
import * as SPAN from './traces-fields.ts';
import type { SpanSink } from './traces-sink.ts';

const FIELDS = new Map<string, number>(SPAN.FIELDS.map((name, index) => [name, index]));
const INTEGER = /^-?(?:0|[1-9]\d*)$/;
/** A number that may be beyond doubles: a long run of digits, or an exponent of three digits. */
const MAYBE_HUGE = /\d{300}|[eE][+-]?0*\d{3}/;
const TRACE_ID_HIGH_QUOTED = Buffer.from(`"${SPAN.TRACE_ID_HIGH_KEY}"`);
const TWO_15 = 2 ** 15;
const TWO_17 = 2 ** 17;
const TWO_32 = 2 ** 32;
const COMMA = 0x2c;
const CLOSE_BRACE = 0x7d;

/** The whole document at the scanner's cursor. */
export function decodeTracesJson(scanner: JsonScanner, sink: SpanSink): void {
  if (scanner.type() !== 'array') {
    sink.addOpaque(scanner.sliceValue());
    return;
  }
  scanner.enterArray();
  const known: Known = { keys: new KnownKeys(), objects: new KnownObjects() };
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
      decodeSpan(scanner, sink, known);
      count += 1;
    }
    if (count === 0) isRestorable = false;
  }
  if (!isRestorable) sink.addWhole('payload', Buffer.from(`[${'[],'.repeat(chunk - 1)}[]]`));
}

/** What came before in the body. */
interface Known {
  keys: KnownKeys;
  objects: KnownObjects;
}

function decodeSpan(scanner: JsonScanner, sink: SpanSink, { keys, objects }: Known): void {
  if (scanner.type() !== 'object') {
    sink.addOpaque(scanner.sliceValue());
    return;
  }
  const from = scanner.offset;
  scanner.enterObject();
  sink.beginSpan();
  for (let member = 0; ; member++) {
    const field = keys.passNext(scanner, member);
    if (field === END) break;
    if (field === NO_FIELD) {
      sink.exact = false;
      scanner.skipValue();
      continue;
    }
    const type = scanner.type();
    sink.meet(field, type === 'null');
    if (type === 'null') scanner.skipValue();
    else readField(scanner, sink, field, type, objects);
  }
  sink.endSpan(sink.exact ? undefined : scanner.bytes.subarray(from, scanner.offset));
}

const END = -2;
const NO_FIELD = -1;
/** What stands in further places is not kept. */
const PLACES_MAX = 32;

/** Keys of spans by their place: most spans of a body have the same ones in the same order, written alike. */
class KnownKeys {
  /** What lies between the value before (or the opening brace) and the value. */
  readonly #starts: number[] = [];
  readonly #lengths: number[] = [];
  readonly #fields: number[] = [];

  /** Passes the next key and returns its field, NO_FIELD where there is none of this name; END at the closing brace. */
  passNext(scanner: JsonScanner, place: number): number {
    const known = this.#lengths[place];
    if (known !== undefined && scanner.sameBytes(this.#starts[place]!, known) === known) {
      scanner.passKnownKey(known);
      scanner.skipSpace();
      return this.#fields[place]!;
    }
    const start = scanner.offset;
    if (!scanner.passKey()) return END;
    const length = scanner.offset - start;
    const field = fieldOf(scanner);
    if (place < PLACES_MAX) {
      this.#starts[place] = start;
      this.#lengths[place] = length;
      this.#fields[place] = field;
    }
    return field;
  }
}

/** The field whose key was passed. */
function fieldOf(scanner: JsonScanner): number {
  const { keyStart, keyEnd, offset } = scanner;
  const field = fieldNamed(scanner.bytes, keyStart + 1, keyEnd - 1);
  if (field !== NO_FIELD) return field;
  // It may have been written with escapes.
  scanner.offset = keyStart;
  const named = FIELDS.get(scanner.readString()) ?? NO_FIELD;
  scanner.offset = offset;
  return named;
}

function readField(scanner: JsonScanner, sink: SpanSink, field: number, type: string, objects: KnownObjects): void {
  switch (field) {
    case SPAN.SERVICE:
    case SPAN.NAME:
    case SPAN.RESOURCE:
    case SPAN.TYPE:
      if (type !== 'string') break;
      readText(scanner, sink, field);
      return;
    case SPAN.TRACE_ID:
    case SPAN.SPAN_ID:
    case SPAN.PARENT_ID:
    case SPAN.START:
    case SPAN.DURATION:
    case SPAN.ERROR:
      readInteger(scanner, sink, field, type);
      return;
    case SPAN.META:
    case SPAN.METRICS:
    case SPAN.META_STRUCT:
      if (type !== 'object') break;
      readObject(scanner, sink, field, objects);
      return;
    default:
      if (type !== 'array') break;
      sink.setJsonBytes(field, scanner.sliceValue());
      return;
  }
  sink.exact = false;
  scanner.skipValue();
}

function readText(scanner: JsonScanner, sink: SpanSink, field: number): void {
  const start = scanner.offset + 1;
  if (scanner.passString() === 0) {
    sink.setTextBytes(field, scanner.view, scanner.bytes, start, scanner.offset - 1);
    return;
  }
  scanner.offset = start - 1;
  sink.setText(field, scanner.readString());
  if (!scanner.stringExact) sink.exact = false;
}

function readInteger(scanner: JsonScanner, sink: SpanSink, field: number, type: string): void {
  if (passDigits(scanner)) {
    setInteger(sink, field, digits.low, digits.high, false);
    return;
  }
  const slice = scanner.sliceValue();
  let text = slice.toString('latin1', 0, slice.length);
  if (type === 'string') {
    // Ids as texts: the columns are filled, the span stays inexact.
    sink.exact = false;
    text = text.slice(1, -1);
  }
  const isInteger = INTEGER.test(text);
  if (!isInteger || text === '-0' || text.length > 20) {
    sink.exact = false;
    return;
  }
  const value = BigInt(text);
  if (value >= 1n << 64n || value < -(1n << 63n)) {
    sink.exact = false;
    return;
  }
  const low = Number(BigInt.asUintN(32, value));
  const high = Number(BigInt.asUintN(32, value >> 32n));
  setInteger(sink, field, low, high, text.startsWith('-'));
}

function setInteger(sink: SpanSink, field: number, low: number, high: number, negative: boolean): void {
  if (field === SPAN.ERROR) sink.setError(low, high, negative);
  else if (field === SPAN.START || field === SPAN.DURATION) sink.setLong(field, low, high, negative);
  else sink.setId(field, low, high, negative);
}

/** After `passDigits`: the number as unsigned halves. */
const digits = { low: 0, high: 0 };
/** As many as an unsigned 64-bit number has. */
const DIGITS_MAX = 20;
const FIRST_DIGITS_MAX = 9;

/** Passes a whole number of digits alone, up to 20 of them, no zero in front, with a comma or brace behind, below 2^64. False: the cursor did not move. */
function passDigits(scanner: JsonScanner): boolean {
  const { bytes, offset } = scanner;
  // Zero is the one number that begins with it.
  const stop = Math.min(scanner.end - 1, bytes[offset] === 0x30 ? offset + 1 : offset + DIGITS_MAX);
  let at = offset;
  let first = 0;
  let c = bytes[at]!;
  for (
    const middle = Math.min(stop, offset + FIRST_DIGITS_MAX);
    at < middle && c >= 0x30 && c <= 0x39;
    c = bytes[++at]!
  )
    first = first * 10 + (c - 0x30);
  let second = 0;
  let scale = 1;
  for (; at < stop && c >= 0x30 && c <= 0x39; c = bytes[++at]!) {
    second = second * 10 + (c - 0x30);
    scale *= 10;
  }
  if (at === offset || (c !== COMMA && c !== CLOSE_BRACE)) return false;
  // first × scale + second, in parts that are exact: first is below 2^30, scale at most 10^11, below 2^37.
  const scaleHigh = Math.floor(scale / TWO_17);
  const scaleLow = scale - scaleHigh * TWO_17;
  const middle = first * scaleHigh;
  const middleHigh = Math.floor(middle / TWO_15);
  const low = first * scaleLow + (middle - middleHigh * TWO_15) * TWO_17 + second;
  const carry = Math.floor(low / TWO_32);
  const high = middleHigh + carry;
  if (high >= TWO_32) return false;
  scanner.offset = at;
  digits.low = low - carry * TWO_32;
  digits.high = high;
  return true;
}

function readObject(scanner: JsonScanner, sink: SpanSink, field: number, objects: KnownObjects): void {
  const hint = sink.mapHint(field);
  const start = scanner.offset;
  const known = objects.pass(scanner, hint);
  const tellsHigh = field === SPAN.META && sink.wantsTraceIdHigh;
  if (known !== -1) {
    sink.setJsonId(field, known);
    if (tellsHigh) setTraceIdHigh(sink, scanner.bytes.subarray(start, scanner.offset));
    return;
  }
  const slice = scanner.bytes.subarray(start, scanner.offset);
  if (field === SPAN.METRICS) {
    const text = slice.toString('latin1', 0, slice.length);
    const quoted = MAYBE_HUGE.test(text) ? withHugeNumbersQuoted(slice) : undefined;
    if (quoted !== undefined) {
      // A reader of the column would make Infinity of such a number, or fail.
      sink.exact = false;
      sink.setJsonBytes(field, Buffer.from(quoted));
      return;
    }
  }
  const id = sink.setJsonBytes(field, slice);
  if (id !== -1) objects.keep(hint, id);
  if (tellsHigh) setTraceIdHigh(sink, slice);
}

function setTraceIdHigh(sink: SpanSink, meta: Buffer): void {
  if (!meta.includes(TRACE_ID_HIGH_QUOTED)) return;
  const high = memberText(meta, SPAN.TRACE_ID_HIGH_KEY);
  if (high !== undefined) sink.setTraceIdHigh(high);
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
