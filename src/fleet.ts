/** This replica among those that share the store: its epoch, the lease on it, and the watch over those that are gone. */
import type { Clock } from './core/clock.ts';
import type { JournalIdentity } from './core/envelope.ts';
import { listChunkJournals } from './journal/adopted-journal.ts';
import { highestEpoch } from './store/commit-records.ts';
import { claimLease, type HeldLease } from './store/leases.ts';
import type { ObjectStore } from './store/object-store.ts';
import { Takeover, type TakeoverOptions } from './takeover.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';

export interface FleetOptions {
  store: ObjectStore;
  replicaId: string;
  leaseMs: number;
  clock: Clock;
  metrics: Metrics;
  log: Log;
  /** Somebody else has written our lease. */
  onLost: () => void;
}

export class Fleet {
  readonly #options: FleetOptions;
  readonly #lease: HeldLease;
  /** Journals that earlier lives of this replica have left in the store. */
  readonly earlier: readonly JournalIdentity[];
  #takeover: Takeover | undefined;

  private constructor(options: FleetOptions, lease: HeldLease, earlier: readonly JournalIdentity[]) {
    this.earlier = earlier;
    this.#options = options;
    this.#lease = lease;
  }

  /** Takes the next epoch of this replica, and with it the right to commit; the lives before are over. Renewed until it leaves. */
  static async join(options: FleetOptions): Promise<Fleet> {
    const { store, replicaId, leaseMs, clock, log, metrics } = options;
    const earlier = (await listChunkJournals(store)).filter(({ replica }) => replica === replicaId);
    const epochMin = Math.max(await highestEpoch(store, replicaId), ...earlier.map(({ epoch }) => epoch));
    const lease = await claimLease({ store, clock, log, leaseMs }, replicaId, epochMin);
    metrics.leaseHeld.set(1);
    metrics.leaseTransitions.inc({ kind: 'taken' });
    lease.keep(options.onLost);
    return new Fleet(options, lease, earlier);
  }

  get identity(): JournalIdentity {
    return this.#lease.identity;
  }

  startTakeovers(finish: TakeoverOptions['finish']): void {
    this.#takeover = new Takeover({ ...this.#options, self: this.identity, finish });
    this.#takeover.start();
  }

  /** What is being finished is left to others. */
  async stopTakeovers(): Promise<void> {
    await this.#takeover?.stop();
  }

  /** `isFenced`: the lease is another's, or about to be. */
  async leave(isFenced: boolean): Promise<void> {
    await this.stopTakeovers();
    if (isFenced) await this.#lease.abandon();
    else await this.#lease.release();
  }
}
