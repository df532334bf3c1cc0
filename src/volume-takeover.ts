/**
 * Watching the volume (DURABILITY=disk): journals of replicas that are gone, in folders beside our own, are finished one at a time as
 * their replica would have done at its next start: archive exactly once, forward at least once. Should that replica come back
 * meanwhile, it gets its journal back at once. What is finished is deleted when no sender can come back with a retry.
 */
import type { Clock } from './core/clock.ts';
import { isProxyError, messageOf } from './core/errors.ts';
import type { FileSystem } from './core/file-system.ts';
import { isWanted } from './journal/folder-taking.ts';
import type { LeftJournal, LeftJournals } from './journal/left-journals.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';

export interface VolumeTakeoverOptions {
  journals: LeftJournals;
  fileSystem: FileSystem;
  leaseMs: number;
  /** So long is a finished journal kept. */
  retryWindowMs: number;
  clock: Clock;
  metrics: Metrics;
  log: Log;
  /** Number of envelopes there was something to do for. Throws ProxyError when it must be tried again later. */
  finish(left: LeftJournal, signal: AbortSignal): Promise<number>;
}

const LOOKS_PER_LEASE = 3;
const WANTED_EVERY_MS = 250;
/** After a failure of one journal. */
const AGAIN_AFTER_MS = 60_000;

export class VolumeTakeover {
  readonly #options: VolumeTakeoverOptions;
  readonly #stopping = new AbortController();
  /** By folder: what it looked like when it was finished. */
  readonly #finished = new Map<string, { fingerprint: string; atMs: number }>();
  readonly #failedAtMs = new Map<string, number>();
  #running: Promise<void> | undefined;

  constructor(options: VolumeTakeoverOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** What is being finished is left as far as it has come. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, leaseMs, journals, log } = this.#options;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        for (const left of await journals.find()) {
          if (signal.aborted) return;
          await this.#see(left);
        }
      } catch (error) {
        log.warn({ reason: messageOf(error) }, 'looking for journals without a replica failed; will try again');
      }
      await clock.sleep(leaseMs / LOOKS_PER_LEASE, signal).catch(() => {});
    }
  }

  async #see(left: LeftJournal): Promise<void> {
    const { journals, clock, retryWindowMs, log } = this.#options;
    const { folder, replica } = left;
    const nowMs = clock.monotonicMs();
    const failedAtMs = this.#failedAtMs.get(folder);
    if (failedAtMs !== undefined && nowMs - failedAtMs < AGAIN_AFTER_MS) return;
    const fingerprint = await journals.fingerprint(left);
    const finished = this.#finished.get(folder);
    if (finished?.fingerprint !== fingerprint) {
      await this.#takeOver(left);
    } else if (nowMs - finished.atMs > retryWindowMs) {
      const isRemoved = await this.#trying(left, () => journals.remove(left, fingerprint));
      if (isRemoved) log.info({ replica }, 'the journal of a replica that is gone was finished, and is deleted now');
      this.#finished.delete(folder);
      if (!isRemoved) this.#failedAtMs.set(folder, nowMs);
    }
  }

  async #takeOver(left: LeftJournal): Promise<void> {
    const { journals, clock, metrics, log, fileSystem, finish } = this.#options;
    const { replica, folder } = left;
    const givingBack = new AbortController();
    const signal = AbortSignal.any([this.#stopping.signal, givingBack.signal]);
    const watching = this.#giveBackWhenWanted(fileSystem, folder, givingBack, clock);
    const startedAtMs = clock.monotonicMs();
    metrics.takeoversRunning.set(1);
    const envelopes = await this.#trying(left, () => finish(left, signal), signal);
    metrics.takeoversRunning.set(0);
    const isGivenBack = givingBack.signal.aborted;
    givingBack.abort();
    await watching;
    if (envelopes === undefined) {
      metrics.takeovers.inc({ result: 'left' });
      if (isGivenBack) log.info({ replica }, 'its replica is back: the journal goes back to it');
      return;
    }
    this.#finished.set(folder, { fingerprint: await journals.fingerprint(left), atMs: clock.monotonicMs() });
    if (envelopes === 0) return;
    const seconds = (clock.monotonicMs() - startedAtMs) / 1000;
    metrics.takeovers.inc({ result: 'finished' });
    metrics.takeoverEnvelopes.inc(envelopes);
    metrics.takeoverSeconds.observe(seconds);
    log.info({ replica, envelopes, seconds }, 'the journal that was taken over is finished');
  }

  async #giveBackWhenWanted(
    fileSystem: FileSystem,
    folder: string,
    givingBack: AbortController,
    clock: Clock,
  ): Promise<void> {
    while (!givingBack.signal.aborted) {
      await clock.sleep(WANTED_EVERY_MS, givingBack.signal).catch(() => {});
      if (givingBack.signal.aborted) return;
      if (await isWanted(fileSystem, folder).catch(() => false)) givingBack.abort();
    }
  }

  /** Undefined where it failed; it is tried again later. */
  async #trying<T>(
    { replica, folder }: LeftJournal,
    act: () => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T | undefined> {
    const { log, clock } = this.#options;
    try {
      return await act();
    } catch (error) {
      if (signal?.aborted) return undefined;
      // Whatever is wrong with somebody else's journal must not end this replica.
      if (!isProxyError(error)) log.error({ err: error, replica }, 'a journal on this volume cannot be taken over');
      else log.warn({ replica, reason: messageOf(error) }, 'a takeover could not be finished; it will be tried again');
      this.#failedAtMs.set(folder, clock.monotonicMs());
      return undefined;
    }
  }
}
