/**
 * Where every trace decoder puts its spans: one row per span, filled field by field, in the order the fields were sent.
 *
 * `shape` is one letter per field in the order sent: small as a value, capital as nil; `-` behind an id that was sent as a
 * negative number. A field without a letter was absent. What this and the columns cannot express makes the span inexact
 * (`exact` false): its decoder then hands the span's bytes to `endSpan`, which keeps them in `raw`.
 */
import { isUtf8 } from 'node:buffer';
import { NULL_ID } from '../core/columns.ts';
import { ROWS_PER_ENVELOPE_MAX } from '../core/limits.ts';
import { BatchBuilder } from './batch-builder.ts';
import type { Int32Writer, Int64Writer, StringWriter } from './column-writers.ts';
import type { DecodeResult } from './decoder.ts';
import { type KnownMap, KnownMaps } from './known-maps.ts';
import { SIGNAL_COLUMNS } from './schema.ts';
import * as SPAN from './traces-fields.ts';
import { JsonText } from './traces-text.ts';
import { TextColumn } from './traces-text-column.ts';

const CLOSE_BRACE = 0x7d;
const TRACE_ID_HIGH = /^[0-9a-fA-F]{16}$/;

/** Shapes repeat; texts up to this length are looked up, so that equal ones are kept once. */
const INTERNED_BYTES_MAX = 256;
const SHAPE_BYTES_MAX = 2 * SPAN.FIELDS.length + 3;

/** The body has more rows than ROWS_PER_ENVELOPE_MAX: it is kept whole. Caught at the decoders' edge. */
export class TooManyRows extends Error {}

/** Columns that tell of the tracer payload or chunk around a span. */
export type ContainerColumn = 'origin' | 'env' | 'host' | 'app_version' | 'language' | 'container_id' | 'runtime_id';
const CONTAINER_COLUMNS: readonly ContainerColumn[] = [
  'origin',
  'env',
  'host',
  'app_version',
  'language',
  'container_id',
  'runtime_id',
];

export class SpanSink {
  readonly text = new JsonText();
  /** Maps of this body. */
  readonly maps = new KnownMaps();
  /** Spans, and what stood in the place of spans. */
  itemCount = 0;
  opaqueCount = 0;
  /** False: the columns cannot give the span back, `endSpan` needs its bytes. */
  exact = true;
  readonly #builder = new BatchBuilder(SIGNAL_COLUMNS.traces);
  /** Ids of the texts that came last, by field. */
  readonly #textIds: number[] = new Array<number>(SPAN.FIELDS.length).fill(0);
  readonly #texts: (TextColumn | undefined)[];
  readonly #jsons: (StringWriter | undefined)[];
  readonly #time: Int64Writer;
  readonly #ids: (Int64Writer | undefined)[];
  readonly #error: Int32Writer;
  readonly #item: Int32Writer;
  readonly #payload: Int32Writer;
  readonly #chunk: Int32Writer;
  readonly #priority: Int32Writer;
  readonly #kind: StringWriter;
  readonly #shape: StringWriter;
  readonly #raw: StringWriter;
  readonly #high: StringWriter;
  readonly #containers: StringWriter[];
  readonly #containerIds: Uint32Array;
  readonly #spanKind: number;
  readonly #receivedNs: bigint;
  #payloadIndex = 0;
  #chunkIndex = 0;
  #chunkPriority: number | undefined;
  #highId = NULL_ID;
  #isFirstOfChunk = true;
  /** Fields met so far, as bits; and those whose column is filled. */
  #met = 0;
  #filled = 0;
  readonly #shapeBytes = Buffer.alloc(SHAPE_BYTES_MAX);
  #shapeLength = 0;
  #lastShape = Buffer.alloc(0);
  #lastShapeId = NULL_ID;

  constructor(receivedAtMs: number) {
    const b = this.#builder;
    const text = (name: string): TextColumn => new TextColumn(b.strings(name));
    this.#texts = [];
    this.#texts[SPAN.SERVICE] = text('service');
    this.#texts[SPAN.NAME] = text('name');
    this.#texts[SPAN.RESOURCE] = text('resource');
    this.#texts[SPAN.TYPE] = text('type');
    this.#jsons = [];
    for (const field of [SPAN.META, SPAN.METRICS, SPAN.META_STRUCT, SPAN.SPAN_LINKS, SPAN.SPAN_EVENTS]) {
      this.#jsons[field] = b.strings(SPAN.FIELDS[field]!);
    }
    this.#time = b.longs('time');
    this.#ids = [];
    this.#ids[SPAN.TRACE_ID] = b.longs('trace_id');
    this.#ids[SPAN.SPAN_ID] = b.longs('span_id');
    this.#ids[SPAN.PARENT_ID] = b.longs('parent_id');
    this.#ids[SPAN.START] = this.#time;
    this.#ids[SPAN.DURATION] = b.longs('duration');
    this.#error = b.ints('error');
    this.#item = b.ints('item');
    this.#payload = b.ints('payload');
    this.#chunk = b.ints('chunk');
    this.#priority = b.ints('priority');
    this.#kind = b.strings('kind');
    this.#shape = b.strings('shape');
    this.#raw = b.strings('raw');
    this.#high = b.strings('trace_id_high');
    this.#containers = CONTAINER_COLUMNS.map((name) => b.strings(name));
    this.#containerIds = new Uint32Array(CONTAINER_COLUMNS.length).fill(NULL_ID);
    this.#spanKind = this.#kind.intern('span');
    this.#receivedNs = BigInt(Math.trunc(receivedAtMs)) * 1_000_000n;
  }

  /** The row that comes next. */
  get row(): number {
    return this.#builder.row;
  }

  /** To be called before `count` rows are read, so that a body with too many is given up early. */
  expectRows(count: number): void {
    if (this.#builder.row + count > ROWS_PER_ENVELOPE_MAX) throw new TooManyRows();
  }

  beginPayload(index: number): void {
    this.#payloadIndex = index;
    this.#containerIds.fill(NULL_ID);
    this.#chunkPriority = undefined;
  }

  beginChunk(index: number): void {
    this.#chunkIndex = index;
    this.#isFirstOfChunk = true;
    this.#highId = NULL_ID;
    this.#chunkPriority = undefined;
    this.#containerIds[0] = NULL_ID;
  }

  /** Tells a text of the container for the spans to come, and for those since `fromRow`. */
  setContainer(name: ContainerColumn, value: string | undefined, fromRow = this.row): void {
    const index = CONTAINER_COLUMNS.indexOf(name);
    const writer = this.#containers[index]!;
    const id = value === undefined ? NULL_ID : writer.intern(value);
    this.#containerIds[index] = id;
    for (let row = fromRow; row < this.row; row++) writer.setId(row, id);
  }

  setPriority(value: number | undefined, fromRow = this.row): void {
    this.#chunkPriority = value;
    for (let row = fromRow; row < this.row; row++) this.#priority.set(row, value);
  }

  beginSpan(): void {
    this.exact = true;
    this.#met = 0;
    this.#filled = 0;
    this.#shapeLength = 0;
  }

  /** Notes that a field comes next in the order sent; a field met twice makes the span inexact. */
  meet(field: number, isNil: boolean): void {
    const bit = 1 << field;
    if ((this.#met & bit) !== 0) {
      this.exact = false;
      return;
    }
    this.#met |= bit;
    this.#shapeBytes[this.#shapeLength++] = SPAN.SHAPE_LETTERS.charCodeAt(field) - (isNil ? 32 : 0);
  }

  /** SERVICE, NAME, RESOURCE or TYPE from the body's bytes. */
  setTextBytes(field: number, view: DataView, bytes: Buffer, start: number, stop: number): void {
    const column = this.#texts[field]!;
    const id = column.idOf(view, bytes, start, stop);
    if (id === undefined) {
      this.exact = false;
      column.writer.set(this.row, bytes.toString('utf8', start, stop));
    } else {
      column.writer.setId(this.row, id);
      this.#textIds[field] = id;
    }
  }

  setText(field: number, text: string): void {
    this.#texts[field]!.writer.set(this.row, text);
  }

  /** TRACE_ID, SPAN_ID or PARENT_ID: any 64 bits; `negative` when they were sent as a number below zero. */
  setId(field: number, low: number, high: number, negative: boolean): void {
    if (negative && (this.#filled & (1 << field)) === 0) this.#shapeBytes[this.#shapeLength++] = 0x2d;
    this.#ids[field]!.setHalves(this.row, low, high);
    this.#filled |= 1 << field;
  }

  /** START or DURATION, as an int64. A number beyond it makes the span inexact. */
  setLong(field: number, low: number, high: number, negative: boolean): void {
    if (!negative && high >= 0x80000000) {
      this.exact = false;
      return;
    }
    this.#ids[field]!.setHalves(this.row, low, high);
    this.#filled |= 1 << field;
  }

  setError(low: number, high: number, negative: boolean): void {
    const value = low | 0;
    if (negative ? high !== 0xffffffff || value >= 0 : high !== 0 || value < 0) {
      this.exact = false;
      return;
    }
    this.#error.set(this.row, value);
    this.#filled |= 1 << SPAN.ERROR;
  }

  /** A JSON field from what `text` holds now. Returns the id of the text where equal ones have the same, else -1. */
  takeJson(field: number): number {
    const writer = this.#jsons[field]!;
    const isLookedUp = this.text.length <= INTERNED_BYTES_MAX;
    const id = isLookedUp ? writer.intern(this.text.takeText()) : writer.add(this.text.takeBytes());
    writer.setId(this.row, id);
    return isLookedUp ? id : -1;
  }

  /** A JSON field from a map with the keys of `map` and so many `others` for values; of those, `text` holds all but the closing brace. */
  takeMapLike(map: KnownMap, field: number, others: number): void {
    if (others === 0) {
      const writer = this.#jsons[field]!;
      writer.setId(this.row, map.id === -1 ? writer.add(map.json.subarray(map.jsonStart, map.jsonEnd)) : map.id);
      return;
    }
    this.text.byte(CLOSE_BRACE);
    this.takeJson(field);
    if (others * 2 > map.count) this.maps.forget(this.mapHint(field));
  }

  /** By which a span's maps are kept: spans of one service and name mostly have maps that are alike. */
  mapHint(field: number): number {
    return this.#textIds[SPAN.SERVICE]! * 5 + this.#textIds[SPAN.NAME]! * 2 + field;
  }

  /** A body's first spans may be its only ones: their maps are not kept. */
  get keepsMaps(): boolean {
    return this.itemCount > 0;
  }

  /** A JSON field from bytes that are JSON already and stay unchanged; returns the id of the text. Not UTF-8: inexact and left out, -1. */
  setJsonBytes(field: number, bytes: Buffer): number {
    if (!isUtf8(bytes)) {
      this.exact = false;
      return -1;
    }
    const writer = this.#jsons[field]!;
    const isLookedUp = bytes.length <= INTERNED_BYTES_MAX;
    const id = isLookedUp ? writer.intern(bytes.toString('utf8', 0, bytes.length)) : writer.add(bytes);
    writer.setId(this.row, id);
    return id;
  }

  /** A JSON field with the text that has this id. */
  setJsonId(field: number, id: number): void {
    this.#jsons[field]!.setId(this.row, id);
  }

  setJsonText(field: number, text: string): void {
    this.#jsons[field]!.set(this.row, text);
  }

  /** True while the span at hand may tell the high half of its chunk's trace id. */
  get wantsTraceIdHigh(): boolean {
    return this.#isFirstOfChunk;
  }

  setTraceIdHigh(text: string): void {
    if (TRACE_ID_HIGH.test(text)) this.#highId = this.#high.intern(text);
  }

  /** Ends the span's row. `raw`: the span's bytes, needed when `exact` is false. */
  endSpan(raw: Uint8Array | undefined): void {
    this.expectRows(1);
    const row = this.row;
    const filled = this.#filled;
    if ((filled & (1 << SPAN.START)) === 0) this.#time.set(row, this.#receivedNs);
    if ((filled & (1 << SPAN.PARENT_ID)) === 0) this.#ids[SPAN.PARENT_ID]!.setHalves(row, 0, 0);
    if ((filled & (1 << SPAN.ERROR)) === 0) this.#error.set(row, 0);
    this.#kind.setId(row, this.#spanKind);
    this.#shape.setId(row, this.#shapeId());
    if (!this.exact) {
      if (!raw) throw new Error('BUG: an inexact span without its bytes');
      this.#raw.setBytes(row, raw);
      this.opaqueCount += 1;
    }
    if (this.#highId !== NULL_ID) this.#high.setId(row, this.#highId);
    if (this.#chunkPriority !== undefined) this.#priority.set(row, this.#chunkPriority);
    this.#endItem(row);
    this.#isFirstOfChunk = false;
  }

  #shapeId(): number {
    const length = this.#shapeLength;
    const bytes = this.#shapeBytes;
    const last = this.#lastShape;
    if (length === last.length) {
      let at = 0;
      while (at < length && bytes[at] === last[at]) at += 1;
      if (at === length) return this.#lastShapeId;
    }
    this.#lastShape = Buffer.from(bytes.subarray(0, length));
    this.#lastShapeId = this.#shape.intern(bytes.toString('latin1', 0, length));
    return this.#lastShapeId;
  }

  /** A row of kind `opaque` in the place of one or more spans. `shape` says what the bytes are, where the protocol does not. */
  addOpaque(raw: Uint8Array, shape?: string, itemCount = 1): void {
    this.expectRows(1);
    const row = this.row;
    this.#kind.set(row, 'opaque');
    this.#shape.set(row, shape);
    this.#raw.setBytes(row, raw);
    this.#time.set(row, this.#receivedNs);
    this.opaqueCount += 1;
    this.#endItem(row);
    this.itemCount += itemCount - 1;
  }

  #endItem(row: number): void {
    this.#item.set(row, this.itemCount);
    this.#payload.set(row, this.#payloadIndex);
    this.#chunk.set(row, this.#chunkIndex);
    const ids = this.#containerIds;
    for (let i = 0; i < ids.length; i++) if (ids[i] !== NULL_ID) this.#containers[i]!.setId(row, ids[i]!);
    this.itemCount += 1;
    this.#builder.endRow();
  }

  /** A row that is no item (`payload`, item −1) or stands for the whole body (`stats`, item 0). */
  addWhole(kind: 'payload' | 'stats', raw: Uint8Array): void {
    this.expectRows(1);
    const row = this.row;
    this.#kind.set(row, kind);
    this.#raw.setBytes(row, raw);
    this.#time.set(row, this.#receivedNs);
    this.#item.set(row, kind === 'payload' ? -1 : 0);
    this.#builder.endRow();
  }

  finish(itemCount = this.itemCount): DecodeResult {
    return { ok: true, batch: this.#builder.finish(), itemCount, opaqueCount: this.opaqueCount, holdsSecret: false };
  }
}
