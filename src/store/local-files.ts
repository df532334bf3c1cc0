/** The few whole-file steps of the local store: write and sync, read whole or a range, remove. */
import { join } from 'node:path';
import { ProxyError } from '../core/errors.ts';
import { type FileSystem, isFileError } from '../core/file-system.ts';
import { MIB } from '../core/limits.ts';
import { isByteSource, pieceOf, sizeOf } from './byte-sources.ts';
import type { ByteRange, ObjectBody } from './object-store.ts';

const PIECE_BYTES = 4 * MIB;

/** A new file whose content is durable when it resolves (its name is not). */
export async function writeNew(fileSystem: FileSystem, path: string, body: ObjectBody): Promise<void> {
  const file = await fileSystem.open(path, 'create');
  try {
    const sizeBytes = sizeOf(body);
    const pieceBytes = isByteSource(body) ? PIECE_BYTES : sizeBytes;
    for (let at = 0; at < sizeBytes; at += pieceBytes) {
      await file.write([await pieceOf(body, at, Math.min(pieceBytes, sizeBytes - at))], at);
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Undefined: the file is gone or has another size by now. STORE_INVALID when the range does not lie inside. */
export async function readWhole(
  fileSystem: FileSystem,
  path: string,
  sizeBytes: number,
  range: ByteRange | undefined,
  key: string,
): Promise<Uint8Array | undefined> {
  const { offset, length } = range ?? { offset: 0, length: sizeBytes };
  checkRange(offset, length, sizeBytes, key);
  let file: Awaited<ReturnType<FileSystem['open']>>;
  try {
    file = await fileSystem.open(path, 'read');
  } catch (error) {
    if (isFileError(error, 'ENOENT')) return undefined;
    throw error;
  }
  try {
    if ((await file.sizeBytes()) !== sizeBytes) return undefined;
    const bytes = new Uint8Array(length);
    const count = await file.read(bytes, offset);
    return count === length ? bytes : undefined;
  } finally {
    await file.close();
  }
}

/** STORE_INVALID unless `offset` and `length` are whole numbers and the range lies inside the object. */
export function checkRange(offset: number, length: number, sizeBytes: number, key: string): void {
  const whole = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
  if (whole && offset + length <= sizeBytes) return;
  throw new ProxyError('STORE_INVALID', `range ${offset}+${length} does not lie in ${key} of ${sizeBytes} bytes`);
}

/** `required`: only absence is fine. Otherwise a failure leaves garbage, which a later pass removes. */
export async function removeQuietly(fileSystem: FileSystem, path: string, need?: 'required'): Promise<void> {
  try {
    await fileSystem.unlink(path);
  } catch (error) {
    if (need === 'required' && !isFileError(error, 'ENOENT')) throw error;
  }
}

/** Files older than that; what cannot be looked at or removed stays for the next time. */
export async function removeStaleFiles(fileSystem: FileSystem, folder: string, olderThanMs: number): Promise<void> {
  for (const name of await fileSystem.list(folder)) {
    const path = join(folder, name);
    const found = await fileSystem.stat(path);
    if (found && !found.isDirectory && found.modifiedAtMs < olderThanMs) await removeQuietly(fileSystem, path);
  }
}
