/**
 * One log object as it lies in the body: which of its members go to columns, where the others begin and end, and what can be
 * told of time and trace. One instance is used for all items of a body, so that reading an item allocates next to nothing.
 */
import type { JsonScanner } from '../wire/json-scanner.ts';
import { LogContext } from './logs-context.ts';
import { KEY, KEY_NUMBERS, MESSAGE_JSON, OTHER_KEY, TEXT_LETTERS, TIMESTAMP } from './logs-keys.ts';
import type { MessageWriter } from './logs-message.ts';
import { EMPTY_SHAPE } from './logs-shape.ts';

const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
/** In the place of a letter: the member has no column. */
const ATTRIBUTE = 0;

/** What of a member came before in the same place. */
const NONE = 0;
const KEY_ALONE = 1;
const KEY_AND_VALUE = 2;

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
  /** What its members tell of time and trace. */
  readonly context: LogContext;

  /** The message is a string and its text was written by the MessageWriter. */
  isMessageWritten = false;

  readonly #scanner: JsonScanner;
  readonly #messages: MessageWriter | undefined;
  /**
   * Per member: its letter, where the bytes between the value before (or the opening brace) and its own value begin, where its key and
   * its value lie, its key's number; where a text that came again was read first. Of the item before until overwritten.
   */
  readonly #letters: number[] = [];
  readonly #leads: number[] = [];
  readonly #keyStarts: number[] = [];
  readonly #keyNumbers: number[] = [];
  readonly #valueStarts: number[] = [];
  readonly #valueEnds: number[] = [];
  readonly #places: number[] = [];
  #count = 0;
  /** Letters of `#shape`, which is what most items of a body share. */
  readonly #shapeLetters: number[] = [];
  #shapeCount = -1;
  #shape = '';
  /** Member of each key below TIMESTAMP, and TIMESTAMP: -1 not seen, -2 seen but no string. */
  readonly #members = new Int32Array(KEY.timestamp + 1);

  /** `messages`: where the texts of messages go at once; only with a body that is UTF-8. */
  constructor(scanner: JsonScanner, messages: MessageWriter | undefined) {
    this.#scanner = scanner;
    this.context = new LogContext(scanner);
    this.#messages = messages;
  }

  valueStart(member: number): number {
    return this.#valueStarts[member]!;
  }

  valueEnd(member: number): number {
    return this.#valueEnds[member]!;
  }

  /** The same for two members, of this item or of others: their values are the same text. */
  place(member: number): number {
    return this.#places[member]!;
  }

  /** Reads the object at the cursor. Throws JsonSyntaxError. */
  read(): void {
    this.#members.fill(-1);
    this.hasDuplicate = false;
    this.isMessageWritten = false;
    this.context.clear();
    const scanner = this.#scanner;
    let member = 0;
    let attributes = 0;
    scanner.enterObject();
    for (;;) {
      const known = this.#knownPart(member);
      if (known === NONE && !this.#readKey(member)) break;
      const key = this.#keyNumbers[member]!;
      let letter: number;
      if (known === KEY_AND_VALUE) {
        if (this.#members[key] !== -1) this.hasDuplicate = true;
        this.#members[key] = member;
        letter = TEXT_LETTERS[key]!;
      } else {
        const start = scanner.offset;
        this.#valueStarts[member] = start;
        this.#places[member] = start;
        letter = this.#readMember(key, member);
        this.#valueEnds[member] = scanner.offset;
      }
      if (letter === ATTRIBUTE) attributes += 1;
      this.#letters[member] = letter;
      member += 1;
    }
    this.#count = member;
    this.attributeCount = attributes;
    this.#resolve();
  }

  /**
   * Items of one body mostly have the same keys in the same places, and many values again. What comes again byte for byte was checked when it
   * came first: it is passed at once. KEY_ALONE: the cursor is at the value; KEY_AND_VALUE: behind it, and all that is known of it stands.
   */
  #knownPart(member: number): number {
    const lead = this.#leads[member];
    if (lead === undefined) return NONE;
    const scanner = this.#scanner;
    const at = scanner.offset;
    const valueStart = this.#valueStarts[member]!;
    const isText = this.#isRepeating(member);
    const length = (isText ? this.#valueEnds[member]! : valueStart) - lead;
    const same = scanner.sameBytes(lead, length);
    const leadLength = valueStart - lead;
    if (same < leadLength) return NONE;
    this.#leads[member] = at;
    this.#keyStarts[member] = this.#keyStarts[member]! - lead + at;
    if (isText && same === length) {
      scanner.passKnownKey(length);
      this.#valueStarts[member] = at + leadLength;
      this.#valueEnds[member] = at + length;
      return KEY_AND_VALUE;
    }
    scanner.passKnownKey(leadLength);
    // Here may be more of it than there was.
    scanner.skipSpace();
    return KEY_ALONE;
  }

  /** The key is one with a text column of values that repeat, and the value a string. */
  #isRepeating(member: number): boolean {
    const key = this.#keyNumbers[member]!;
    return key !== KEY.message && key < KEY.timestamp && this.#scanner.bytes[this.#valueStarts[member]!] === QUOTE;
  }

  /** Reads the key at the cursor; false at the end of the object. */
  #readKey(member: number): boolean {
    const scanner = this.#scanner;
    const lead = scanner.offset;
    if (!scanner.passKey()) return false;
    const start = scanner.keyStart;
    const after = scanner.offset;
    scanner.offset = start;
    this.#keyNumbers[member] = KEY_NUMBERS.get(scanner.readString()) ?? OTHER_KEY;
    scanner.offset = after;
    this.#leads[member] = lead;
    this.#keyStarts[member] = start;
    return true;
  }

  /** Moves over the value at the cursor and returns the member's letter. */
  #readMember(key: number, member: number): number {
    const scanner = this.#scanner;
    if (key <= KEY.timestamp) {
      if (this.#members[key] !== -1) this.hasDuplicate = true;
      if (key === KEY.timestamp) {
        this.#members[key] = -2;
        return this.context.readTimestamp() ? TIMESTAMP : ATTRIBUTE;
      }
      if (scanner.bytes[scanner.offset] === QUOTE) {
        if (key === KEY.message) this.isMessageWritten = this.#messages?.pass() === true;
        if (key !== KEY.message || !this.isMessageWritten) scanner.passString();
        this.#members[key] = member;
        return TEXT_LETTERS[key]!;
      }
      scanner.skipValue();
      this.#members[key] = key === KEY.message ? member : -2;
      if (key !== KEY.message) return ATTRIBUTE;
      this.isMessageWritten = false;
      return MESSAGE_JSON;
    }
    this.context.read(key);
    return ATTRIBUTE;
  }

  /** `hostname` goes before `host` and `ddsource` before `source`; the one that has to stand back is an attribute. */
  #resolve(): void {
    const members = this.#members;
    this.message = Math.max(members[KEY.message]!, -1);
    this.status = Math.max(members[KEY.status]!, -1);
    this.service = Math.max(members[KEY.service]!, -1);
    this.tags = Math.max(members[KEY.ddtags]!, -1);
    this.host = this.#first(members[KEY.hostname]!, members[KEY.host]!);
    this.source = this.#first(members[KEY.ddsource]!, members[KEY.source]!);
  }

  #first(preferred: number, other: number): number {
    if (preferred < 0) return Math.max(other, -1);
    if (other >= 0) {
      this.#letters[other] = ATTRIBUTE;
      this.attributeCount += 1;
    }
    return preferred;
  }

  /** See logs-shape.ts. */
  shape(): string {
    const letters = this.#letters;
    const known = this.#shapeLetters;
    let isSame = this.#count === this.#shapeCount;
    for (let i = 0; isSame && i < this.#count; i++) isSame = letters[i] === known[i];
    if (!isSame) {
      this.#shape = this.#makeShape();
      this.#shapeCount = this.#count;
      for (let i = 0; i < this.#count; i++) known[i] = letters[i]!;
    }
    return this.#shape;
  }

  #makeShape(): string {
    if (this.#count === 0) return EMPTY_SHAPE;
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
      shape += String.fromCharCode(letter);
    }
    return run > 0 ? shape + run : shape;
  }

  /** What `writeAttributes` writes at most. */
  get attributesByteLength(): number {
    let byteLength = 1;
    for (let i = 0; i < this.#count; i++) {
      if (this.#letters[i] === ATTRIBUTE) byteLength += this.#valueEnds[i]! - this.#keyStarts[i]! + 1;
    }
    return byteLength;
  }

  /** Writes a JSON object of the attributes, made of the bytes as sent, to `target` from `start` on; returns where it ends. */
  writeAttributes(target: Buffer, start: number): number {
    const bytes = this.#scanner.bytes;
    let to = start;
    for (let i = 0; i < this.#count; i++) {
      if (this.#letters[i] !== ATTRIBUTE) continue;
      target[to] = to === start ? OPEN_BRACE : COMMA;
      to += 1;
      const from = this.#keyStarts[i]!;
      // Those that were sent with nothing but a comma between them go at once.
      while (
        i + 1 < this.#count &&
        this.#letters[i + 1] === ATTRIBUTE &&
        this.#keyStarts[i + 1] === this.#valueEnds[i]! + 1
      )
        i += 1;
      to += bytes.copy(target, to, from, this.#valueEnds[i]!);
    }
    target[to] = CLOSE_BRACE;
    return to + 1;
  }
}
