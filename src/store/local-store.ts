/**
 * Objects as files, on a disk or NFS, without local locks. A new object is written to a temporary file, synced, and appears
 * under its plain name by `link`, which only one writer can win; so any tool can read segments as plain files.
 *
 * Replacing is creating the next version only if absent: versions of `key` are files 2, 3, … in the folder `key.v%`, hidden
 * from listings; version 1 is the plain name. Once that folder exists, every change of the key goes through it. Whoever acts
 * on the plain name looks for the folder again afterwards, and takes the next version if it has appeared meanwhile.
 * A deletion of a versioned object is a version with a fixed content. The highest version is never removed.
 */
import { isAbsolute, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Clock } from '../core/clock.ts';
import { ProxyError } from '../core/errors.ts';
import { type FileStat, type FileSystem, isFileError } from '../core/file-system.ts';
import type { Random } from '../core/random.ts';
import { sizeOf, wholeOf } from './byte-sources.ts';
import { storeErrorOf } from './file-errors.ts';
import { checkKey, TEMPORARY_FOLDER, VERSIONS_SUFFIX } from './keys.ts';
import { readWhole, removeQuietly, removeStaleFiles, writeNew } from './local-files.ts';
import { LocalFolders } from './local-folders.ts';
import { listLocal } from './local-list.ts';
import type {
  ByteRange,
  ListOptions,
  ObjectBody,
  ObjectBytes,
  ObjectInfo,
  ObjectStore,
  PutOptions,
} from './object-store.ts';

export interface LocalStoreOptions {
  /** Absolute path; made when absent. */
  root: string;
  fileSystem: FileSystem;
  clock: Clock;
  random: Random;
  /** For readers on a read-only mount: nothing is made or cleaned at open, and every write is STORE_DENIED. */
  readOnly?: boolean;
}

export interface LocalStore extends ObjectStore {
  /** Path of the file of an object that was never replaced, for tools that read files. STORE_INVALID on a bad key. */
  pathOf(key: string): string;
}

/** A marker that no caller would write by chance; `put` refuses it. */
const DELETED_MARKER = new TextEncoder().encode('reductrai-store: this object was deleted 9f2c41d7\n');
/** Rounds of a change or read that loses against other writers before it gives up with STORE_CONFLICT. */
const ROUNDS_MAX = 32;
/** Versions that are kept, and for how long after them a newer one must have been written before one is removed. */
const VERSIONS_KEPT_MIN = 16;
const VERSION_GRACE_MS = 10 * 60_000;
const VERSIONS_REMOVED_PER_PUT_MAX = 32;
const TEMPORARY_AGE_MAX_MS = 60 * 60_000;

/** What a key is at one moment. `slot` is the highest version number taken: 0 none, 1 the plain file. */
interface KeyState {
  hasVersions: boolean;
  slot: number;
  /** Undefined: absent or deleted. */
  info: ObjectInfo | undefined;
  path: string;
}

export async function openLocalStore(options: LocalStoreOptions): Promise<LocalStore> {
  const { root, fileSystem, clock } = options;
  if (!isAbsolute(root)) throw new ProxyError('STORE_INVALID', `the root of a local store must be absolute: ${root}`);
  const folders = new LocalFolders(root, fileSystem);
  try {
    if (!options.readOnly) {
      await folders.openRoot();
      const temporary = join(root, TEMPORARY_FOLDER);
      await fileSystem.makeDirectory(temporary);
      await removeStaleFiles(fileSystem, temporary, clock.nowMs() - TEMPORARY_AGE_MAX_MS);
    }
  } catch (error) {
    throw storeErrorOf(error, 'open', root);
  }
  return new FileStore(options, folders);
}

class FileStore implements LocalStore {
  readonly url: string;
  readonly #root: string;
  readonly #fileSystem: FileSystem;
  readonly #random: Random;
  readonly #folders: LocalFolders;
  readonly #readOnly: boolean;

  constructor(options: LocalStoreOptions, folders: LocalFolders) {
    this.#root = options.root;
    this.#fileSystem = options.fileSystem;
    this.#random = options.random;
    this.#folders = folders;
    this.#readOnly = options.readOnly ?? false;
    this.url = pathToFileURL(options.root).href;
  }

  pathOf(key: string): string {
    checkKey(key);
    return join(this.#root, key);
  }

  async get(key: string, range?: ByteRange): Promise<ObjectBytes> {
    checkKey(key);
    return this.#mapErrors('get', key, async () => {
      for (let round = 0; round < ROUNDS_MAX; round++) {
        const { info, path } = await this.#stateOf(key);
        if (!info) throw new ProxyError('STORE_ABSENT', key);
        // The version is taken before the bytes: should they be newer, a conditional write with it fails, as it must.
        const bytes = await readWhole(this.#fileSystem, path, info.sizeBytes, range, key);
        if (bytes) return { info, bytes };
      }
      throw new ProxyError('STORE_CONFLICT', `get ${key}: replaced again and again while being read`);
    });
  }

  async head(key: string): Promise<ObjectInfo | undefined> {
    checkKey(key);
    return this.#mapErrors('head', key, async () => (await this.#stateOf(key)).info);
  }

  list(prefix: string, options: ListOptions = {}): AsyncIterable<ObjectInfo> {
    return listLocal({
      root: this.#root,
      fileSystem: this.#fileSystem,
      folders: this.#folders,
      infoOf: async (key) => (await this.#stateOf(key)).info,
      prefix,
      startAfter: options.startAfter ?? '',
    });
  }

  async put(key: string, body: ObjectBody, options: PutOptions = {}): Promise<ObjectInfo> {
    this.#checkWritable(key);
    if (sizeOf(body) === DELETED_MARKER.byteLength && isDeletedMarker(await wholeOf(body)))
      throw new ProxyError('STORE_INVALID', `put ${key}: these bytes mark a deletion`);
    return this.#mapErrors('put', key, async () => {
      const condition = options.condition;
      const state = await this.#stateOf(key);
      if (condition?.kind === 'absent' && state.info) throw await this.#exists(key, state);
      if (condition?.kind === 'unchanged' && state.info?.version !== condition.version) {
        throw await this.#exists(key, state);
      }
      return this.#withTemporary(body, async (temporary) => {
        if (condition?.kind === 'unchanged') return this.#replace(key, temporary, state);
        if (state.hasVersions) return this.#takeNextVersion(key, temporary, condition !== undefined);
        return condition ? this.#create(key, temporary) : this.#overwrite(key, temporary);
      });
    });
  }

  async delete(key: string): Promise<void> {
    this.#checkWritable(key);
    await this.#mapErrors('delete', key, async () => {
      const state = await this.#stateOf(key);
      if (!state.info) return this.#syncAbsence(key, state);
      if (!state.hasVersions) {
        await removeQuietly(this.#fileSystem, join(this.#root, key), 'required');
        await this.#folders.sync(folderOf(key));
        if (!(await this.#hasVersions(key))) return;
      }
      await this.#withTemporary(DELETED_MARKER, async (temporary) => {
        for (let round = 0; round < ROUNDS_MAX; round++) {
          const now = await this.#stateOf(key);
          if (!now.info && now.slot >= 2) return this.#syncAbsence(key, now);
          // Without a deletion here, one who still holds the deleted plain object could replace it.
          const slot = Math.max(1, now.slot);
          if (await this.#linkVersion(key, temporary, { ...now, slot })) return this.#cleanVersions(key, slot + 1);
        }
        throw new ProxyError('STORE_CONFLICT', `delete ${key}: replaced again and again`);
      });
    });
  }

  async close(): Promise<void> {
    // Nothing is held open between operations.
  }

  #checkWritable(key: string): void {
    checkKey(key);
    if (this.#readOnly) throw new ProxyError('STORE_DENIED', `${key}: the store was opened for reading only`);
  }

  /** Whoever removed it may have died before the removal was durable. */
  async #syncAbsence(key: string, state: KeyState): Promise<void> {
    const folder = state.slot >= 2 ? key + VERSIONS_SUFFIX : folderOf(key);
    if (await this.#fileSystem.stat(join(this.#root, folder))) await this.#folders.sync(folder);
  }

  // ── Writing under the plain name ──

  async #create(key: string, temporary: string): Promise<ObjectInfo> {
    const path = join(this.#root, key);
    await this.#inFolder(folderOf(key), async () => {
      if (await this.#tryLink(temporary, path)) return;
      if ((await this.#fileSystem.stat(path))?.isDirectory) {
        throw new ProxyError('STORE_INVALID', `put ${key}: other keys lie under this one`);
      }
      throw await this.#exists(key, await this.#stateOf(key));
    });
    await this.#folders.sync(folderOf(key));
    const info = plainInfo(key, await this.#mustStat(temporary));
    if (!(await this.#hasVersions(key))) return info;
    // Someone began to replace an earlier object of this name: only the next version decides whether ours is the one.
    const state = await this.#stateOf(key);
    if (state.slot <= 1 && (await this.#linkVersion(key, temporary, { ...state, slot: 1 }))) {
      return versionInfo(key, 2, await this.#mustStat(temporary));
    }
    throw new ProxyError('STORE_CONFLICT', `put ${key}: another writer was at work`);
  }

  async #overwrite(key: string, temporary: string): Promise<ObjectInfo> {
    // Renaming uses the name up; the first one stays for the case that versions appear.
    const second = `${temporary}.2`;
    await this.#fileSystem.link(temporary, second);
    try {
      await this.#inFolder(folderOf(key), () => this.#fileSystem.rename(second, join(this.#root, key)));
    } catch (error) {
      await removeQuietly(this.#fileSystem, second);
      throw error;
    }
    await this.#folders.sync(folderOf(key));
    const info = plainInfo(key, await this.#mustStat(temporary));
    return (await this.#hasVersions(key)) ? this.#takeNextVersion(key, temporary, false) : info;
  }

  // ── Writing versions ──

  async #replace(key: string, temporary: string, state: KeyState): Promise<ObjectInfo> {
    if (!state.hasVersions) {
      await this.#folders.make(key + VERSIONS_SUFFIX);
      // From here on others see the folder. The plain file must still be the one the caller read.
      const again = await this.#stateOf(key);
      if (again.info?.version !== state.info?.version) throw await this.#exists(key, again);
    }
    if (!(await this.#linkVersion(key, temporary, state))) throw await this.#exists(key, await this.#stateOf(key));
    const info = versionInfo(key, state.slot + 1, await this.#mustStat(temporary));
    await this.#cleanVersions(key, state.slot + 1);
    return info;
  }

  /** `createOnly`: only over a deletion. Otherwise over whatever is there. */
  async #takeNextVersion(key: string, temporary: string, createOnly: boolean): Promise<ObjectInfo> {
    for (let round = 0; round < ROUNDS_MAX; round++) {
      const state = await this.#stateOf(key);
      if (createOnly && state.info) throw await this.#exists(key, state);
      const slot = Math.max(1, state.slot);
      if (!(await this.#linkVersion(key, temporary, { ...state, slot }))) continue;
      const info = versionInfo(key, slot + 1, await this.#mustStat(temporary));
      await this.#cleanVersions(key, slot + 1);
      return info;
    }
    throw new ProxyError('STORE_CONFLICT', `put ${key}: replaced again and again`);
  }

  /** Takes the slot after `state.slot`. False: someone else has it. */
  async #linkVersion(key: string, temporary: string, state: KeyState): Promise<boolean> {
    const folder = key + VERSIONS_SUFFIX;
    await this.#folders.make(folder);
    const path = this.#versionPath(key, state.slot + 1);
    if (!(await this.#tryLink(temporary, path))) return false;
    await this.#folders.sync(folder);
    if (state.slot < 2) return true;
    // Versions are removed from the oldest on. If the one before ours is gone, ours may fill a hole that cleaning left
    // below newer versions, which nobody sees.
    if (await this.#fileSystem.stat(this.#versionPath(key, state.slot))) return true;
    await removeQuietly(this.#fileSystem, path);
    return false;
  }

  /** Best effort. The plain file is stale once there is a durable version; old versions go once they are old by a newer one. */
  async #cleanVersions(key: string, newest: number): Promise<void> {
    if (newest === 2) await removeQuietly(this.#fileSystem, join(this.#root, key));
    try {
      await this.#cleanOldVersions(key, newest);
    } catch {
      // The change itself is done and durable; the next one cleans again.
    }
  }

  async #cleanOldVersions(key: string, newest: number): Promise<void> {
    const slots = await this.#slotsOf(key);
    if (slots.length <= VERSIONS_KEPT_MIN) return;
    const last = await this.#fileSystem.stat(this.#versionPath(key, newest));
    if (!last) return;
    const candidates = slots.slice(0, slots.length - VERSIONS_KEPT_MIN).slice(0, VERSIONS_REMOVED_PER_PUT_MAX);
    for (const slot of candidates) {
      const path = this.#versionPath(key, slot);
      const found = await this.#fileSystem.stat(path);
      // Both times are the file server's, so clocks that differ do no harm.
      if (found && last.modifiedAtMs - found.modifiedAtMs < VERSION_GRACE_MS) return;
      await removeQuietly(this.#fileSystem, path);
    }
  }

  // ── Looking ──

  async #stateOf(key: string): Promise<KeyState> {
    const plainPath = join(this.#root, key);
    await this.#folders.settle(folderOf(key));
    for (let round = 0; round < ROUNDS_MAX; round++) {
      const hasVersions = await this.#hasVersions(key);
      const slot = hasVersions ? ((await this.#slotsOf(key)).at(-1) ?? 0) : 0;
      if (slot >= 2) {
        const path = this.#versionPath(key, slot);
        const found = await this.#fileSystem.stat(path);
        if (!found) continue; // Cleaned up meanwhile, so there is a higher one.
        const deleted = await this.#isDeletion(path, found);
        return { hasVersions, slot, info: deleted ? undefined : versionInfo(key, slot, found), path };
      }
      const found = await this.#fileSystem.stat(plainPath);
      if (found && !found.isDirectory) return { hasVersions, slot: 1, info: plainInfo(key, found), path: plainPath };
      // The plain file goes when its first version is there; look again before calling it absent.
      if (!hasVersions && (await this.#hasVersions(key))) continue;
      if (hasVersions && (await this.#slotsOf(key)).length > 0) continue;
      return { hasVersions, slot: hasVersions ? 1 : 0, info: undefined, path: plainPath };
    }
    throw new ProxyError('STORE_CONFLICT', `${key}: replaced again and again while being looked up`);
  }

  async #hasVersions(key: string): Promise<boolean> {
    const found = await this.#fileSystem.stat(join(this.#root, key + VERSIONS_SUFFIX));
    return found?.isDirectory === true;
  }

  /** Ascending. */
  async #slotsOf(key: string): Promise<number[]> {
    const folder = key + VERSIONS_SUFFIX;
    await this.#folders.settle(folder);
    const names = await this.#fileSystem.list(join(this.#root, folder));
    return names.filter((name) => /^\d{10}$/.test(name)).map(Number);
  }

  async #isDeletion(path: string, found: FileStat): Promise<boolean> {
    if (found.sizeBytes !== DELETED_MARKER.byteLength) return false;
    const bytes = await readWhole(this.#fileSystem, path, found.sizeBytes, undefined, path);
    return bytes !== undefined && isDeletedMarker(bytes);
  }

  #versionPath(key: string, slot: number): string {
    return join(this.#root, key + VERSIONS_SUFFIX, String(slot).padStart(10, '0'));
  }

  async #mustStat(path: string): Promise<FileStat> {
    const found = await this.#fileSystem.stat(path);
    if (!found) throw new ProxyError('STORE_UNAVAILABLE', 'a temporary file was removed while in use');
    return found;
  }

  /** What made the condition fail must be durable before anyone draws conclusions from it. */
  async #exists(key: string, state: KeyState): Promise<ProxyError> {
    if (state.info) await this.#folders.sync(state.slot >= 2 ? key + VERSIONS_SUFFIX : folderOf(key));
    return new ProxyError('STORE_EXISTS', key);
  }

  // ── Files ──

  async #withTemporary<T>(body: ObjectBody, use: (path: string) => Promise<T>): Promise<T> {
    const name = Buffer.from(this.#random.bytes(16)).toString('hex');
    const path = join(this.#root, TEMPORARY_FOLDER, name);
    try {
      try {
        await writeNew(this.#fileSystem, path, body);
      } catch (error) {
        if (!isFileError(error, 'ENOENT')) throw error;
        await this.#fileSystem.makeDirectory(join(this.#root, TEMPORARY_FOLDER));
        await writeNew(this.#fileSystem, path, body);
      }
      return await use(path);
    } finally {
      await removeQuietly(this.#fileSystem, path);
    }
  }

  /** True: the name is ours. False: someone else has it. Settles a lost answer (NFS) by the link count of our file. */
  async #tryLink(from: string, to: string): Promise<boolean> {
    const before = (await this.#mustStat(from)).linkCount;
    try {
      await this.#fileSystem.link(from, to);
      return true;
    } catch (error) {
      const after = await this.#fileSystem.stat(from);
      if (after && after.linkCount > before) return true;
      if (isFileError(error, 'EEXIST')) return false;
      throw error;
    }
  }

  /** Makes the folder and acts in it; once more when it was removed by hand since we knew it. */
  async #inFolder(folder: string, act: () => Promise<void>): Promise<void> {
    await this.#folders.make(folder);
    try {
      await act();
    } catch (error) {
      if (!isFileError(error, 'ENOENT')) throw error;
      this.#folders.forget();
      await this.#folders.make(folder);
      await act();
    }
  }

  async #mapErrors<T>(operation: string, key: string, act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } catch (error) {
      const mapped = storeErrorOf(error, operation, key);
      // A name that vanishes under a writer is no statement about the object.
      if (operation !== 'get' && isFileError(error, 'ENOENT')) {
        throw new ProxyError('STORE_UNAVAILABLE', `${operation} ${key}: ENOENT`, { cause: error });
      }
      throw mapped;
    }
  }
}

function folderOf(key: string): string {
  return key.includes('/') ? key.slice(0, key.lastIndexOf('/')) : '';
}

function isDeletedMarker(bytes: Uint8Array): boolean {
  return bytes.byteLength === DELETED_MARKER.byteLength && Buffer.compare(bytes, DELETED_MARKER) === 0;
}

function plainInfo(key: string, found: FileStat): ObjectInfo {
  const version = `p${found.fileId}-${found.sizeBytes}-${found.modifiedAtMs}`;
  return { key, sizeBytes: found.sizeBytes, version, modifiedAtMs: found.modifiedAtMs };
}

function versionInfo(key: string, slot: number, found: FileStat): ObjectInfo {
  return { key, sizeBytes: found.sizeBytes, version: `v${slot}`, modifiedAtMs: found.modifiedAtMs };
}
