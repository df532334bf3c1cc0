/**
 * A chunk: one object that holds the envelopes of all callers of a quarter of a second or so. Its bytes are those of a journal file
 * (frame.ts): a header, then frames with dense positions. A fence stands where the next chunk would, put there by a replica that takes
 * over: its first bytes are no journal header, so no writer can take it for its own. Behind the frames may stand which answers are known
 * to have been heard since the chunk before: magic 8 | length u32 | JSON `[[first, last, epoch?], …]` | CRC-32 of the JSON u32.
 *
 * Keys: `journal/<replica>/<epoch>/<sequence>`, sequences dense from 1, created only if absent. The first chunk of an epoch is empty:
 * as long as an epoch is not finished one chunk of it is there, so that whoever takes over finds where its sequence stands.
 */
import { crc32 } from 'node:zlib';
import type { JournalEntry, JournalIdentity, Position } from '../core/envelope.ts';
import { isProxyError } from '../core/errors.ts';
import type { Sealer } from '../core/sealer.ts';
import {
  decodeFileHeader,
  decodeFrame,
  type EncodedFrame,
  encodeFileHeader,
  FILE_HEADER_BYTES,
  stampFrame,
} from './frame.ts';

const HEARD_MAGIC = Buffer.from('RDXHEARD', 'latin1');
const HEARD_PREFIX_BYTES = HEARD_MAGIC.byteLength + 4;
const FENCE_MAGIC = 'RDXFENCE\n';

/** What a chunk journal needs of the shared store; every ObjectStore is one. Failures are ProxyErrors of kind STORE_*. */
export interface ChunkStore {
  put(key: string, bytes: Uint8Array, options: { condition: { kind: 'absent' } }): Promise<unknown>;
  get(key: string): Promise<{ bytes: Uint8Array }>;
  list(prefix: string, options?: { startAfter?: string }): AsyncIterable<{ key: string; sizeBytes: number }>;
  delete(key: string): Promise<void>;
}

/** Who took a journal over, and from where on nothing of the old writer counts. */
export interface Fence {
  replica: string;
  epoch: number;
  atMs: number;
}

/** Both ends belong to it. With an epoch: of that earlier life of the same replica. */
export type PositionRange =
  | readonly [first: Position, last: Position]
  | readonly [first: Position, last: Position, epoch: number];

export interface Chunk {
  mark: number;
  epoch: number;
  first: Position;
  entries: JournalEntry[];
  /** Bytes of each entry's frame. */
  frameBytes: number[];
  /** Whose answers are known to have been heard; of this chunk or earlier ones. */
  heard: PositionRange[];
  /** Bytes behind the last sound frame. */
  damagedBytes: number;
}

export function chunkPrefix({ replica, epoch }: JournalIdentity): string {
  return `journal/${replica}/${String(epoch).padStart(10, '0')}/`;
}

export function chunkKey(identity: JournalIdentity, sequence: number): string {
  return `${chunkPrefix(identity)}${String(sequence).padStart(12, '0')}`;
}

const KEY_FORM = /^journal\/([^/]+)\/(\d{10})\/(\d{12})$/;

export function parseChunkKey(key: string): { replica: string; epoch: number; sequence: number } | undefined {
  const form = KEY_FORM.exec(key);
  return form ? { replica: form[1]!, epoch: Number(form[2]), sequence: Number(form[3]) } : undefined;
}

/** Creates it; one that is there with the same bytes is an attempt whose answer was lost. STORE_EXISTS: it is another's. */
export async function putChunk(store: ChunkStore, key: string, bytes: Uint8Array): Promise<void> {
  try {
    await store.put(key, bytes, { condition: { kind: 'absent' } });
  } catch (error) {
    if (!isProxyError(error, 'STORE_EXISTS')) throw error;
    if (Buffer.compare((await store.get(key)).bytes, bytes) !== 0) throw error;
  }
}

/** Stamps the frames with their positions, from `first` on, and puts them behind one another. */
export function encodeChunk(
  header: { mark: number; epoch: number; first: Position },
  frames: readonly EncodedFrame[],
  heard: readonly PositionRange[] = [],
): Uint8Array {
  const parts: Uint8Array[] = [encodeFileHeader(header)];
  for (const [index, frame] of frames.entries()) {
    stampFrame(frame, header.mark, header.first + index);
    parts.push(frame.front);
    if (frame.rest) parts.push(frame.rest);
  }
  if (heard.length > 0) parts.push(encodeHeard(heard));
  return Buffer.concat(parts);
}

function encodeHeard(heard: readonly PositionRange[]): Uint8Array {
  const text = Buffer.from(JSON.stringify(heard));
  const numbers = Buffer.alloc(8);
  numbers.writeUInt32LE(text.byteLength, 0);
  numbers.writeUInt32LE(crc32(text), 4);
  return Buffer.concat([HEARD_MAGIC, numbers.subarray(0, 4), text, numbers.subarray(4)]);
}

/** Undefined: what stands at `at` is something else, or damaged. */
function decodeHeard(buffer: Buffer, at: number): PositionRange[] | undefined {
  const textAt = at + HEARD_PREFIX_BYTES;
  if (buffer.byteLength < textAt + 4 || buffer.compare(HEARD_MAGIC, 0, 8, at, at + 8) !== 0) return undefined;
  const textBytes = buffer.readUInt32LE(at + 8);
  if (textAt + textBytes + 4 !== buffer.byteLength) return undefined;
  const text = buffer.subarray(textAt, textAt + textBytes);
  if (crc32(text) !== buffer.readUInt32LE(textAt + textBytes)) return undefined;
  return JSON.parse(text.toString('utf8')) as PositionRange[];
}

/** Undefined: no chunk (a fence, or foreign bytes). Bodies are views into `bytes`, opened where they rest sealed. */
export function decodeChunk(bytes: Uint8Array, sealer: Pick<Sealer, 'open'>): Chunk | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = decodeFileHeader(buffer);
  if (!header) return undefined;
  const chunk: Chunk = { ...header, entries: [], frameBytes: [], heard: [], damagedBytes: 0 };
  let at = FILE_HEADER_BYTES;
  while (at < buffer.byteLength) {
    const frame = decodeFrame(buffer, at, header.mark);
    if (!frame || frame.position !== header.first + chunk.entries.length) {
      const heard = decodeHeard(buffer, at);
      if (heard) chunk.heard = heard;
      else chunk.damagedBytes = buffer.byteLength - at;
      break;
    }
    const body = frame.head.sealedBody ? sealer.open(frame.body) : frame.body;
    chunk.entries.push({ position: frame.position, head: frame.head, body });
    chunk.frameBytes.push(frame.totalBytes);
    at += frame.totalBytes;
  }
  return chunk;
}

export function encodeFence(fence: Fence): Uint8Array {
  return Buffer.from(`${FENCE_MAGIC}${JSON.stringify(fence)}`);
}

export function decodeFence(bytes: Uint8Array): Fence | undefined {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  if (!text.startsWith(FENCE_MAGIC)) return undefined;
  return JSON.parse(text.slice(FENCE_MAGIC.length)) as Fence;
}
