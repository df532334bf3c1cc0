/**
 * Messages on their way from the body into their column: one pass that finds the end of the JSON string, checks it, undoes its
 * escapes and writes the text where it is to stay, four bytes at a time as long as they stand for themselves.
 */
import { type JsonScanner, stopsIn } from '../wire/json-scanner.ts';
import type { StringWriter } from './column-writers.ts';
import { hexAt, SIMPLE_ESCAPES, writeUtf8 } from './logs-bytes.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const LETTER_U = 0x75;
/** Room for the shortest messages; more is made on the way. */
const ROOM_AT_FIRST = 64;
/** Bytes read and written at once. */
const STEP = 4;
/** `\ud83d\ude00` is the longest escape. */
const ESCAPE_BYTES_MAX = 12;

export class MessageWriter {
  /** The text passed last is exactly what was sent: it held no lone surrogate (U+FFFD stands in its place). */
  exact = true;
  readonly #scanner: JsonScanner;
  readonly #writer: StringWriter;
  /** Where the text passed last ends in the column. */
  #textEnd = 0;

  constructor(scanner: JsonScanner, writer: StringWriter) {
    this.#scanner = scanner;
    this.#writer = writer;
  }

  /**
   * Moves over the string at the cursor, whose text then lies behind the column's entries, to be taken with `entry` or forgotten.
   * False: this is no plain case (the body may be broken, or ends here), the cursor did not move. The body must be UTF-8.
   */
  pass(): boolean {
    const scanner = this.#scanner;
    const writer = this.#writer;
    const { bytes, view } = scanner;
    const lastStep = scanner.end - STEP;
    let at = scanner.offset + 1;
    let to = writer.room(ROOM_AT_FIRST);
    let target = writer.bytes;
    let targetView = writer.view;
    this.exact = true;
    for (;;) {
      // What is written is never longer than what was read.
      const limit = Math.min(lastStep, at + target.byteLength - to - ESCAPE_BYTES_MAX);
      while (at + STEP <= limit) {
        const word = view.getInt32(at, true);
        const next = view.getInt32(at + STEP, true);
        if ((stopsIn(word) | stopsIn(next)) !== 0) break;
        targetView.setInt32(to, word, true);
        targetView.setInt32(to + STEP, next, true);
        at += STEP * 2;
        to += STEP * 2;
      }
      while (at <= limit) {
        const word = view.getInt32(at, true);
        targetView.setInt32(to, word, true);
        const found = stopsIn(word);
        if (found === 0) {
          at += STEP;
          to += STEP;
          continue;
        }
        const before = (31 - Math.clz32(found & -found)) >> 3;
        at += before;
        to += before;
        const c = bytes[at]!;
        if (c === QUOTE) {
          scanner.offset = at + 1;
          this.#textEnd = to;
          return true;
        }
        if (c !== BACKSLASH) return false;
        const escaped = bytes[at + 1]!;
        const simple = SIMPLE_ESCAPES[escaped]!;
        if (simple !== 0) {
          target[to++] = simple;
          at += 2;
          continue;
        }
        const point = escaped === LETTER_U ? this.#pointAt(at) : -1;
        if (point === -1) return false;
        at += point > 0xffff ? 12 : 6;
        to = writeUtf8(target, to, point);
      }
      if (at > lastStep) return false;
      writer.extend(to);
      target = writer.bytes;
      targetView = writer.view;
    }
  }

  /** Of the \u escape at `at`, or of two that are a pair; -1: look closer. */
  #pointAt(at: number): number {
    const { bytes, end } = this.#scanner;
    if (at + ESCAPE_BYTES_MAX > end || !isHex(bytes, at + 2)) return -1;
    const point = hexAt(bytes, at + 2);
    if (point < 0xd800 || point > 0xdfff) return point;
    if (point < 0xdc00 && bytes[at + 6] === BACKSLASH && bytes[at + 7] === LETTER_U && isHex(bytes, at + 8)) {
      const low = hexAt(bytes, at + 8);
      if (low >= 0xdc00 && low <= 0xdfff) return 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
    }
    this.exact = false;
    return 0xfffd;
  }

  /** Id of the text passed last, now an entry of the column. Once. */
  entry(): number {
    return this.#writer.close(this.#textEnd);
  }
}

function isHex(bytes: Buffer, at: number): boolean {
  for (let i = at; i < at + 4; i++) {
    const c = bytes[i]!;
    if (!((c >= 0x30 && c <= 0x39) || (c >= 0x41 && c <= 0x46) || (c >= 0x61 && c <= 0x66))) return false;
  }
  return true;
}
