/** How texts are written: dictionaries where they repeat, lengths and bytes for others; all ways where the smallest is looked for. */
import { isUtf8 } from 'node:buffer';
import { type ColumnSchema, type DictionaryColumn, NULL_ID } from '../core/columns.ts';
import { ByteWriter } from './byte-writer.ts';
import { bitWidth, ENCODING, writeDeltas32 } from './encodings.ts';
import { type Bounds, ofDictionary, type Presence, type Values, widthsOf } from './value-pages.ts';

const PAGE_TEXT_BYTES_MAX = 4 * 1024 * 1024;
/** Where the smallest file counts, not the memory of its readers. */
const PAGE_TEXT_BYTES_THOROUGH_MAX = 16 * 1024 * 1024;
/** A dictionary must save at least this share of the plain size. */
const DICTIONARY_GAIN = 0.9;
/** Longer bounds are cut. */
const BOUND_BYTES_MAX = 64;
const LAST_CODE_POINT = 0x10ffff;

export function textValues(
  schema: ColumnSchema,
  column: DictionaryColumn,
  start: number,
  end: number,
  present: Presence,
  isThorough: boolean,
): Values[] {
  const { ids, offsets, bytes } = column;
  const count = end - start - present.nullCount;
  const local = new Uint32Array(count);
  // Ids are dense, so a table beats a map; NULL_ID marks what has not been met.
  const localOf = new Uint32Array(offsets.length - 1).fill(NULL_ID);
  const used: number[] = [];
  let plainBytes = 0;
  let dictionaryBytes = 0;
  let at = 0;
  for (let i = start; i < end; i++) {
    const id = ids[i]!;
    if (id === NULL_ID) continue;
    const size = offsets[id + 1]! - offsets[id]! + 4;
    plainBytes += size;
    let own = localOf[id]!;
    if (own === NULL_ID) {
      own = used.length;
      localOf[id] = own;
      used.push(id);
      dictionaryBytes += size;
    }
    local[at++] = own;
  }
  const entry = (id: number): Uint8Array => bytes.subarray(offsets[id]!, offsets[id + 1]!);
  const statistics = schema.kind === 'string' && !schema.json ? textStatistics(used, local, entry) : {};
  const width = bitWidth(used.length - 1);
  const packedBytes = dictionaryBytes + (count * width) / 8;
  const found: Values[] = [];
  if (count > 0 && packedBytes < plainBytes * DICTIONARY_GAIN) {
    const dictionary = new ByteWriter(dictionaryBytes + 16);
    for (const id of used) {
      const value = entry(id);
      dictionary.uint32(value.byteLength);
      dictionary.bytes(value);
    }
    const page = { bytes: dictionary.view(), count: used.length };
    for (const bits of isThorough ? widthsOf(used.length) : [width]) {
      found.push({ ...ofDictionary(local, bits, page), ...statistics });
    }
    if (!isThorough) return found;
  }
  const averageBytes = Math.max(1, plainBytes / Math.max(1, count));
  const pageBytesMax = isThorough ? PAGE_TEXT_BYTES_THOROUGH_MAX : PAGE_TEXT_BYTES_MAX;
  const pageValuesMax = Math.max(1, Math.floor(pageBytesMax / averageBytes));
  const entryAt = (i: number): Uint8Array => entry(used[local[i]!]!);
  for (const isAligned of isThorough ? [false, true] : [false]) {
    found.push({
      encoding: ENCODING.deltaLengthByteArray,
      write: (page, from, to) => {
        const lengths = new Int32Array(to - from);
        for (let i = from; i < to; i++) lengths[i - from] = entryAt(i).byteLength;
        writeDeltas32(page, lengths, lengths.length, isAligned);
        for (let i = from; i < to; i++) page.bytes(entryAt(i));
      },
      pageValuesMax,
      ...statistics,
    });
  }
  if (isThorough) {
    found.push({
      encoding: ENCODING.plain,
      write: (page, from, to) => {
        for (let i = from; i < to; i++) {
          const value = entryAt(i);
          page.uint32(value.byteLength);
          page.bytes(value);
        }
      },
      pageValuesMax,
      ...statistics,
    });
  }
  return found;
}

/** Smallest and largest text in byte order. `local`: of each value its place in `used`. */
function textStatistics(
  used: readonly number[],
  local: Uint32Array,
  entry: (id: number) => Uint8Array,
): Pick<Values, 'bounds' | 'boundsOf'> {
  const bounds = textBounds(used, entry);
  if (!bounds) return {};
  const boundsOf = (start: number, end: number): Bounds | undefined => {
    const places = new Set(local.subarray(start, end));
    return textBounds(
      Array.from(places, (place) => used[place]!),
      entry,
    );
  };
  return { bounds, boundsOf };
}

function textBounds(ids: readonly number[], entry: (id: number) => Uint8Array): Bounds | undefined {
  let min: Uint8Array | undefined;
  let max: Uint8Array | undefined;
  for (const id of ids) {
    const value = entry(id);
    if (min === undefined || Buffer.compare(value, min) < 0) min = value;
    if (max === undefined || Buffer.compare(value, max) > 0) max = value;
  }
  if (!min || !max) return undefined;
  const lower = lowerBound(min);
  const upper = upperBound(max);
  if (!lower || !upper) return undefined;
  const isExact = { min: lower.byteLength === min.byteLength, max: upper.isExact };
  return { min: lower, max: upper.bytes, isExact };
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
