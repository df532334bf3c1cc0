/**
 * What of a text is its template and what varies. Words that come up again behind the same word are constant; words with digits vary; a field
 * with a rare word in it varies as a whole. Texts whose template is rare are tried once more with all quoted values as variables.
 */
import { MARK, TOKEN, type Tokens } from './tokens.ts';

/** 0: as fine as it goes; 1: a quoted value is one variable; 2: what begins with a rare word is one, to the end of the text. */
export type Coarseness = 0 | 1 | 2;
export const COARSENESS: readonly Coarseness[] = [0, 1, 2];

/** More variables than a file has columns. */
export const SLOTS_MAX = 64;

const COUNTERS = 2 ** 20;

/** How often a word came behind another, about: counters are shared by chance, and then too high, which only costs room. */
export class WordCounts {
  readonly #counts = new Uint32Array(COUNTERS);

  add(tokens: Tokens): void {
    let before = 0;
    for (let i = 0; i < tokens.count; i++) {
      if (tokens.kinds[i] === TOKEN.word) this.#counts[counterOf(tokens, i, before)]! += 1;
      before = behind(tokens, i, before);
    }
  }

  of(tokens: Tokens, index: number, before: number): number {
    return this.#counts[counterOf(tokens, index, before)]!;
  }
}

function hashOf(tokens: Tokens, index: number, seed: number): number {
  let hash = seed ^ 0x811c9dc5;
  const { text } = tokens;
  for (let i = tokens.starts[index]!; i < tokens.ends[index]!; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  return hash;
}

function counterOf(tokens: Tokens, index: number, before: number): number {
  const hash = hashOf(tokens, index, Math.imul(before, 0x9e3779b1));
  return (hash ^ (hash >>> 15)) & (COUNTERS - 1);
}

/** What the next token stands behind: a word or a separator, with the joints between them. */
function behind(tokens: Tokens, index: number, before: number): number {
  switch (tokens.kinds[index]) {
    case TOKEN.variable:
      return 1;
    case TOKEN.time:
      return 2;
    case TOKEN.joint:
    case TOKEN.quote:
      return hashOf(tokens, index, before);
    default:
      return hashOf(tokens, index, 3);
  }
}

/** Where the variables of a text are, and the text with marks in their place. */
export class Template {
  /** Placeholders are MARK + `s`, MARK + `t` + form, MARK + `d` + form; which column they name comes later. */
  key = '';
  count = 0;
  readonly starts = new Int32Array(SLOTS_MAX);
  readonly ends = new Int32Array(SLOTS_MAX);
  /** Of times that are not the row's own; NaN of texts. */
  readonly offsetsMs = new Float64Array(SLOTS_MAX);

  /** False where there are too many variables. */
  read(tokens: Tokens, counts: WordCounts, rowsMin: number, coarseness: Coarseness): boolean {
    this.key = '';
    this.count = 0;
    const { text, kinds, starts, ends } = tokens;
    let before = 0;
    for (let i = 0; i < tokens.count; ) {
      if (this.count >= SLOTS_MAX - 1) return false;
      const kind = kinds[i]!;
      if (isBorder(kind)) {
        const close = kind === TOKEN.quote && coarseness > 0 ? closingQuote(tokens, i) : 0;
        if (close > 0) {
          // Keys of JSON are constant, values are not.
          const isKey = text.charCodeAt(ends[close]!) === COLON;
          if (isKey || close === i + 1) this.key += text.slice(starts[i], ends[close]);
          else this.#quoted(ends[i]!, starts[close]!);
          while (i <= close) before = behind(tokens, i++, before);
          continue;
        }
        if (kind === TOKEN.time) this.#time(tokens, i);
        else this.key += text.slice(starts[i], ends[i]);
        before = behind(tokens, i, before);
        i += 1;
        continue;
      }
      // A field: up to the next border.
      let end = i;
      let isRare = false;
      for (; end < tokens.count && !isBorder(kinds[end]!); end++) {
        if (kinds[end] === TOKEN.word && counts.of(tokens, end, before) < rowsMin) isRare = true;
        before = behind(tokens, end, before);
      }
      if (isRare && coarseness === 2) {
        this.#slot(starts[i]!, text.length);
        return true;
      }
      if (isRare) {
        this.#slot(starts[i]!, ends[end - 1]!);
      } else {
        for (let j = i; j < end; j++) {
          if (this.count >= SLOTS_MAX - 1) return false;
          if (kinds[j] === TOKEN.variable) this.#slot(starts[j]!, ends[j]!);
          else this.key += text.slice(starts[j], ends[j]);
        }
      }
      i = end;
    }
    return true;
  }

  #quoted(start: number, end: number): void {
    this.key += '"';
    this.#slot(start, end);
    this.key += '"';
  }

  #slot(start: number, end: number): void {
    this.key += `${MARK}s`;
    this.starts[this.count] = start;
    this.ends[this.count] = end;
    this.offsetsMs[this.count] = Number.NaN;
    this.count += 1;
  }

  #time(tokens: Tokens, index: number): void {
    const offsetMs = tokens.offsetsMs[index]!;
    if (offsetMs === 0) {
      this.key += `${MARK}t${tokens.letters[index]}`;
      return;
    }
    this.key += `${MARK}d${tokens.letters[index]}`;
    this.starts[this.count] = tokens.starts[index]!;
    this.ends[this.count] = tokens.ends[index]!;
    this.offsetsMs[this.count] = offsetMs;
    this.count += 1;
  }
}

const COLON = 0x3a;

function isBorder(kind: number): boolean {
  return kind === TOKEN.gap || kind === TOKEN.time || kind === TOKEN.quote;
}

/** The quote that closes what this one opens; 0 where there is none. */
function closingQuote({ kinds, count }: Tokens, open: number): number {
  for (let i = open + 1; i < count; i++) if (kinds[i] === TOKEN.quote) return i;
  return 0;
}
