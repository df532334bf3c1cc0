/**
 * A disk in memory that tells apart what a process sees and what would survive a power cut. File content and size are
 * durable only by `sync` of that file; entries (create, link, rename, unlink, new folders) only by `syncDirectory` of their
 * folder. `crash` draws what survives from the random; `kill` is SIGKILL: everything written stays, still unsynced.
 * Operations take a drawn number of microtask turns, so that concurrent callers interleave and every seed replays.
 */
import { posix } from 'node:path';
import type { FileStat, FileSystem, OpenFile } from '../../src/core/file-system.ts';
import type { Random } from '../../src/core/random.ts';
import { type CrashMode, FileNode, FolderNode, type Node } from './simulated-nodes.ts';

export type { CrashMode } from './simulated-nodes.ts';

export type DiskOperation =
  | 'open'
  | 'write'
  | 'read'
  | 'sync'
  | 'truncate'
  | 'sizeBytes'
  | 'close'
  | 'rename'
  | 'link'
  | 'unlink'
  | 'makeDirectory'
  | 'removeDirectory'
  | 'list'
  | 'stat'
  | 'syncDirectory';

export interface SimulatedDiskOptions {
  /** Folders that exist and are durable from the start; default `['/data']`. */
  folders?: string[];
  /** Room on the disk; a write beyond it lands in part and fails with ENOSPC. Default: no limit. */
  spaceBytes?: number;
  /** Stamps of changes; default: a count that grows by 1 with each operation. */
  nowMs?: () => number;
  /** What a dead process's calls do: `reject` with EIO (default), or `hang` for ever as in a real crash. */
  afterDeath?: 'reject' | 'hang';
}

export interface FailOptions {
  /** How many times; default 1. */
  times?: number;
  /** Only paths that contain this. */
  pathPart?: string;
  /** The operation takes effect and then reports failure: a lost answer, as NFS gives. */
  afterEffect?: boolean;
}

export interface SimulatedDisk {
  /** The file system of the process that runs now; after a crash or kill its calls fail until `reopen` gives a new one. */
  readonly fileSystem: FileSystem;
  /** Operations begun since the disk was made. */
  readonly operationCount: number;
  readonly isDown: boolean;
  spaceBytes: number;
  readonly usedBytes: number;
  /** Power cut. `random` (default) draws what unsynced data survives; `lose` nothing of it; `keep` all of it. */
  crash(mode?: CrashMode): void;
  /** SIGKILL: nothing written is lost, but nothing becomes durable by it either. */
  kill(): void;
  reopen(): FileSystem;
  /** Crashes (or kills) within the n-th operation from now, counted from 1: before, amid or after its effect, as drawn. */
  stopAt(n: number, how: 'crash' | 'kill'): void;
  /** Resolves at the next crash or kill. */
  whenDown(): Promise<void>;
  /** The next such operation fails with this error code (`EIO`, `EACCES` …). A failed sync loses or keeps data as drawn. */
  failNext(operation: DiskOperation, code: string, options?: FailOptions): void;
  /** Drops the failures that were planned and have not happened. */
  forgetFailures(): void;
  /** Paths of all files as the process sees them, sorted. */
  files(): string[];
  /** Content as the process sees it; undefined when there is no such file. */
  contentOf(path: string): Uint8Array | undefined;
  /** Overwrites content behind everyone's back, durably: a bad sector. */
  damage(path: string, offset: number, bytes: Uint8Array): void;
}

export function createSimulatedDisk(random: Random, options: SimulatedDiskOptions = {}): SimulatedDisk {
  return new Disk(random, options);
}

function fileError(code: string, detail: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: ${detail}`), { code });
}

interface PlannedFailure extends FailOptions {
  operation: DiskOperation;
  code: string;
  left: number;
}

class Disk implements SimulatedDisk {
  readonly #random: Random;
  readonly #options: SimulatedDiskOptions;
  readonly #root = new FolderNode();
  #generation = 0;
  #stop: { at: number; how: 'crash' | 'kill' } | undefined;
  #failures: PlannedFailure[] = [];
  #downListeners: (() => void)[] = [];
  operationCount = 0;
  isDown = false;
  spaceBytes: number;
  usedBytes = 0;
  fileSystem: FileSystem;

  constructor(random: Random, options: SimulatedDiskOptions) {
    this.#random = random;
    this.#options = options;
    this.spaceBytes = options.spaceBytes ?? Number.POSITIVE_INFINITY;
    for (const path of options.folders ?? ['/data']) this.#makeFolders(path);
    this.#eachFolder((folder) => folder.sync(folder.mark()));
    this.fileSystem = new SimulatedFileSystem(this, 0);
  }

  crash(mode: CrashMode = 'random'): void {
    if (!this.#goDown()) return;
    const folders: FolderNode[] = [];
    const files = new Set<FileNode>();
    const collect = (folder: FolderNode): void => {
      folders.push(folder);
      for (const node of folder.live.values()) node.kind === 'folder' ? collect(node) : files.add(node);
    };
    collect(this.#root);
    // Parents first; entries that were unlinked but not synced are still in the durable state and may come back.
    for (const folder of folders) folder.settle(mode, this.#random);
    for (const folder of folders) folder.restart();
    files.clear();
    this.#eachFile((file) => files.add(file));
    this.usedBytes = 0;
    for (const file of files) {
      file.crash(mode, this.#random);
      file.linkCount = 0;
      this.usedBytes += file.live.sizeBytes;
    }
    this.#eachFile((file) => {
      file.linkCount++;
    });
  }

  kill(): void {
    if (!this.#goDown()) return;
    this.usedBytes = 0;
    const seen = new Set<FileNode>();
    this.#eachFile((file) => seen.add(file));
    for (const file of seen) {
      file.openCount = 0;
      this.usedBytes += file.live.sizeBytes;
    }
  }

  reopen(): FileSystem {
    if (!this.isDown) throw new Error('BUG: reopen of a disk that is not down');
    this.isDown = false;
    this.fileSystem = new SimulatedFileSystem(this, this.#generation);
    return this.fileSystem;
  }

  stopAt(n: number, how: 'crash' | 'kill'): void {
    this.#stop = { at: this.operationCount + n, how };
  }

  whenDown(): Promise<void> {
    return new Promise((resolve) => this.#downListeners.push(resolve));
  }

  failNext(operation: DiskOperation, code: string, options: FailOptions = {}): void {
    this.#failures.push({ ...options, operation, code, left: options.times ?? 1 });
  }

  forgetFailures(): void {
    this.#failures = [];
  }

  files(): string[] {
    const found: string[] = [];
    const walk = (folder: FolderNode, path: string): void => {
      for (const [name, node] of folder.live) {
        if (node.kind === 'folder') walk(node, `${path}/${name}`);
        else found.push(`${path}/${name}`);
      }
    };
    walk(this.#root, '');
    return found.sort();
  }

  contentOf(path: string): Uint8Array | undefined {
    const node = this.find(path);
    return node?.kind === 'file' ? node.live.view().slice() : undefined;
  }

  damage(path: string, offset: number, bytes: Uint8Array): void {
    const node = this.find(path);
    if (node?.kind !== 'file') throw fileError('ENOENT', path);
    node.damage(offset, bytes);
  }

  // ── For the file system and its handles ──

  /**
   * Runs one operation of a process: some turns, its effect, some turns. A crash in between is felt by the caller as the end of its process.
   */
  async run<T>(
    generation: number,
    operation: DiskOperation,
    path: string,
    effect: () => T,
    onFailure?: () => void,
  ): Promise<T> {
    this.operationCount++;
    // Where the stop falls: before the effect, or after it but before the caller knows.
    const stop = this.#stop !== undefined && this.operationCount >= this.#stop.at ? this.#stop : undefined;
    if (stop) this.#stop = undefined;
    const stopBefore = stop !== undefined && this.#random.next() < 0.5;
    await this.#turns(operation);
    await this.#aliveOrGone(generation);
    if (stop && stopBefore) this[stop.how]();
    await this.#aliveOrGone(generation);
    const failure = this.#takeFailure(operation, path);
    if (failure && !failure.afterEffect) {
      onFailure?.();
      throw fileError(failure.code, `simulated, ${operation} ${path}`);
    }
    // A synchronous write may have stopped the machine while this one was waiting for its turn.
    if (this.isDown || generation !== this.#generation) await this.#aliveOrGone(generation);
    const result = effect();
    if (stop) this[stop.how]();
    await this.#turns(operation);
    await this.#aliveOrGone(generation);
    if (failure) throw fileError(failure.code, `simulated after effect, ${operation} ${path}`);
    return result;
  }

  runSync(generation: number, operation: DiskOperation, path: string, effect: () => void): void {
    this.operationCount++;
    if (this.isDown || generation !== this.#generation) throw fileError('EIO', 'simulated crash');
    const stop = this.#stop !== undefined && this.operationCount >= this.#stop.at ? this.#stop : undefined;
    if (stop) this.#stop = undefined;
    const failure = this.#takeFailure(operation, path);
    if (failure && !failure.afterEffect) throw fileError(failure.code, `simulated, ${operation} ${path}`);
    if (!stop || this.#random.next() < 0.5) effect();
    if (stop) {
      this[stop.how]();
      throw fileError('EIO', 'simulated crash');
    }
    if (failure) throw fileError(failure.code, `simulated after effect, ${operation} ${path}`);
  }

  find(path: string): Node | undefined {
    let node: Node = this.#root;
    for (const name of partsOf(path)) {
      if (node.kind !== 'folder') return undefined;
      const next = node.live.get(name);
      if (!next) return undefined;
      node = next;
    }
    return node;
  }

  folderOf(path: string): { folder: FolderNode; name: string } {
    const parts = partsOf(path);
    const name = parts.pop();
    if (name === undefined) throw fileError('EISDIR', path);
    let node: Node = this.#root;
    for (const part of parts) {
      if (node.kind !== 'folder') throw fileError('ENOTDIR', path);
      const next = node.live.get(part);
      if (!next) throw fileError('ENOENT', path);
      node = next;
    }
    if (node.kind !== 'folder') throw fileError('ENOTDIR', path);
    return { folder: node, name };
  }

  open(path: string, mode: 'create' | 'write' | 'read' | 'write-or-create'): FileNode {
    const { folder, name } = this.folderOf(path);
    let node = folder.live.get(name);
    if (node?.kind === 'folder') throw fileError('EISDIR', path);
    if (node && mode === 'create') throw fileError('EEXIST', path);
    if (!node) {
      if (mode === 'read' || mode === 'write') throw fileError('ENOENT', path);
      node = new FileNode();
      node.linkCount = 1;
      node.modifiedAtMs = this.nowMs();
      this.change(folder, { set: { name, node } });
    }
    node.openCount++;
    return node;
  }

  rename(from: string, to: string): void {
    const source = this.folderOf(from);
    const target = this.folderOf(to);
    const node = source.folder.live.get(source.name);
    if (!node) throw fileError('ENOENT', from);
    const replaced = target.folder.live.get(target.name);
    if (replaced === node) return;
    if (replaced?.kind === 'folder') {
      if (node.kind !== 'folder') throw fileError('EISDIR', to);
      if (replaced.live.size > 0) throw fileError('ENOTEMPTY', to);
    } else if (replaced && node.kind === 'folder') throw fileError('ENOTDIR', to);
    if (source.folder === target.folder) {
      this.change(source.folder, { remove: source.name, set: { name: target.name, node } });
    } else {
      const arrival = { set: { name: target.name, node } };
      this.change(target.folder, arrival);
      this.change(source.folder, { remove: source.name, after: { folder: target.folder, operation: arrival } });
    }
    if (replaced?.kind === 'file') this.#dropLink(replaced);
  }

  link(from: string, to: string): void {
    const node = this.find(from);
    if (!node) throw fileError('ENOENT', from);
    if (node.kind === 'folder') throw fileError('EPERM', from);
    const { folder, name } = this.folderOf(to);
    if (folder.live.has(name)) throw fileError('EEXIST', to);
    this.change(folder, { set: { name, node } });
    node.linkCount++;
  }

  unlink(path: string): void {
    const { folder, name } = this.folderOf(path);
    const node = folder.live.get(name);
    if (!node) throw fileError('ENOENT', path);
    if (node.kind === 'folder') throw fileError('EISDIR', path);
    this.change(folder, { remove: name });
    this.#dropLink(node);
  }

  makeFolders(path: string): void {
    this.#makeFolders(path);
  }

  removeFolder(path: string): void {
    const node = this.find(path);
    if (!node) return;
    if (node.kind === 'file') throw fileError('ENOTDIR', path);
    if (node.live.size > 0) throw fileError('ENOTEMPTY', path);
    const { folder, name } = this.folderOf(path);
    this.change(folder, { remove: name });
  }

  change(folder: FolderNode, operation: Parameters<FolderNode['apply']>[0]): void {
    folder.apply(operation);
    folder.modifiedAtMs = this.nowMs();
  }

  release(file: FileNode): void {
    file.openCount--;
    this.#freeIfUnused(file);
  }

  /** Writes what fits; ENOSPC when that was not all. */
  write(file: FileNode, path: string, offset: number, bytes: Uint8Array): void {
    const room = Math.max(0, this.spaceBytes - this.usedBytes);
    const writable = Math.min(bytes.byteLength, Math.max(0, file.live.sizeBytes + room - offset));
    const before = file.live.sizeBytes;
    if (writable > 0) file.write(offset, bytes.subarray(0, writable));
    this.usedBytes += file.live.sizeBytes - before;
    file.modifiedAtMs = this.nowMs();
    if (writable < bytes.byteLength) throw fileError('ENOSPC', `no space left on simulated disk, write ${path}`);
  }

  truncate(file: FileNode, sizeBytes: number): void {
    this.usedBytes += sizeBytes - file.live.sizeBytes;
    file.truncate(sizeBytes);
    file.modifiedAtMs = this.nowMs();
  }

  nowMs(): number {
    return this.#options.nowMs?.() ?? this.operationCount;
  }

  failSync(file: FileNode): void {
    file.failSync(this.#random);
  }

  /** A point inside a write of this many bytes where it is cut in two. */
  drawSplit(byteLength: number): number {
    return byteLength < 2 ? byteLength : 1 + Math.floor(this.#random.next() * (byteLength - 1));
  }

  #makeFolders(path: string): void {
    let folder = this.#root;
    for (const name of partsOf(path)) {
      let node = folder.live.get(name);
      if (!node) {
        node = new FolderNode();
        this.change(folder, { set: { name, node } });
      }
      if (node.kind !== 'folder') throw fileError('EEXIST', path);
      folder = node;
    }
  }

  #dropLink(file: FileNode): void {
    file.linkCount--;
    this.#freeIfUnused(file);
  }

  #freeIfUnused(file: FileNode): void {
    if (file.linkCount === 0 && file.openCount === 0) this.usedBytes -= file.live.sizeBytes;
  }

  #goDown(): boolean {
    if (this.isDown) return false;
    this.isDown = true;
    this.#generation++;
    this.#stop = undefined;
    for (const listener of this.#downListeners.splice(0)) listener();
    return true;
  }

  async #turns(operation: DiskOperation): Promise<void> {
    const turnsMax = operation === 'sync' || operation === 'syncDirectory' ? 12 : 4;
    for (let left = Math.floor(this.#random.next() * turnsMax) + 1; left > 0; left--) await undefined;
  }

  async #aliveOrGone(generation: number): Promise<void> {
    if (!this.isDown && generation === this.#generation) return;
    if (this.#options.afterDeath === 'hang') await new Promise<never>(() => {});
    throw fileError('EIO', 'simulated crash');
  }

  #takeFailure(operation: DiskOperation, path: string): PlannedFailure | undefined {
    const index = this.#failures.findIndex(
      (failure) =>
        failure.operation === operation && (failure.pathPart === undefined || path.includes(failure.pathPart)),
    );
    const failure = this.#failures[index];
    if (failure && --failure.left === 0) this.#failures.splice(index, 1);
    return failure;
  }

  #eachFolder(visit: (folder: FolderNode) => void): void {
    const walk = (folder: FolderNode): void => {
      visit(folder);
      for (const node of folder.live.values()) if (node.kind === 'folder') walk(node);
    };
    walk(this.#root);
  }

  #eachFile(visit: (file: FileNode) => void): void {
    this.#eachFolder((folder) => {
      for (const node of folder.live.values()) if (node.kind === 'file') visit(node);
    });
  }
}

function partsOf(path: string): string[] {
  return posix
    .normalize(path)
    .split('/')
    .filter((part) => part !== '' && part !== '.');
}

class SimulatedFileSystem implements FileSystem {
  readonly #disk: Disk;
  readonly #generation: number;

  constructor(disk: Disk, generation: number) {
    this.#disk = disk;
    this.#generation = generation;
  }

  #run<T>(operation: DiskOperation, path: string, effect: () => T): Promise<T> {
    return this.#disk.run(this.#generation, operation, path, effect);
  }

  open(path: string, mode: 'create' | 'write' | 'read' | 'write-or-create'): Promise<OpenFile> {
    return this.#run('open', path, () => {
      return new SimulatedFile(this.#disk, this.#generation, path, this.#disk.open(path, mode), mode !== 'read');
    });
  }

  rename(from: string, to: string): Promise<void> {
    return this.#run('rename', to, () => this.#disk.rename(from, to));
  }

  link(from: string, to: string): Promise<void> {
    return this.#run('link', to, () => this.#disk.link(from, to));
  }

  unlink(path: string): Promise<void> {
    return this.#run('unlink', path, () => this.#disk.unlink(path));
  }

  makeDirectory(path: string): Promise<void> {
    return this.#run('makeDirectory', path, () => this.#disk.makeFolders(path));
  }

  removeDirectory(path: string): Promise<void> {
    return this.#run('removeDirectory', path, () => this.#disk.removeFolder(path));
  }

  list(path: string): Promise<string[]> {
    return this.#run('list', path, () => {
      const node = this.#disk.find(path);
      if (!node) return [];
      if (node.kind === 'file') throw fileError('ENOTDIR', path);
      return [...node.live.keys()].sort();
    });
  }

  stat(path: string): Promise<FileStat | undefined> {
    return this.#run('stat', path, () => {
      const node = this.#disk.find(path);
      if (!node) return undefined;
      const isFile = node.kind === 'file';
      return {
        sizeBytes: isFile ? node.live.sizeBytes : 0,
        modifiedAtMs: node.modifiedAtMs,
        isDirectory: !isFile,
        linkCount: isFile ? node.linkCount : 1,
        fileId: node.id,
      };
    });
  }

  async syncDirectory(path: string): Promise<void> {
    const node = this.#disk.find(path);
    const begun = node?.kind === 'folder' ? node.mark() : 0;
    await this.#run('syncDirectory', path, () => {
      if (!node) throw fileError('ENOENT', path);
      if (node.kind === 'file') throw fileError('ENOTDIR', path);
      node.sync(begun);
    });
  }
}

class SimulatedFile implements OpenFile {
  readonly #disk: Disk;
  readonly #generation: number;
  readonly #path: string;
  readonly #file: FileNode;
  readonly #writable: boolean;
  #closed = false;

  constructor(disk: Disk, generation: number, path: string, file: FileNode, writable: boolean) {
    this.#disk = disk;
    this.#generation = generation;
    this.#path = path;
    this.#file = file;
    this.#writable = writable;
  }

  #run<T>(operation: DiskOperation, effect: () => T, onFailure?: () => void): Promise<T> {
    const checked = (): T => {
      this.#checkOpen();
      return effect();
    };
    return this.#disk.run(this.#generation, operation, this.#path, checked, onFailure);
  }

  #checkOpen(): void {
    if (this.#closed) throw fileError('EBADF', `closed, ${this.#path}`);
  }

  #checkWritable(): void {
    this.#checkOpen();
    if (!this.#writable) throw fileError('EBADF', `open for reading, ${this.#path}`);
  }

  /** In two steps, so that a stop or a concurrent reader can find half of it. */
  async write(chunks: readonly Uint8Array[], offset: number): Promise<void> {
    const bytes = Buffer.concat(chunks);
    const split = this.#disk.drawSplit(bytes.byteLength);
    for (const [from, to] of [
      [0, split],
      [split, bytes.byteLength],
    ] as const) {
      if (from === to && from > 0) continue;
      await this.#run('write', () => {
        this.#checkWritable();
        this.#disk.write(this.#file, this.#path, offset + from, bytes.subarray(from, to));
      });
    }
  }

  writeSync(chunk: Uint8Array, offset: number): void {
    this.#disk.runSync(this.#generation, 'write', this.#path, () => {
      this.#checkWritable();
      this.#disk.write(this.#file, this.#path, offset, chunk);
    });
  }

  read(target: Uint8Array, offset: number): Promise<number> {
    return this.#run('read', () => {
      const found = this.#file.live.view().subarray(offset, offset + target.byteLength);
      target.set(found);
      return found.byteLength;
    });
  }

  /** What was written before the call is durable after it; what is written meanwhile may not be. */
  async sync(): Promise<void> {
    this.#checkOpen();
    const begun = this.#file.mark();
    await this.#run(
      'sync',
      () => this.#file.sync(begun),
      () => this.#disk.failSync(this.#file),
    );
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#run('truncate', () => {
      this.#checkWritable();
      this.#disk.truncate(this.#file, sizeBytes);
    });
  }

  sizeBytes(): Promise<number> {
    return this.#run('sizeBytes', () => this.#file.live.sizeBytes);
  }

  async close(): Promise<void> {
    await this.#run('close', () => {
      this.#closed = true;
      this.#disk.release(this.#file);
    });
  }
}
