/** Smallest and largest text of a column chunk and of its pages, in byte order, cut where they are long. */
import { isUtf8 } from 'node:buffer';
import type { ClassColumn, DictionaryColumn } from '../core/columns.ts';
import type { Bounds, Values } from './value-pages.ts';

/** Longer bounds are cut. */
const BOUND_BYTES_MAX = 64;
const LAST_CODE_POINT = 0x10ffff;

/** `used`: entries of the column that come up; `local`: of each value its place among them. */
export function textStatistics(
  column: DictionaryColumn | ClassColumn,
  used: Uint32Array,
  local: Uint32Array,
): Pick<Values, 'bounds' | 'boundsOf'> {
  const all = new Extremes(column);
  for (const id of used) all.add(id);
  const bounds = all.bounds();
  if (!bounds) return {};
  if (used.length === 1) return { bounds, boundsOf: () => bounds };
  const boundsOf = (start: number, end: number): Bounds | undefined => {
    const some = new Extremes(column);
    const isKnown = new Uint8Array(used.length);
    for (let i = start; i < end; i++) {
      const place = local[i]!;
      if (isKnown[place] === 1) continue;
      isKnown[place] = 1;
      some.add(used[place]!);
    }
    return some.bounds();
  };
  return { bounds, boundsOf };
}

class Extremes {
  readonly #offsets: Uint32Array;
  readonly #bytes: Uint8Array;
  #min = -1;
  #max = -1;

  constructor({ offsets, bytes }: DictionaryColumn | ClassColumn) {
    this.#offsets = offsets;
    this.#bytes = bytes;
  }

  add(id: number): void {
    if (this.#min === -1) {
      this.#min = id;
      this.#max = id;
      return;
    }
    if (this.#compare(id, this.#min) < 0) this.#min = id;
    else if (this.#compare(id, this.#max) > 0) this.#max = id;
  }

  bounds(): Bounds | undefined {
    if (this.#min === -1) return undefined;
    const min = this.#entry(this.#min);
    const lower = lowerBound(min);
    const upper = upperBound(this.#entry(this.#max));
    if (!lower || !upper) return undefined;
    const isExact = { min: lower.byteLength === min.byteLength, max: upper.isExact };
    return { min: lower, max: upper.bytes, isExact };
  }

  /** Of texts that are the same as far as a bound goes none is below the other, but a text that ends there is. */
  #compare(a: number, b: number): number {
    const bytes = this.#bytes;
    const startA = this.#offsets[a]!;
    const startB = this.#offsets[b]!;
    const sizeA = Math.min(this.#offsets[a + 1]! - startA, BOUND_BYTES_MAX + 1);
    const sizeB = Math.min(this.#offsets[b + 1]! - startB, BOUND_BYTES_MAX + 1);
    const common = Math.min(sizeA, sizeB, BOUND_BYTES_MAX);
    for (let i = 0; i < common; i++) {
      const difference = bytes[startA + i]! - bytes[startB + i]!;
      if (difference !== 0) return difference;
    }
    return sizeA - sizeB;
  }

  #entry(id: number): Uint8Array {
    return this.#bytes.subarray(this.#offsets[id]!, this.#offsets[id + 1]!);
  }
}

/** The text itself or its beginning; cut between characters, as a bound is a text too. Undefined where it is no UTF-8. */
function lowerBound(text: Uint8Array): Uint8Array | undefined {
  if (text.byteLength <= BOUND_BYTES_MAX) return Uint8Array.from(text);
  let end = BOUND_BYTES_MAX;
  while (end > BOUND_BYTES_MAX - 4 && (text[end]! & 0xc0) === 0x80) end -= 1;
  const cut = Uint8Array.from(text.subarray(0, end));
  return isUtf8(cut) ? cut : undefined;
}

/** The text itself, or the least short one that is above everything that begins as it does. Undefined where there is none. */
function upperBound(text: Uint8Array): { bytes: Uint8Array; isExact: boolean } | undefined {
  const cut = lowerBound(text);
  if (!cut) return undefined;
  if (cut.byteLength === text.byteLength) return { bytes: cut, isExact: true };
  const characters = [...Buffer.from(cut).toString('utf8')];
  for (let last = characters.pop(); last !== undefined; last = characters.pop()) {
    const code = last.codePointAt(0)!;
    if (code === LAST_CODE_POINT) continue;
    // Surrogates are no characters.
    const next = code + 1 === 0xd800 ? 0xe000 : code + 1;
    return { bytes: Buffer.from(characters.join('') + String.fromCodePoint(next), 'utf8'), isExact: false };
  }
  return undefined;
}
