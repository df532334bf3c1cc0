/**
 * One MetricSeries or Sketch → staged columns and rows. Whatever the columns would not give back exactly marks the item, whose
 * message is then kept as it was sent.
 */
import { viewOf } from '../core/buffers.ts';
import { NULL_ID } from '../core/columns.ts';
import { hasNaNPayload } from '../wire/datadog/series-messages.ts';
import type { ProtobufReader } from '../wire/protobuf.ts';
import type { StringWriter } from './column-writers.ts';
import { hashBytes } from './known-bytes.ts';
import { FieldCache, FieldRun } from './metrics-protobuf-fields.ts';
import { type MetricRows, TYPE_NAMES } from './metrics-rows.ts';
import { SEEN_BYTES_MAX, SeenItem, SeenSeries, tableOf } from './seen-series.ts';

/** Bytes of a point's value with its tag; of its time, which is in seconds of these centuries. */
const VALUE_BYTES = 9;
const TIME_BYTES = 6;

/** Seconds whose milliseconds are still exact. */
const SECONDS_MAX = Math.floor(Number.MAX_SAFE_INTEGER / 1000);

/** Tag of MetricSeries.points. */
const POINT = 0x22;
/** MetricSeries.resources, metric, tags: what tells series apart, and comes before the points. */
const HEAD_TAGS: ReadonlySet<number> = new Set([0x0a, 0x12, 0x1a]);

/** Series that were read before by this thread, by their head. */
const SEEN = new SeenSeries();

/** Where the first field stands that is not of the head; `start` where something is odd. */
function endOfHead(buffer: Buffer, start: number, end: number): number {
  let at = start;
  while (at < end && HEAD_TAGS.has(buffer[at]!)) {
    const first = buffer[at + 1]!;
    const second = buffer[at + 2]!;
    if (first < 0x80) at += 2 + first;
    else if (second < 0x80) at += 3 + (first & 0x7f) + (second << 7);
    else return start;
  }
  return at < end && buffer[at] === POINT ? at : start;
}

export class ProtobufItemReader {
  readonly #rows: MetricRows;
  readonly #receiver: ProtobufReader;
  readonly #view: DataView;
  readonly #tags: FieldCache;
  readonly #resources: FieldCache;
  readonly #metadata: FieldCache;
  readonly #tagRun = new FieldRun();
  readonly #resourceRun = new FieldRun();
  #exact = true;
  /** Singular fields read so far, one bit each. */
  #seen = 0;
  /** The series before, where it is remembered. */
  #before: SeenItem | undefined;

  constructor(rows: MetricRows, reader: ProtobufReader) {
    this.#rows = rows;
    this.#receiver = reader;
    this.#view = viewOf(reader.buffer);
    this.#tags = new FieldCache(rows.tagLists, 'tags', rows);
    this.#resources = new FieldCache(rows.resourceLists, 'resources', rows);
    this.#metadata = new FieldCache(rows.metadatas, 'metadata', rows);
  }

  #begin(): void {
    this.#rows.beginItem();
    this.#exact = true;
    this.#seen = 0;
    this.#tagRun.clear();
    this.#resourceRun.clear();
  }

  #once(field: number): void {
    if ((this.#seen & (1 << field)) !== 0) this.#exact = false;
    this.#seen |= 1 << field;
  }

  #text(writer: StringWriter, field: number): number {
    this.#once(field);
    const text = this.#receiver.string();
    if (!this.#receiver.stringExact) this.#exact = false;
    return text === '' ? NULL_ID : writer.intern(text);
  }

  #unknown(tag: number): void {
    this.#receiver.skip(tag & 7, tag >>> 3);
    this.#exact = false;
  }

  /** MetricSeries, whose length was just entered. */
  readSeries(): void {
    const reader = this.#receiver;
    const start = reader.offset;
    const next = this.#before?.next;
    const expected = next && tableOf(next.table) ? next : undefined;
    const known = expected?.head.isAt(this.#view, start, reader.end) ? expected : this.#find();
    if (known && this.#readAgain(known)) {
      SEEN.keep(known);
      if (this.#before) this.#before.next = known;
      this.#before = known;
      return;
    }
    reader.offset = start;
    this.#readNew(start);
  }

  /** By what stands before the points, where that is what senders write first. */
  #find(): SeenItem | undefined {
    const reader = this.#receiver;
    const { buffer, offset: start } = reader;
    const end = endOfHead(buffer, start, reader.end);
    if (end === start) return undefined;
    const found = SEEN.find(hashBytes(this.#view, start, end));
    return found?.head.isAt(this.#view, start, end) ? found : undefined;
  }

  /** A series like `seen` but for its points; false when it is another. */
  #readAgain(seen: SeenItem): boolean {
    const reader = this.#receiver;
    const rows = this.#rows;
    const { head, tail } = seen;
    reader.offset += head.length;
    rows.clearPoints();
    this.#exact = true;
    while (!reader.done() && reader.buffer[reader.offset] === POINT) {
      reader.offset += 1;
      this.#readPoint();
    }
    if (!this.#exact || rows.pointCount === 0 || reader.end - reader.offset !== tail.length) return false;
    if (!tail.isAt(this.#view, reader.offset, reader.end)) return false;
    reader.offset = reader.end;
    rows.endSeen('series', seen);
    return true;
  }

  /** For when it is sent again. */
  #remember(start: number, pointsStart: number, pointsEnd: number): SeenItem | undefined {
    const { buffer, end } = this.#receiver;
    if (endOfHead(buffer, start, end) !== pointsStart) return undefined;
    const [head, tail] = [buffer.subarray(start, pointsStart), buffer.subarray(pointsEnd, end)];
    if (head.length + tail.length > SEEN_BYTES_MAX) return undefined;
    const place = this.#rows.place('series', '#2');
    if (!place) return undefined;
    const seen = new SeenItem(hashBytes(this.#view, start, pointsStart), head, tail, place);
    SEEN.add(seen);
    return seen;
  }

  #readNew(start: number): void {
    const reader = this.#receiver;
    const rows = this.#rows;
    let type = 0n;
    // Where a run of points lies, if there is one only.
    let [pointsStart, pointsEnd] = [0, 0];
    this.#begin();
    while (!reader.done()) {
      const at = reader.offset;
      const tag = reader.tag();
      switch (tag) {
        case 0x0a:
          this.#resourceRun.read(reader, tag, at);
          break;
        case 0x12:
          rows.metric = this.#text(rows.metrics, 2);
          break;
        case 0x1a:
          this.#tagRun.read(reader, tag, at);
          break;
        case POINT:
          if (pointsStart === 0) pointsStart = at;
          this.#readPoint();
          pointsEnd = pointsEnd === 0 || pointsEnd === at ? reader.offset : -1;
          break;
        case 0x28:
          this.#once(5);
          type = reader.int64();
          break;
        case 0x32:
          rows.unit = this.#text(rows.units, 6);
          break;
        case 0x3a:
          rows.sourceTypeName = this.#text(rows.sourceTypeNames, 7);
          break;
        case 0x40: {
          this.#once(8);
          const interval = reader.int64();
          rows.interval = interval === 0n ? null : interval;
          break;
        }
        case 0x4a:
          this.#readMetadata(9);
          break;
        default:
          this.#unknown(tag);
      }
    }
    if (type > 0x7fffffffn || type < -0x80000000n) this.#exact = false;
    rows.type = rows.types.intern(TYPE_NAMES[Number(type)] ?? String(type));
    this.#endRuns();
    const seen = this.#exact && pointsEnd > 0 ? this.#remember(start, pointsStart, pointsEnd) : undefined;
    if (seen) rows.endSeen('series', seen);
    else this.#endItem('series', '#2', start);
    if (this.#before) this.#before.next = seen;
    this.#before = seen;
  }

  /** Stages what repeated fields say. */
  #endRuns(): void {
    const rows = this.#rows;
    const { buffer } = this.#receiver;
    if (!this.#tagRun.isEmpty) {
      const tags = this.#tags.entry(this.#tagRun.bytes(buffer), this.#tagRun.start);
      if (!tags.exact) this.#exact = false;
      rows.tags = tags.id;
    }
    if (!this.#resourceRun.isEmpty) {
      const resources = this.#resources.entry(this.#resourceRun.bytes(buffer), this.#resourceRun.start);
      if (!resources.exact) this.#exact = false;
      rows.resources = resources.id;
      rows.host = resources.host;
      rows.device = resources.device;
    }
  }

  #endItem(kind: 'series' | 'sketch', form: string, start: number): void {
    const rows = this.#rows;
    const { buffer, end } = this.#receiver;
    const shape = rows.pointCount === 0 ? `${form}e` : form;
    rows.endItem(kind, shape, this.#exact ? undefined : buffer.subarray(start, end));
  }

  #readMetadata(field: number): void {
    this.#once(field);
    const bytes = this.#receiver.bytes() as Buffer;
    const metadata = this.#metadata.entry(bytes, this.#receiver.offset - bytes.byteLength);
    if (!metadata.exact) this.#exact = false;
    this.#rows.metadata = metadata.id;
  }

  /** Value and time, as nearly all points are; false, the cursor unmoved, where this is another kind of point. */
  #readPlainPoint(): boolean {
    const reader = this.#receiver;
    const { buffer, offset } = reader;
    const length = buffer[offset]!;
    const behind = offset + 1 + length;
    // A value of 0 is left out.
    const timeAt = behind - TIME_BYTES;
    const hasValue = length === VALUE_BYTES + TIME_BYTES;
    if ((!hasValue && length !== TIME_BYTES) || behind > reader.end) return false;
    if (buffer[timeAt] !== 0x10 || (hasValue && buffer[offset + 1] !== 0x09)) return false;
    const one = buffer[timeAt + 1]!;
    const two = buffer[timeAt + 2]!;
    const three = buffer[timeAt + 3]!;
    const four = buffer[timeAt + 4]!;
    const five = buffer[timeAt + 5]!;
    if ((one & two & three & four & 0x80) === 0 || five >= 0x80) return false;
    const value = hasValue ? this.#view.getFloat64(offset + 2, true) : 0;
    // Of those, bits may matter.
    if (Number.isNaN(value)) return false;
    const low = (one & 0x7f) | ((two & 0x7f) << 7) | ((three & 0x7f) << 14) | ((four & 0x7f) << 21);
    reader.offset = behind;
    this.#rows.addValue((low + five * 2 ** 28) * 1000, value);
    return true;
  }

  #readPoint(): void {
    if (this.#readPlainPoint()) return;
    const reader = this.#receiver;
    let seconds = 0;
    let value = 0;
    let seen = 0;
    const outer = reader.enter();
    while (!reader.done()) {
      const tag = reader.tag();
      if (tag === 0x09) {
        value = this.#double();
        if ((seen & 1) !== 0) this.#exact = false;
        seen |= 1;
      } else if (tag === 0x10) {
        seconds = reader.int64Number();
        if ((seen & 2) !== 0) this.#exact = false;
        seen |= 2;
      } else {
        this.#unknown(tag);
      }
    }
    reader.leave(outer);
    this.#rows.addValue(this.#milliseconds(seconds), value);
  }

  #double(): number {
    const value = this.#receiver.double();
    if (!Number.isNaN(value)) return value;
    if (hasNaNPayload(this.#receiver, value)) this.#exact = false;
    return Number.NaN;
  }

  /** NaN where the column cannot hold the time. */
  #milliseconds(seconds: number): number {
    if (seconds >= -SECONDS_MAX && seconds <= SECONDS_MAX) return seconds * 1000;
    this.#exact = false;
    return Number.NaN;
  }

  /** SketchPayload.Sketch, whose length was just entered. */
  readSketch(): void {
    const reader = this.#receiver;
    const rows = this.#rows;
    const start = reader.offset;
    this.#begin();
    rows.type = rows.types.intern('sketch');
    while (!reader.done()) {
      const at = reader.offset;
      const tag = reader.tag();
      switch (tag) {
        case 0x0a:
          rows.metric = this.#text(rows.metrics, 1);
          break;
        case 0x12:
          rows.host = this.#text(rows.hosts, 2);
          break;
        case 0x22:
          this.#tagRun.read(reader, tag, at);
          break;
        case 0x3a:
          this.#readDogsketch();
          break;
        case 0x42:
          this.#readMetadata(8);
          break;
        default:
          this.#unknown(tag);
      }
    }
    this.#endRuns();
    this.#endItem('sketch', '#s', start);
  }

  #readDogsketch(): void {
    const reader = this.#receiver;
    let seconds = 0;
    const sketch = { count: 0n, min: 0, max: 0, avg: 0, sum: 0, keys: null, counts: null };
    let keys = '';
    let counts = '';
    let seen = 0;
    const outer = reader.enter();
    while (!reader.done()) {
      const tag = reader.tag();
      const field = tag >>> 3;
      switch (tag) {
        case 0x08:
          seconds = reader.int64Number();
          break;
        case 0x10:
          sketch.count = reader.int64();
          break;
        case 0x19:
          sketch.min = this.#double();
          break;
        case 0x21:
          sketch.max = this.#double();
          break;
        case 0x29:
          sketch.avg = this.#double();
          break;
        case 0x31:
          sketch.sum = this.#double();
          break;
        case 0x38:
          keys += this.#bin(true);
          continue;
        case 0x3a:
          keys += this.#bins(true);
          continue;
        case 0x40:
          counts += this.#bin(false);
          continue;
        case 0x42:
          counts += this.#bins(false);
          continue;
        default:
          this.#unknown(tag);
          continue;
      }
      if ((seen & (1 << field)) !== 0) this.#exact = false;
      seen |= 1 << field;
    }
    reader.leave(outer);
    this.#rows.addSketch(this.#milliseconds(seconds), {
      ...sketch,
      keys: keys === '' ? null : `[${keys.slice(1)}]`,
      counts: counts === '' ? null : `[${counts.slice(1)}]`,
    });
  }

  #bins(areKeys: boolean): string {
    const reader = this.#receiver;
    let texts = '';
    const outer = reader.enter();
    while (!reader.done()) texts += this.#bin(areKeys);
    reader.leave(outer);
    return texts;
  }

  /** A comma and the key (sint32) or count (uint32) of a bin; a wider varint is cut as protobuf says. */
  #bin(isKey: boolean): string {
    const reader = this.#receiver;
    const value = isKey ? reader.sint64Number() : reader.uint64Number();
    if (isKey ? value === (value | 0) : value === value >>> 0) return `,${value}`;
    this.#exact = false;
    return `,${isKey ? value | 0 : value >>> 0}`;
  }
}
