/** What a log's members tell of its time and its trace: each has several names, of which one counts more than the other. */
import type { JsonScanner } from '../wire/json-scanner.ts';
import { KEY } from './logs-keys.ts';
import { MS_FROM, TimeReader, timeOfNumber, timeOfText } from './logs-time.ts';

const COMMA = 0x2c;
const CLOSE_BRACE = 0x7d;
/** Whole numbers below MS_BELOW have at most 14 digits. */
const MS_DIGITS_MAX = 14;

/** How much a source of the time or of the trace id counts: the highest one found wins. */
const RANK = { date: 1, atTimestamp: 2, timestamp: 3, bare: 1, nested: 2, dotted: 3 };

export class LogContext {
  timeMs: number | undefined;
  traceId: string | undefined;
  spanId: string | undefined;

  readonly #scanner: JsonScanner;
  readonly #times = new TimeReader();
  #timeRank = 0;
  #traceRank = 0;
  #spanRank = 0;

  constructor(scanner: JsonScanner) {
    this.#scanner = scanner;
  }

  /** Of the log that comes next, nothing is known. */
  clear(): void {
    this.timeMs = undefined;
    this.traceId = undefined;
    this.spanId = undefined;
    this.#timeRank = 0;
    this.#traceRank = 0;
    this.#spanRank = 0;
  }

  /** Moves over the value at the cursor, of the key with this number, and notes what it tells. */
  read(key: number): void {
    switch (key) {
      case KEY['@timestamp']:
        this.#readTime(RANK.atTimestamp);
        break;
      case KEY.date:
        this.#readTime(RANK.date);
        break;
      case KEY['dd.trace_id']:
        this.#setTrace(RANK.dotted, this.#readId());
        break;
      case KEY['dd.span_id']:
        this.#setSpan(RANK.dotted, this.#readId());
        break;
      case KEY.trace_id:
        this.#setTrace(RANK.bare, this.#readId());
        break;
      case KEY.span_id:
        this.#setSpan(RANK.bare, this.#readId());
        break;
      case KEY.dd:
        this.#readNestedIds();
        break;
      default:
        this.#scanner.skipValue();
    }
  }

  /** True when the value is a number that `time` says exactly: whole milliseconds, written in digits alone. */
  readTimestamp(): boolean {
    const scanner = this.#scanner;
    const start = scanner.offset;
    const bytes = scanner.bytes;
    let value = 0;
    let at = start;
    for (let c = bytes[at]!; c >= 0x30 && c <= 0x39 && at - start < MS_DIGITS_MAX; c = bytes[++at]!)
      value = value * 10 + c - 0x30;
    // What is mostly sent: so many digits, no zero in front, and behind them what ends a number.
    const next = bytes[at];
    if (value >= MS_FROM && bytes[start] !== 0x30 && (next === COMMA || next === CLOSE_BRACE) && at < scanner.end) {
      scanner.offset = at;
      this.#setTime(RANK.timestamp, value);
      return true;
    }
    if (scanner.type() !== 'number') {
      this.#readTime(RANK.timestamp);
      return false;
    }
    scanner.skipValue();
    if (at === scanner.offset && value >= MS_FROM) {
      this.#setTime(RANK.timestamp, value);
      return true;
    }
    this.#setTime(RANK.timestamp, timeOfNumber(Number(bytes.toString('latin1', start, scanner.offset))));
    return false;
  }

  #readTime(rank: number): void {
    const scanner = this.#scanner;
    const type = scanner.type();
    if (type === 'number') this.#setTime(rank, timeOfNumber(scanner.readNumber()));
    else if (type === 'string') this.#setTime(rank, this.#readTimeText());
    else scanner.skipValue();
  }

  #readTimeText(): number | undefined {
    const scanner = this.#scanner;
    const times = this.#times;
    if (!times.read(scanner.bytes, scanner.offset + 1, scanner.end)) return timeOfText(scanner.readString());
    scanner.offset = times.end + 1;
    return times.timeMs;
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
    return type === 'number' ? slice.toString('latin1') : undefined;
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
}
