/**
 * Folders under the root of the local store. Two things must hold: a folder is durable (its entry and its parents' entries)
 * before an object in it is acknowledged; and what this process reads as existing is durable, even if a killed predecessor
 * linked it and never came to sync the folder. So each folder is synced once in a process's life before it is trusted.
 */
import { dirname, join } from 'node:path';
import { ProxyError } from '../core/errors.ts';
import { type FileSystem, isFileError } from '../core/file-system.ts';

/** Folders remembered as synced; beyond it all are forgotten and synced again. */
const FOLDERS_MAX = 20_000;

export class LocalFolders {
  readonly #root: string;
  readonly #fileSystem: FileSystem;
  readonly #synced = new Set<string>();

  constructor(root: string, fileSystem: FileSystem) {
    this.#root = root;
    this.#fileSystem = fileSystem;
  }

  /** Makes the root. Only folders that are new need a sync above it. */
  async openRoot(): Promise<void> {
    let existing = this.#root;
    while (existing !== dirname(existing) && !(await this.#fileSystem.stat(existing))) existing = dirname(existing);
    await this.#fileSystem.makeDirectory(this.#root);
    for (let path = this.#root; path !== existing; path = dirname(path)) {
      await this.#fileSystem.syncDirectory(dirname(path));
    }
  }

  /** Makes the folder with its parents; their entries are durable when it resolves. `folder` is relative, '' is the root. */
  async make(folder: string): Promise<void> {
    if (this.#synced.has(folder)) return;
    try {
      await this.#fileSystem.makeDirectory(join(this.#root, folder));
    } catch (error) {
      if (!isFileError(error, 'EEXIST') && !isFileError(error, 'ENOTDIR')) throw error;
      throw new ProxyError('STORE_INVALID', `${folder}: there is an object where the key needs a folder`, {
        cause: error,
      });
    }
    const ancestors = ancestorsOf(folder);
    // A synced folder's own entry is durable already; it and what is below it may hold a new entry.
    const deepest = ancestors.findLastIndex((path) => this.#synced.has(path));
    for (const parent of ancestors.slice(Math.max(0, deepest))) {
      await this.#fileSystem.syncDirectory(join(this.#root, parent));
    }
    await this.settle(folder);
  }

  /** The entries of the folder and of its parents are durable, whoever made them. False when there is no such folder. */
  async settle(folder: string): Promise<boolean> {
    if (this.#synced.has(folder)) return true;
    for (const path of [...ancestorsOf(folder), folder]) {
      if (this.#synced.has(path)) continue;
      try {
        await this.#fileSystem.syncDirectory(join(this.#root, path));
      } catch (error) {
        if (isFileError(error, 'ENOENT') || isFileError(error, 'ENOTDIR')) return false;
        throw error;
      }
      if (this.#synced.size >= FOLDERS_MAX) this.#synced.clear();
      this.#synced.add(path);
    }
    return true;
  }

  async sync(folder: string): Promise<void> {
    await this.#fileSystem.syncDirectory(join(this.#root, folder));
  }

  /** After an ENOENT: someone removed folders by hand. */
  forget(): void {
    this.#synced.clear();
  }
}

/** '', 'a', 'a/b' for 'a/b/c'. */
function ancestorsOf(folder: string): string[] {
  if (folder === '') return [];
  const parts = folder.split('/');
  return parts.map((_, index) => parts.slice(0, index).join('/'));
}
