/**
 * Small JSON files that are replaced whole: written beside, synced, renamed into place, folder synced. Each carries the
 * CRC-32 of its value, so that a damaged one is told from a valid one. A reader sees the old or the new value, never half.
 */
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import { type FileSystem, isFileError } from '../core/file-system.ts';
import { MIB } from '../core/limits.ts';

const FILE_BYTES_MAX = 64 * MIB;
/** Left-overs with this ending are removed at open. */
export const TEMPORARY_SUFFIX = '.tmp';

export type CheckedFile = { state: 'absent' } | { state: 'damaged' } | { state: 'valid'; value: unknown };

export async function readCheckedFile(fileSystem: FileSystem, path: string): Promise<CheckedFile> {
  const bytes = await readSmallFile(fileSystem, path);
  if (bytes === undefined) return { state: 'absent' };
  try {
    const parsed = JSON.parse(bytes.toString('utf8')) as { crc?: unknown; value?: unknown };
    if (parsed.value !== undefined && parsed.crc === crc32(JSON.stringify(parsed.value))) {
      return { state: 'valid', value: parsed.value };
    }
  } catch {
    // Not JSON: damaged.
  }
  return { state: 'damaged' };
}

/** Durable when it resolves. `before` runs between the sync of the new content and its renaming into place. */
export async function writeCheckedFile(
  fileSystem: FileSystem,
  path: string,
  value: unknown,
  before?: () => Promise<void>,
): Promise<void> {
  const content = Buffer.from(JSON.stringify({ crc: crc32(JSON.stringify(value)), value }));
  const temporary = `${path}${TEMPORARY_SUFFIX}`;
  await writeSyncedFile(fileSystem, temporary, content);
  if (before) await before();
  await fileSystem.rename(temporary, path);
  await fileSystem.syncDirectory(dirname(path));
}

/** Content is durable when it resolves, the directory entry is not. */
export async function writeSyncedFile(fileSystem: FileSystem, path: string, content: Uint8Array): Promise<void> {
  const file = await fileSystem.open(path, 'write-or-create');
  try {
    await file.truncate(0);
    await file.write([content], 0);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Undefined when it is absent. A file too large to be one of ours reads as empty, which counts as damaged. */
export async function readSmallFile(fileSystem: FileSystem, path: string): Promise<Buffer | undefined> {
  try {
    const file = await fileSystem.open(path, 'read');
    try {
      const size = await file.sizeBytes();
      if (size > FILE_BYTES_MAX) return Buffer.alloc(0);
      const content = Buffer.alloc(size);
      return content.subarray(0, await file.read(content, 0));
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isFileError(error, 'ENOENT')) return undefined;
    throw error;
  }
}

export async function unlinkIfThere(fileSystem: FileSystem, path: string): Promise<void> {
  try {
    await fileSystem.unlink(path);
  } catch (error) {
    if (!isFileError(error, 'ENOENT')) throw error;
  }
}

/** The disk, or this user's share of it, is full. */
export function isNoSpace(error: unknown): boolean {
  return isFileError(error, 'ENOSPC') || isFileError(error, 'EDQUOT');
}
