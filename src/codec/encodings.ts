/**
 * Parquet's value encodings, written by hand because they are the hot path. Numbers of encodings are those of parquet.thrift.
 * Source: the Parquet format specification, "Encodings".
 */
import type { ByteWriter } from './byte-writer.ts';

export const ENCODING = {
  plain: 0,
  rle: 3,
  deltaBinaryPacked: 5,
  deltaLengthByteArray: 6,
  rleDictionary: 8,
  byteStreamSplit: 9,
} as const;

/** Bits needed for numbers from 0 to `max`. */
export function bitWidth(max: number): number {
  if (max <= 0) return 0;
  return max < 2 ** 32 ? 32 - Math.clz32(max >>> 0) : Math.floor(Math.log2(max)) + 1;
}

/** As many equal values are written as a run. */
export const RUN_MIN = 8;

/** The RLE / bit-packing hybrid: runs of eight and more equal values as runs, the rest packed in groups of eight. */
export function writeHybrid(writer: ByteWriter, values: Uint32Array | Uint8Array, count: number, width: number): void {
  let at = 0;
  while (at < count) {
    const run = runLength(values, at, count);
    if (run >= RUN_MIN) {
      writeRun(writer, values[at]!, run, width);
      at += run;
      continue;
    }
    // Groups of eight until a run begins at a group's edge; the last group is filled up with zeros.
    let end = at + 8;
    while (end < count && !isRun(values, end, count)) end += 8;
    const groups = (end - at) / 8;
    writer.varint(groups * 2 + 1);
    const whole = end <= count ? groups * 8 : (groups - 1) * 8;
    writer.packed(values, at, whole, width);
    if (whole < groups * 8) {
      const last = new Uint32Array(8);
      for (let i = at + whole; i < count; i++) last[i - at - whole] = values[i]!;
      writer.packed(last, 0, 8, width);
    }
    at = end;
  }
}

/** One run, however short, of the hybrid. */
export function writeRun(writer: ByteWriter, value: number, count: number, width: number): void {
  writer.varint(count * 2);
  let rest = value;
  for (let bits = 0; bits < width; bits += 8) {
    writer.byte(rest & 0xff);
    rest >>>= 8;
  }
}

/** Whether RUN_MIN equal values start here. */
function isRun(values: Uint32Array | Uint8Array, start: number, count: number): boolean {
  const end = start + RUN_MIN;
  if (end > count) return false;
  const value = values[start]!;
  for (let i = start + 1; i < end; i++) if (values[i] !== value) return false;
  return true;
}

/** Length of the run that starts at `start`. */
function runLength(values: Uint32Array | Uint8Array, start: number, count: number): number {
  const value = values[start]!;
  let end = start + 1;
  while (end < count && values[end] === value) end += 1;
  return end - start;
}

const BLOCK = 128;
const MINI_BLOCKS = 4;
const MINI = BLOCK / MINI_BLOCKS;
/** Deltas must stay whole numbers in a double, with room for the difference of two of them. */
const DELTA_MAX = 2 ** 51;

/**
 * DELTA_BINARY_PACKED of 64-bit numbers. Returns false (and leaves the writer as it was) when neighbours are further apart
 * than 2^51: such values are random by nature and go plain.
 */
export function writeDeltas64(writer: ByteWriter, values: BigInt64Array, isAligned = false): boolean {
  const count = values.length;
  const halves = new Int32Array(values.buffer, values.byteOffset, count * 2);
  const lengthBefore = writer.length;
  writeDeltaHeader(writer, count, count > 0 ? values[0]! : 0n);
  for (let start = 1; start < count; start += BLOCK) {
    const size = Math.min(BLOCK, count - start);
    let high = halves[2 * start - 1]!;
    let low = halves[2 * start - 2]! >>> 0;
    for (let i = 0; i < size; i++) {
      const nextHigh = halves[2 * (start + i) + 1]!;
      const nextLow = halves[2 * (start + i)]! >>> 0;
      const delta = (nextHigh - high) * 4294967296 + (nextLow - low);
      if (delta > DELTA_MAX || delta < -DELTA_MAX) {
        writer.length = lengthBefore;
        return false;
      }
      block[i] = delta;
      high = nextHigh;
      low = nextLow;
    }
    writeDeltaBlock(writer, size, isAligned);
  }
  return true;
}

/** Readers take no delta of a 32-bit column that needs more than 32 bits, so its steps must be 32-bit numbers themselves. */
export function canWriteDeltas32(values: Int32Array): boolean {
  for (let i = 1; i < values.length; i++) {
    const delta = values[i]! - values[i - 1]!;
    if (delta !== (delta | 0)) return false;
  }
  return true;
}

export function writeDeltas32(writer: ByteWriter, values: Int32Array, count: number, isAligned = false): void {
  writeDeltaHeader(writer, count, BigInt(count > 0 ? values[0]! : 0));
  for (let start = 1; start < count; start += BLOCK) {
    const size = Math.min(BLOCK, count - start);
    for (let i = 0; i < size; i++) block[i] = values[start + i]! - values[start + i - 1]!;
    writeDeltaBlock(writer, size, isAligned);
  }
}

function writeDeltaHeader(writer: ByteWriter, count: number, first: bigint): void {
  writer.varint(BLOCK);
  writer.varint(MINI_BLOCKS);
  writer.varint(count);
  writer.zigzagBig(first);
}

/** Steps of the block that is being written: whole numbers. */
const block = new Float64Array(BLOCK);
const narrow = new Uint32Array(MINI);

/**
 * Aligned: widths of whole bytes, and no smallest step taken off where steps are not negative. Equal steps are then equal bytes, which zstd
 * makes more of than of packed bits.
 */
function writeDeltaBlock(writer: ByteWriter, size: number, isAligned: boolean): void {
  let min = block[0]!;
  let max = min;
  for (let i = 1; i < size; i++) {
    const delta = block[i]!;
    if (delta < min) min = delta;
    else if (delta > max) max = delta;
  }
  if (isAligned && min > 0) min = 0;
  writer.zigzag(min);
  const widthsAt = writer.length;
  for (let mini = 0; mini < MINI_BLOCKS; mini++) writer.byte(0);
  if (min === max) return;
  // Mini blocks past the last value have width 0 and no bytes.
  for (let mini = 0; mini * MINI < size; mini++) {
    const start = mini * MINI;
    const end = Math.min(size, start + MINI);
    let top = 0;
    for (let i = start; i < end; i++) {
      const step = block[i]! - min;
      block[i] = step;
      if (step > top) top = step;
    }
    for (let i = end; i < start + MINI; i++) block[i] = 0;
    const exact = bitWidth(top);
    const width = isAligned ? Math.min(53, (exact + 7) & ~7) : exact;
    writer.orByte(widthsAt + mini, width);
    if (width > 24) writer.packedWide(block, start, MINI, width);
    else if (width > 0) {
      for (let i = 0; i < MINI; i++) narrow[i] = block[start + i]!;
      writer.packed(narrow, 0, MINI, width);
    }
  }
}

/** BYTE_STREAM_SPLIT of 8-byte values: all first bytes, then all second bytes … */
export function writeByteStreams(writer: ByteWriter, bytes: Uint8Array): void {
  const count = bytes.byteLength / 8;
  const start = writer.zeros(bytes.byteLength);
  const target = writer.view(start, start + bytes.byteLength);
  for (let stream = 0; stream < 8; stream++) {
    const base = stream * count;
    for (let i = 0; i < count; i++) target[base + i] = bytes[i * 8 + stream]!;
  }
}
