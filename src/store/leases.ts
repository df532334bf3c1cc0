/**
 * Leases: who is alive, told by conditional writes to `leases/<replica>.json`. A holder writes its record anew every third of the lease
 * time; an observer times how long a record stays as it is by its own clock, so that no clocks are compared. The record also hands out
 * epochs: each start of a replica takes the next one. A lease only says who should act; what keeps two from committing are fences.
 */
import type { Clock } from '../core/clock.ts';
import type { JournalIdentity } from '../core/envelope.ts';
import { isProxyError, messageOf, ProxyError } from '../core/errors.ts';
import type { Log } from '../telemetry/log.ts';
import type { ObjectReader, ObjectStore } from './object-store.ts';

export const LEASE_PREFIX = 'leases/';
const CLAIM_TRIES_MAX = 20;
const RECORD_BYTES_MAX = 4096;

export interface LeaseRecord {
  replica: string;
  epoch: number;
  /** Grows with each renewal, so that each is another version of the object. */
  beat: number;
  /** `released`: ended in good order. `taken`: another replica took over. */
  state: 'held' | 'released' | 'taken';
  /** The holder's wall clock; only for people. */
  atMs: number;
}

export function leaseKey(name: string): string {
  return `${LEASE_PREFIX}${name}.json`;
}

interface Known {
  record: LeaseRecord;
  version: string;
}

export async function readLease(store: ObjectReader, key: string): Promise<Known | undefined> {
  try {
    const { bytes, info } = await store.get(key);
    return { record: JSON.parse(Buffer.from(bytes).toString('utf8')) as LeaseRecord, version: info.version };
  } catch (error) {
    if (isProxyError(error, 'STORE_ABSENT')) return undefined;
    if (error instanceof SyntaxError)
      throw new ProxyError('STORE_INVALID', `lease ${key} is no JSON`, { cause: error });
    throw error;
  }
}

async function writeLease(
  store: ObjectStore,
  key: string,
  record: LeaseRecord,
  before: Known | undefined,
): Promise<Known> {
  const bytes = Buffer.from(JSON.stringify(record));
  const condition = before ? ({ kind: 'unchanged', version: before.version } as const) : ({ kind: 'absent' } as const);
  const { version } = await store.put(key, bytes, { condition });
  return { record, version };
}

export interface LeaseDeps {
  store: ObjectStore;
  clock: Clock;
  log: Log;
  leaseMs: number;
}

/** A lease that this process holds, until it is released or lost. */
export class HeldLease {
  readonly identity: JournalIdentity;
  readonly #deps: LeaseDeps;
  readonly #key: string;
  readonly #stopping = new AbortController();
  #known: Known;
  #running: Promise<void> | undefined;
  #isLost = false;

  constructor(deps: LeaseDeps, key: string, known: Known) {
    this.#deps = deps;
    this.#key = key;
    this.#known = known;
    this.identity = { replica: known.record.replica, epoch: known.record.epoch };
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  /** Renews until it is released; `onLost` when somebody else has written the record. */
  keep(onLost: () => void): void {
    this.#running = this.#keep(onLost);
  }

  async release(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    if (this.#isLost) return;
    try {
      await this.#write('released');
    } catch (error) {
      this.#deps.log.warn({ reason: messageOf(error) }, 'the lease could not be released; it will lapse');
    }
  }

  async #keep(onLost: () => void): Promise<void> {
    const { clock, leaseMs, log } = this.#deps;
    const { signal } = this.#stopping;
    for (;;) {
      await clock.sleep(leaseMs / 3, signal).catch(() => {});
      if (signal.aborted) return;
      try {
        await this.#write('held');
      } catch (error) {
        if (!isProxyError(error)) throw error;
        if (error.code === 'STORE_EXISTS') {
          this.#isLost = true;
          log.error(this.identity, 'the lease was taken by another process');
          onLost();
          return;
        }
        log.warn({ code: error.code, reason: messageOf(error) }, 'the lease could not be renewed; will try again');
      }
    }
  }

  async #write(state: LeaseRecord['state']): Promise<void> {
    const { store, clock } = this.#deps;
    const record = { ...this.#known.record, beat: this.#known.record.beat + 1, state, atMs: clock.nowMs() };
    try {
      this.#known = await writeLease(store, this.#key, record, this.#known);
    } catch (error) {
      if (!isProxyError(error, 'STORE_EXISTS')) throw error;
      // An earlier renewal whose answer was lost is still ours.
      const found = await readLease(store, this.#key);
      const { replica, epoch } = this.identity;
      if (!found || found.record.replica !== replica || found.record.epoch !== epoch || found.record.state !== 'held')
        throw error;
      this.#known = await writeLease(store, this.#key, { ...record, beat: found.record.beat + 1 }, found);
    }
  }
}

/** Takes the next epoch of a replica, greater than `epochMin`, whoever held the one before: that life is over. */
export async function claimLease(deps: LeaseDeps, replica: string, epochMin: number): Promise<HeldLease> {
  const { store, clock } = deps;
  const key = leaseKey(replica);
  for (let tries = 1; ; tries++) {
    const found = await readLease(store, key);
    const epoch = Math.max(found?.record.epoch ?? 0, epochMin) + 1;
    const record: LeaseRecord = { replica, epoch, beat: 1, state: 'held', atMs: clock.nowMs() };
    try {
      return new HeldLease(deps, key, await writeLease(store, key, record, found));
    } catch (error) {
      if (!isProxyError(error, 'STORE_EXISTS') || tries >= CLAIM_TRIES_MAX) throw error;
    }
  }
}

/** A lease on one piece of work: only where nobody holds it, or its holder is gone. Undefined: somebody else is at it. */
export async function tryLease(
  deps: LeaseDeps,
  name: string,
  by: JournalIdentity,
  watch: LeaseWatch,
): Promise<HeldLease | undefined> {
  const { store, clock } = deps;
  const key = leaseKey(name);
  const found = await readLease(store, key);
  if (found && found.record.state === 'held' && !watch.see(key, found.version)) return undefined;
  const record: LeaseRecord = { ...by, beat: (found?.record.beat ?? 0) + 1, state: 'held', atMs: clock.nowMs() };
  try {
    return new HeldLease(deps, key, await writeLease(store, key, record, found));
  } catch (error) {
    if (isProxyError(error, 'STORE_EXISTS')) return undefined;
    throw error;
  }
}

/** Marks a lapsed lease, so that its holder learns of it at its next renewal. */
export async function markTaken({ store, clock }: LeaseDeps, lease: ObservedLease): Promise<void> {
  if (lease.record.state !== 'held') return;
  const record: LeaseRecord = { ...lease.record, state: 'taken', beat: lease.record.beat + 1, atMs: clock.nowMs() };
  try {
    await writeLease(store, lease.key, record, lease);
  } catch (error) {
    if (!isProxyError(error, 'STORE_EXISTS')) throw error;
  }
}

export interface ObservedLease extends Known {
  key: string;
  hasLapsed: boolean;
}

/** How long records have stayed as they are, by this process's own clock. */
export class LeaseWatch {
  readonly #clock: Clock;
  readonly #leaseMs: number;
  readonly #seen = new Map<string, { version: string; sinceMs: number }>();

  constructor(clock: Clock, leaseMs: number) {
    this.#clock = clock;
    this.#leaseMs = leaseMs;
  }

  /** True: this version has been seen for longer than a lease lasts. */
  see(key: string, version: string): boolean {
    const nowMs = this.#clock.monotonicMs();
    const seen = this.#seen.get(key);
    if (seen?.version === version) return nowMs - seen.sinceMs > this.#leaseMs;
    this.#seen.set(key, { version, sinceMs: nowMs });
    return false;
  }

  /** Of all replicas; those of pieces of work lie deeper and are left out. */
  async observe(store: ObjectStore): Promise<ObservedLease[]> {
    const found: ObservedLease[] = [];
    for await (const { key, sizeBytes } of store.list(LEASE_PREFIX)) {
      if (key.slice(LEASE_PREFIX.length).includes('/') || sizeBytes > RECORD_BYTES_MAX) continue;
      const known = await readLease(store, key);
      if (known) found.push({ ...known, key, hasLapsed: this.see(key, known.version) });
    }
    return found;
  }
}
