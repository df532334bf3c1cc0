/**
 * Split-block bloom filters of single columns, so that a reader who looks for an id leaves out the row groups that do not hold it. What must hold: a filter
 * never says no for a value that is there. Source: the Parquet format specification, "Bloom filter".
 */
import { type ColumnSchema, type GroupColumn, isAbsent, NULL_ID } from '../core/columns.ts';
import { ByteWriter } from './byte-writer.ts';
import { struct, writeStruct } from './thrift.ts';
import { Xxhash64 } from './xxhash64.ts';

const BLOCK_BYTES = 32;
/** At most; it depends on the size that it names. */
const HEADER_BYTES = 18;
const SALTS = [0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d, 0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31] as const;
/** At most, by the format's formula. As sizes are powers of two, 1 % on average; measured 0.1 to 2.7 %, since values do not fall into blocks evenly. */
const FALSE_POSITIVES = 0.02;
/** A filter for which there is no room then is halved, but not beyond this. */
const FALSE_POSITIVES_MAX = 0.05;
const bitsPerValue = (falsePositives: number): number => -8 / Math.log(1 - falsePositives ** (1 / 8));
/** What all filters of a row group may take of its bytes. */
export const FILTERS_SHARE_MAX = 0.02;

/**
 * Header and bits of the filter of these rows, nulls left out; undefined where it would be larger than `bytesMax`, and without values. Its size is a power
 * of two: Arrow, and with it ClickHouse, refuses others.
 */
export function bloomFilterOf(
  schema: ColumnSchema,
  column: GroupColumn,
  start: number,
  end: number,
  bytesMax: number,
): Uint8Array | undefined {
  if (!('classes' in column) && isAbsent(column)) return undefined;
  const bitsMax = bytesMax - HEADER_BYTES;
  if (bitsMax < BLOCK_BYTES) return undefined;
  const hashes = hashesOf(schema, column, start, end);
  const sizeBytes = sizeFor(hashes.count, bitsMax);
  if (sizeBytes === undefined) return undefined;
  const empty = struct([[1, struct([])]]);
  const writer = new ByteWriter(sizeBytes + HEADER_BYTES);
  writeStruct(writer, [
    [1, { kind: 'i32', value: sizeBytes }],
    // The one algorithm, hash and compression that there are: blocks, XXH64, none.
    [2, empty],
    [3, empty],
    [4, empty],
  ]);
  const bitsAt = writer.zeros(sizeBytes);
  const bits = writer.view(bitsAt);
  const blocks = sizeBytes / BLOCK_BYTES;
  for (let i = 0; i < hashes.count; i++) {
    const block = Math.floor(((hashes.highs[i]! >>> 0) * blocks) / 4294967296) * BLOCK_BYTES;
    const low = hashes.lows[i]!;
    for (let word = 0; word < 8; word++) {
      const bit = Math.imul(low, SALTS[word]!) >>> 27;
      bits[block + word * 4 + (bit >>> 3)]! |= 1 << (bit & 7);
    }
  }
  return writer.finish();
}

function sizeFor(distinct: number, bytesMax: number): number | undefined {
  if (distinct === 0) return undefined;
  const wanted = (distinct * bitsPerValue(FALSE_POSITIVES)) / 8;
  let size = BLOCK_BYTES;
  while (size < wanted) size *= 2;
  if (size > bytesMax && size > BLOCK_BYTES) size /= 2;
  const isTooSmall = size < (distinct * bitsPerValue(FALSE_POSITIVES_MAX)) / 8;
  return size > bytesMax || isTooSmall ? undefined : size;
}

function hashesOf(schema: ColumnSchema, column: GroupColumn, start: number, end: number): HashSet {
  const hash = new Xxhash64();
  if ('ids' in column) return hashesOfTexts(column, start, end, hash);
  if ('classes' in column || column.kind !== 'int64') throw new Error(`BUG: no bloom filter for column ${schema.name}`);
  const words = new Int32Array(column.values.buffer, column.values.byteOffset, column.values.length * 2);
  const { nulls } = column;
  const set = new HashSet(end - start);
  let isFirst = true;
  let lastLow = 0;
  let lastHigh = 0;
  for (let row = start; row < end; row++) {
    if (nulls?.[row] === 1) continue;
    const low = words[2 * row]!;
    const high = words[2 * row + 1]!;
    // Spans of a trace lie beside one another.
    if (!isFirst && low === lastLow && high === lastHigh) continue;
    isFirst = false;
    lastLow = low;
    lastHigh = high;
    hash.ofLong(low, high);
    set.add(hash.low, hash.high);
  }
  return set;
}

function hashesOfTexts(
  { ids, offsets, bytes }: { ids: Uint32Array; offsets: Uint32Array; bytes: Uint8Array },
  start: number,
  end: number,
  hash: Xxhash64,
): HashSet {
  const set = new HashSet(Math.min(end - start, offsets.length - 1));
  const isKnown = new Uint8Array(offsets.length - 1);
  for (let row = start; row < end; row++) {
    const id = ids[row]!;
    if (id === NULL_ID || isKnown[id] === 1) continue;
    isKnown[id] = 1;
    hash.ofBytes(bytes.subarray(offsets[id]!, offsets[id + 1]!));
    set.add(hash.low, hash.high);
  }
  return set;
}

/** Distinct hashes, in the order in which they came. */
class HashSet {
  count = 0;
  readonly lows: Int32Array;
  readonly highs: Int32Array;
  /** Place in `lows` and `highs`, plus one. At most half full. */
  readonly #slots: Uint32Array;

  constructor(countMax: number) {
    this.lows = new Int32Array(countMax);
    this.highs = new Int32Array(countMax);
    let slots = 16;
    while (slots < countMax * 2) slots *= 2;
    this.#slots = new Uint32Array(slots);
  }

  add(low: number, high: number): void {
    const mask = this.#slots.length - 1;
    for (let slot = low & mask; ; slot = (slot + 1) & mask) {
      const place = this.#slots[slot]!;
      if (place === 0) {
        this.lows[this.count] = low;
        this.highs[this.count] = high;
        this.count += 1;
        this.#slots[slot] = this.count;
        return;
      }
      if (this.lows[place - 1] === low && this.highs[place - 1] === high) return;
    }
  }
}
