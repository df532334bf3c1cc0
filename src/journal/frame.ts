/**
 * The bytes of a journal file: one header, then frames, without padding. Pure: no I/O here. All integers little endian.
 * Drawn at length in docs/formats/journal.md.
 *
 *   header  magic 8 | version u32 | mark u32 | epoch u64 | first position u64 | reserved u32 | CRC-32 u32        (40 bytes)
 *   frame   mark u32 | head length u32 | body length u32 | position u64 | body CRC u32 | head CRC u32 | head | body
 *
 * The head CRC covers everything between the mark and itself, and the head; so a frame's extent is trusted without its body.
 * The mark is random per journal, and so nobody can send a body that looks like a frame to a scan after damage.
 */
import { crc32 } from 'node:zlib';
import type { EnvelopeHead, Position } from '../core/envelope.ts';
import { GIB, KIB, MIB } from '../core/limits.ts';

export const FILE_HEADER_BYTES = 40;
export const FRAME_PREFIX_BYTES = 28;
export const HEAD_BYTES_MAX = MIB;
export const BODY_BYTES_MAX = GIB;
/** Bodies from this size on are handled one by one: read alone, checked piecewise, never kept in memory for later. */
export const LARGE_BODY_BYTES = 4 * MIB;
/** Bodies up to this size are copied behind their head, so that a frame is one piece of memory. */
const EMBEDDED_BODY_BYTES_MAX = 16 * KIB;
const FILE_MAGIC = Buffer.from('RDXJRNL\n', 'latin1');
const FORMAT_VERSION = 1;
const TWO_32 = 2 ** 32;

export interface FileHeader {
  mark: number;
  epoch: number;
  first: Position;
}

/** A frame ready to be written but for its position, which it gets with its group. */
export interface EncodedFrame {
  /** Prefix, head and, when small, the body. */
  front: Buffer;
  /** The body where it is not part of `front`. */
  rest: Uint8Array | undefined;
  headBytes: number;
  totalBytes: number;
}

export interface FramePrefix {
  headBytes: number;
  bodyBytes: number;
  position: Position;
  bodyCrc: number;
  headCrc: number;
  totalBytes: number;
}

export function encodeFileHeader(header: FileHeader): Buffer {
  const bytes = Buffer.alloc(FILE_HEADER_BYTES);
  FILE_MAGIC.copy(bytes, 0);
  bytes.writeUInt32LE(FORMAT_VERSION, 8);
  bytes.writeUInt32LE(header.mark, 12);
  writeUInt64(bytes, header.epoch, 16);
  writeUInt64(bytes, header.first, 24);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 36)), 36);
  return bytes;
}

/** Undefined when the bytes are no header of a known version, or damaged. */
export function decodeFileHeader(bytes: Buffer): FileHeader | undefined {
  if (bytes.byteLength < FILE_HEADER_BYTES) return undefined;
  if (bytes.compare(FILE_MAGIC, 0, FILE_MAGIC.byteLength, 0, FILE_MAGIC.byteLength) !== 0) return undefined;
  if (bytes.readUInt32LE(8) !== FORMAT_VERSION) return undefined;
  if (bytes.readUInt32LE(36) !== crc32(bytes.subarray(0, 36))) return undefined;
  return { mark: bytes.readUInt32LE(12), epoch: readUInt64(bytes, 16), first: readUInt64(bytes, 24) };
}

/**
 * `body` as it rests: sealed already, if it is to be sealed. It must not change until the frame is written. `bodyCrc`: its CRC-32,
 * if it is known.
 */
export function encodeFrame(head: EnvelopeHead, body: Uint8Array, bodyCrc = crc32(body)): EncodedFrame {
  const text = JSON.stringify(head);
  const headBytes = Buffer.byteLength(text);
  if (headBytes > HEAD_BYTES_MAX) throw new Error(`BUG: an envelope head of ${headBytes} bytes`);
  if (body.byteLength > BODY_BYTES_MAX) throw new Error(`BUG: an envelope body of ${body.byteLength} bytes`);
  const embedded = body.byteLength <= EMBEDDED_BODY_BYTES_MAX;
  const bodyAt = FRAME_PREFIX_BYTES + headBytes;
  const front = Buffer.allocUnsafe(embedded ? bodyAt + body.byteLength : bodyAt);
  front.writeUInt32LE(headBytes, 4);
  front.writeUInt32LE(body.byteLength, 8);
  front.writeUInt32LE(bodyCrc, 20);
  front.write(text, FRAME_PREFIX_BYTES);
  if (embedded) front.set(body, bodyAt);
  return { front, rest: embedded ? undefined : body, headBytes, totalBytes: bodyAt + body.byteLength };
}

/** Gives a frame its place; may be repeated with another position. */
export function stampFrame(frame: EncodedFrame, mark: number, position: Position): void {
  const { front, headBytes } = frame;
  front.writeUInt32LE(mark, 0);
  writeUInt64(front, position, 12);
  const prefixCrc = crc32(front.subarray(4, 24));
  const head = front.subarray(FRAME_PREFIX_BYTES, FRAME_PREFIX_BYTES + headBytes);
  front.writeUInt32LE(crc32(head, prefixCrc), 24);
}

/** Undefined when no prefix can stand at `at`: wrong mark, impossible lengths, too few bytes. */
export function decodeFramePrefix(bytes: Buffer, at: number, mark: number): FramePrefix | undefined {
  if (at + FRAME_PREFIX_BYTES > bytes.byteLength || bytes.readUInt32LE(at) !== mark) return undefined;
  const headBytes = bytes.readUInt32LE(at + 4);
  const bodyBytes = bytes.readUInt32LE(at + 8);
  if (headBytes > HEAD_BYTES_MAX || bodyBytes > BODY_BYTES_MAX) return undefined;
  return {
    headBytes,
    bodyBytes,
    position: readUInt64(bytes, at + 12),
    bodyCrc: bytes.readUInt32LE(at + 20),
    headCrc: bytes.readUInt32LE(at + 24),
    totalBytes: FRAME_PREFIX_BYTES + headBytes + bodyBytes,
  };
}

/** `bytes` from `at` must hold prefix and head. Undefined when the head CRC is wrong or the head is no JSON object. */
export function decodeFrameHead(bytes: Buffer, at: number, prefix: FramePrefix): EnvelopeHead | undefined {
  const headAt = at + FRAME_PREFIX_BYTES;
  if (headAt + prefix.headBytes > bytes.byteLength) return undefined;
  const head = bytes.subarray(headAt, headAt + prefix.headBytes);
  if (crc32(head, crc32(bytes.subarray(at + 4, at + 24))) !== prefix.headCrc) return undefined;
  try {
    const value: unknown = JSON.parse(head.toString('utf8'));
    return typeof value === 'object' && value !== null ? (value as EnvelopeHead) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * A whole frame at `at`; undefined when anything in it does not check. The body is a view into `bytes`; `knownCrc`: its CRC-32, if
 * it was computed before.
 */
export function decodeFrame(
  bytes: Buffer,
  at: number,
  mark: number,
  knownCrc?: number,
): { position: Position; head: EnvelopeHead; body: Buffer; totalBytes: number } | undefined {
  const prefix = decodeFramePrefix(bytes, at, mark);
  if (!prefix || at + prefix.totalBytes > bytes.byteLength) return undefined;
  const head = decodeFrameHead(bytes, at, prefix);
  if (!head) return undefined;
  const bodyAt = at + FRAME_PREFIX_BYTES + prefix.headBytes;
  const body = bytes.subarray(bodyAt, bodyAt + prefix.bodyBytes);
  if ((knownCrc ?? crc32(body)) !== prefix.bodyCrc) return undefined;
  return { position: prefix.position, head, body, totalBytes: prefix.totalBytes };
}

const CRC_TURN_BYTES = 2 * MIB;

/** CRC-32 of a large body, a piece per turn of the event loop; undefined where it is not large, or no frame is at `at`. */
export async function largeBodyCrc(bytes: Buffer, at: number, mark: number): Promise<number | undefined> {
  const prefix = decodeFramePrefix(bytes, at, mark);
  if (!prefix || prefix.bodyBytes < LARGE_BODY_BYTES || at + prefix.totalBytes > bytes.byteLength) return undefined;
  const end = at + prefix.totalBytes;
  let crc = 0;
  for (let from = end - prefix.bodyBytes; from < end; from += CRC_TURN_BYTES) {
    crc = crc32(bytes.subarray(from, Math.min(end, from + CRC_TURN_BYTES)), crc);
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  return crc;
}

/** Where the next frame may begin, by its mark; -1 when it is not in `bytes`. */
export function findMark(bytes: Buffer, from: number, mark: number): number {
  const pattern = Buffer.allocUnsafe(4);
  pattern.writeUInt32LE(mark);
  return bytes.indexOf(pattern, from);
}

function writeUInt64(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32LE(value % TWO_32, at);
  bytes.writeUInt32LE(Math.floor(value / TWO_32), at + 4);
}

function readUInt64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * TWO_32;
}
