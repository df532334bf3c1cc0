/**
 * Confirmations on disk: files `confirmed-<first position>` of 8-byte records, position as u48 and 16 bits of CRC-32 (seeded
 * with the journal's mark), little endian. Written plainly and at once, within microseconds of the answer: they survive SIGKILL,
 * not a power cut. Losing one is safe: its envelope then counts as unconfirmed, and an equal body within the window as a retry.
 */
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { Position } from '../core/envelope.ts';
import { messageOf } from '../core/errors.ts';
import type { FileSystem, OpenFile } from '../core/file-system.ts';
import { KIB } from '../core/limits.ts';
import type { Log } from '../telemetry/log.ts';
import { unlinkIfThere } from './checked-file.ts';

const RECORD_BYTES = 8;
const POSITION_BYTES = 6;
const READ_BYTES = 64 * KIB;
const NAME_PATTERN = /^confirmed-(\d{16})$/;
/** A record further from the first position of interest than this is taken for damage: bounds the bit map to 16 MiB. */
const SPAN_MAX = 2 ** 27;

/** Which positions are confirmed, from `base` on. */
export class ConfirmedPositions {
  readonly #base: Position;
  #bits = new Uint8Array(1024);

  constructor(base: Position) {
    this.#base = base;
  }

  add(position: Position): void {
    const index = position - this.#base;
    if (index < 0 || index >= SPAN_MAX) return;
    const cell = index >>> 3;
    if (cell >= this.#bits.byteLength) {
      const larger = new Uint8Array(Math.max(cell + 1, this.#bits.byteLength * 2));
      larger.set(this.#bits);
      this.#bits = larger;
    }
    this.#bits[cell] = (this.#bits[cell] ?? 0) | (1 << (index & 7));
  }

  has(position: Position): boolean {
    const index = position - this.#base;
    if (index < 0 || index >= SPAN_MAX) return false;
    return ((this.#bits[index >>> 3] ?? 0) & (1 << (index & 7))) !== 0;
  }
}

export class Confirmations {
  readonly #fileSystem: FileSystem;
  readonly #folder: string;
  readonly #mark: number;
  readonly #log: Log;
  /** First positions of the files there are, in order; the last is the current one. */
  #files: Position[] = [];
  #current: OpenFile | undefined;
  #currentBytes = 0;
  readonly #record = Buffer.allocUnsafe(RECORD_BYTES);

  constructor(fileSystem: FileSystem, folder: string, mark: number, log: Log) {
    this.#fileSystem = fileSystem;
    this.#folder = folder;
    this.#mark = mark;
    this.#log = log;
  }

  /** Reads all there are. A damaged record is passed over. */
  async load(base: Position): Promise<ConfirmedPositions> {
    const found = new ConfirmedPositions(base);
    this.#files = [];
    for (const name of await this.#fileSystem.list(this.#folder)) {
      const match = NAME_PATTERN.exec(name);
      if (!match) continue;
      this.#files.push(Number(match[1]));
      await this.#loadFile(join(this.#folder, name), found);
    }
    return found;
  }

  async #loadFile(path: string, found: ConfirmedPositions): Promise<void> {
    const file = await this.#fileSystem.open(path, 'read');
    try {
      const sizeBytes = await file.sizeBytes();
      const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, sizeBytes));
      for (let offset = 0; offset < sizeBytes; offset += READ_BYTES) {
        const count = await file.read(buffer, offset);
        for (let at = 0; at + RECORD_BYTES <= count; at += RECORD_BYTES) {
          if (checkOf(buffer, at, this.#mark) === buffer.readUInt16LE(at + POSITION_BYTES)) {
            found.add(buffer.readUIntLE(at, POSITION_BYTES));
          }
        }
      }
    } finally {
      await file.close();
    }
  }

  /** From now on records go to the file of `first`. On failure the file before stays in use. */
  async rotate(first: Position): Promise<void> {
    try {
      const file = await this.#fileSystem.open(join(this.#folder, nameOf(first)), 'write-or-create');
      const size = await file.sizeBytes();
      const before = this.#current;
      this.#current = file;
      this.#currentBytes = size - (size % RECORD_BYTES);
      if (this.#files.at(-1) !== first) this.#files.push(first);
      await before?.close();
    } catch (error) {
      this.#log.warn({ reason: messageOf(error) }, 'no new file for confirmations');
    }
  }

  /** Synchronous on purpose: dying between an answer and its confirmation makes an equal body look like a retry. */
  confirm(position: Position): void {
    if (!this.#current) return;
    const record = this.#record;
    record.writeUIntLE(position, 0, POSITION_BYTES);
    record.writeUInt16LE(checkOf(record, 0, this.#mark), POSITION_BYTES);
    try {
      this.#current.writeSync(record, this.#currentBytes);
      this.#currentBytes += RECORD_BYTES;
    } catch (error) {
      this.#log.warn({ reason: messageOf(error), position }, 'a confirmation could not be written');
    }
  }

  /** Removes the files that can only speak of positions before `start`. The caller syncs the folder. */
  async trim(start: Position): Promise<void> {
    for (;;) {
      const [oldest, next] = this.#files;
      if (oldest === undefined || next === undefined || next > start) return;
      this.#files.shift();
      await unlinkIfThere(this.#fileSystem, join(this.#folder, nameOf(oldest)));
    }
  }

  async close(): Promise<void> {
    const current = this.#current;
    this.#current = undefined;
    await current?.close();
  }
}

function nameOf(first: Position): string {
  return `confirmed-${String(first).padStart(16, '0')}`;
}

function checkOf(records: Buffer, at: number, mark: number): number {
  return crc32(records.subarray(at, at + POSITION_BYTES), mark) & 0xffff;
}
