/**
 * Parquet's value encodings, written by hand because they are the hot path. Numbers of encodings are those of parquet.thrift.
 * Source: the Parquet format specification, "Encodings".
 */
import { type ByteWriter, packBits } from './byte-writer.ts';

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

const RUN_MIN = 8;

/** The RLE / bit-packing hybrid: runs of eight and more equal values as runs, the rest packed in groups of eight. */
export function writeHybrid(writer: ByteWriter, values: ArrayLike<number>, count: number, width: number): void {
  const bytesPerValue = (width + 7) >> 3;
  const packed = new Uint32Array(8);
  let at = 0;
  while (at < count) {
    const run = runLength(values, at, count);
    if (run >= RUN_MIN) {
      writer.varint(run * 2);
      let value = values[at]!;
      for (let i = 0; i < bytesPerValue; i++) {
        writer.byte(value & 0xff);
        value >>>= 8;
      }
      at += run;
      continue;
    }
    // Groups of eight until a run begins at a group's edge; the last group is filled up with zeros.
    let groups = 0;
    let end = at;
    while (end < count && (groups === 0 || runLength(values, end, count) < RUN_MIN)) {
      end += 8;
      groups += 1;
    }
    writer.varint(groups * 2 + 1);
    for (let group = 0; group < groups; group++) {
      for (let i = 0; i < 8; i++) {
        const index = at + group * 8 + i;
        packed[i] = index < count ? values[index]! : 0;
      }
      packBits(writer, packed, 0, 8, width);
    }
    at = end;
  }
}

/** Length of the run that starts at `start`; counted only as far as it matters when it is short. */
function runLength(values: ArrayLike<number>, start: number, count: number): number {
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
  const deltas = new Float64Array(Math.max(count - 1, 0));
  for (let i = 1; i < count; i++) {
    const high = halves[2 * i + 1]! - halves[2 * i - 1]!;
    const low = (halves[2 * i]! >>> 0) - (halves[2 * i - 2]! >>> 0);
    const delta = high * 4294967296 + low;
    if (delta > DELTA_MAX || delta < -DELTA_MAX) return false;
    deltas[i - 1] = delta;
  }
  writeDeltaBlocks(writer, count, count > 0 ? values[0]! : 0n, deltas, isAligned);
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

export function writeDeltas32(writer: ByteWriter, values: ArrayLike<number>, count: number, isAligned = false): void {
  const deltas = new Float64Array(Math.max(count - 1, 0));
  for (let i = 1; i < count; i++) deltas[i - 1] = values[i]! - values[i - 1]!;
  writeDeltaBlocks(writer, count, BigInt(count > 0 ? values[0]! : 0), deltas, isAligned);
}

/**
 * Aligned: widths of whole bytes, and no smallest step taken off where steps are not negative. Equal steps are then equal bytes, which zstd
 * makes more of than of packed bits.
 */
function writeDeltaBlocks(
  writer: ByteWriter,
  count: number,
  first: bigint,
  deltas: Float64Array,
  isAligned: boolean,
): void {
  writer.varint(BLOCK);
  writer.varint(MINI_BLOCKS);
  writer.varint(count);
  writer.zigzagBig(first);
  const block = new Float64Array(BLOCK);
  for (let start = 0; start < deltas.length; start += BLOCK) {
    const size = Math.min(BLOCK, deltas.length - start);
    let min = deltas[start]!;
    for (let i = 1; i < size; i++) if (deltas[start + i]! < min) min = deltas[start + i]!;
    if (isAligned && min > 0) min = 0;
    block.fill(0);
    for (let i = 0; i < size; i++) block[i] = deltas[start + i]! - min;
    writer.zigzag(min);
    const widths: number[] = [];
    for (let mini = 0; mini < MINI_BLOCKS; mini++) {
      let max = 0;
      for (let i = mini * MINI; i < (mini + 1) * MINI; i++) if (block[i]! > max) max = block[i]!;
      const width = bitWidth(max);
      widths.push(isAligned ? Math.min(53, (width + 7) & ~7) : width);
    }
    for (const width of widths) writer.byte(width);
    for (let mini = 0; mini < MINI_BLOCKS; mini++) {
      // Mini blocks past the last value have width 0 and no bytes.
      if (mini * MINI >= size) break;
      packBits(writer, block, mini * MINI, MINI, widths[mini]!);
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
