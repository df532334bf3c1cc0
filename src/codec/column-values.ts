/**
 * How the values of one column of one row group are written, chosen by what they are: dictionaries where values repeat, deltas
 * for numbers that move in steps, plain or split bytes for the rest, settled by compressing a sample both ways. Doubles are
 * handled by their bits throughout: a NaN must keep its payload.
 */
import { type ClassColumn, type ColumnSchema, type GroupColumn, isAbsent, NULL_ID } from '../core/columns.ts';
import {
  bitWidth,
  canWriteDeltas32,
  ENCODING,
  writeByteStreams,
  writeDeltas32,
  writeDeltas64,
  writeHybrid,
} from './encodings.ts';
import { textValues } from './text-values.ts';
import { type Bounds, ofDictionary, PAGE_ROWS_MAX, type Presence, type Values, widthsOf } from './value-pages.ts';
import type { Scratch, WriteTools } from './write-tools.ts';

const SAMPLE_VALUES = 4096;

export function presenceOf(column: GroupColumn, start: number, end: number, scratch: Scratch): Presence {
  if ('classes' in column) return presenceOfClasses(column, start, end, scratch);
  const rows = end - start;
  if (rows > 0 && isAbsent(column)) return { isPresent: undefined, nullCount: rows };
  if ('ids' in column) {
    // Without entries nothing is there.
    if (column.offsets.length === 1) return { isPresent: undefined, nullCount: rows };
    return presenceOfIds(column.ids, start, end, scratch);
  }
  const { nulls } = column;
  return nulls ? presenceBy(nulls, start, end, scratch) : { isPresent: undefined, nullCount: 0 };
}

function presenceOfIds(ids: Uint32Array, start: number, end: number, scratch: Scratch): Presence {
  let nullCount = 0;
  for (let i = start; i < end; i++) if (ids[i] === NULL_ID) nullCount += 1;
  if (nullCount === 0 || nullCount === end - start) return { isPresent: undefined, nullCount };
  const isPresent = scratch.bytes(end - start);
  for (let i = start; i < end; i++) isPresent[i - start] = ids[i] === NULL_ID ? 0 : 1;
  return { isPresent, nullCount };
}

/** All rows: classes are those of a whole row group. */
function presenceOfClasses(
  { classes: { of, counts }, classIds }: ClassColumn,
  start: number,
  end: number,
  scratch: Scratch,
): Presence {
  let nullCount = 0;
  for (let i = 0; i < counts.length; i++) if (classIds[i] === NULL_ID) nullCount += counts[i]!;
  if (nullCount === 0 || nullCount === end - start) return { isPresent: undefined, nullCount };
  const isPresent = scratch.bytes(end - start);
  for (let i = 0; i < isPresent.length; i++) isPresent[i] = classIds[of![i]!] === NULL_ID ? 0 : 1;
  return { isPresent, nullCount };
}

function presenceBy(nulls: Uint8Array, start: number, end: number, scratch: Scratch): Presence {
  let nullCount = 0;
  for (let i = start; i < end; i++) nullCount += nulls[i]!;
  if (nullCount === 0 || nullCount === end - start) return { isPresent: undefined, nullCount };
  const isPresent = scratch.bytes(end - start);
  for (let i = start; i < end; i++) isPresent[i - start] = nulls[i]! ^ 1;
  return { isPresent, nullCount };
}

/** One way of writing the values; `isThorough`: all that may turn out to be the smallest. */
export function valuesOf(
  schema: ColumnSchema,
  column: GroupColumn,
  start: number,
  end: number,
  present: Presence,
  tools: WriteTools,
  isThorough: boolean,
): Values[] {
  if ('classes' in column || 'ids' in column)
    return textValues(schema, column, start, end, present, tools.scratch, isThorough);
  const count = end - start - present.nullCount;
  if (column.kind === 'int32') {
    const values = present.isPresent
      ? withoutNulls(column.values, tools.scratch.int32(count), start, end, present.isPresent)
      : column.values.subarray(start, start + count);
    return intValues(values, isThorough);
  }
  const source = column.kind === 'double' ? bitsOf(column.values) : column.values;
  const bits = present.isPresent
    ? withoutNulls(source, tools.scratch.int64(count), start, end, present.isPresent)
    : source.subarray(start, start + count);
  return column.kind === 'double'
    ? [doubleValues(new Float64Array(bits.buffer, bits.byteOffset, count), tools)]
    : longValues(bits, schema.unsigned === true, tools, isThorough);
}

/** The same memory as 64-bit integers: moving a double as a number may lose a NaN's payload. */
function bitsOf(values: Float64Array): BigInt64Array {
  return new BigInt64Array(values.buffer, values.byteOffset, values.length);
}

function withoutNulls<T extends Int32Array | BigInt64Array>(
  source: T,
  target: T,
  start: number,
  end: number,
  isPresent: Uint8Array,
): T {
  // 64-bit values by halves: no bigint is made of them on the way.
  const words = source.BYTES_PER_ELEMENT / 4;
  const from = new Int32Array(source.buffer, source.byteOffset, source.length * words);
  const to = new Int32Array(target.buffer, target.byteOffset, target.length * words);
  let at = 0;
  for (let i = start; i < end; i++) {
    if (isPresent[i - start] !== 1) continue;
    for (let word = 0; word < words; word++) to[at++] = from[i * words + word]!;
  }
  return target;
}

function bytesOf(array: Float64Array | BigInt64Array | Int32Array): Buffer {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength);
}

function intValues(values: Int32Array, isThorough: boolean): Values[] {
  const isDelta = canWriteDeltas32(values);
  const statistics = statisticsOf(values.length, (start, end) => intBounds(values.subarray(start, end)));
  const plain: Values = {
    encoding: ENCODING.plain,
    write: (page, from, to) => page.bytes(bytesOf(values.subarray(from, to))),
    pageValuesMax: PAGE_ROWS_MAX,
    ...statistics,
  };
  if (!isDelta) return [plain];
  const deltas = (isAligned: boolean): Values => ({
    encoding: ENCODING.deltaBinaryPacked,
    write: (page, from, to) => writeDeltas32(page, values.subarray(from, to), to - from, isAligned),
    pageValuesMax: PAGE_ROWS_MAX,
    ...statistics,
  });
  if (!isThorough) return [deltas(false)];
  return [deltas(false), deltas(true), plain, ...numberDictionaries(values, plain)];
}

/** Few numbers that come up again and again: ids as narrow as they can be, and of whole bytes. */
function numberDictionaries(values: Int32Array | BigInt64Array, plain: Values): Values[] {
  const distinctMax = Math.min(65_536, Math.floor(values.length / 4));
  const known = new Map<number | bigint, number>();
  const ids = new Uint32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    let id = known.get(value);
    if (id === undefined) {
      if (known.size >= distinctMax) return [];
      id = known.size;
      known.set(value, id);
    }
    ids[i] = id;
  }
  const entries = [...known.keys()];
  const array =
    values instanceof Int32Array ? Int32Array.from(entries as number[]) : BigInt64Array.from(entries as bigint[]);
  const dictionary = { bytes: bytesOf(array), count: entries.length };
  return widthsOf(entries.length).map((width) => ({ ...plain, ...ofDictionary(ids, width, dictionary) }));
}

function longValues(
  values: BigInt64Array,
  unsigned: boolean,
  { compressor, probe, sample }: WriteTools,
  isThorough: boolean,
): Values[] {
  // Unsigned numbers are random ids: every stretch of them has about the same bounds.
  const statistics = unsigned
    ? {}
    : statisticsOf(values.length, (start, end) => longBounds(values.subarray(start, end)));
  const plain: Values = {
    encoding: ENCODING.plain,
    write: (page, from, to) => page.bytes(bytesOf(values.subarray(from, to))),
    pageValuesMax: PAGE_ROWS_MAX,
    ...statistics,
  };
  const deltas = (isAligned: boolean): Values => ({
    encoding: ENCODING.deltaBinaryPacked,
    write: (page, from, to) => {
      if (!isAligned && from === 0 && to === values.length) page.bytes(probe.view());
      else if (!writeDeltas64(page, values.subarray(from, to), isAligned)) throw new Error('BUG: deltas no longer fit');
    },
    pageValuesMax: PAGE_ROWS_MAX,
    ...statistics,
  });
  if (isThorough) {
    const others = [plain, ...numberDictionaries(values, plain)];
    return writeDeltas64(probe, values) ? [deltas(false), deltas(true), ...others] : others;
  }
  // A sample first: what is random need not be tried as a whole.
  const some = values.subarray(0, SAMPLE_VALUES);
  if (!writeDeltas64(sample, some)) return [plain];
  if (compressor.compress(sample.view()).byteLength > compressor.compress(bytesOf(some)).byteLength) return [plain];
  return writeDeltas64(probe, values) ? [deltas(false)] : [plain];
}

/** Nothing without values, or without bounds of all of them. */
function statisticsOf(
  count: number,
  boundsOf: (start: number, end: number) => Bounds | undefined,
): Pick<Values, 'bounds' | 'boundsOf'> {
  const bounds = count === 0 ? undefined : boundsOf(0, count);
  return bounds ? { bounds, boundsOf } : {};
}

function intBounds(values: Int32Array): Bounds {
  let min = values[0]!;
  let max = min;
  for (let i = 1; i < values.length; i++) {
    const value = values[i]!;
    if (value < min) min = value;
    else if (value > max) max = value;
  }
  return { min: bytesOf(Int32Array.of(min)), max: bytesOf(Int32Array.of(max)) };
}

function longBounds(values: BigInt64Array): Bounds {
  const halves = new Int32Array(values.buffer, values.byteOffset, values.length * 2);
  let min = 0;
  let max = 0;
  let [minLow, minHigh] = [halves[0]! >>> 0, halves[1]!];
  let [maxLow, maxHigh] = [minLow, minHigh];
  for (let i = 1; i < values.length; i++) {
    const low = halves[2 * i]! >>> 0;
    const high = halves[2 * i + 1]!;
    if (high < minHigh || (high === minHigh && low < minLow)) {
      min = i;
      minLow = low;
      minHigh = high;
    } else if (high > maxHigh || (high === maxHigh && low > maxLow)) {
      max = i;
      maxLow = low;
      maxHigh = high;
    }
  }
  return { min: bytesOf(values.slice(min, min + 1)), max: bytesOf(values.slice(max, max + 1)) };
}

/** With a NaN among them readers that trust bounds would prune wrongly, so there are none then. */
function doubleBounds(values: Float64Array): Bounds | undefined {
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (Number.isNaN(value)) return undefined;
    if (value < min) min = value;
    if (value > max) max = value;
  }
  // Zero bounds carry the sign that includes both zeros.
  return {
    min: bytesOf(Float64Array.of(min === 0 ? -0 : min)),
    max: bytesOf(Float64Array.of(max === 0 ? 0 : max)),
  };
}

function doubleValues(values: Float64Array, { compressor, sample, scratch }: WriteTools): Values {
  const statistics = statisticsOf(values.length, (start, end) => doubleBounds(values.subarray(start, end)));
  const dictionary = doubleDictionary(values, scratch);
  if (dictionary) {
    const width = bitWidth(dictionary.count - 1);
    return {
      encoding: ENCODING.rleDictionary,
      dictionary: { bytes: dictionary.bytes, count: dictionary.count },
      write: (page, from, to) => {
        page.byte(width);
        writeHybrid(page, dictionary.ids.subarray(from, to), to - from, width);
      },
      pageValuesMax: PAGE_ROWS_MAX,
      ...statistics,
    };
  }
  const some = bytesOf(values.subarray(0, SAMPLE_VALUES));
  writeByteStreams(sample, some);
  const isSplit = compressor.compress(sample.view()).byteLength < compressor.compress(some).byteLength;
  return {
    encoding: isSplit ? ENCODING.byteStreamSplit : ENCODING.plain,
    write: (page, from, to) => {
      const bytes = bytesOf(values.subarray(from, to));
      if (isSplit) writeByteStreams(page, bytes);
      else page.bytes(bytes);
    },
    pageValuesMax: PAGE_ROWS_MAX,
    ...statistics,
  };
}

/** At most a quarter full. */
function slotsFor(distinctMax: number): number {
  let slots = 1024;
  while (slots < distinctMax * 4) slots *= 2;
  return slots;
}

/** Distinct doubles by their bits, if they are few enough to pay. */
function doubleDictionary(
  values: Float64Array,
  scratch: Scratch,
): { bytes: Uint8Array; count: number; ids: Uint32Array } | undefined {
  const distinctMax = Math.min(65_536, Math.floor(values.length / 4));
  if (distinctMax < 1) return undefined;
  const bits = new BigInt64Array(values.buffer, values.byteOffset, values.length);
  const halves = new Int32Array(values.buffer, values.byteOffset, values.length * 2);
  const slots = scratch.int32(slotsFor(distinctMax)).fill(-1);
  const mask = slots.length - 1;
  const distinct = scratch.int64(distinctMax);
  const distinctHalves = new Int32Array(distinct.buffer, distinct.byteOffset, distinctMax * 2);
  const ids = scratch.uint32(values.length);
  let count = 0;
  for (let i = 0; i < values.length; i++) {
    const low = halves[2 * i]!;
    const high = halves[2 * i + 1]!;
    let slot = (Math.imul(low ^ Math.imul(high, 0x9e3779b1), 0x85ebca6b) >>> 14) & mask;
    for (;;) {
      const id = slots[slot]!;
      if (id === -1) {
        if (count === distinctMax) return undefined;
        slots[slot] = count;
        distinct[count] = bits[i]!;
        ids[i] = count++;
        break;
      }
      if (distinctHalves[2 * id] === low && distinctHalves[2 * id + 1] === high) {
        ids[i] = id;
        break;
      }
      slot = (slot + 1) & mask;
    }
  }
  return { bytes: bytesOf(distinct.subarray(0, count)), count, ids };
}
