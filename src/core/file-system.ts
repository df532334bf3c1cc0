/**
 * The file-system seam under the journal and the local store: only the operations they need, each with the durability it
 * really has, so that a simulated disk (test/support/simulated-disk.ts) can lose or reorder what was not synced.
 * Errors are Node's own (`code` ENOENT, EEXIST, ENOSPC …).
 */
import { constants, type Stats, writeSync } from 'node:fs';
import { type FileHandle, link, mkdir, open, readdir, rename, rmdir, stat, unlink } from 'node:fs/promises';

export interface FileStat {
  sizeBytes: number;
  modifiedAtMs: number;
  isDirectory: boolean;
  /** Names that lead to this file: tells whether a `link` whose answer was lost had taken effect. */
  linkCount: number;
  /** The inode: with size and time it tells one file under a name from its successor. */
  fileId: number;
}

export interface OpenFile {
  /** Writes all of `chunks` one after another at `offset`. Not durable until `sync`. */
  write(chunks: readonly Uint8Array[], offset: number): Promise<void>;
  /** Writes all of `chunk` before it returns: survives the death of the process, not a power cut. For small records only. */
  writeSync(chunk: Uint8Array, offset: number): void;
  /** Fills `target` from `offset`; resolves to the count of bytes read (short at the end of the file). */
  read(target: Uint8Array, offset: number): Promise<number>;
  /** `fdatasync`: content and size are durable. The directory entry is not: see `syncDirectory`. */
  sync(): Promise<void>;
  truncate(sizeBytes: number): Promise<void>;
  sizeBytes(): Promise<number>;
  close(): Promise<void>;
}

export interface FileSystem {
  /** `create`: must not exist; `write`: must exist; `read`: read only; `write-or-create`: either, content kept. */
  open(path: string, mode: 'create' | 'write' | 'read' | 'write-or-create'): Promise<OpenFile>;
  /** Atomic; replaces the target. Durable only after `syncDirectory` of the folder(s). */
  rename(from: string, to: string): Promise<void>;
  /** Atomic create-only; EEXIST when `to` exists. Durable only after `syncDirectory`. */
  link(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  /** With parents; fine when it exists. */
  makeDirectory(path: string): Promise<void>;
  /** Must be empty; fine when it is absent. */
  removeDirectory(path: string): Promise<void>;
  /** Names, sorted; [] when the folder is absent. */
  list(path: string): Promise<string[]>;
  stat(path: string): Promise<FileStat | undefined>;
  /** `fsync` of a folder: its entries are durable. */
  syncDirectory(path: string): Promise<void>;
}

export function isFileError(error: unknown, code: string): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === code;
}

class NodeOpenFile implements OpenFile {
  readonly #handle: FileHandle;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async write(chunks: readonly Uint8Array[], offset: number): Promise<void> {
    let total = 0;
    for (const chunk of chunks) total += chunk.byteLength;
    // IOV_MAX is 1024 on Linux; longer lists go in rounds.
    if (chunks.length <= 1000) {
      const { bytesWritten } = await this.#handle.writev(chunks as Uint8Array[], offset);
      if (bytesWritten === total) return;
      await this.#writeRest(chunks, offset, bytesWritten);
      return;
    }
    let at = offset;
    for (let start = 0; start < chunks.length; start += 1000) {
      const part = chunks.slice(start, start + 1000);
      await this.write(part, at);
      for (const chunk of part) at += chunk.byteLength;
    }
  }

  /** A short write (a full disk, a signal) is carried on until it succeeds or fails with the reason. */
  async #writeRest(chunks: readonly Uint8Array[], offset: number, already: number): Promise<void> {
    let skip = already;
    let at = offset + already;
    for (const chunk of chunks) {
      if (skip >= chunk.byteLength) {
        skip -= chunk.byteLength;
        continue;
      }
      let from = skip;
      skip = 0;
      while (from < chunk.byteLength) {
        const { bytesWritten } = await this.#handle.write(chunk, from, chunk.byteLength - from, at);
        from += bytesWritten;
        at += bytesWritten;
      }
    }
  }

  writeSync(chunk: Uint8Array, offset: number): void {
    let done = 0;
    while (done < chunk.byteLength) {
      done += writeSync(this.#handle.fd, chunk, done, chunk.byteLength - done, offset + done);
    }
  }

  async read(target: Uint8Array, offset: number): Promise<number> {
    let done = 0;
    while (done < target.byteLength) {
      const { bytesRead } = await this.#handle.read(target, done, target.byteLength - done, offset + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return done;
  }

  sync(): Promise<void> {
    return this.#handle.datasync();
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#handle.truncate(sizeBytes);
  }

  async sizeBytes(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

const OPEN_FLAGS = {
  create: constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
  write: constants.O_RDWR,
  read: constants.O_RDONLY,
  'write-or-create': constants.O_RDWR | constants.O_CREAT,
} as const;

export const nodeFileSystem: FileSystem = {
  open: async (path, mode) => new NodeOpenFile(await open(path, OPEN_FLAGS[mode], 0o640)),
  rename,
  link,
  unlink,
  makeDirectory: async (path) => {
    await mkdir(path, { recursive: true, mode: 0o750 });
  },
  removeDirectory: async (path) => {
    try {
      await rmdir(path);
    } catch (error) {
      if (!isFileError(error, 'ENOENT')) throw error;
    }
  },
  list: async (path) => {
    try {
      return (await readdir(path)).sort();
    } catch (error) {
      if (isFileError(error, 'ENOENT')) return [];
      throw error;
    }
  },
  stat: async (path) => {
    let found: Stats;
    try {
      found = await stat(path);
    } catch (error) {
      if (isFileError(error, 'ENOENT') || isFileError(error, 'ENOTDIR')) return undefined;
      throw error;
    }
    return {
      sizeBytes: found.size,
      modifiedAtMs: found.mtimeMs,
      isDirectory: found.isDirectory(),
      linkCount: found.nlink,
      fileId: found.ino,
    };
  },
  syncDirectory: async (path) => {
    const handle = await open(path, constants.O_RDONLY);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
};
