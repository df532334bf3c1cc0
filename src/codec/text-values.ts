/** How texts are written: dictionaries where they repeat, lengths and bytes for others; all ways where the smallest is looked for. */
import { type ClassColumn, type ColumnSchema, type DictionaryColumn, NULL_ID } from '../core/columns.ts';
import { ByteWriter } from './byte-writer.ts';
import { bitWidth, ENCODING, writeDeltas32 } from './encodings.ts';
import { textStatistics } from './text-bounds.ts';
import { ofDictionary, type Presence, type Values, widthsOf } from './value-pages.ts';
import type { Scratch } from './write-tools.ts';

const PAGE_TEXT_BYTES_MAX = 4 * 1024 * 1024;
/** Where the smallest file counts, not the memory of its readers. */
const PAGE_TEXT_BYTES_THOROUGH_MAX = 16 * 1024 * 1024;
/** A dictionary must save at least this share of the plain size. */
const DICTIONARY_GAIN = 0.9;

export function textValues(
  schema: ColumnSchema,
  column: DictionaryColumn | ClassColumn,
  start: number,
  end: number,
  present: Presence,
  scratch: Scratch,
  isThorough: boolean,
): Values[] {
  const { offsets, bytes } = column;
  const count = end - start - present.nullCount;
  const { used, times, local } = entriesOf(column, start, end, count, scratch);
  let plainBytes = 0;
  let dictionaryBytes = 0;
  for (let own = 0; own < used.length; own++) {
    const id = used[own]!;
    const size = offsets[id + 1]! - offsets[id]! + 4;
    plainBytes += size * times[own]!;
    dictionaryBytes += size;
  }
  const entry = (id: number): Uint8Array => bytes.subarray(offsets[id]!, offsets[id + 1]!);
  const statistics = schema.kind === 'string' && !schema.json ? textStatistics(column, used, local) : {};
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
  const texts = new Texts(column, used, local, scratch);
  for (const isAligned of isThorough ? [false, true] : [false]) {
    found.push({
      encoding: ENCODING.deltaLengthByteArray,
      write: (page, from, to) => {
        const lengths = texts.lengths(from, to);
        writeDeltas32(page, lengths, lengths.length, isAligned);
        texts.write(page, from, to);
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
          const value = entry(used[local[i]!]!);
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

/** Values of a column, as bytes. */
class Texts {
  readonly #offsets: Uint32Array;
  readonly #bytes: Uint8Array;
  readonly #used: Uint32Array;
  readonly #local: Uint32Array;
  readonly #scratch: Scratch;

  constructor(
    { offsets, bytes }: DictionaryColumn | ClassColumn,
    used: Uint32Array,
    local: Uint32Array,
    scratch: Scratch,
  ) {
    this.#scratch = scratch;
    this.#offsets = offsets;
    this.#bytes = bytes;
    this.#used = used;
    this.#local = local;
  }

  lengths(from: number, to: number): Int32Array {
    const lengths = this.#scratch.int32(to - from);
    for (let i = from; i < to; i++) {
      const id = this.#used[this.#local[i]!]!;
      lengths[i - from] = this.#offsets[id + 1]! - this.#offsets[id]!;
    }
    return lengths;
  }

  /** One behind another. What lies so already is copied at once. */
  write(page: ByteWriter, from: number, to: number): void {
    let start = 0;
    let end = 0;
    for (let i = from; i < to; i++) {
      const id = this.#used[this.#local[i]!]!;
      if (this.#offsets[id] !== end) {
        if (end > start) page.bytes(this.#bytes.subarray(start, end));
        start = this.#offsets[id]!;
      }
      end = this.#offsets[id + 1]!;
    }
    if (end > start) page.bytes(this.#bytes.subarray(start, end));
  }
}

/** Entries that come up, in the order of their first rows; how often each does; and of each value its place among them. */
interface Entries {
  used: Uint32Array;
  times: Uint32Array;
  local: Uint32Array;
}

function entriesOf(
  column: DictionaryColumn | ClassColumn,
  start: number,
  end: number,
  count: number,
  scratch: Scratch,
): Entries {
  if (count === 0) return { used: new Uint32Array(0), times: new Uint32Array(0), local: new Uint32Array(0) };
  if ('classes' in column) return entriesOfClasses(column, count, scratch);
  return column.isInOrder && start === 0
    ? entriesInOrder(column, end, count, scratch)
    : entriesFound(column, start, end, count, scratch);
}

function entriesOfClasses(
  { classes: { of, counts }, classIds, offsets }: ClassColumn,
  count: number,
  scratch: Scratch,
): Entries {
  const times = scratch.zeros32(offsets.length - 1);
  for (let i = 0; i < counts.length; i++) if (classIds[i] !== NULL_ID) times[classIds[i]!]! += counts[i]!;
  const local = scratch.uint32(count);
  // One entry, and all are its.
  if (!of || times.length === 1) {
    local.fill(0);
  } else {
    const isFull = count === of.length;
    let at = 0;
    for (let i = 0; i < of.length; i++) {
      const id = classIds[of[i]!]!;
      if (isFull || id !== NULL_ID) local[at++] = id;
    }
  }
  return { used: numbersTo(times.length, scratch), times, local };
}

/** Of rows from the first on: ids are places. */
function entriesInOrder({ ids, offsets }: DictionaryColumn, end: number, count: number, scratch: Scratch): Entries {
  let times = scratch.zeros32(offsets.length - 1);
  let local = ids;
  if (count === end) {
    local = ids.subarray(0, end);
    for (let i = 0; i < end; i++) times[ids[i]!]! += 1;
  } else {
    local = scratch.uint32(count);
    let at = 0;
    for (let i = 0; i < end; i++) {
      const id = ids[i]!;
      if (id === NULL_ID) continue;
      times[id]! += 1;
      local[at++] = id;
    }
  }
  // Not all rows: what they do not use comes last.
  let entries = times.length;
  while (times[entries - 1] === 0) entries -= 1;
  times = times.subarray(0, entries);
  return { used: numbersTo(entries, scratch), times, local };
}

function entriesFound(
  { ids, offsets }: DictionaryColumn,
  start: number,
  end: number,
  count: number,
  scratch: Scratch,
): Entries {
  const local = scratch.uint32(count);
  // Ids are dense, so a table beats a map; NULL_ID marks what has not been met.
  const localOf = scratch.uint32(offsets.length - 1).fill(NULL_ID);
  const times = scratch.zeros32(offsets.length - 1);
  const used = scratch.uint32(offsets.length - 1);
  let usedCount = 0;
  let at = 0;
  for (let i = start; i < end; i++) {
    const id = ids[i]!;
    if (id === NULL_ID) continue;
    let own = localOf[id]!;
    if (own === NULL_ID) {
      own = usedCount;
      localOf[id] = own;
      used[usedCount++] = id;
    }
    times[own]! += 1;
    local[at++] = own;
  }
  return { used: used.subarray(0, usedCount), times: times.subarray(0, usedCount), local };
}

function numbersTo(count: number, scratch: Scratch): Uint32Array {
  const numbers = scratch.uint32(count);
  for (let i = 0; i < count; i++) numbers[i] = i;
  return numbers;
}
