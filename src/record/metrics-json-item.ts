/**
 * The members of a `series` array in JSON → rows. Each is walked once, in the order sent; `shape` gets a letter per member
 * (metrics-json.ts lists them). Whatever the columns would not give back exactly marks the item, whose bytes are then kept.
 */
import { isUtf8 } from 'node:buffer';
import { NULL_ID } from '../core/columns.ts';
import type { JsonScanner } from '../wire/json-scanner.ts';
import type { StringWriter } from './column-writers.ts';
import { hashBytes, KnownBytes } from './known-bytes.ts';
import { type MetricRows, TYPE_NAMES } from './metrics-rows.ts';
import { SEEN_BYTES_MAX, SeenItem, SeenSeries, tableOf } from './seen-series.ts';

const QUOTE = 0x22;
const COMMA = 0x2c;
const SPACE = 0x20;
const MINUS = 0x2d;

/** A column whose entries are JSON as sent: neighbours often repeat it, so the bytes are compared before they are scanned. */
class SliceColumn {
  readonly #writer: StringWriter;
  readonly #ids = new Map<string, number>();
  #last: Buffer | undefined;
  #lastId = NULL_ID;
  /** After `read`: false when the bytes are not UTF-8. */
  exact = true;

  constructor(writer: StringWriter) {
    this.#writer = writer;
  }

  /** Reads the array or object at the cursor; its closing bracket ends it, so that equal bytes are an equal value. */
  read(scanner: JsonScanner): number {
    const { bytes, offset } = scanner;
    const last = this.#last;
    this.exact = true;
    if (last && offset + last.length <= bytes.length && last.compare(bytes, offset, offset + last.length) === 0) {
      scanner.offset = offset + last.length;
      return this.#lastId;
    }
    const slice = scanner.sliceValue();
    const key = slice.toString('latin1');
    let id = this.#ids.get(key);
    if (id === undefined) {
      id = this.#writer.intern(slice.toString('utf8'));
      if (!isUtf8(slice)) {
        this.exact = false;
        return id;
      }
      this.#ids.set(key, id);
    }
    this.#last = slice;
    this.#lastId = id;
    return id;
  }
}

// One bit per known key, to notice those sent twice.
const METRIC = 1;
const TYPE = 2;
const POINTS = 4;
const INTERVAL = 8;
const UNIT = 16;
const HOST = 32;
const DEVICE = 64;
const TAGS = 128;
const RESOURCES = 256;
const SOURCE = 512;
const METADATA = 1024;

export class JsonItemReader {
  readonly #scanner: JsonScanner;
  readonly #view: DataView;
  readonly #rows: MetricRows;
  readonly #kind: 'series' | 'distribution';
  /** Made when they are needed: not for a body of series that are known. */
  #tags: SliceColumn | undefined;
  #resources: SliceColumn | undefined;
  #metadata: SliceColumn | undefined;
  #hostOfResources: Map<number, number> | undefined;
  // The item being read.
  #exact = true;
  #shape = '';
  #attributes = '';
  #seen = 0;
  /** Where in the body the points of the item lie, and the first of them; `pointEnd` is 0 before that was read. */
  readonly #places = {
    ...{ pointsStart: 0, pointsEnd: 0, timeStart: 0, timeEnd: 0, valueStart: 0, valueEnd: 0, pointEnd: 0 },
  };

  constructor(scanner: JsonScanner, rows: MetricRows, kind: 'series' | 'distribution') {
    this.#scanner = scanner;
    this.#view = scanner.view;
    this.#rows = rows;
    this.#kind = kind;
  }

  readAll(): void {
    const scanner = this.#scanner;
    scanner.enterArray();
    let before: SeenItem | undefined;
    while (scanner.nextElement()) {
      if (scanner.type() !== 'object') {
        this.#rows.addOpaque('element', scanner.sliceValue());
        continue;
      }
      const known = this.#readExpected(before?.next);
      if (known) {
        before = known;
        continue;
      }
      const seen = this.#readItem();
      if (before) before.next = seen;
      before = seen;
    }
  }

  /** The item that is expected here, or the one behind it: one may be missing this time. */
  #readExpected(expected: SeenItem | undefined): SeenItem | undefined {
    if (!expected) return undefined;
    const known = this.#readAgain(expected)
      ? expected
      : expected.next && this.#readAgain(expected.next)
        ? expected.next
        : undefined;
    if (known) SEEN.keep(known);
    return known;
  }

  /** An item like `seen` but for its points; false, the cursor unmoved, when it is another. */
  #readAgain(seen: SeenItem): boolean {
    const scanner = this.#scanner;
    const { bytes, offset: start } = scanner;
    if (!tableOf(seen.table)) return false;
    const { head, tail, frame } = seen;
    const { beforeTime, beforeValue, behind } = frame!;
    const view = this.#view;
    const end = bytes.length;
    if (!head.isAt(view, start, end)) return false;
    const rows = this.#rows;
    rows.clearPoints();
    this.#exact = true;
    let at = start + head.length;
    for (;;) {
      if (!beforeTime.isAt(view, at, end)) return this.#backTo(start);
      scanner.offset = at + beforeTime.length;
      if (!isNumberStart(bytes[scanner.offset])) return this.#backTo(start);
      const time = this.#readTime();
      if (!beforeValue.isAt(view, scanner.offset, end)) return this.#backTo(start);
      scanner.offset += beforeValue.length;
      if (!isNumberStart(bytes[scanner.offset])) return this.#backTo(start);
      const value = scanner.readNumber();
      if (!scanner.numberExact || !this.#exact) return this.#backTo(start);
      if (!behind.isAt(view, scanner.offset, end)) return this.#backTo(start);
      rows.addValue(time, value);
      at = scanner.offset + behind.length;
      if (bytes[at] !== COMMA) break;
      at += bytes[at + 1] === SPACE ? 2 : 1;
    }
    if (!tail.isAt(view, at, end)) return this.#backTo(start);
    scanner.offset = at + tail.length;
    rows.endSeen(this.#kind, seen);
    return true;
  }

  #backTo(start: number): false {
    this.#scanner.offset = start;
    return false;
  }

  /** For when it is sent again; undefined where that would not tell it exactly. */
  #remember(start: number): SeenItem | undefined {
    const { bytes, offset: end } = this.#scanner;
    const { pointsStart, pointsEnd, timeStart, timeEnd, valueStart, valueEnd, pointEnd } = this.#places;
    if (pointsStart < start || pointEnd === 0 || end - start > SEEN_BYTES_MAX) return undefined;
    const view = this.#view;
    const kindSeed = this.#kind === 'series' ? 1 : 2;
    const hash = hashBytes(view, pointsEnd, end, hashBytes(view, start, timeStart, kindSeed) % 2 ** 31);
    const known = SEEN.find(hash);
    if (known && this.#isSame(known, start, end)) return known;
    const place = this.#rows.place(this.#kind, this.#shape);
    if (!place) return undefined;
    const head = bytes.subarray(start, pointsStart);
    const tail = bytes.subarray(pointsEnd, end);
    const seen = new SeenItem(hash, head, tail, place, {
      beforeTime: new KnownBytes(bytes.subarray(pointsStart, timeStart)),
      beforeValue: new KnownBytes(bytes.subarray(timeEnd, valueStart)),
      behind: new KnownBytes(bytes.subarray(valueEnd, pointEnd)),
    });
    SEEN.add(seen);
    return seen;
  }

  /** Whether the item that was just read, from `start` to `end`, is this one but for its points. */
  #isSame({ head, tail, frame }: SeenItem, start: number, end: number): boolean {
    const { pointsStart, pointsEnd, timeStart, timeEnd, valueStart, valueEnd, pointEnd } = this.#places;
    const isAt = (known: KnownBytes, from: number, to: number): boolean =>
      known.length === to - from && known.isAt(this.#view, from, to);
    return (
      frame !== undefined &&
      isAt(head, start, pointsStart) &&
      isAt(tail, pointsEnd, end) &&
      isAt(frame.beforeTime, pointsStart, timeStart) &&
      isAt(frame.beforeValue, timeEnd, valueStart) &&
      isAt(frame.behind, valueEnd, pointEnd)
    );
  }

  #readItem(): SeenItem | undefined {
    const scanner = this.#scanner;
    const rows = this.#rows;
    const start = scanner.offset;
    this.#places.pointEnd = 0;
    rows.beginItem();
    this.#exact = true;
    this.#shape = '';
    this.#attributes = '';
    this.#seen = 0;
    scanner.enterObject();
    for (;;) {
      const before = scanner.offset;
      const key = scanner.nextKey();
      if (key === undefined) break;
      if (!scanner.stringExact) this.#exact = false;
      if (!this.#readKnown(key)) this.#readAttribute(before);
    }
    if (rows.host === NULL_ID && rows.resources !== NULL_ID) {
      rows.host = this.#hostOfResources?.get(rows.resources) ?? NULL_ID;
    }
    if (this.#kind === 'distribution' && rows.type === NULL_ID) rows.type = rows.types.intern('distribution');
    if (this.#attributes !== '') rows.attributes = rows.attributeLists.intern(`{${this.#attributes}}`);
    const raw = this.#exact ? undefined : scanner.bytes.subarray(start, scanner.offset);
    const seen = raw === undefined ? this.#remember(start) : undefined;
    if (!seen) {
      rows.endItem(this.#kind, this.#shape, raw);
      return undefined;
    }
    rows.endSeen(this.#kind, seen);
    SEEN.keep(seen);
    return seen;
  }

  /** Reads the value of a key that has a column; false when it has none, or not for such a value. */
  #readKnown(key: string): boolean {
    const scanner = this.#scanner;
    const rows = this.#rows;
    switch (key) {
      case 'metric':
        if (scanner.type() !== 'string') return false;
        rows.metric = this.#text(rows.metrics, METRIC, 'm');
        return true;
      case 'points':
        if (scanner.type() !== 'array') return false;
        this.#note(POINTS, this.#readPoints());
        return true;
      case 'tags':
        if (scanner.type() !== 'array') return false;
        this.#tags ??= new SliceColumn(rows.tagLists);
        rows.tags = this.#slice(this.#tags, TAGS, 'g');
        return true;
      case 'type':
        return this.#readType();
      case 'interval':
        return this.#readInterval();
      case 'host':
        if (scanner.type() !== 'string') return false;
        rows.host = this.#text(rows.hosts, HOST, 'h');
        return true;
      case 'unit':
        if (scanner.type() !== 'string') return false;
        rows.unit = this.#text(rows.units, UNIT, 'u');
        return true;
      case 'device':
        if (scanner.type() !== 'string') return false;
        rows.device = this.#text(rows.devices, DEVICE, 'd');
        return true;
      case 'source_type_name':
        if (scanner.type() !== 'string') return false;
        rows.sourceTypeName = this.#text(rows.sourceTypeNames, SOURCE, 's');
        return true;
      case 'resources':
        if (scanner.type() !== 'array') return false;
        rows.resources = this.#readResources();
        return true;
      case 'metadata':
        if (scanner.type() !== 'object') return false;
        this.#metadata ??= new SliceColumn(rows.metadatas);
        rows.metadata = this.#slice(this.#metadata, METADATA, 'o');
        return true;
      default:
        return false;
    }
  }

  /** Adds to the shape. A key that was sent before cannot be told by columns: the last value is in them, all in `raw`. */
  #note(key: number, letter: string): void {
    if ((this.#seen & key) !== 0) this.#exact = false;
    this.#seen |= key;
    this.#shape += letter;
  }

  #text(column: StringWriter, key: number, letter: string): number {
    const text = this.#scanner.readString();
    if (!this.#scanner.stringExact) this.#exact = false;
    this.#note(key, letter);
    return column.intern(text);
  }

  #slice(column: SliceColumn, key: number, letter: string): number {
    const id = column.read(this.#scanner);
    if (!column.exact) this.#exact = false;
    this.#note(key, letter);
    return id;
  }

  #readType(): boolean {
    const scanner = this.#scanner;
    const rows = this.#rows;
    const type = scanner.type();
    if (type === 'string') {
      rows.type = this.#text(rows.types, TYPE, 't');
      return true;
    }
    if (type !== 'number') return false;
    const start = scanner.offset;
    const number = scanner.readNumber();
    const name = Object.is(number, -0) || !scanner.numberExact ? undefined : TYPE_NAMES[number];
    if (name === undefined) {
      if ((this.#seen & TYPE) === 0) rows.type = rows.types.intern(String(number));
      scanner.offset = start;
      return false;
    }
    rows.type = rows.types.intern(name);
    this.#note(TYPE, 'T');
    return true;
  }

  #readInterval(): boolean {
    const scanner = this.#scanner;
    if (scanner.type() !== 'number') return false;
    const start = scanner.offset;
    const interval = scanner.readNumber();
    if (!scanner.numberExact || !Number.isSafeInteger(interval) || Object.is(interval, -0)) {
      scanner.offset = start;
      return false;
    }
    this.#rows.interval = BigInt(interval);
    this.#note(INTERVAL, 'i');
    return true;
  }

  #readResources(): number {
    const scanner = this.#scanner;
    const start = scanner.offset;
    this.#resources ??= new SliceColumn(this.#rows.resourceLists);
    const id = this.#slice(this.#resources, RESOURCES, 'r');
    this.#hostOfResources ??= new Map();
    if (!this.#hostOfResources.has(id)) {
      const host = hostOf(scanner.bytes.toString('utf8', start, scanner.offset));
      this.#hostOfResources.set(id, host === undefined ? NULL_ID : this.#rows.hosts.intern(host));
    }
    return id;
  }

  /** Keeps a member as it was sent; `before` is where the one before it ended. */
  #readAttribute(before: number): void {
    const scanner = this.#scanner;
    scanner.skipValue();
    const member = scanner.bytes.subarray(scanner.bytes.indexOf(QUOTE, before), scanner.offset);
    if (!isUtf8(member)) this.#exact = false;
    this.#attributes += this.#attributes === '' ? member.toString('utf8') : `,${member.toString('utf8')}`;
    this.#shape += 'x';
  }

  /** Reads the array of points and returns its letter. */
  #readPoints(): string {
    const scanner = this.#scanner;
    const places = this.#places;
    this.#rows.clearPoints();
    let form = 'e';
    scanner.enterArray();
    places.pointsStart = scanner.offset;
    while (scanner.nextElement()) {
      const type = scanner.type();
      let one = '';
      if (type === 'array') one = this.#readPair();
      else if (type === 'object') one = this.#readPointObject();
      else scanner.skipValue();
      if (form === 'e') {
        form = one;
        places.pointEnd = one === 'p' || one === 'P' ? scanner.offset : 0;
      }
      if (one === '' || one !== form) this.#exact = false;
      places.pointsEnd = scanner.offset;
    }
    return form === '' ? 'p' : form;
  }

  /** `[ts, value]` or `[ts, [values]]`; '' when it is something else. */
  #readPair(): 'p' | 'l' | '' {
    const scanner = this.#scanner;
    let time = Number.NaN;
    let value: number | null = null;
    let list: Uint8Array | undefined;
    let index = 0;
    scanner.enterArray();
    while (scanner.nextElement()) {
      if (index === 0) time = this.#readTime();
      else if (index === 1 && scanner.type() === 'array') list = this.#readValues();
      else if (index === 1) value = this.#readPointValue();
      else scanner.skipValue();
      index += 1;
    }
    if (list) this.#rows.addValues(time, list);
    else this.#rows.addValue(time, value);
    if (index !== 2) return '';
    return list ? 'l' : 'p';
  }

  #readPointObject(): 'P' | 'V' | '' {
    const scanner = this.#scanner;
    let time = Number.NaN;
    let value: number | null = null;
    let order = '';
    scanner.enterObject();
    for (let key = scanner.nextKey(); key !== undefined; key = scanner.nextKey()) {
      if (key === 'timestamp') {
        time = this.#readTime();
        order += 't';
      } else if (key === 'value') {
        value = this.#readPointValue();
        order += 'v';
      } else {
        scanner.skipValue();
        order += '?';
      }
    }
    this.#rows.addValue(time, value);
    if (order === 'tv') return 'P';
    return order === 'vt' ? 'V' : '';
  }

  #readPointValue(): number | null {
    const places = this.#places;
    if (places.pointEnd !== 0) return this.#readValue();
    places.valueStart = this.#scanner.offset;
    const value = this.#readValue();
    places.valueEnd = this.#scanner.offset;
    return value;
  }

  /** Seconds → milliseconds; NaN where there is no number. Notes what the milliseconds cannot give back. */
  #readTime(): number {
    const places = this.#places;
    if (places.pointEnd === 0) places.timeStart = this.#scanner.offset;
    const seconds = this.#readValue();
    if (places.pointEnd === 0) places.timeEnd = this.#scanner.offset;
    if (seconds === null) return Number.NaN;
    const ms = Number.isInteger(seconds) ? seconds * 1000 : Math.round(seconds * 1000);
    if (!Number.isSafeInteger(ms) || ms / 1000 !== seconds || Object.is(seconds, -0)) this.#exact = false;
    return ms;
  }

  /** A number, or best effort: a numeric text, else null. */
  #readValue(): number | null {
    const scanner = this.#scanner;
    const type = scanner.type();
    if (type === 'number') {
      const value = scanner.readNumber();
      if (!scanner.numberExact) this.#exact = false;
      return value;
    }
    this.#exact = false;
    if (type === 'string') {
      const text = scanner.readString().trim();
      const value = text === '' ? Number.NaN : Number(text);
      return Number.isNaN(value) ? null : value;
    }
    scanner.skipValue();
    return null;
  }

  /** The JSON of a list of numbers. With anything else in it, it is not only numbers: then the item is in `raw` as well. */
  #readValues(): Uint8Array {
    const scanner = this.#scanner;
    const start = scanner.offset;
    scanner.enterArray();
    while (scanner.nextElement()) {
      if (scanner.type() !== 'number') this.#exact = false;
      scanner.skipValue();
    }
    const slice = scanner.bytes.subarray(start, scanner.offset);
    return this.#exact || isUtf8(slice) ? slice : Buffer.from(slice.toString('utf8'), 'utf8');
  }
}

/** Series that were read before by this thread. */
const SEEN = new SeenSeries();

function isNumberStart(c: number | undefined): boolean {
  return c !== undefined && (c === MINUS || (c >= 0x30 && c <= 0x39));
}

/** Name of the first resource of type host. The text is known to be JSON. */
function hostOf(resources: string): string | undefined {
  const list = JSON.parse(resources) as unknown[];
  for (const entry of list) {
    if (typeof entry !== 'object' || entry === null) continue;
    const { type, name } = entry as { type?: unknown; name?: unknown };
    if (type === 'host' && typeof name === 'string') return name;
  }
  return undefined;
}
