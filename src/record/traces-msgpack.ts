/**
 * Tracer bodies v0.3/v0.4 (array of traces of span maps) and v0.7 (a map around chunks of such spans).
 * Source: datadog-agent pkg/proto/pbgo/trace/span_gen.go and tracer_payload_gen.go: string keys, ids signed or unsigned, nil for
 * any field. What is not an array of arrays of maps is still msgpack: the odd piece is kept as an opaque row.
 */
import { type MsgpackReader, msgpackValueToJson } from '../wire/msgpack.ts';
import type { KnownMap } from './known-maps.ts';
import { equals, fieldNamed } from './traces-field-names.ts';
import * as SPAN from './traces-fields.ts';
import type { ContainerColumn, SpanSink } from './traces-sink.ts';

const TRACE_ID_HIGH_BYTES = Buffer.from(SPAN.TRACE_ID_HIGH_KEY);
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const COMMA = 0x2c;
/** msgpack's empty array. */
const EMPTY_ARRAY = Buffer.from([0x90]);

/** A v0.3/v0.4 body; the cursor moves behind it. */
export function decodeV04(reader: MsgpackReader, sink: SpanSink): void {
  const chunks = reader.enterArray();
  if (chunks === undefined) {
    sink.addOpaque(reader.sliceValue());
    return;
  }
  let isRestorable = true;
  for (let chunk = 0; chunk < chunks; chunk++) {
    sink.beginChunk(chunk);
    const spans = reader.enterArray();
    if (spans === undefined) {
      sink.addOpaque(reader.sliceValue(), 'chunk');
      continue;
    }
    if (spans === 0) isRestorable = false;
    decodeSpans(reader, sink, spans);
  }
  if (!isRestorable) sink.addWhole('payload', emptyChunks(chunks));
}

/** An array of `count` empty arrays: which chunks there were, where some of them held no span to tell it. */
export function emptyChunks(count: number): Buffer {
  const bytes = Buffer.alloc(5 + count, EMPTY_ARRAY);
  bytes[0] = 0xdd;
  bytes.writeUInt32BE(count, 1);
  return bytes;
}

function decodeSpans(reader: MsgpackReader, sink: SpanSink, count: number): void {
  sink.expectRows(count);
  for (let i = 0; i < count; i++) decodeSpan(reader, sink);
}

function decodeSpan(reader: MsgpackReader, sink: SpanSink): void {
  const from = reader.offset;
  const pairs = reader.enterMap();
  if (pairs === undefined) {
    sink.addOpaque(reader.sliceValue());
    return;
  }
  sink.beginSpan();
  for (let i = 0; i < pairs; i++) {
    let field = -1;
    if (reader.passString()) field = fieldNamed(reader.bytes, reader.start, reader.stop);
    else reader.skip();
    if (field < 0) {
      sink.exact = false;
      reader.skip();
    } else if (reader.passNil()) {
      sink.meet(field, true);
    } else {
      sink.meet(field, false);
      readField(reader, sink, field);
    }
  }
  sink.endSpan(sink.exact ? undefined : reader.bytes.subarray(from, reader.offset));
}

/** Reads the value (not nil) of a span's field; also that of a v0.5 span's numbers. */
export function readField(reader: MsgpackReader, sink: SpanSink, field: number): void {
  switch (field) {
    case SPAN.SERVICE:
    case SPAN.NAME:
    case SPAN.RESOURCE:
    case SPAN.TYPE:
      if (reader.passString()) sink.setTextBytes(field, reader.view, reader.bytes, reader.start, reader.stop);
      else passOdd(reader, sink);
      return;
    case SPAN.TRACE_ID:
    case SPAN.SPAN_ID:
    case SPAN.PARENT_ID:
      if (passWhole(reader)) sink.setId(field, reader.low, reader.high, reader.negative);
      else passOdd(reader, sink);
      return;
    case SPAN.START:
    case SPAN.DURATION:
      if (passWhole(reader)) sink.setLong(field, reader.low, reader.high, reader.negative);
      else passOdd(reader, sink);
      return;
    case SPAN.ERROR:
      if (passWhole(reader)) sink.setError(reader.low, reader.high, reader.negative);
      else passOdd(reader, sink);
      return;
    case SPAN.META:
      readMap(reader, sink, field, writeMetaValue);
      return;
    case SPAN.METRICS:
      readMap(reader, sink, field, writeMetricsValue);
      return;
    case SPAN.META_STRUCT:
      readMap(reader, sink, field, writeMetaStructValue);
      return;
    default:
      readList(reader, sink, field);
  }
}

/** True: a whole number was passed (as `passInteger`), sent as an integer or as a float that stands for the same. */
function passWhole(reader: MsgpackReader): boolean {
  if (reader.passInteger()) return true;
  const at = reader.offset;
  const value = reader.readFloat();
  if (value !== undefined && Number.isSafeInteger(value) && !Object.is(value, -0)) {
    reader.low = value >>> 0;
    reader.high = Math.floor(value / 0x100000000) >>> 0;
    reader.negative = value < 0;
    return true;
  }
  reader.offset = at;
  return false;
}

function passOdd(reader: MsgpackReader, sink: SpanSink): void {
  sink.exact = false;
  reader.skip();
}

type WriteValue = (reader: MsgpackReader, sink: SpanSink, isTraceIdHigh: boolean) => void;

function readMap(reader: MsgpackReader, sink: SpanSink, field: number, writeValue: WriteValue): void {
  const pairs = reader.enterMap();
  if (pairs === undefined) {
    passOdd(reader, sink);
    return;
  }
  const { text, maps } = sink;
  const bytes = reader.bytes;
  const hint = sink.mapHint(field);
  const known = maps.at(hint);
  if (known !== undefined && known.count === pairs && readKnownMap(reader, sink, field, known, writeValue)) return;
  const wantsHigh = field === SPAN.META && sink.wantsTraceIdHigh;
  const { draft } = maps;
  draft.begin(reader.offset);
  text.begin();
  text.beginKeys();
  text.byte(OPEN_BRACE);
  for (let i = 0; i < pairs; i++) {
    if (i > 0) text.comma();
    let isHigh = false;
    let start = 0;
    let stop = 0;
    if (reader.passString()) {
      ({ start, stop } = reader);
      if (!text.string(bytes, start, stop) || !text.isNewKey(bytes, start, stop)) sink.exact = false;
      isHigh = field === SPAN.META && equals(bytes, start, stop, TRACE_ID_HIGH_BYTES);
    } else {
      sink.exact = false;
      text.json(JSON.stringify(msgpackValueToJson(reader).text));
    }
    text.colon();
    const isHighText = isHigh && reader.type() === 'string';
    writeValue(reader, sink, isHigh && wantsHigh);
    if (isHighText) draft.setHigh(i, reader.start, reader.stop);
    draft.add(start, stop, reader.offset, text.length);
  }
  text.byte(CLOSE_BRACE);
  const id = sink.takeJson(field);
  if (sink.exact && pairs > 0 && sink.keepsMaps) maps.keep(hint, text, id);
}

/** Reads a map with the keys of `known`, of which only what differs is looked at. False, the cursor unmoved: its keys are others. */
function readKnownMap(
  reader: MsgpackReader,
  sink: SpanSink,
  field: number,
  known: KnownMap,
  writeValue: WriteValue,
): boolean {
  const { text, maps } = sink;
  const { bytes, view, end, offset: from } = reader;
  const { count } = known;
  const wasExact = sink.exact;
  let highStart = -1;
  let others = 0;
  text.begin();
  for (let entry = 0; entry < count; entry++) {
    entry = maps.pass(known, entry, view, bytes, reader.offset, end, text);
    reader.offset = maps.offset;
    if (maps.highStart !== -1) highStart = maps.highStart;
    if (entry === count) break;
    if (!reader.passString() || !known.hasKey(entry, bytes, reader.start, reader.stop)) {
      reader.offset = from;
      sink.exact = wasExact;
      return false;
    }
    others += 1;
    text.byte(entry === 0 ? OPEN_BRACE : COMMA);
    text.string(bytes, reader.start, reader.stop);
    text.colon();
    writeValue(reader, sink, entry === known.highEntry && sink.wantsTraceIdHigh);
  }
  sink.takeMapLike(known, field, others);
  if (highStart !== -1 && sink.wantsTraceIdHigh) {
    sink.setTraceIdHigh(bytes.toString('latin1', highStart, highStart + known.highStop - known.highStart));
  }
  return true;
}

function writeMetaValue(reader: MsgpackReader, sink: SpanSink, isTraceIdHigh: boolean): void {
  if (!reader.passString()) {
    writeOther(reader, sink);
    return;
  }
  if (!sink.text.string(reader.bytes, reader.start, reader.stop)) sink.exact = false;
  if (isTraceIdHigh) sink.setTraceIdHigh(reader.bytes.toString('latin1', reader.start, reader.stop));
}

function writeMetricsValue(reader: MsgpackReader, sink: SpanSink): void {
  const value = reader.readFloat();
  if (value !== undefined) {
    if (!sink.text.double(value)) sink.exact = false;
  } else if (reader.passInteger()) {
    sink.text.plain(String(reader.integer()));
  } else {
    writeOther(reader, sink);
  }
}

function writeMetaStructValue(reader: MsgpackReader, sink: SpanSink): void {
  if (reader.passBinary()) sink.text.base64(reader.bytes, reader.start, reader.stop);
  else writeOther(reader, sink);
}

/** A value of another type than the map's: nil is expressible, the rest is not wholly. */
function writeOther(reader: MsgpackReader, sink: SpanSink): void {
  if (reader.passNil()) {
    sink.text.plain('null');
    return;
  }
  sink.exact = false;
  sink.text.json(msgpackValueToJson(reader).text);
}

function readList(reader: MsgpackReader, sink: SpanSink, field: number): void {
  if (reader.type() !== 'array') {
    passOdd(reader, sink);
    return;
  }
  const { text, exact } = msgpackValueToJson(reader);
  if (!exact) sink.exact = false;
  sink.setJsonText(field, text);
}

/** Columns that v0.7's payload fields go to. */
const PAYLOAD_COLUMNS = new Map<string, ContainerColumn>([
  ['container_id', 'container_id'],
  ['language_name', 'language'],
  ['runtime_id', 'runtime_id'],
  ['env', 'env'],
  ['hostname', 'host'],
  ['app_version', 'app_version'],
]);

/** A v0.7 body. Adds the payload row: the body with every array of spans emptied. */
export function decodeV07(reader: MsgpackReader, sink: SpanSink): void {
  const from = reader.offset;
  const pairs = reader.enterMap();
  if (pairs === undefined) {
    sink.addOpaque(reader.sliceValue());
    return;
  }
  // Pieces of the body that stay in the payload row, with an empty array between each and the next.
  const kept = new KeptPieces(reader.bytes, from);
  sink.beginPayload(0);
  const fromRow = sink.row;
  let isChunksRead = false;
  for (let i = 0; i < pairs; i++) {
    const key = readKey(reader);
    const column = key === undefined ? undefined : PAYLOAD_COLUMNS.get(key);
    if (column && reader.type() === 'string') {
      sink.setContainer(column, reader.readString(), fromRow);
    } else if (key === 'chunks' && !isChunksRead && reader.type() === 'array') {
      isChunksRead = true;
      const chunks = reader.enterArray()!;
      for (let chunk = 0; chunk < chunks; chunk++) decodeV07Chunk(reader, sink, chunk, kept);
    } else {
      reader.skip();
    }
  }
  sink.addWhole('payload', kept.finish(reader.offset));
}

function readKey(reader: MsgpackReader): string | undefined {
  const key = reader.readString();
  if (key === undefined) reader.skip();
  return key;
}

function decodeV07Chunk(reader: MsgpackReader, sink: SpanSink, chunk: number, kept: KeptPieces): void {
  sink.beginChunk(chunk);
  const pairs = reader.enterMap();
  if (pairs === undefined) {
    reader.skip();
    return;
  }
  const fromRow = sink.row;
  let isSpansRead = false;
  for (let i = 0; i < pairs; i++) {
    const key = readKey(reader);
    const type = reader.type();
    if (key === 'spans' && type === 'array' && !isSpansRead) {
      isSpansRead = true;
      const cutFrom = reader.offset;
      decodeSpans(reader, sink, reader.enterArray()!);
      kept.cut(cutFrom, reader.offset);
    } else if (key === 'priority' && type === 'integer') {
      reader.passInteger();
      const value = Number(reader.integer());
      sink.setPriority(value === (value | 0) ? value : undefined, fromRow);
    } else if (key === 'origin' && type === 'string') {
      sink.setContainer('origin', reader.readString(), fromRow);
    } else {
      reader.skip();
    }
  }
}

/** The body less the arrays of spans, each of which becomes an empty one. */
class KeptPieces {
  readonly #bytes: Buffer;
  readonly #pieces: Uint8Array[] = [];
  #from: number;

  constructor(bytes: Buffer, from: number) {
    this.#bytes = bytes;
    this.#from = from;
  }

  cut(from: number, to: number): void {
    this.#pieces.push(this.#bytes.subarray(this.#from, from), EMPTY_ARRAY);
    this.#from = to;
  }

  finish(to: number): Buffer {
    return Buffer.concat([...this.#pieces, this.#bytes.subarray(this.#from, to)]);
  }
}
