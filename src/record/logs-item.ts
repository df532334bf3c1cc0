/**
 * One log object as it lies in the body: which of its members go to columns, where the others begin and end, and what can be
 * told of time and trace. One instance is used for all items of a body, so that reading an item allocates next to nothing.
 */
import type { JsonScanner } from '../wire/json-scanner.ts';
import type { ByteArena } from './logs-bytes.ts';
import * as letters from './logs-shape.ts';
import { MS_BELOW, MS_FROM, timeOfNumber, timeOfText } from './logs-time.ts';

const QUOTE = 0x22;
const ATTRIBUTE = '';

/** Keys that may have a column, as bits of a set. */
const SEEN = { message: 1, status: 2, hostname: 4, host: 8, service: 16, ddsource: 32, source: 64, ddtags: 128, timestamp: 256 };

/** How much a source of the time or of the trace id counts: the highest one found wins. */
const RANK = { date: 1, atTimestamp: 2, timestamp: 3, bare: 1, nested: 2, dotted: 3 };

export class LogItem {
  /** Indexes of the members that fill columns; -1 where there is none. */
  message = -1;
  status = -1;
  host = -1;
  service = -1;
  source = -1;
  tags = -1;
  /** Members that have no column. */
  attributeCount = 0;
  /** A key that may have a column came twice: the letters of a shape cannot tell which is which. */
  hasDuplicate = false;
  timeMs: number | undefined;
  traceId: string | undefined;
  spanId: string | undefined;

  readonly #scanner: JsonScanner;
  /** Per member: its letter ('' for an attribute), start of its key and of its value, end of its value. */
  readonly #letters: string[] = [];
  readonly #keyStarts: number[] = [];
  readonly #valueStarts: number[] = [];
  readonly #valueEnds: number[] = [];
  #count = 0;
  #seen = 0;
  #hostname = -1;
  #hostOnly = -1;
  #ddsource = -1;
  #sourceOnly = -1;
  #timeRank = 0;
  #traceRank = 0;
  #spanRank = 0;

  constructor(scanner: JsonScanner) {
    this.#scanner = scanner;
  }

  valueStart(member: number): number {
    return this.#valueStarts[member]!;
  }

  valueEnd(member: number): number {
    return this.#valueEnds[member]!;
  }

  /** Reads the object at the cursor. Throws JsonSyntaxError. */
  read(): void {
    this.#reset();
    const scanner = this.#scanner;
    const bytes = scanner.bytes;
    scanner.enterObject();
    for (;;) {
      let keyStart = scanner.offset;
      const key = scanner.nextKey();
      if (key === undefined) break;
      // Between two members lie only white space and a comma.
      while (bytes[keyStart] !== QUOTE) keyStart += 1;
      const member = this.#count;
      this.#count += 1;
      this.#keyStarts[member] = keyStart;
      this.#valueStarts[member] = scanner.offset;
      this.#letters[member] = this.#readMember(key, member);
      this.#valueEnds[member] = scanner.offset;
    }
    this.#resolve();
  }

  #reset(): void {
    this.message = -1;
    this.status = -1;
    this.host = -1;
    this.service = -1;
    this.source = -1;
    this.tags = -1;
    this.hasDuplicate = false;
    this.timeMs = undefined;
    this.traceId = undefined;
    this.spanId = undefined;
    this.#count = 0;
    this.#seen = 0;
    this.#hostname = -1;
    this.#hostOnly = -1;
    this.#ddsource = -1;
    this.#sourceOnly = -1;
    this.#timeRank = 0;
    this.#traceRank = 0;
    this.#spanRank = 0;
  }

  /** Moves over the value at the cursor and returns the member's letter. */
  #readMember(key: string, member: number): string {
    const scanner = this.#scanner;
    switch (key) {
      case 'message': {
        this.#see(SEEN.message);
        this.message = member;
        const isText = scanner.bytes[scanner.offset] === QUOTE;
        scanner.skipValue();
        return isText ? letters.MESSAGE_TEXT : letters.MESSAGE_JSON;
      }
      case 'status':
        if (!this.#passText(SEEN.status)) return ATTRIBUTE;
        this.status = member;
        return letters.STATUS;
      case 'hostname':
        if (!this.#passText(SEEN.hostname)) return ATTRIBUTE;
        this.#hostname = member;
        return letters.HOSTNAME;
      case 'host':
        if (!this.#passText(SEEN.host)) return ATTRIBUTE;
        this.#hostOnly = member;
        return letters.HOST;
      case 'service':
        if (!this.#passText(SEEN.service)) return ATTRIBUTE;
        this.service = member;
        return letters.SERVICE;
      case 'ddsource':
        if (!this.#passText(SEEN.ddsource)) return ATTRIBUTE;
        this.#ddsource = member;
        return letters.DDSOURCE;
      case 'source':
        if (!this.#passText(SEEN.source)) return ATTRIBUTE;
        this.#sourceOnly = member;
        return letters.SOURCE;
      case 'ddtags':
        if (!this.#passText(SEEN.ddtags)) return ATTRIBUTE;
        this.tags = member;
        return letters.DDTAGS;
      case 'timestamp':
        this.#see(SEEN.timestamp);
        return this.#readTimestamp() ? letters.TIMESTAMP : ATTRIBUTE;
      case '@timestamp':
        this.#readTime(RANK.atTimestamp);
        return ATTRIBUTE;
      case 'date':
        this.#readTime(RANK.date);
        return ATTRIBUTE;
      case 'dd.trace_id':
        this.#setTrace(RANK.dotted, this.#readId());
        return ATTRIBUTE;
      case 'dd.span_id':
        this.#setSpan(RANK.dotted, this.#readId());
        return ATTRIBUTE;
      case 'trace_id':
        this.#setTrace(RANK.bare, this.#readId());
        return ATTRIBUTE;
      case 'span_id':
        this.#setSpan(RANK.bare, this.#readId());
        return ATTRIBUTE;
      case 'dd':
        this.#readNestedIds();
        return ATTRIBUTE;
      default:
        scanner.skipValue();
        return ATTRIBUTE;
    }
  }

  #see(bit: number): void {
    if ((this.#seen & bit) !== 0) this.hasDuplicate = true;
    this.#seen |= bit;
  }

  /** Moves over the value; true when it is a string. */
  #passText(bit: number): boolean {
    this.#see(bit);
    const isText = this.#scanner.bytes[this.#scanner.offset] === QUOTE;
    this.#scanner.skipValue();
    return isText;
  }

  /** True when the value is a number that `time` says exactly: whole milliseconds, written in digits alone. */
  #readTimestamp(): boolean {
    const scanner = this.#scanner;
    if (scanner.type() !== 'number') {
      this.#readTime(RANK.timestamp);
      return false;
    }
    const start = scanner.offset;
    const value = scanner.readNumber();
    this.#setTime(RANK.timestamp, timeOfNumber(value));
    if (!(value >= MS_FROM && value < MS_BELOW) || !Number.isInteger(value)) return false;
    // 12 to 14 digits and nothing else: no fraction, no exponent.
    return scanner.offset - start === String(value).length;
  }

  #readTime(rank: number): void {
    const scanner = this.#scanner;
    const type = scanner.type();
    if (type === 'number') this.#setTime(rank, timeOfNumber(scanner.readNumber()));
    else if (type === 'string') this.#setTime(rank, timeOfText(scanner.readString()));
    else scanner.skipValue();
  }

  #setTime(rank: number, timeMs: number | undefined): void {
    if (timeMs === undefined || rank < this.#timeRank) return;
    this.timeMs = timeMs;
    this.#timeRank = rank;
  }

  /** The id at the cursor, text or number as written; undefined for anything else. */
  #readId(): string | undefined {
    const scanner = this.#scanner;
    const type = scanner.type();
    if (type === 'string') return scanner.readString();
    const slice = scanner.sliceValue();
    return type === 'number' ? slice.latin1Slice() : undefined;
  }

  #setTrace(rank: number, id: string | undefined): void {
    if (id === undefined || rank < this.#traceRank) return;
    this.traceId = id;
    this.#traceRank = rank;
  }

  #setSpan(rank: number, id: string | undefined): void {
    if (id === undefined || rank < this.#spanRank) return;
    this.spanId = id;
    this.#spanRank = rank;
  }

  /** `"dd": {"trace_id": …, "span_id": …}`, as the tracers' log injection writes it. */
  #readNestedIds(): void {
    const scanner = this.#scanner;
    if (scanner.type() !== 'object') {
      scanner.skipValue();
      return;
    }
    scanner.enterObject();
    for (let key = scanner.nextKey(); key !== undefined; key = scanner.nextKey()) {
      if (key === 'trace_id') this.#setTrace(RANK.nested, this.#readId());
      else if (key === 'span_id') this.#setSpan(RANK.nested, this.#readId());
      else scanner.skipValue();
    }
  }

  /** `hostname` goes before `host` and `ddsource` before `source`; the one that has to stand back is an attribute. */
  #resolve(): void {
    this.host = this.#hostname !== -1 ? this.#hostname : this.#hostOnly;
    if (this.#hostname !== -1 && this.#hostOnly !== -1) this.#letters[this.#hostOnly] = ATTRIBUTE;
    this.source = this.#ddsource !== -1 ? this.#ddsource : this.#sourceOnly;
    if (this.#ddsource !== -1 && this.#sourceOnly !== -1) this.#letters[this.#sourceOnly] = ATTRIBUTE;
    let attributes = 0;
    for (let i = 0; i < this.#count; i++) if (this.#letters[i] === ATTRIBUTE) attributes += 1;
    this.attributeCount = attributes;
  }

  /** See logs-shape.ts. */
  shape(): string {
    if (this.#count === 0) return letters.EMPTY_SHAPE;
    let shape = '';
    let run = 0;
    for (let i = 0; i < this.#count; i++) {
      const letter = this.#letters[i]!;
      if (letter === ATTRIBUTE) {
        run += 1;
        continue;
      }
      if (run > 0) shape += run;
      run = 0;
      shape += letter;
    }
    return run > 0 ? shape + run : shape;
  }

  /** A JSON object of the attributes, made of the bytes as sent. */
  attributesText(arena: ByteArena): Buffer {
    const bytes = this.#scanner.bytes;
    let byteLength = 1;
    for (let i = 0; i < this.#count; i++) {
      if (this.#letters[i] === ATTRIBUTE) byteLength += this.#valueEnds[i]! - this.#keyStarts[i]! + 1;
    }
    const target = arena.take(byteLength);
    let to = 0;
    for (let i = 0; i < this.#count; i++) {
      if (this.#letters[i] !== ATTRIBUTE) continue;
      target[to++] = to === 1 ? 0x7b : 0x2c;
      to += bytes.copy(target, to, this.#keyStarts[i]!, this.#valueEnds[i]!);
    }
    target[to] = 0x7d;
    return target;
  }
}
