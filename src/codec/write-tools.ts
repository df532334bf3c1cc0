/**
 * What writing a column chunk needs and does not leave behind: a compressor, writers, and arrays out of memory that the next chunk uses again.
 * A chunk is written at a stretch, so one set serves a codec.
 */
import { MIB } from '../core/limits.ts';
import { ByteWriter } from './byte-writer.ts';
import { Compressor } from './compressor.ts';

export class WriteTools {
  readonly compressor: Compressor;
  readonly scratch = new Scratch();
  /** Of the page that is being made, of what is tried for the whole chunk, and for a sample of it. */
  readonly page = new ByteWriter();
  readonly probe = new ByteWriter();
  readonly sample = new ByteWriter();

  constructor(zstdLevel: number) {
    this.compressor = new Compressor(zstdLevel);
  }

  /** Before each chunk: all arrays of the one before are given back. */
  begin(): void {
    this.scratch.reset();
    for (const writer of [this.page, this.probe, this.sample]) writer.clear(WRITER_BYTES_KEPT_MAX);
  }
}

const WRITER_BYTES_KEPT_MAX = 2 * MIB;
const BYTES_AT_FIRST = 256 * 1024;
const BYTES_KEPT_MAX = 8 * MIB;

/** Arrays that last until `reset`. What they hold at first is undefined, unless it is said to be zero. */
export class Scratch {
  #buffer = new ArrayBuffer(BYTES_AT_FIRST);
  #used = 0;
  /** What was asked for since the last reset. */
  #wanted = 0;

  reset(): void {
    if (this.#wanted > this.#buffer.byteLength && this.#buffer.byteLength < BYTES_KEPT_MAX) {
      this.#buffer.transfer(0);
      this.#buffer = new ArrayBuffer(Math.min(BYTES_KEPT_MAX, this.#wanted * 2));
    }
    this.#used = 0;
    this.#wanted = 0;
  }

  bytes(length: number): Uint8Array<ArrayBuffer> {
    const at = this.#take(length);
    return at === undefined ? new Uint8Array(length) : new Uint8Array(this.#buffer, at, length);
  }

  uint32(length: number): Uint32Array<ArrayBuffer> {
    const at = this.#take(length * 4);
    return at === undefined ? new Uint32Array(length) : new Uint32Array(this.#buffer, at, length);
  }

  int32(length: number): Int32Array<ArrayBuffer> {
    const at = this.#take(length * 4);
    return at === undefined ? new Int32Array(length) : new Int32Array(this.#buffer, at, length);
  }

  int64(length: number): BigInt64Array<ArrayBuffer> {
    const at = this.#take(length * 8);
    return at === undefined ? new BigInt64Array(length) : new BigInt64Array(this.#buffer, at, length);
  }

  zeros32(length: number): Uint32Array<ArrayBuffer> {
    return this.uint32(length).fill(0);
  }

  /** Where so many bytes are free; undefined where there is no room. */
  #take(bytes: number): number | undefined {
    const aligned = Math.ceil(bytes / 8) * 8;
    this.#wanted += aligned;
    const at = this.#used;
    if (at + aligned > this.#buffer.byteLength) return undefined;
    this.#used += aligned;
    return at;
  }
}
