/**
 * Logs: request body → rows of the LOGS columns. The hot path: one pass over the bytes, no object per item, texts copied once.
 *
 * What must hold: `renderLog` of an item's rows gives back the same JSON value: key order, duplicate keys, exact decimals and
 * escapes of whatever has no column. `shape` has one letter per member that went to a column, in the order sent, and a
 * count for each run of members that went to `attributes` (logs-shape.ts). An item that this cannot express is kept in `raw`.
 */
import { isUtf8 } from 'node:buffer';
import { ROWS_PER_ENVELOPE_MAX } from '../core/limits.ts';
import { JsonScanner, JsonSyntaxError } from '../wire/json-scanner.ts';
import { BatchBuilder } from './batch-builder.ts';
import type { StringWriter } from './column-writers.ts';
import type { Decode, DecodeInput, DecodeResult } from './decoder.ts';
import { ByteArena, RepeatingColumn, StringReader } from './logs-bytes.ts';
import { LogItem } from './logs-item.ts';
import { MessageWriter } from './logs-message.ts';
import { TEXT_SHAPE } from './logs-shape.ts';
import { SIGNAL_COLUMNS } from './schema.ts';

/** Protocols `logs-json` and `logs-text`. */
export const decodeLogs: Decode = (input) => {
  if (input.protocol === 'logs-text') return decodeText(input);
  if (input.protocol !== 'logs-json') throw new Error(`BUG: ${input.protocol} is no protocol of logs`);
  try {
    return decodeJson(input);
  } catch (error) {
    if (error instanceof JsonSyntaxError) return { ok: false, reason: error.message, offset: error.offset };
    throw error;
  }
};

function decodeJson(input: DecodeInput): DecodeResult {
  const scanner = new JsonScanner(input.body);
  const rows = new LogRows(input, scanner);
  const type = scanner.type();
  let itemCount = 0;
  if (type === 'array') {
    scanner.enterArray();
    while (scanner.nextElement()) {
      // Past the bound the rest is only checked: the body is then kept whole.
      if (itemCount >= ROWS_PER_ENVELOPE_MAX) scanner.skipValue();
      else rows.addElement();
      itemCount += 1;
    }
  } else {
    rows.addElement();
    itemCount = 1;
  }
  if (!scanner.atEnd()) scanner.fail('content after the end of the JSON document');
  if (itemCount > ROWS_PER_ENVELOPE_MAX) return wholeBodyOpaque(input, itemCount);
  return { ok: true, batch: rows.finish(), itemCount, opaqueCount: rows.opaqueCount, holdsSecret: false };
}

function wholeBodyOpaque(input: DecodeInput, itemCount: number): DecodeResult {
  const builder = new BatchBuilder(SIGNAL_COLUMNS.logs);
  builder.strings('kind').set(0, 'opaque');
  builder.strings('raw').setBytes(0, input.body);
  builder.longs('time').set(0, BigInt(input.receivedAtMs));
  builder.endRow();
  return { ok: true, batch: builder.finish(), itemCount, opaqueCount: 1, holdsSecret: false };
}

/** What the request's query says about all of its logs; it fills columns, and `shape` tells that it was not in the item. */
interface RequestDefaults {
  host: string | null;
  service: string | null;
  source: string | null;
  tags: string | null;
}

function defaultsOf(path: string): RequestDefaults {
  const mark = path.indexOf('?');
  const query = new URLSearchParams(mark === -1 ? '' : path.slice(mark + 1));
  return {
    host: query.get('hostname') ?? query.get('host'),
    service: query.get('service'),
    source: query.get('ddsource') ?? query.get('source'),
    tags: query.get('ddtags'),
  };
}

const TWO_32 = 2 ** 32;

/** The columns that every kind of log body fills alike. */
class LogColumns {
  readonly builder = new BatchBuilder(SIGNAL_COLUMNS.logs);
  readonly shape = this.builder.strings('shape');
  readonly raw = this.builder.strings('raw');
  readonly message = this.builder.strings('message');
  readonly #item = this.builder.ints('item');
  readonly #point = this.builder.ints('point');
  readonly #kind = this.builder.strings('kind');
  readonly #time = this.builder.longs('time');
  readonly #logKind = this.#kind.intern('log');
  readonly #defaults: { writer: StringWriter; id: number }[] = [];

  constructor(path: string) {
    for (const [name, text] of Object.entries(defaultsOf(path)) as [string, string | null][]) {
      if (text === null) continue;
      const writer = this.builder.strings(name);
      this.#defaults.push({ writer, id: writer.intern(text) });
    }
  }

  /** Before the item's own fields are set: they win. */
  startLog(): number {
    const row = this.builder.row;
    for (const { writer, id } of this.#defaults) writer.setId(row, id);
    return row;
  }

  endLog(item: number, timeMs: number): void {
    this.#end(item, this.#logKind, timeMs);
  }

  addOpaque(item: number, raw: Uint8Array, timeMs: number): void {
    this.raw.setBytes(this.builder.row, raw);
    this.#end(item, this.#kind.intern('opaque'), timeMs);
  }

  #end(item: number, kind: number, timeMs: number): void {
    const row = this.builder.row;
    this.#item.set(row, item);
    this.#point.set(row, 0);
    this.#kind.setId(row, kind);
    // Without a bigint per row, where that is simple.
    if (timeMs >= 0) this.#time.setHalves(row, timeMs % TWO_32, Math.floor(timeMs / TWO_32));
    else this.#time.set(row, BigInt(timeMs));
    this.builder.endRow();
  }
}

/** Rows of a JSON body, one element after the other. */
class LogRows {
  opaqueCount = 0;
  readonly #scanner: JsonScanner;
  readonly #receivedAtMs: number;
  readonly #columns: LogColumns;
  readonly #reader: StringReader;
  readonly #messages: MessageWriter;
  readonly #item: LogItem;
  readonly #bodyIsUtf8: boolean;
  readonly #status: RepeatingColumn;
  readonly #host: RepeatingColumn;
  readonly #service: RepeatingColumn;
  readonly #source: RepeatingColumn;
  readonly #tags: RepeatingColumn;
  readonly #traceId: StringWriter;
  readonly #spanId: StringWriter;
  readonly #attributes: StringWriter;
  #index = 0;
  #lastShape = '';
  #lastShapeId = -1;

  constructor(input: DecodeInput, scanner: JsonScanner) {
    this.#scanner = scanner;
    this.#receivedAtMs = input.receivedAtMs;
    this.#columns = new LogColumns(input.path);
    this.#reader = new StringReader(scanner.bytes, new ByteArena());
    this.#bodyIsUtf8 = isUtf8(input.body);
    this.#messages = new MessageWriter(scanner, this.#columns.message);
    this.#item = new LogItem(scanner, this.#bodyIsUtf8 ? this.#messages : undefined);
    const builder = this.#columns.builder;
    const repeating = (name: string) => new RepeatingColumn(builder.strings(name), scanner.bytes, this.#reader);
    this.#status = repeating('status');
    this.#host = repeating('host');
    this.#service = repeating('service');
    this.#source = repeating('source');
    this.#tags = repeating('tags');
    this.#traceId = builder.strings('trace_id');
    this.#spanId = builder.strings('span_id');
    this.#attributes = builder.strings('attributes');
  }

  addElement(): void {
    const scanner = this.#scanner;
    const type = scanner.type();
    const start = scanner.offset;
    if (type === 'object') {
      this.#item.read();
      this.#addLog(start, scanner.offset);
    } else {
      this.#columns.addOpaque(this.#index, scanner.sliceValue(), this.#receivedAtMs);
      this.opaqueCount += 1;
    }
    this.#index += 1;
  }

  #addLog(start: number, end: number): void {
    const item = this.#item;
    const columns = this.#columns;
    const bytes = this.#scanner.bytes;
    const row = columns.startLog();
    const isText = this.#bodyIsUtf8 || isUtf8(bytes.subarray(start, end));
    let exact = isText && !item.hasDuplicate;
    if (item.message !== -1) exact = this.#setMessage(row, item.message, isText) && exact;
    if (item.status !== -1) exact = this.#setRepeating(this.#status, row, item.status) && exact;
    if (item.host !== -1) exact = this.#setRepeating(this.#host, row, item.host) && exact;
    if (item.service !== -1) exact = this.#setRepeating(this.#service, row, item.service) && exact;
    if (item.source !== -1) exact = this.#setRepeating(this.#source, row, item.source) && exact;
    if (item.tags !== -1) exact = this.#setRepeating(this.#tags, row, item.tags) && exact;
    const { traceId, spanId, timeMs } = item.context;
    if (traceId !== undefined) this.#traceId.set(row, traceId);
    if (spanId !== undefined) this.#spanId.set(row, spanId);
    if (item.attributeCount > 0) this.#setAttributes(row, isText);
    if (exact) columns.shape.setId(row, this.#shapeId(item.shape()));
    else columns.raw.setBytes(row, bytes.subarray(start, end));
    columns.endLog(this.#index, timeMs ?? this.#receivedAtMs);
  }

  /** The text of a string message, or the JSON text of any other. */
  #setMessage(row: number, member: number, isText: boolean): boolean {
    const item = this.#item;
    if (item.isMessageWritten) {
      this.#columns.message.setId(row, this.#messages.entry());
      return this.#messages.exact;
    }
    const start = item.valueStart(member);
    const end = item.valueEnd(member);
    if (this.#scanner.bytes[start] !== 0x22) {
      this.#columns.message.setBytes(row, cleaned(this.#scanner.bytes.subarray(start, end), isText));
      return true;
    }
    this.#columns.message.setBytes(row, cleaned(this.#reader.read(start + 1, end - 1), isText));
    return this.#reader.exact;
  }

  #setRepeating(column: RepeatingColumn, row: number, member: number): boolean {
    const item = this.#item;
    return column.set(row, item.valueStart(member) + 1, item.valueEnd(member) - 1, item.place(member));
  }

  #setAttributes(row: number, isText: boolean): void {
    const writer = this.#attributes;
    const start = writer.room(this.#item.attributesByteLength);
    const end = this.#item.writeAttributes(writer.bytes, start);
    if (isText) writer.setId(row, writer.close(end));
    else writer.setBytes(row, cleaned(writer.bytes.subarray(start, end), false));
  }

  #shapeId(shape: string): number {
    if (shape !== this.#lastShape || this.#lastShapeId === -1) {
      this.#lastShape = shape;
      this.#lastShapeId = this.#columns.shape.intern(shape);
    }
    return this.#lastShapeId;
  }

  finish() {
    return this.#columns.builder.finish();
  }
}

/** Text columns hold UTF-8 whatever was sent: what is none is shown with U+FFFD, and `raw` has the bytes. */
function cleaned(bytes: Uint8Array, isText: boolean): Uint8Array {
  return isText ? bytes : Buffer.from(Buffer.from(bytes).toString('utf8'), 'utf8');
}

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/** One log per line that is not empty; lines end with \n or \r\n. */
function decodeText(input: DecodeInput): DecodeResult {
  const bytes = Buffer.from(input.body.buffer, input.body.byteOffset, input.body.byteLength);
  const columns = new LogColumns(input.path);
  const shape = columns.shape.intern(TEXT_SHAPE);
  const bodyIsUtf8 = isUtf8(bytes);
  let count = 0;
  for (let start = 0; start < bytes.byteLength; ) {
    const found = bytes.indexOf(LINE_FEED, start);
    const next = found === -1 ? bytes.byteLength : found;
    const end = found !== -1 && next > start && bytes[next - 1] === CARRIAGE_RETURN ? next - 1 : next;
    if (end > start) {
      if (count < ROWS_PER_ENVELOPE_MAX) {
        const line = bytes.subarray(start, end);
        const row = columns.startLog();
        if (bodyIsUtf8 || isUtf8(line)) {
          columns.message.setBytes(row, line);
          columns.shape.setId(row, shape);
        } else {
          columns.message.set(row, line.toString('utf8'));
          columns.raw.setBytes(row, line);
        }
        columns.endLog(count, input.receivedAtMs);
      }
      count += 1;
    }
    start = next + 1;
  }
  if (count > ROWS_PER_ENVELOPE_MAX) return wholeBodyOpaque(input, count);
  return { ok: true, batch: columns.builder.finish(), itemCount: count, opaqueCount: 0, holdsSecret: false };
}

export { renderLog } from './logs-render.ts';
