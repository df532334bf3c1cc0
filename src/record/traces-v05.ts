/**
 * v0.5: `[strings, traces]`, every span twelve elements in fixed order whose texts are indexes into the strings.
 * Source: datadog-agent pkg/proto/pbgo/trace/decoder_v05.go.
 *
 * A span's bytes mean nothing without the table, so `raw` of an inexact span is the same span as a v0.4 map: the table's entries
 * and the span's other elements, each with the very bytes that were sent. Table entries no span refers to are not kept.
 */
import { ROWS_PER_ENVELOPE_MAX } from '../core/limits.ts';
import type { MsgpackReader } from '../wire/msgpack.ts';
import { equals } from './traces-field-names.ts';
import * as SPAN from './traces-fields.ts';
import { emptyChunks, readField } from './traces-msgpack.ts';
import { type SpanSink, TooManyRows } from './traces-sink.ts';

const ELEMENTS = 12;
const TEXT_FIELDS: readonly boolean[] = SPAN.FIELDS.map((name) =>
  ['service', 'name', 'resource', 'type'].includes(name),
);
const TRACE_ID_HIGH_BYTES = Buffer.from(SPAN.TRACE_ID_HIGH_KEY);
/** The twelve names as msgpack strings, with a map header before the first. */
const MAP_OF_12 = Buffer.from([0x8c]);
const KEYS = SPAN.FIELDS.slice(0, ELEMENTS).map((name) => Buffer.from([0xa0 | name.length, ...Buffer.from(name)]));

/** Where the table's entries lie: [entry, stop) with the msgpack header, [start, stop) the text alone. */
interface StringTable {
  count: number;
  entries: Uint32Array;
  starts: Uint32Array;
  stops: Uint32Array;
}

/** A v0.5 body; the cursor moves behind it. */
export function decodeV05(reader: MsgpackReader, sink: SpanSink): void {
  if (reader.enterArray() !== 2) reader.fail('a v0.5 body is an array of two: strings and traces', 0);
  const table = readTable(reader);
  const chunks = reader.enterArray();
  if (chunks === undefined) throw reader.fail('v0.5 traces are an array');
  let isRestorable = true;
  for (let chunk = 0; chunk < chunks; chunk++) {
    sink.beginChunk(chunk);
    const spans = reader.enterArray();
    if (spans === undefined) throw reader.fail('a v0.5 trace is an array');
    if (spans === 0) isRestorable = false;
    sink.expectRows(spans);
    for (let i = 0; i < spans; i++) decodeSpan(reader, sink, table);
  }
  if (!isRestorable) sink.addWhole('payload', emptyChunks(chunks));
}

function readTable(reader: MsgpackReader): StringTable {
  const count = reader.enterArray();
  if (count === undefined) return reader.fail('v0.5 strings are an array');
  if (count > ROWS_PER_ENVELOPE_MAX) throw new TooManyRows();
  const entries = new Uint32Array(count);
  const starts = new Uint32Array(count);
  const stops = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    entries[i] = reader.offset;
    if (!reader.passString()) reader.fail('an entry of the v0.5 strings is no string');
    starts[i] = reader.start;
    stops[i] = reader.stop;
  }
  return { count, entries, starts, stops };
}

/** The index at the cursor; −1 (cursor unmoved) when no integer is there. An index beyond the table is malformed. */
function readIndex(reader: MsgpackReader, table: StringTable): number {
  const at = reader.offset;
  if (!reader.passInteger()) return -1;
  if (reader.negative || reader.high !== 0 || reader.low >= table.count) {
    reader.fail(`index ${reader.integer()} into ${table.count} strings`, at);
  }
  return reader.low;
}

function decodeSpan(reader: MsgpackReader, sink: SpanSink, table: StringTable): void {
  const from = reader.offset;
  if (reader.enterArray() !== ELEMENTS) reader.fail(`a v0.5 span is an array of ${ELEMENTS}`, from);
  sink.beginSpan();
  for (let field = 0; field < ELEMENTS; field++) {
    if (reader.passNil()) {
      sink.meet(field, true);
      continue;
    }
    sink.meet(field, false);
    if (TEXT_FIELDS[field]) {
      const index = readIndex(reader, table);
      if (index >= 0) sink.setTextBytes(field, reader.view, reader.bytes, table.starts[index]!, table.stops[index]!);
      else passOdd(reader, sink);
    } else if (field === SPAN.META || field === SPAN.METRICS) {
      readMap(reader, sink, table, field);
    } else {
      readField(reader, sink, field);
    }
  }
  sink.endSpan(sink.exact ? undefined : spanAsMap(reader, from, table));
}

function passOdd(reader: MsgpackReader, sink: SpanSink): void {
  sink.exact = false;
  reader.skip();
}

function readMap(reader: MsgpackReader, sink: SpanSink, table: StringTable, field: number): void {
  const pairs = reader.enterMap();
  if (pairs === undefined) {
    passOdd(reader, sink);
    return;
  }
  const { text } = sink;
  const { bytes } = reader;
  text.begin();
  text.beginKeys();
  text.byte(0x7b);
  let isFirst = true;
  for (let i = 0; i < pairs; i++) {
    const key = readIndex(reader, table);
    if (key < 0) {
      // A key that is no index: the pair is in `raw` only.
      sink.exact = false;
      reader.skip();
      reader.skip();
      continue;
    }
    if (!isFirst) text.comma();
    isFirst = false;
    const start = table.starts[key]!;
    const stop = table.stops[key]!;
    if (!text.string(bytes, start, stop) || !text.isNewKey(bytes, start, stop)) sink.exact = false;
    text.colon();
    if (field === SPAN.METRICS) {
      writeNumber(reader, sink);
    } else {
      const isTraceIdHigh = sink.wantsTraceIdHigh && equals(bytes, start, stop, TRACE_ID_HIGH_BYTES);
      writeText(reader, sink, table, isTraceIdHigh);
    }
  }
  text.byte(0x7d);
  sink.takeJson(field);
}

function writeText(reader: MsgpackReader, sink: SpanSink, table: StringTable, isTraceIdHigh: boolean): void {
  const index = readIndex(reader, table);
  if (index < 0) {
    writeOther(reader, sink);
    return;
  }
  const start = table.starts[index]!;
  const stop = table.stops[index]!;
  if (!sink.text.string(reader.bytes, start, stop)) sink.exact = false;
  if (isTraceIdHigh) sink.setTraceIdHigh(reader.bytes.toString('latin1', start, stop));
}

function writeNumber(reader: MsgpackReader, sink: SpanSink): void {
  const value = reader.readFloat();
  if (value !== undefined) {
    if (!sink.text.double(value)) sink.exact = false;
  } else if (reader.passInteger()) {
    sink.text.plain(String(reader.integer()));
  } else {
    writeOther(reader, sink);
  }
}

function writeOther(reader: MsgpackReader, sink: SpanSink): void {
  if (!reader.passNil()) passOdd(reader, sink);
  sink.text.plain('null');
}

/** The span at `from` (already checked) as a v0.4 map; the cursor ends where the span does. */
function spanAsMap(reader: MsgpackReader, from: number, table: StringTable): Buffer {
  const pieces: Uint8Array[] = [MAP_OF_12];
  const pushTextOrAsSent = (): void => {
    const index = readIndex(reader, table);
    if (index >= 0) pieces.push(reader.bytes.subarray(table.entries[index]!, table.stops[index]!));
    else pieces.push(reader.sliceValue());
  };
  reader.offset = from;
  reader.enterArray();
  for (let field = 0; field < ELEMENTS; field++) {
    pieces.push(KEYS[field]!);
    const header = reader.offset;
    const pairs = field === SPAN.META || field === SPAN.METRICS ? reader.enterMap() : undefined;
    if (pairs !== undefined) {
      pieces.push(reader.bytes.subarray(header, reader.offset));
      for (let i = 0; i < pairs; i++) {
        pushTextOrAsSent();
        if (field === SPAN.META) pushTextOrAsSent();
        else pieces.push(reader.sliceValue());
      }
    } else if (TEXT_FIELDS[field]) {
      pushTextOrAsSent();
    } else {
      pieces.push(reader.sliceValue());
    }
  }
  return Buffer.concat(pieces);
}
