/**
 * Objects that never change, kept as local files once they were read: for the query engine, which reads files, and to fetch each
 * object once. Bounded in bytes; what was used longest ago goes first, but nothing that is in use. A file is complete or not there:
 * it is written beside and renamed.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { FileSystem } from '../core/file-system.ts';
import type { Random } from '../core/random.ts';
import { readWhole, removeQuietly, writeNew } from './local-files.ts';
import type {
  ByteRange,
  ListOptions,
  ObjectBody,
  ObjectBytes,
  ObjectHead,
  ObjectInfo,
  ObjectStore,
  PutOptions,
} from './object-store.ts';

export interface ReadCacheOptions {
  /** Absolute; belongs to the cache alone. */
  folder: string;
  bytesMax: number;
  /** Which objects never change once they are there. */
  isImmutable: (key: string) => boolean;
  /** Where an immutable object is a file already, so that nothing is fetched. */
  fileOf?: (key: string) => string | undefined;
  fileSystem: FileSystem;
  random: Random;
}

export interface ReadCache extends ObjectStore {
  /** Where the file of an immutable object is once it is `ready`. */
  pathOf(key: string): string;
  /** Fetches what is missing, some at once; the files stay until they are released. `onReady` is told after each. */
  ready(keys: readonly string[], onReady?: (done: number) => void): Promise<void>;
  release(keys: readonly string[]): Promise<void>;
  /** Part of an object; of one that is not here yet only this part is fetched, and not kept. */
  peek(key: string, range: ByteRange): Promise<Uint8Array>;
}

interface CachedFile {
  sizeBytes: number;
  isPinned: boolean;
}

const FETCHED_AT_ONCE = 4;
const TEMPORARY_SUFFIX = '.part';
const SUFFIX = '.parquet';

export async function openReadCache(store: ObjectStore, options: ReadCacheOptions): Promise<ReadCache> {
  const { fileSystem, folder } = options;
  await fileSystem.makeDirectory(folder);
  const found: { name: string; sizeBytes: number; modifiedAtMs: number }[] = [];
  for (const name of await fileSystem.list(folder)) {
    if (name.endsWith(TEMPORARY_SUFFIX)) await removeQuietly(fileSystem, join(folder, name));
    const stat = name.endsWith(SUFFIX) ? await fileSystem.stat(join(folder, name)) : undefined;
    if (stat && !stat.isDirectory) found.push({ name, sizeBytes: stat.sizeBytes, modifiedAtMs: stat.modifiedAtMs });
  }
  found.sort((a, b) => a.modifiedAtMs - b.modifiedAtMs);
  const files = new Map(found.map(({ name, sizeBytes }) => [name, { sizeBytes, isPinned: false }]));
  return new CachingStore(store, options, files);
}

class CachingStore implements ReadCache {
  readonly #store: ObjectStore;
  readonly #options: ReadCacheOptions;
  /** By name; used longest ago first. */
  readonly #files: Map<string, CachedFile>;
  readonly #fetching = new Map<string, Promise<void>>();
  #bytes = 0;

  constructor(store: ObjectStore, options: ReadCacheOptions, files: Map<string, CachedFile>) {
    this.#store = store;
    this.#options = options;
    this.#files = files;
    for (const { sizeBytes } of files.values()) this.#bytes += sizeBytes;
  }

  get url(): string {
    return this.#store.url;
  }

  pathOf(key: string): string {
    return this.#options.fileOf?.(key) ?? join(this.#options.folder, nameOf(key));
  }

  async ready(keys: readonly string[], onReady?: (done: number) => void): Promise<void> {
    const rest = [...keys];
    let done = 0;
    const fetchers = Array.from({ length: Math.min(FETCHED_AT_ONCE, rest.length) }, async () => {
      for (let key = rest.shift(); key !== undefined; key = rest.shift()) {
        if (this.#options.fileOf?.(key) === undefined) await this.#fetch(key, true);
        done += 1;
        onReady?.(done);
      }
    });
    await Promise.all(fetchers);
  }

  async release(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      const file = this.#files.get(nameOf(key));
      if (file) file.isPinned = false;
    }
    await this.#trim();
  }

  async peek(key: string, range: ByteRange): Promise<Uint8Array> {
    const { bytes } = await (this.#files.has(nameOf(key)) ? this : this.#store).get(key, range);
    return bytes;
  }

  async get(key: string, range?: ByteRange): Promise<ObjectBytes> {
    const { isImmutable, fileOf } = this.#options;
    if (!isImmutable(key) || fileOf?.(key) !== undefined) return this.#store.get(key, range);
    const info = await this.#store.head(key);
    // The store says it best that there is none.
    if (!info) return this.#store.get(key, range);
    await this.#fetch(key, false);
    const { fileSystem } = this.#options;
    const bytes = await readWhole(fileSystem, this.pathOf(key), info.sizeBytes, range, key);
    return bytes ? { info: plainInfo(info), bytes } : this.#store.get(key, range);
  }

  head(key: string): Promise<ObjectHead | undefined> {
    return this.#store.head(key);
  }

  list(prefix: string, options?: ListOptions): AsyncIterable<ObjectInfo> {
    return this.#store.list(prefix, options);
  }

  async put(key: string, body: ObjectBody, options?: PutOptions): Promise<ObjectInfo> {
    await this.#forget(key);
    return this.#store.put(key, body, options);
  }

  async delete(key: string): Promise<void> {
    await this.#forget(key);
    await this.#store.delete(key);
  }

  async close(): Promise<void> {
    await this.#store.close();
  }

  async #fetch(key: string, pin: boolean): Promise<void> {
    const name = nameOf(key);
    const running = this.#fetching.get(name);
    if (running) await running;
    const known = this.#files.get(name);
    if (known) {
      this.#files.delete(name);
      this.#files.set(name, { sizeBytes: known.sizeBytes, isPinned: known.isPinned || pin });
      return;
    }
    const fetching = this.#fetchNew(key, name, pin).finally(() => this.#fetching.delete(name));
    this.#fetching.set(name, fetching);
    await fetching;
  }

  async #fetchNew(key: string, name: string, pin: boolean): Promise<void> {
    const { fileSystem, folder, random } = this.#options;
    const { bytes } = await this.#store.get(key);
    const temporary = join(folder, `${Buffer.from(random.bytes(8)).toString('hex')}${TEMPORARY_SUFFIX}`);
    try {
      await writeNew(fileSystem, temporary, bytes);
      await fileSystem.rename(temporary, join(folder, name));
    } catch (error) {
      await removeQuietly(fileSystem, temporary);
      throw error;
    }
    this.#files.set(name, { sizeBytes: bytes.byteLength, isPinned: pin });
    this.#bytes += bytes.byteLength;
    await this.#trim();
  }

  async #forget(key: string): Promise<void> {
    if (this.#options.isImmutable(key)) await this.#remove(nameOf(key));
  }

  async #trim(): Promise<void> {
    for (const [name, { isPinned }] of this.#files) {
      if (this.#bytes <= this.#options.bytesMax) return;
      if (!isPinned) await this.#remove(name);
    }
  }

  async #remove(name: string): Promise<void> {
    const file = this.#files.get(name);
    if (!file) return;
    this.#files.delete(name);
    this.#bytes -= file.sizeBytes;
    await removeQuietly(this.#options.fileSystem, join(this.#options.folder, name));
  }
}

function plainInfo({ key, sizeBytes, version, modifiedAtMs }: ObjectHead): ObjectInfo {
  return { key, sizeBytes, version, modifiedAtMs };
}

function nameOf(key: string): string {
  return `${createHash('sha256').update(key).digest('hex')}${SUFFIX}`;
}
