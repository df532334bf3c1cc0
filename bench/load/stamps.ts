/**
 * Bodies that never repeat: every time in a body is moved on each time it is sent, in place and with the same width. Known forms:
 * digits and ISO texts in JSON, varints in protobuf, 64-bit integers in msgpack. Found once per body, by the range that its times lie
 * in. Moved by plain arithmetic on bytes, as the generator shares the machine with what it measures: most times change by one byte.
 */

/** Where the times of a body are, by how they are written. */
export interface Stamps {
  /** Last digit of the whole seconds: of seconds, milli- and nanoseconds in digits. */
  digits: Int32Array;
  /** `2026-01-01T00:00:00.000Z`. */
  isoTexts: Int32Array;
  secondsVarints: Int32Array;
  nanosVarints: Int32Array;
  /** Big-endian. */
  nanos64: Int32Array;
}

export interface TimeRange {
  fromMs: number;
  toMs: number;
}

const NS_PER_MS = 1e6;
const NS_PER_SECOND = 1e9;
const SECONDS_DIGITS = 10;
const SECONDS_VARINT_BYTES = 5;
const NANOS_VARINT_BYTES = 9;
const ISO_CHARACTERS = 24;
const MSGPACK_UINT64 = 0xcf;
const MSGPACK_INT64 = 0xd3;
const ZERO = 48;

export function findStamps(bytes: Buffer, contentType: string, range: TimeRange): Stamps {
  const found = { digits: [], isoTexts: [], secondsVarints: [], nanosVarints: [], nanos64: [] };
  const add = (places: number[], at: number, ms: number): void => {
    if (ms >= range.fromMs && ms <= range.toMs) places.push(at);
  };
  if (contentType.includes('json')) findInText(bytes, found, add);
  else if (contentType.includes('msgpack')) findInMsgpack(bytes, found, add);
  else findInProtobuf(bytes, found, add);
  return {
    digits: Int32Array.from(found.digits),
    isoTexts: Int32Array.from(found.isoTexts),
    secondsVarints: Int32Array.from(found.secondsVarints),
    nanosVarints: Int32Array.from(found.nanosVarints),
    nanos64: Int32Array.from(found.nanos64),
  };
}

export function stampCount(stamps: Stamps): number {
  return Object.values(stamps).reduce((sum, places: Int32Array) => sum + places.length, 0);
}

/** Moves all times by whole seconds, forth or back, at most some weeks. */
export function moveStamps(bytes: Buffer, stamps: Stamps, seconds: number): void {
  const { digits, isoTexts, secondsVarints, nanosVarints, nanos64 } = stamps;
  const nanos = seconds * NS_PER_SECOND;
  for (let i = 0; i < digits.length; i++) addToDigits(bytes, digits[i]!, seconds);
  for (let i = 0; i < secondsVarints.length; i++) addToVarint(bytes, secondsVarints[i]!, seconds);
  for (let i = 0; i < nanosVarints.length; i++) addToVarint(bytes, nanosVarints[i]!, nanos);
  for (let i = 0; i < nanos64.length; i++) addTo64(bytes, nanos64[i]!, nanos);
  for (let i = 0; i < isoTexts.length; i++) {
    const at = isoTexts[i]!;
    const ms = Date.parse(bytes.toString('latin1', at, at + ISO_CHARACTERS));
    bytes.write(new Date(ms + seconds * 1000).toISOString(), at, 'latin1');
  }
}

/** `last`: place of the last digit. What is carried is below 0 when a number is taken away. */
function addToDigits(bytes: Buffer, last: number, number: number): void {
  let carried = number;
  for (let at = last; carried !== 0; at--) {
    const sum = bytes[at]! - ZERO + carried;
    carried = Math.floor(sum / 10);
    bytes[at] = ZERO + sum - carried * 10;
  }
}

function addToVarint(bytes: Buffer, first: number, number: number): void {
  let carried = number;
  for (let at = first; carried !== 0; at++) {
    const byte = bytes[at]!;
    const sum = (byte & 0x7f) + carried;
    carried = Math.floor(sum / 128);
    bytes[at] = (byte & 0x80) | (sum - carried * 128);
  }
}

function addTo64(bytes: Buffer, first: number, number: number): void {
  let carried = number;
  for (let at = first + 7; carried !== 0; at--) {
    const sum = bytes[at]! + carried;
    carried = Math.floor(sum / 256);
    bytes[at] = sum - carried * 256;
  }
}

type Found = Record<keyof Stamps, number[]>;
type Add = (places: number[], at: number, ms: number) => void;

function findInText(bytes: Buffer, found: Found, add: Add): void {
  const text = bytes.toString('latin1');
  for (const { 0: time, index } of text.matchAll(/(?<!\d)1\d{9}(?:\d{3}|\d{9})?(?!\d)|\d{4}-\d\d-\d\dT[\d:.]{12}Z/g)) {
    if (time.includes('T')) add(found.isoTexts, index, Date.parse(time));
    // As if all were milliseconds: 10, 13 or 19 digits.
    else add(found.digits, index + SECONDS_DIGITS - 1, Number(time) * 10 ** (13 - time.length));
  }
}

function findInMsgpack(bytes: Buffer, found: Found, add: Add): void {
  for (let at = 0; at + 9 <= bytes.byteLength; at++) {
    if (bytes[at] !== MSGPACK_UINT64 && bytes[at] !== MSGPACK_INT64) continue;
    const nanos = bytes.readUInt32BE(at + 1) * 2 ** 32 + bytes.readUInt32BE(at + 5);
    add(found.nanos64, at + 1, nanos / NS_PER_MS);
  }
}

/** A varint of the right width anywhere: the chance that other bytes give a time within minutes is nil for practical purposes. */
function findInProtobuf(bytes: Buffer, found: Found, add: Add): void {
  for (let at = 1; at < bytes.byteLength; at++) {
    // Before it stands the tag of a varint, one byte.
    const tag = bytes[at - 1]!;
    if (tag >= 0x80 || (tag & 7) !== 0) continue;
    const width = varintWidth(bytes, at);
    if (width === SECONDS_VARINT_BYTES) add(found.secondsVarints, at, readVarint(bytes, at, width) * 1000);
    else if (width === NANOS_VARINT_BYTES) add(found.nanosVarints, at, readVarint(bytes, at, width) / NS_PER_MS);
  }
}

function varintWidth(bytes: Buffer, at: number): number {
  for (let i = at; i < bytes.byteLength && i < at + 10; i++) if (bytes[i]! < 0x80) return i - at + 1;
  return 0;
}

/** About: beyond 2^53 the last digits are lost. */
function readVarint(bytes: Buffer, at: number, width: number): number {
  let value = 0;
  for (let i = width - 1; i >= 0; i--) value = value * 128 + (bytes[at + i]! & 0x7f);
  return value;
}
