/**
 * Watching the fleet: journals in the store whose replica is gone (its lease lapsed, was released with work left, or belongs to a later
 * life) are taken over, one at a time, and finished: archive exactly once, forward at least once. The lease on the work keeps others
 * from doing the same at once; should two do it all the same, fences decide whose commits count.
 */
import type { Clock } from './core/clock.ts';
import type { JournalIdentity } from './core/envelope.ts';
import { isProxyError, messageOf } from './core/errors.ts';
import { forgetJournal, listChunkJournals } from './journal/adopted-journal.ts';
import { type LeaseDeps, LeaseWatch, leaseKey, markTaken, type ObservedLease, tryLease } from './store/leases.ts';
import type { ObjectStore } from './store/object-store.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';

export interface TakeoverOptions {
  store: ObjectStore;
  self: JournalIdentity;
  leaseMs: number;
  clock: Clock;
  metrics: Metrics;
  log: Log;
  /**
   * Fences and finishes a journal. Resolves to its number of envelopes, or undefined where there was nothing left. Throws ProxyError
   * when it must be tried again later.
   */
  finish(identity: JournalIdentity, signal: AbortSignal): Promise<number | undefined>;
}

/** Leases of replicas that are gone, and fences of what was finished, are kept so long: whoever stood still less learns of it early. */
const FORGET_AFTER_MS = 60 * 60 * 1000;

const nameOf = ({ replica, epoch }: JournalIdentity): string => `${replica}-${epoch}`;

export class Takeover {
  readonly #options: TakeoverOptions;
  readonly #watch: LeaseWatch;
  readonly #stopping = new AbortController();
  /** Nothing is left of them but their fence. */
  readonly #finished = new Set<string>();
  #running: Promise<void> | undefined;

  constructor(options: TakeoverOptions) {
    this.#options = options;
    this.#watch = new LeaseWatch(options.clock, options.leaseMs);
  }

  start(): void {
    this.#running = this.#run();
  }

  /** What is being finished is left to others. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, leaseMs, log } = this.#options;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        await this.#look(signal);
      } catch (error) {
        if (signal.aborted) return;
        if (!isProxyError(error)) throw error;
        log.warn(
          { code: error.code, reason: messageOf(error) },
          'looking for journals without a replica failed; will try again',
        );
      }
      await clock.sleep(leaseMs / 3, signal).catch(() => {});
    }
  }

  async #look(signal: AbortSignal): Promise<void> {
    const { store, self } = this.#options;
    const leases = await this.#watch.observe(store);
    const journals = (await listChunkJournals(store)).filter((identity) => nameOf(identity) !== nameOf(self));
    for (const identity of journals) {
      if (signal.aborted) return;
      const lease = leases.find(({ record }) => record.replica === identity.replica);
      if (!this.#isGone(identity, lease)) continue;
      if (this.#finished.has(nameOf(identity))) await this.#forgetFinished(identity);
      else await this.#takeOver(identity, lease);
    }
    for (const lease of leases) {
      if (signal.aborted) return;
      const { replica } = lease.record;
      if (replica !== self.replica && !journals.some((journal) => journal.replica === replica))
        await this.#forget(lease);
    }
  }

  async #forgetFinished(identity: JournalIdentity): Promise<void> {
    const name = nameOf(identity);
    if (this.#watch.unchangedMs(`finished/${name}`, name) < FORGET_AFTER_MS) return;
    await forgetJournal(this.#options.store, identity);
    for (const timer of ['finished', 'none']) this.#watch.forget(`${timer}/${name}`);
    this.#finished.delete(name);
  }

  async #forget({ key, version, record, hasLapsed, unchangedMs }: ObservedLease): Promise<void> {
    if ((record.state === 'held' && !hasLapsed) || unchangedMs < FORGET_AFTER_MS) return;
    const { store } = this.#options;
    // It may have come back since it was observed.
    if ((await store.head(key))?.version !== version) return;
    await store.delete(key);
    this.#watch.forget(key);
  }

  #isGone(identity: JournalIdentity, lease: ObservedLease | undefined): boolean {
    const { epoch } = identity;
    const without = `none/${nameOf(identity)}`;
    if (!lease) return this.#watch.see(without, 'none');
    // It may lose its lease again (and one that has just begun shows its journal first): that is timed anew.
    this.#watch.forget(without);
    if (epoch !== lease.record.epoch) return epoch < lease.record.epoch;
    return lease.record.state !== 'held' || lease.hasLapsed;
  }

  async #takeOver(orphan: JournalIdentity, lease: ObservedLease | undefined): Promise<void> {
    const { store, self, clock, metrics, log, leaseMs, finish } = this.#options;
    const deps: LeaseDeps = { store, clock, log, leaseMs };
    const name = `work/${nameOf(orphan)}`;
    const work = await tryLease(deps, name, self, this.#watch);
    if (!work) return;
    const stopping = new AbortController();
    const signal = AbortSignal.any([this.#stopping.signal, stopping.signal]);
    work.keep(() => stopping.abort());
    const startedAtMs = clock.monotonicMs();
    metrics.takeoversRunning.set(1);
    let result: 'finished' | 'empty' | 'left' = 'left';
    try {
      if (lease?.record.epoch === orphan.epoch) await markTaken(deps, lease);
      const envelopes = await finish(orphan, signal);
      result = envelopes === undefined ? 'empty' : 'finished';
      this.#finished.add(nameOf(orphan));
      if (envelopes === undefined) return;
      metrics.takeoverEnvelopes.inc(envelopes);
      const seconds = (clock.monotonicMs() - startedAtMs) / 1000;
      metrics.takeoverSeconds.observe(seconds);
      log.info({ ...orphan, envelopes, seconds }, 'the journal that was taken over is finished');
    } catch (error) {
      if (!signal.aborted && !isProxyError(error)) throw error;
      log.warn({ ...orphan, reason: messageOf(error) }, 'a takeover could not be finished; it will be tried again');
    } finally {
      metrics.takeoversRunning.set(0);
      if (result !== 'empty') metrics.takeovers.inc({ result });
      await work.release();
      if (result !== 'left') {
        this.#watch.forget(leaseKey(name));
        // What is left of it says `released`, and holds nobody up.
        await store.delete(leaseKey(name)).catch((error) => log.debug({ reason: messageOf(error) }, 'a lease is left'));
      }
    }
  }
}
