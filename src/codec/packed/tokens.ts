/**
 * One text cut into tokens, in one pass: separators, words, what varies (words with a digit, addresses, decimals, UUIDs), times. Tokens lie
 * one behind the other and cover the text, so that whatever is made of them can be put together again. Texts are bytes as Latin-1: a cut is always
 * beside an ASCII character, and never inside a character of UTF-8.
 */
import { hasMillis, isFormTime, matchTime, type TimeMatch } from './time-forms.ts';

export const TOKEN = {
  /** Separators within a field: dots, slashes, colons, dashes. */
  joint: 0,
  /** Separators between fields: spaces, quotes, brackets, commas. */
  gap: 1,
  word: 2,
  variable: 3,
  time: 4,
  /** One that is not escaped. */
  quote: 5,
} as const;

/** What longer texts and more tokens cost is not worth it: they stay plain. */
const TEXT_BYTES_MAX = 256 * 1024;
const TOKENS_MAX = 8192;
/** The byte that begins a placeholder: a text that has it stays plain. */
export const MARK = '\x01';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const WORD = 1;
const DIGIT = 2;
const GAP = 4;
const HEX = 8;
const CLASSES = new Uint8Array(256);
for (let code = 0; code < 256; code++) {
  const c = String.fromCharCode(code);
  if (/[A-Za-z0-9_]/.test(c) || code >= 0x80) CLASSES[code]! |= WORD;
  if (/[0-9]/.test(c)) CLASSES[code]! |= DIGIT;
  if (/[0-9a-fA-F]/.test(c)) CLASSES[code]! |= HEX;
  if (/[ \t\r\n"'()[\]{}<>,;=|]/.test(c)) CLASSES[code]! |= GAP;
}

/** Whole although they hold separators: UUIDs, addresses, decimals. */
const UUID = /[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}(?![0-9A-Za-z_])/y;
const NUMBERS = /\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![0-9A-Za-z_.])|\d+\.\d+(?![0-9A-Za-z_.])/y;
/** Words of so many hex digits vary, without a decimal digit in them too. */
const HEX_WORD_MIN = 8;

/** An odd number of backslashes stands before it. */
function isEscaped(text: string, at: number): boolean {
  let start = at;
  while (text.charCodeAt(start - 1) === BACKSLASH) start -= 1;
  return (at - start) % 2 === 1;
}

export class Tokens {
  text = '';
  count = 0;
  readonly kinds = new Uint8Array(TOKENS_MAX + 4);
  readonly starts = new Int32Array(TOKENS_MAX + 4);
  readonly ends = new Int32Array(TOKENS_MAX + 4);
  /** Of times. */
  readonly letters: string[] = [];
  readonly offsetsMs = new Float64Array(TOKENS_MAX + 4);

  /** False where the text cannot be packed. */
  cut(text: string, rowMs: number): boolean {
    this.text = text;
    this.count = 0;
    if (text.length > TEXT_BYTES_MAX || text.includes(MARK)) return false;
    const hasTime = isFormTime(rowMs);
    let at = 0;
    while (at < text.length) {
      if (this.count >= TOKENS_MAX) return false;
      const kind = CLASSES[text.charCodeAt(at)]!;
      const code = text.charCodeAt(at);
      if (code === QUOTE && !isEscaped(text, at)) {
        this.#add(TOKEN.quote, at, at + 1);
        at += 1;
        continue;
      }
      if ((kind & WORD) === 0) {
        at = this.#separators(at);
        continue;
      }
      const time = hasTime && (kind & DIGIT || (code >= 65 && code <= 90)) ? matchTime(text, at, rowMs) : undefined;
      at = time ? this.#time(at, time, rowMs) : this.#word(at);
    }
    return true;
  }

  #add(kind: number, start: number, end: number): void {
    this.kinds[this.count] = kind;
    this.starts[this.count] = start;
    this.ends[this.count] = end;
    this.count += 1;
  }

  #separators(start: number): number {
    const { text } = this;
    let isGap = false;
    let end = start;
    while (end < text.length) {
      const code = text.charCodeAt(end);
      const kind = CLASSES[code]!;
      if (kind & WORD) break;
      if (code === QUOTE && !isEscaped(text, end)) break;
      if (kind & GAP) isGap = true;
      end += 1;
      if (code !== BACKSLASH) continue;
      // An escape of JSON: its letter is no part of the word behind it.
      const next = text[end];
      if (next === 'n' || next === 'r' || next === 't') isGap = true;
      if (next === 'n' || next === 'r' || next === 't' || next === '\\') end += 1;
    }
    this.#add(isGap ? TOKEN.gap : TOKEN.joint, start, end);
    return end;
  }

  #time(start: number, { letter, length, offsetMs }: TimeMatch, rowMs: number): number {
    const end = start + length;
    this.#addTime(start, end, letter, offsetMs);
    if (letter === 'l' || letter === 'm' || !hasMillis(this.text, end)) return end;
    // `offsetMs` has the fraction in it, unless only the row's own time counted.
    if (Number(this.text.slice(end + 1, end + 4)) !== (rowMs + offsetMs) % 1000) return end;
    this.#add(TOKEN.joint, end, end + 1);
    this.#addTime(end + 1, end + 4, 'm', offsetMs);
    let finer = end + 4;
    while (finer < this.text.length && CLASSES[this.text.charCodeAt(finer)]! & DIGIT) finer += 1;
    if (finer > end + 4) this.#add(TOKEN.variable, end + 4, finer);
    return finer;
  }

  #addTime(start: number, end: number, letter: string, offsetMs: number): void {
    this.letters[this.count] = letter;
    this.offsetsMs[this.count] = offsetMs;
    this.#add(TOKEN.time, start, end);
  }

  #lengthOf(pattern: RegExp, start: number): number {
    pattern.lastIndex = start;
    return pattern.exec(this.text)?.[0].length ?? 0;
  }

  #word(start: number): number {
    const { text } = this;
    const first = CLASSES[text.charCodeAt(start)]!;
    const composed =
      (text.charCodeAt(start + 8) === 0x2d && first & HEX ? this.#lengthOf(UUID, start) : 0) ||
      (first & DIGIT ? this.#lengthOf(NUMBERS, start) : 0);
    if (composed > 0) {
      this.#add(TOKEN.variable, start, start + composed);
      return start + composed;
    }
    let digits = 0;
    let hex = 0;
    let end = start;
    while (end < text.length) {
      const kind = CLASSES[text.charCodeAt(end)]!;
      if ((kind & WORD) === 0) break;
      if (kind & DIGIT) digits += 1;
      if (kind & HEX) hex += 1;
      end += 1;
    }
    const varies = digits > 0 || (hex === end - start && hex >= HEX_WORD_MIN);
    this.#add(varies ? TOKEN.variable : TOKEN.word, start, end);
    return end;
  }
}
