/**
 * One journal file: where each of its durable frames lies, and reading them back. Only what is durable is in the index, so
 * whatever is found here may be read. One handle, opened when needed, closed once a sealed file has been read to its end.
 */
import type { Position } from '../core/envelope.ts';
import { type FileSystem, isFileError, type OpenFile } from '../core/file-system.ts';
import { KIB, MIB } from '../core/limits.ts';

const READ_BYTES_MAX = MIB;
const COPY_BYTES = 256 * KIB;

export interface RunLimits {
  entriesMax: number;
  bytesMax: number;
}

/** Neighbouring frames: `bytes` holds those of `first` … `first + count - 1`, one after another. */
export interface FrameRun {
  first: Position;
  count: number;
  bytes: Buffer;
}

export class JournalFile {
  readonly path: string;
  readonly first: Position;
  sizeBytes: number;
  entries = 0;
  /** True once nothing is appended any more. */
  sealed = false;
  readonly #fileSystem: FileSystem;
  /** By position - first; offset 0 (where the header is) stands for a frame that is missing. */
  readonly #offsets: number[] = [];
  readonly #lengths: number[] = [];
  readonly #receivedAtMs: number[] = [];
  #handle: Promise<OpenFile> | undefined;
  #users = 0;
  #gone = false;

  constructor(fileSystem: FileSystem, path: string, first: Position, sizeBytes: number, handle?: OpenFile) {
    this.#fileSystem = fileSystem;
    this.path = path;
    this.first = first;
    this.sizeBytes = sizeBytes;
    if (handle) this.#handle = Promise.resolve(handle);
  }

  /** Last position recorded; first - 1 while there is none. */
  get last(): Position {
    return this.first + this.#offsets.length - 1;
  }

  add(position: Position, offset: number, lengthBytes: number, receivedAtMs: number): void {
    while (this.last + 1 < position) {
      this.#offsets.push(0);
      this.#lengths.push(0);
      this.#receivedAtMs.push(0);
    }
    this.#offsets.push(offset);
    this.#lengths.push(lengthBytes);
    this.#receivedAtMs.push(receivedAtMs);
    this.entries += 1;
  }

  has(position: Position): boolean {
    return (this.#offsets[position - this.first] ?? 0) > 0;
  }

  /** A frame that turned out damaged. */
  drop(position: Position): void {
    if (!this.has(position)) return;
    this.#offsets[position - this.first] = 0;
    this.entries -= 1;
  }

  /** The first position from `from` on that is here. */
  next(from: Position): Position | undefined {
    for (let position = Math.max(from, this.first); position <= this.last; position += 1) {
      if (this.has(position)) return position;
    }
    return undefined;
  }

  offsetOf(position: Position): number {
    return this.#offsets[position - this.first] ?? 0;
  }

  lengthOf(position: Position): number {
    return this.#lengths[position - this.first] ?? 0;
  }

  receivedAtMsOf(position: Position): number {
    return this.#receivedAtMs[position - this.first] ?? 0;
  }

  /** Entries with a position greater than `position`. */
  entriesAfter(position: Position): number {
    if (position < this.first) return this.entries;
    if (position >= this.last) return 0;
    if (this.entries === this.#offsets.length) return this.last - position;
    let count = 0;
    for (let at = position + 1; at <= this.last; at += 1) if (this.has(at)) count += 1;
    return count;
  }

  /** Reads `first`, which must be here, and as many right behind it as the limits allow. */
  async readRun(first: Position, limits: RunLimits): Promise<FrameRun> {
    const offset = this.offsetOf(first);
    const bytesMax = Math.min(limits.bytesMax, READ_BYTES_MAX);
    let bytes = this.lengthOf(first);
    let count = 1;
    while (count < limits.entriesMax && this.offsetOf(first + count) === offset + bytes) {
      const length = this.lengthOf(first + count);
      if (bytes + length > bytesMax) break;
      bytes += length;
      count += 1;
    }
    const target = Buffer.allocUnsafe(bytes);
    const atEnd = first + count > this.last;
    const got = await this.#use((handle) => handle.read(target, offset), atEnd);
    return { first, count, bytes: target.subarray(0, got) };
  }

  /** Copies a piece of this file into a new one, synced. */
  async copyTo(path: string, from: number, to: number): Promise<void> {
    const copy = await this.#fileSystem.open(path, 'write-or-create');
    try {
      await copy.truncate(0);
      for (let at = from; at < to; at += COPY_BYTES) {
        const piece = Buffer.allocUnsafe(Math.min(COPY_BYTES, to - at));
        const got = await this.#use((handle) => handle.read(piece, at), false);
        await copy.write([piece.subarray(0, got)], at - from);
        if (got < piece.byteLength) break;
      }
      await copy.sync();
    } finally {
      await copy.close();
    }
  }

  /** The handle for appending. */
  writer(): Promise<OpenFile> {
    if (!this.#handle) throw new Error(`BUG: ${this.path} is not open for appending`);
    return this.#handle;
  }

  async seal(): Promise<void> {
    this.sealed = true;
    await this.#closeIfIdle();
  }

  /** After its last reader the handle is closed; the file may be unlinked before. */
  async abandon(): Promise<void> {
    this.#gone = true;
    await this.#closeIfIdle();
  }

  async #use<T>(task: (handle: OpenFile) => Promise<T>, lastUse: boolean): Promise<T> {
    this.#users += 1;
    try {
      if (!this.#handle) {
        const opening = this.#fileSystem.open(this.path, 'read');
        this.#handle = opening;
        opening.catch(() => {
          if (this.#handle === opening) this.#handle = undefined;
        });
      }
      return await task(await this.#handle);
    } finally {
      this.#users -= 1;
      if (this.#gone || (this.sealed && lastUse)) await this.#closeIfIdle();
    }
  }

  async #closeIfIdle(): Promise<void> {
    if (this.#users > 0 || !this.#handle) return;
    const handle = this.#handle;
    this.#handle = undefined;
    await (await handle).close();
  }
}

/** True when reading failed for the medium itself, not for our handling of it. */
export function isMediumError(error: unknown): boolean {
  return isFileError(error, 'EIO') || isFileError(error, 'EBADMSG') || isFileError(error, 'EUCLEAN');
}
