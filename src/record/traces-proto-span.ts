/**
 * A span of `/api/v0.2/traces` (datadog-agent pkg/proto/datadog/trace/span.proto) into its row. Maps are written as JSON straight
 * from the body; links and events, which are rare, through the table of their fields.
 */
import { FIXED64, LENGTH_DELIMITED, type ProtobufReader, VARINT } from '../wire/protobuf.ts';
import type { KnownMap } from './known-maps.ts';
import { equals } from './traces-field-names.ts';
import * as SPAN from './traces-fields.ts';
import { type Exactness, messageToJson, type ProtoFields, SPAN_EVENT, SPAN_LINK } from './traces-proto-schema.ts';
import type { SpanSink } from './traces-sink.ts';

const bytesTag = (field: number): number => (field << 3) | LENGTH_DELIMITED;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const COMMA = 0x2c;
const TRACE_ID_HIGH_BYTES = Buffer.from(SPAN.TRACE_ID_HIGH_KEY);

/** Span field by protobuf number 1–15. */
const FIELD_OF_NUMBER: readonly number[] = [
  -1,
  SPAN.SERVICE,
  SPAN.NAME,
  SPAN.RESOURCE,
  SPAN.TRACE_ID,
  SPAN.SPAN_ID,
  SPAN.PARENT_ID,
  SPAN.START,
  SPAN.DURATION,
  SPAN.ERROR,
  SPAN.META,
  SPAN.METRICS,
  SPAN.TYPE,
  SPAN.META_STRUCT,
  SPAN.SPAN_LINKS,
  SPAN.SPAN_EVENTS,
];
const isVarintField = (number: number): boolean => number >= 4 && number <= 9;

export class SpanDecoder {
  readonly #reader: ProtobufReader;
  readonly #sink: SpanSink;
  /** Of the map's entry read last. */
  readonly #place = { keyStart: 0, keyStop: 0, valueStart: 0, valueStop: 0 };

  constructor(reader: ProtobufReader, sink: SpanSink) {
    this.#reader = reader;
    this.#sink = sink;
  }

  /** The span from the reader's cursor to its end. */
  decode(): void {
    const reader = this.#reader;
    const sink = this.#sink;
    const from = reader.offset;
    sink.beginSpan();
    while (!reader.done()) {
      const tag = reader.tag();
      const number = tag >>> 3;
      const field = number <= 15 ? FIELD_OF_NUMBER[number]! : -1;
      const wireType = tag & 7;
      if (field < 0 || wireType !== (isVarintField(number) ? VARINT : LENGTH_DELIMITED)) {
        sink.exact = false;
        reader.skip(wireType, number);
      } else {
        sink.meet(field, false);
        this.#field(field, tag);
      }
    }
    sink.endSpan(sink.exact ? undefined : reader.buffer.subarray(from, reader.end));
  }

  #field(field: number, tag: number): void {
    const reader = this.#reader;
    const sink = this.#sink;
    switch (field) {
      case SPAN.SERVICE:
      case SPAN.NAME:
      case SPAN.RESOURCE:
      case SPAN.TYPE: {
        const outer = reader.enter();
        sink.setTextBytes(field, reader.view, reader.buffer, reader.offset, reader.end);
        reader.leave(outer);
        return;
      }
      case SPAN.TRACE_ID:
      case SPAN.SPAN_ID:
      case SPAN.PARENT_ID:
        reader.passWide();
        sink.setId(field, reader.low, reader.high, false);
        return;
      case SPAN.START:
      case SPAN.DURATION:
        reader.passWide();
        sink.setLong(field, reader.low, reader.high, reader.high >= 0x80000000);
        return;
      case SPAN.ERROR:
        reader.passVarint();
        sink.setError(reader.low, reader.high, reader.high >= 0x80000000);
        return;
      case SPAN.META:
      case SPAN.METRICS:
      case SPAN.META_STRUCT:
        this.#map(field, tag);
        return;
      case SPAN.SPAN_LINKS:
        this.#list(field, tag, SPAN_LINK);
        return;
      default:
        this.#list(field, tag, SPAN_EVENT);
    }
  }

  /** True: the field just passed is followed by another with the same (one-byte) tag, whose tag is passed too. */
  #follows(tag: number): boolean {
    const reader = this.#reader;
    if (reader.done() || reader.buffer[reader.offset] !== tag) return false;
    reader.offset += 1;
    return true;
  }

  /** All entries of a map that stand together; entries further on make the span inexact (`meet`). */
  #map(field: number, tag: number): void {
    const reader = this.#reader;
    const sink = this.#sink;
    const { text, maps } = sink;
    const hint = sink.mapHint(field);
    const known = maps.at(hint);
    if (known !== undefined && this.#knownMap(field, tag, known)) return;
    const { draft } = maps;
    const wantsHigh = field === SPAN.META && sink.wantsTraceIdHigh;
    draft.begin(reader.offset);
    text.begin();
    text.beginKeys();
    let count = 0;
    do {
      text.byte(count === 0 ? OPEN_BRACE : COMMA);
      this.#entry(field);
      const { keyStart, keyStop, valueStart, valueStop } = this.#place;
      if (!text.isNewKey(reader.buffer, keyStart, keyStop)) sink.exact = false;
      if (field === SPAN.META && equals(reader.buffer, keyStart, keyStop, TRACE_ID_HIGH_BYTES)) {
        draft.setHigh(count, valueStart, valueStop);
        if (wantsHigh) this.#setTraceIdHigh(valueStart, valueStop);
      }
      draft.add(keyStart, keyStop, reader.offset, text.length);
      count += 1;
    } while (this.#follows(tag));
    text.byte(CLOSE_BRACE);
    const id = sink.takeJson(field);
    if (sink.exact && sink.keepsMaps) maps.keep(hint, text, id);
  }

  /** Reads a map with the keys of `known`, of which only what differs is looked at. False, the cursor unmoved: its keys are others. */
  #knownMap(field: number, tag: number, known: KnownMap): boolean {
    const reader = this.#reader;
    const sink = this.#sink;
    const { text, maps } = sink;
    const { buffer, view, end, offset: from } = reader;
    const { count } = known;
    const wasExact = sink.exact;
    let highStart = -1;
    let highStop = -1;
    let others = 0;
    let isAlike = true;
    text.begin();
    for (let entry = 0; entry < count; entry++) {
      entry = maps.pass(known, entry, view, buffer, reader.offset, end, text);
      reader.offset = maps.offset;
      if (maps.highStart !== -1) {
        highStart = maps.highStart;
        highStop = highStart + known.highStop - known.highStart;
      }
      if (entry === count) break;
      isAlike = entry === 0 || this.#follows(tag);
      if (!isAlike) break;
      others += 1;
      text.byte(entry === 0 ? OPEN_BRACE : COMMA);
      this.#entry(field);
      const place = this.#place;
      isAlike = known.hasKey(entry, buffer, place.keyStart, place.keyStop);
      if (!isAlike) break;
      if (entry === known.highEntry) {
        highStart = place.valueStart;
        highStop = place.valueStop;
      }
    }
    if (!isAlike || (!reader.done() && buffer[reader.offset] === tag)) {
      reader.offset = from;
      sink.exact = wasExact;
      return false;
    }
    sink.takeMapLike(known, field, others);
    if (highStart !== -1 && sink.wantsTraceIdHigh) this.#setTraceIdHigh(highStart, highStop);
    return true;
  }

  #setTraceIdHigh(start: number, stop: number): void {
    this.#sink.setTraceIdHigh(this.#reader.buffer.toString('latin1', start, stop));
  }

  /** Writes a map's entry, whose key and value then lie at `#place`. */
  #entry(field: number): void {
    const reader = this.#reader;
    const sink = this.#sink;
    const valueTag = (2 << 3) | (field === SPAN.METRICS ? FIXED64 : LENGTH_DELIMITED);
    let keyStart = 0;
    let keyStop = -1;
    let valueStart = 0;
    let valueStop = -1;
    const outer = reader.enter();
    while (!reader.done()) {
      const tag = reader.tag();
      if (tag === bytesTag(1) && keyStop < 0) {
        const inner = reader.enter();
        keyStart = reader.offset;
        keyStop = reader.end;
        reader.leave(inner);
      } else if (tag === valueTag && valueStop < 0) {
        valueStart = reader.offset;
        if (field === SPAN.METRICS) {
          reader.skip(FIXED64);
          valueStop = reader.offset;
        } else {
          const inner = reader.enter();
          valueStart = reader.offset;
          valueStop = reader.end;
          reader.leave(inner);
        }
      } else {
        sink.exact = false;
        reader.skip(tag & 7, tag >>> 3);
      }
    }
    reader.leave(outer);
    // What is absent is at its default: the empty text, zero.
    if (keyStop < 0) keyStop = keyStart;
    const { buffer } = reader;
    const { text } = sink;
    if (!text.string(buffer, keyStart, keyStop)) sink.exact = false;
    text.colon();
    if (field === SPAN.METRICS) {
      if (!text.double(valueStop < 0 ? 0 : reader.view.getFloat64(valueStart, true))) sink.exact = false;
    } else {
      if (valueStop < 0) valueStop = valueStart;
      if (field === SPAN.META_STRUCT) text.base64(buffer, valueStart, valueStop);
      else if (!text.string(buffer, valueStart, valueStop)) sink.exact = false;
    }
    const place = this.#place;
    place.keyStart = keyStart;
    place.keyStop = keyStop;
    place.valueStart = valueStart;
    place.valueStop = valueStop;
  }

  #list(field: number, tag: number, fields: ProtoFields): void {
    const reader = this.#reader;
    const exactness: Exactness = { exact: true };
    const items: string[] = [];
    do {
      const outer = reader.enter();
      items.push(messageToJson(reader, fields, exactness));
      reader.leave(outer);
    } while (this.#follows(tag));
    if (!exactness.exact) this.#sink.exact = false;
    this.#sink.setJsonText(field, `[${items.join(',')}]`);
  }
}
