/**
 * Bodies that never repeat: every time in a body is moved on each time it is sent, in place and with the same width. Known forms:
 * digits and ISO texts in JSON, varints in protobuf, 64-bit integers in msgpack. Found once per body, by the range that the generator's
 * times lie in.
 */
type Form = 'seconds-text' | 'millis-text' | 'nanos-text' | 'iso-text' | 'seconds-varint' | 'nanos-varint' | 'nanos-64';

export interface Stamp {
  at: number;
  form: Form;
  /** Milliseconds since the epoch; what lies below a millisecond of `nanos` is in `restNs`. */
  ms: number;
  restNs: bigint;
}

export interface TimeRange {
  fromMs: number;
  toMs: number;
}

const NS_PER_MS = 1_000_000n;
const SECONDS_VARINT_BYTES = 5;
const NANOS_VARINT_BYTES = 9;

export function findStamps(bytes: Buffer, contentType: string, range: TimeRange): Stamp[] {
  if (contentType.includes('json')) return textStamps(bytes, range);
  return contentType.includes('msgpack') ? msgpackStamps(bytes, range) : protobufStamps(bytes, range);
}

/** Writes all times, moved by `shiftMs`, into the same places. */
export function applyStamps(bytes: Buffer, stamps: readonly Stamp[], shiftMs: number): void {
  for (const { at, form, ms, restNs } of stamps) {
    const moved = ms + shiftMs;
    switch (form) {
      case 'seconds-text':
        bytes.write(String(Math.floor(moved / 1000)), at, 'latin1');
        break;
      case 'millis-text':
        bytes.write(String(moved), at, 'latin1');
        break;
      case 'nanos-text':
        bytes.write(String(BigInt(moved) * NS_PER_MS + restNs), at, 'latin1');
        break;
      case 'iso-text':
        bytes.write(new Date(moved).toISOString(), at, 'latin1');
        break;
      case 'seconds-varint':
        writeVarint(bytes, at, BigInt(Math.floor(moved / 1000)), SECONDS_VARINT_BYTES);
        break;
      case 'nanos-varint':
        writeVarint(bytes, at, BigInt(moved) * NS_PER_MS + restNs, NANOS_VARINT_BYTES);
        break;
      case 'nanos-64':
        bytes.writeBigUInt64BE(BigInt(moved) * NS_PER_MS + restNs, at);
    }
  }
}

function textStamps(bytes: Buffer, range: TimeRange): Stamp[] {
  const text = bytes.toString('latin1');
  const stamps: Stamp[] = [];
  for (const { 0: found, index } of text.matchAll(/(?<!\d)1\d{9}(?:\d{3}|\d{9})?(?!\d)|\d{4}-\d\d-\d\dT[\d:.]{12}Z/g)) {
    if (found.includes('T')) add(stamps, range, { at: index, form: 'iso-text', ms: Date.parse(found), restNs: 0n });
    else if (found.length === 10)
      add(stamps, range, { at: index, form: 'seconds-text', ms: Number(found) * 1000, restNs: 0n });
    else if (found.length === 13) add(stamps, range, { at: index, form: 'millis-text', ms: Number(found), restNs: 0n });
    else add(stamps, range, { at: index, form: 'nanos-text', ...ofNanos(BigInt(found)) });
  }
  return stamps;
}

function msgpackStamps(bytes: Buffer, range: TimeRange): Stamp[] {
  const stamps: Stamp[] = [];
  for (let at = bytes.indexOf(0xcf); at >= 0 && at + 9 <= bytes.byteLength; at = bytes.indexOf(0xcf, at + 1)) {
    add(stamps, range, { at: at + 1, form: 'nanos-64', ...ofNanos(bytes.readBigUInt64BE(at + 1)) });
  }
  return stamps;
}

/** A varint of the right width anywhere: the chance that other bytes give a time within minutes is nil for practical purposes. */
function protobufStamps(bytes: Buffer, range: TimeRange): Stamp[] {
  const stamps: Stamp[] = [];
  for (let at = 1; at < bytes.byteLength; at++) {
    // Where a varint begins, the byte before it has ended the tag.
    if (bytes[at - 1]! >= 0x80) continue;
    const width = varintWidth(bytes, at);
    if (width === SECONDS_VARINT_BYTES) {
      add(stamps, range, { at, form: 'seconds-varint', ms: Number(readVarint(bytes, at, width)) * 1000, restNs: 0n });
    } else if (width === NANOS_VARINT_BYTES) {
      add(stamps, range, { at, form: 'nanos-varint', ...ofNanos(readVarint(bytes, at, width)) });
    }
  }
  return stamps;
}

function add(stamps: Stamp[], range: TimeRange, stamp: Stamp): void {
  if (stamp.ms >= range.fromMs && stamp.ms <= range.toMs) stamps.push(stamp);
}

function ofNanos(nanos: bigint): { ms: number; restNs: bigint } {
  return { ms: Number(nanos / NS_PER_MS), restNs: nanos % NS_PER_MS };
}

function varintWidth(bytes: Buffer, at: number): number {
  for (let i = at; i < bytes.byteLength && i < at + 10; i++) if (bytes[i]! < 0x80) return i - at + 1;
  return 0;
}

function readVarint(bytes: Buffer, at: number, width: number): bigint {
  let value = 0n;
  for (let i = width - 1; i >= 0; i--) value = (value << 7n) | BigInt(bytes[at + i]! & 0x7f);
  return value;
}

function writeVarint(bytes: Buffer, at: number, value: bigint, width: number): void {
  let left = value;
  for (let i = 0; i < width; i++) {
    bytes[at + i] = Number(left & 0x7fn) | (i < width - 1 ? 0x80 : 0);
    left >>= 7n;
  }
}
