/** Bodies that are written piece by piece: bytes in memory, a file, or anything that reads at an offset. */
import type { FileSystem } from '../core/file-system.ts';
import type { ByteSource, ObjectBody } from './object-store.ts';

export function isByteSource(body: ObjectBody): body is ByteSource {
  return !(body instanceof Uint8Array);
}

export function sizeOf(body: ObjectBody): number {
  return isByteSource(body) ? body.sizeBytes : body.byteLength;
}

/** A piece of a body; of bytes in memory a view, not a copy. */
export async function pieceOf(body: ObjectBody, offset: number, length: number): Promise<Uint8Array> {
  if (!isByteSource(body)) return body.subarray(offset, offset + length);
  const piece = await body.read(offset, length);
  if (piece.byteLength !== length) throw new Error(`BUG: a source gave ${piece.byteLength} bytes instead of ${length}`);
  return piece;
}

/** All of it, for what is known to be small. */
export function wholeOf(body: ObjectBody): Promise<Uint8Array> {
  return pieceOf(body, 0, sizeOf(body));
}

/** A file as a body. It must not change while it is written to a store; `close` when done. */
export async function openFileSource(
  fileSystem: FileSystem,
  path: string,
): Promise<ByteSource & { close(): Promise<void> }> {
  const file = await fileSystem.open(path, 'read');
  return {
    sizeBytes: await file.sizeBytes(),
    read: async (offset, length) => {
      const piece = new Uint8Array(length);
      const count = await file.read(piece, offset);
      return piece.subarray(0, count);
    },
    close: () => file.close(),
  };
}
