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
  #writtenAtMs: number;
  #running: Promise<void> | undefined;
  #isLost = false;

  constructor(deps: LeaseDeps, key: string, known: Known) {
    this.#deps = deps;
    this.#key = key;
    this.#known = known;
    this.#writtenAtMs = deps.clock.monotonicMs();
    this.identity = { replica: known.record.replica, epoch: known.record.epoch };
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  /** Renews until it is released; `onLost` when somebody else has written the record. */
  keep(onLost: () => void): void {
    this.#running = this.#keep(onLost);
  }

  /** Renews no more, and leaves the record as it is. */
  async abandon(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async release(): Promise<void> {
    await this.abandon();
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
    const { store, clock, leaseMs } = this.#deps;
    const record = { ...this.#known.record, beat: this.#known.record.beat + 1, state, atMs: clock.nowMs() };
    const startedAtMs = clock.monotonicMs();
    try {
      this.#known = await writeLease(store, this.#key, record, this.#known);
    } catch (error) {
      if (!isProxyError(error, 'STORE_EXISTS')) throw error;
      const found = await readLease(store, this.#key);
      const { replica, epoch } = this.identity;
      // An earlier renewal whose answer was lost is still ours.
      const isOurs = found?.record.replica === replica && found.record.epoch === epoch && found.record.state === 'held';
      // Somebody tidied up the record of the life before at the moment we wrote ours: nobody can have taken us for gone yet.
      const wasTidied = !found && startedAtMs - this.#writtenAtMs < leaseMs;
      if (!isOurs && !wasTidied) throw error;
      this.#known = await writeLease(
        store,
        this.#key,
        { ...record, beat: (found?.record.beat ?? record.beat) + 1 },
        found,
      );
    }
    this.#writtenAtMs = startedAtMs;
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

/**
 * A lease on one piece of work: only where nobody holds it, or its holder is gone. Undefined: somebody else is at it. `by` may depend on the
 * record that is replaced, as with epochs of the work's own.
 */
export async function tryLease(
  deps: LeaseDeps,
  name: string,
  by: JournalIdentity | ((before: LeaseRecord | undefined) => JournalIdentity),
  watch: LeaseWatch,
): Promise<HeldLease | undefined> {
  const { store, clock } = deps;
  const key = leaseKey(name);
  const found = await readLease(store, key);
  if (found && found.record.state === 'held' && !watch.see(key, found.version)) return undefined;
  const holder = typeof by === 'function' ? by(found?.record) : by;
  const record: LeaseRecord = { ...holder, beat: (found?.record.beat ?? 0) + 1, state: 'held', atMs: clock.nowMs() };
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
  /** So long has nobody written it, as far as this observer has seen. */
  unchangedMs: number;
  hasLapsed: boolean;
}

/** How long records have stayed as they are, by this process's own clock. */
export class LeaseWatch {
  readonly #clock: Clock;
  readonly #leaseMs: number;
  readonly #seen = new Map<string, { version: string; sinceMs: number }>();
  #known = new Map<string, Known>();

  constructor(clock: Clock, leaseMs: number) {
    this.#clock = clock;
    this.#leaseMs = leaseMs;
  }

  /** True: this version has been seen for longer than a lease lasts. */
  see(key: string, version: string): boolean {
    return this.unchangedMs(key, version) > this.#leaseMs;
  }

  /** How long this version has been seen. */
  unchangedMs(key: string, version: string): number {
    const nowMs = this.#clock.monotonicMs();
    const seen = this.#seen.get(key);
    if (seen?.version === version) return nowMs - seen.sinceMs;
    this.#seen.set(key, { version, sinceMs: nowMs });
    return 0;
  }

  /** It is gone, or of no interest any more. */
  forget(key: string): void {
    this.#seen.delete(key);
    this.#known.delete(key);
  }

  /** Of all replicas; those of pieces of work lie deeper and are left out. Only what has changed is read. */
  async observe(store: ObjectStore): Promise<ObservedLease[]> {
    const found: ObservedLease[] = [];
    const before = this.#known;
    this.#known = new Map();
    for await (const { key, sizeBytes, version } of store.list(LEASE_PREFIX)) {
      if (key.slice(LEASE_PREFIX.length).includes('/') || sizeBytes > RECORD_BYTES_MAX) continue;
      const cached = before.get(key);
      const known = cached?.version === version ? cached : await readLease(store, key);
      if (!known) continue;
      this.#known.set(key, known);
      const unchangedMs = this.unchangedMs(key, known.version);
      found.push({ ...known, key, unchangedMs, hasLapsed: unchangedMs > this.#leaseMs });
    }
    return found;
  }
}
