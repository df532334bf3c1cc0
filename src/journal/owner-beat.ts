/**
 * Sign of life of a journal folder's owner, for those who share the volume but do not see its process: the file `beat` is written
 * anew several times in a lease. Others take the folder only once it has stood still for longer than the lease (left-journals.ts), and
 * an owner that may have stood still itself looks whether the folder is still its own before it acknowledges anything: what it wrote
 * before that look, a successor finds.
 */
import { join } from 'node:path';
import type { Clock } from '../core/clock.ts';
import { messageOf } from '../core/errors.ts';
import type { FileSystem } from '../core/file-system.ts';
import type { Log } from '../telemetry/log.ts';
import { readSmallFile } from './checked-file.ts';
import type { Ownership } from './owner.ts';

const BEAT_FILE = 'beat';
const BEATS_PER_LEASE = 4;
/** Of the lease: so long after a beat nobody can have taken the folder. */
const FRESH_SHARE = 0.6;
/** All of one length: a reader never sees the rest of an older one. */
const COUNT_DIGITS = 12;

export interface OwnerBeatOptions {
  fileSystem: FileSystem;
  folder: string;
  ownership: Ownership;
  leaseMs: number;
  clock: Clock;
  log: Log;
  /** Another process has taken the folder. */
  onLost: () => void;
}

export class OwnerBeat {
  readonly #options: OwnerBeatOptions;
  readonly #stopping = new AbortController();
  #count = 0;
  #isLost = false;
  #beatAt: { monotonicMs: number; wallMs: number } | undefined;
  #running: Promise<void> | undefined;

  constructor(options: OwnerBeatOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    await this.#beat();
    this.#running = this.#run();
  }

  /** Whether all that is on disk by now will be found by whoever takes the folder later. */
  async assure(): Promise<boolean> {
    if (this.#isLost) return false;
    return this.#isFresh() || (await this.#beat());
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  /** A machine that was suspended may show on one of its clocks only. */
  #isFresh(): boolean {
    const { clock, leaseMs } = this.#options;
    const at = this.#beatAt;
    if (!at) return false;
    const agedMs = Math.max(clock.monotonicMs() - at.monotonicMs, Math.abs(clock.nowMs() - at.wallMs));
    return agedMs < leaseMs * FRESH_SHARE;
  }

  async #run(): Promise<void> {
    const { clock, leaseMs } = this.#options;
    const { signal } = this.#stopping;
    for (;;) {
      await clock.sleep(leaseMs / BEATS_PER_LEASE, signal).catch(() => {});
      if (signal.aborted || this.#isLost) return;
      await this.#beat();
    }
  }

  /** True when the folder was seen to be ours. A beat that cannot be written (a full disk) leaves the look at each acknowledgement. */
  async #beat(): Promise<boolean> {
    const { ownership, clock, log, onLost } = this.#options;
    const at = { monotonicMs: clock.monotonicMs(), wallMs: clock.nowMs() };
    let isOurs = false;
    try {
      isOurs = await ownership.holds();
      if (isOurs) {
        await this.#write();
        this.#beatAt = at;
      }
    } catch (error) {
      log.warn({ reason: messageOf(error) }, 'the sign of life of the journal could not be written');
      return isOurs;
    }
    if (!isOurs && !this.#isLost) {
      this.#isLost = true;
      onLost();
    }
    return isOurs;
  }

  async #write(): Promise<void> {
    const { fileSystem, folder, ownership } = this.#options;
    this.#count += 1;
    const file = await fileSystem.open(join(folder, BEAT_FILE), 'write-or-create');
    try {
      const text = `${ownership.token} ${String(this.#count).padStart(COUNT_DIGITS, '0')}\n`;
      await file.write([Buffer.from(text)], 0);
    } finally {
      // Here a shared file system hands it to the server.
      await file.close();
    }
  }
}

/** What it says now; '' without one. */
export async function readBeat(fileSystem: FileSystem, folder: string): Promise<string> {
  return (await readSmallFile(fileSystem, join(folder, BEAT_FILE)))?.toString('latin1') ?? '';
}
