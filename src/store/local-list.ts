/**
 * Listing of the local store: objects in byte order of their keys, folder by folder. Memory holds the names of the folders
 * on the current path only; each object is looked at when it is its turn, so a listing can be cut short cheaply.
 */
import { join } from 'node:path';
import type { FileSystem } from '../core/file-system.ts';
import { storeErrorOf } from './file-errors.ts';
import { compareKeys, keyProblem, VERSIONS_SUFFIX } from './keys.ts';
import type { LocalFolders } from './local-folders.ts';
import type { ObjectInfo } from './object-store.ts';

export interface LocalListing {
  root: string;
  fileSystem: FileSystem;
  folders: LocalFolders;
  infoOf: (key: string) => Promise<ObjectInfo | undefined>;
  prefix: string;
  startAfter: string;
}

export async function* listLocal(listing: LocalListing): AsyncGenerator<ObjectInfo> {
  const slash = listing.prefix.lastIndexOf('/');
  const folder = listing.prefix.slice(0, Math.max(0, slash));
  // A prefix that no valid key can have matches nothing; above all it never leads out of the root.
  if (slash === 0 || (folder !== '' && keyProblem(folder) !== undefined)) return;
  try {
    yield* listFolder(listing, folder);
  } catch (error) {
    throw storeErrorOf(error, 'list', listing.prefix);
  }
}

async function* listFolder(listing: LocalListing, folder: string): AsyncGenerator<ObjectInfo> {
  const { root, fileSystem, folders, prefix, startAfter } = listing;
  const found = await fileSystem.stat(join(root, folder));
  if (!found?.isDirectory || !(await folders.settle(folder))) return;
  /** Folders whose turn (`name/`) comes after files that sort between `name` and `name/`, such as `name-x`. */
  const waiting: string[] = [];
  for (const key of await keysIn(listing, folder)) {
    while (waiting.length > 0 && compareKeys(`${waiting[0]}/`, key) < 0) yield* listFolder(listing, waiting.shift()!);
    const asFolder = `${key}/`;
    const folderMatters =
      (asFolder.startsWith(prefix) || prefix.startsWith(asFolder)) &&
      (startAfter.startsWith(asFolder) || compareKeys(asFolder, startAfter) > 0);
    const objectMatters = key.startsWith(prefix) && compareKeys(key, startAfter) > 0;
    if (!folderMatters && !objectMatters) continue;
    const plain = await fileSystem.stat(join(root, key));
    if (objectMatters) {
      const info = await listing.infoOf(key);
      if (info) yield info;
    }
    if (plain?.isDirectory && folderMatters) insertSorted(waiting, key);
  }
  for (const key of waiting) yield* listFolder(listing, key);
}

/** Valid keys of the entries, each once: a plain name and its folder of versions are one object. */
async function keysIn({ fileSystem, root }: LocalListing, folder: string): Promise<string[]> {
  const keys = new Set<string>();
  for (const name of await fileSystem.list(join(root, folder))) {
    const plainName = name.endsWith(VERSIONS_SUFFIX) ? name.slice(0, -VERSIONS_SUFFIX.length) : name;
    const key = folder === '' ? plainName : `${folder}/${plainName}`;
    if (keyProblem(key) === undefined) keys.add(key);
  }
  return [...keys].sort(compareKeys);
}

function insertSorted(waiting: string[], key: string): void {
  const index = waiting.findIndex((other) => compareKeys(`${key}/`, `${other}/`) < 0);
  if (index < 0) waiting.push(key);
  else waiting.splice(index, 0, key);
}
