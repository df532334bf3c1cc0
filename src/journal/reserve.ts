/**
 * A file of random bytes that is given up when the disk is full, so that consumers can still write their positions: only they
 * can make room again. Written anew, as far as there is room, once journal files have been deleted.
 */
import { join } from 'node:path';
import type { FileSystem } from '../core/file-system.ts';
import type { Random } from '../core/random.ts';
import type { Log } from '../telemetry/log.ts';
import { isNoSpace, writeSyncedFile } from './checked-file.ts';
import { RESERVE_FILE } from './owner.ts';

export class Reserve {
  readonly #fileSystem: FileSystem;
  readonly #path: string;
  readonly #bytes: number;
  readonly #random: Random;
  readonly #log: Log;
  #held = false;

  constructor(fileSystem: FileSystem, folder: string, bytes: number, random: Random, log: Log) {
    this.#fileSystem = fileSystem;
    this.#path = join(folder, RESERVE_FILE);
    this.#bytes = bytes;
    this.#random = random;
    this.#log = log;
  }

  /** Never fails: without room there is no reserve. */
  async fill(): Promise<void> {
    if (this.#held || this.#bytes === 0) return;
    try {
      const found = await this.#fileSystem.stat(this.#path);
      // Random, for a file system that compresses zeros away would reserve nothing.
      if (found?.sizeBytes !== this.#bytes) {
        await writeSyncedFile(this.#fileSystem, this.#path, this.#random.bytes(this.#bytes));
      }
      this.#held = true;
    } catch (error) {
      this.#log.warn({ err: error }, 'no room for the journal reserve');
      await this.#give().catch(() => undefined);
    }
  }

  /** Runs `write`; when the disk is full, once more after the reserve was given up. */
  async run(write: () => Promise<void>): Promise<void> {
    try {
      await write();
    } catch (error) {
      if (!isNoSpace(error) || !this.#held) throw error;
      this.#log.warn('the disk is full: the journal reserve is given up');
      await this.#give();
      await write();
    }
  }

  async #give(): Promise<void> {
    this.#held = false;
    const file = await this.#fileSystem.open(this.#path, 'write');
    try {
      await file.truncate(0);
      await file.sync();
    } finally {
      await file.close();
    }
  }
}
