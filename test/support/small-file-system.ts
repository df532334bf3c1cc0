/**
 * A file system whose folder holds so many bytes and no more: what would go beyond is written as far as there is room, and fails with ENOSPC.
 * Counted in whole pages, from what lies there, before each write: what others put there (a ballast) counts as well.
 */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { FileSystem, OpenFile } from '../../src/core/file-system.ts';

const PAGE_BYTES = 4096;

const pagesOf = (sizeBytes: number): number => Math.ceil(sizeBytes / PAGE_BYTES) * PAGE_BYTES;

/** What lies in a folder, in whole pages. */
export function usedBytes(folder: string): number {
  let sum = 0;
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    // Gone meanwhile.
    const found = statSync(join(folder, name), { throwIfNoEntry: false });
    if (found?.isFile()) sum += pagesOf(found.size);
  }
  return sum;
}

function fullError(path: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`ENOSPC: no space left on device, write '${path}'`), { code: 'ENOSPC' });
}

export function smallFileSystem(inner: FileSystem, folder: string, sizeBytes: number): FileSystem {
  const isInside = (path: string): boolean => path.startsWith(folder);
  const roomBytes = (): number => Math.max(0, sizeBytes - usedBytes(folder));

  const bounded = (file: OpenFile, path: string): OpenFile => ({
    write: async (chunks, offset) => {
      const bytes = Buffer.concat(chunks);
      const writable = pagesOf(await file.sizeBytes()) + roomBytes() - offset;
      if (bytes.byteLength <= writable) return file.write([bytes], offset);
      if (writable > 0) await file.write([bytes.subarray(0, writable)], offset);
      throw fullError(path);
    },
    writeSync: (chunk, offset) => {
      const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
      if (offset + chunk.byteLength > pagesOf(size) + roomBytes()) throw fullError(path);
      file.writeSync(chunk, offset);
    },
    read: (target, offset) => file.read(target, offset),
    sync: () => file.sync(),
    truncate: (size) => file.truncate(size),
    sizeBytes: () => file.sizeBytes(),
    close: () => file.close(),
  });

  return {
    ...inner,
    open: async (path, mode) => {
      const file = await inner.open(path, mode);
      return isInside(path) && mode !== 'read' ? bounded(file, path) : file;
    },
  };
}
