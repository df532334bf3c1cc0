/**
 * How long the owner of a journal folder has given no sign of life, by the watcher's own monotonic clock: no clocks are compared. Only
 * what was watched for longer than a lease counts as still.
 */
import type { Clock } from '../core/clock.ts';
import type { FileSystem } from '../core/file-system.ts';
import type { OwnerRecord } from './owner.ts';
import { readBeat } from './owner-beat.ts';

/** Of the lease; more than what an owner trusts its own beat for, as clocks run unevenly. */
const STILL_SHARE = 1.5;
const FOLDERS_MAX = 10_000;

export class StillnessWatch {
  readonly #fileSystem: FileSystem;
  readonly #clock: Clock;
  readonly #leaseMs: number;
  readonly #seen = new Map<string, { sign: string; sinceMs: number }>();

  constructor(fileSystem: FileSystem, clock: Clock, leaseMs: number) {
    this.#fileSystem = fileSystem;
    this.#clock = clock;
    this.#leaseMs = leaseMs;
  }

  async isStill(folder: string, owner: OwnerRecord | undefined): Promise<boolean> {
    return (await this.#stillMs(folder, owner)) > this.#leaseMs * STILL_SHARE;
  }

  /** 0 the first time, and whenever something has changed since. */
  async #stillMs(folder: string, owner: OwnerRecord | undefined): Promise<number> {
    const beat = await readBeat(this.#fileSystem, folder);
    // A beat of somebody who was succeeded says nothing.
    const sign = owner ? `${owner.token} ${beat.startsWith(owner.token) ? beat : ''}` : 'nobody';
    const nowMs = this.#clock.monotonicMs();
    const before = this.#seen.get(folder);
    if (before?.sign === sign) return nowMs - before.sinceMs;
    if (!before && this.#seen.size >= FOLDERS_MAX) this.#seen.clear();
    this.#seen.set(folder, { sign, sinceMs: nowMs });
    return 0;
  }
}
