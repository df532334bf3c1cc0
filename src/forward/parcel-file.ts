/**
 * The bytes of spill objects and dead letters: a header, then one frame per envelope. Bodies that hold a key rest sealed.
 * Format: docs/formats/spill.md. Everything is checked on reading; a file that does not check is `undefined`, never an exception.
 */
import { crc32 } from 'node:zlib';
import type { EnvelopeHead, Position } from '../core/envelope.ts';
import { isProxyError } from '../core/errors.ts';
import type { Sealer } from '../core/sealer.ts';
import type { ParcelNote } from './parcel.ts';

const MAGIC = Buffer.from('RDXSPIL\n', 'latin1');
const VERSION = 1;
const HEADER_BYTES = 20;
const FRAME_FIXED_BYTES = 16;

export interface FiledParcel {
  position: Position;
  head: EnvelopeHead;
  body: Uint8Array;
  note: ParcelNote;
}

/** Size of one frame, roughly: enough to fill an object to a bound. */
export function frameBytes(parcel: { body: Uint8Array }): number {
  return FRAME_FIXED_BYTES + 1024 + parcel.body.byteLength;
}

export function encodeParcels(parcels: readonly FiledParcel[], sealer: Sealer): Uint8Array {
  const header = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(header);
  header.writeUInt32LE(VERSION, 8);
  header.writeUInt32LE(parcels.length, 12);
  header.writeUInt32LE(crc32(header.subarray(0, 16)), 16);
  const parts: Uint8Array[] = [header];
  for (const { position, head, body, note } of parcels) {
    const headBytes = Buffer.from(JSON.stringify({ position, note, head }), 'utf8');
    const resting = head.sealedBody ? sealer.seal(body) : body;
    const fixed = Buffer.alloc(FRAME_FIXED_BYTES);
    fixed.writeUInt32LE(headBytes.byteLength, 0);
    fixed.writeUInt32LE(resting.byteLength, 4);
    fixed.writeUInt32LE(crc32(resting), 8);
    fixed.writeUInt32LE(crc32(headBytes, crc32(fixed.subarray(0, 12))), 12);
    parts.push(fixed, headBytes, resting);
  }
  return Buffer.concat(parts);
}

/** In the order they were written; undefined when the bytes are damaged, of another version, or sealed with an unknown key. */
export function decodeParcels(bytes: Uint8Array, sealer: Sealer): FiledParcel[] | undefined {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.byteLength < HEADER_BYTES || !view.subarray(0, 8).equals(MAGIC)) return undefined;
  if (view.readUInt32LE(8) !== VERSION || view.readUInt32LE(16) !== crc32(view.subarray(0, 16))) return undefined;
  const count = view.readUInt32LE(12);
  const found: FiledParcel[] = [];
  let at = HEADER_BYTES;
  for (let index = 0; index < count; index++) {
    const frame = readFrame(view, at, sealer);
    if (!frame) return undefined;
    found.push(frame.parcel);
    at = frame.end;
  }
  return at === view.byteLength ? found : undefined;
}

function readFrame(view: Buffer, at: number, sealer: Sealer): { parcel: FiledParcel; end: number } | undefined {
  if (at + FRAME_FIXED_BYTES > view.byteLength) return undefined;
  const headEnd = at + FRAME_FIXED_BYTES + view.readUInt32LE(at);
  const end = headEnd + view.readUInt32LE(at + 4);
  if (end > view.byteLength) return undefined;
  const headBytes = view.subarray(at + FRAME_FIXED_BYTES, headEnd);
  if (crc32(headBytes, crc32(view.subarray(at, at + 12))) !== view.readUInt32LE(at + 12)) return undefined;
  const resting = view.subarray(headEnd, end);
  if (crc32(resting) !== view.readUInt32LE(at + 8)) return undefined;
  // The checksum holds, so these are the bytes we wrote.
  const { position, head, note } = JSON.parse(headBytes.toString('utf8')) as Omit<FiledParcel, 'body'>;
  try {
    return { parcel: { position, head, note, body: head.sealedBody ? sealer.open(resting) : resting }, end };
  } catch (error) {
    if (isProxyError(error, 'SEAL_KEY_MISSING')) return undefined;
    throw error;
  }
}
