/**
 * A forwarder delivers one destination's envelopes to its upstream: a consumer of the journal that sends out of order, commits in
 * order, and never holds more of the journal than its share.
 *
 * journal ──► window ──► dispatcher ──► upstream
 *                │ ▲          └──► dead letters (refused, too old)
 *       over the ▼ │ share, or stepping aside
 *             spill yard
 *
 * What is acknowledged leaves only as delivered or dead-lettered; a position moves only past envelopes that are one of these or
 * durable in a spill object. A crash at any point leads to repeats, never to losses.
 */
import type { Position } from '../core/envelope.ts';
import { isProxyError, messageOf } from '../core/errors.ts';
import type { JournalConsumer } from '../journal/journal.ts';
import { Books } from './books.ts';
import { Dispatcher } from './dispatcher.ts';
import { type ForwarderOptions, type ForwardSettings, settingsOf } from './forward-options.ts';
import { JournalSource } from './journal-source.ts';
import { SpillYard } from './spill-yard.ts';
import { Spiller } from './spiller.ts';

export type { ForwarderOptions } from './forward-options.ts';

export interface ForwarderStatus {
  upstream: string;
  committedPosition: Position;
  /** Envelopes waiting, journal and spill together. */
  pending: number;
  backlogBytes: number;
  oldestReceivedAtMs: number | undefined;
  inFlight: number;
  /** Bodies held in memory from the journal. */
  heldBytes: number;
  spill: { objects: number; envelopes: number };
  /** The upstream refuses the configured key. */
  isPaused: boolean;
  /** Callers' keys that are refused. */
  pausedKeys: number;
  /** Hosts that are given a rest after failures. */
  resting: string[];
  lastDeliveredAtMs: number | undefined;
  lastFailure: string | undefined;
}

export interface Forwarder {
  /** Before intake opens: what is pending now counts as recovered. Does not wait for upstream or store. */
  start(): Promise<void>;
  status(): ForwarderStatus;
  /** Brings the pending gauge up to date: before a scrape. */
  refreshBooks(): Promise<void>;
  /** Starts nothing new, waits at most `withinMs` for what is under way, commits. The upstream stays open. */
  drain(withinMs: number): Promise<void>;
  stop(): Promise<void>;
}

const SWEEP_EVERY_TICKS = 25;

export function createForwarder(options: ForwarderOptions): Forwarder {
  return new JournalForwarder(settingsOf(options));
}

/** Name of the journal's consumer for an upstream. */
export function forwardConsumer(upstream: string): string {
  return `forward-${upstream}`;
}

interface Parts {
  consumer: JournalConsumer;
  source: JournalSource;
  dispatcher: Dispatcher;
  yard: SpillYard;
  spiller: Spiller;
}

class JournalForwarder implements Forwarder {
  readonly #settings: ForwardSettings;
  readonly #books: Books;
  /** No more reading, no more attempts. */
  readonly #draining = new AbortController();
  /** Whatever is under way ends. */
  readonly #aborting = new AbortController();
  #parts: Parts | undefined;
  #loops: Promise<unknown>[] = [];
  #committing: Promise<void> | undefined;
  #drained: Promise<void> | undefined;

  constructor(settings: ForwardSettings) {
    this.#settings = settings;
    this.#books = new Books(settings.metrics, settings.upstream.name, settings.destination === 'datadog');
  }

  async start(): Promise<void> {
    if (this.#parts) throw new Error('BUG: the forwarder was started before');
    const { journal, upstream } = this.#settings;
    const consumer = await journal.consumer(forwardConsumer(upstream.name), 'start');
    const { position } = consumer.state;
    const signal = this.#aborting.signal;
    const dispatcher: Dispatcher = new Dispatcher(
      this.#settings,
      this.#books,
      { stepAside: (parcel) => yard.stepAside(parcel), changed: () => source.roomMade() },
      signal,
    );
    const yard = new SpillYard(this.#settings, this.#books, dispatcher, signal);
    const source = new JournalSource(this.#settings, position, (parcels) => {
      for (const parcel of parcels) dispatcher.add(parcel);
      dispatcher.pump();
    });
    const spiller = new Spiller(this.#settings, source, dispatcher, yard);
    this.#parts = { consumer, source, dispatcher, yard, spiller };
    await source.count(signal);
    this.#books.recovered(source.pending);
    await yard.recover(position);
    this.#showWaiting(this.#parts);
    this.#loops = [source.run(this.#draining.signal), this.#tickOn(this.#parts)];
  }

  status(): ForwarderStatus {
    const { source, dispatcher, yard, consumer } = this.#started();
    const backlog = this.#settings.journal.backlog(consumer.state.position);
    return {
      upstream: this.#settings.upstream.name,
      committedPosition: consumer.state.position,
      pending: source.pending + yard.pending,
      backlogBytes: backlog.bytes,
      oldestReceivedAtMs: backlog.oldestReceivedAtMs,
      inFlight: dispatcher.inFlight,
      heldBytes: source.window.heldBytes,
      spill: { objects: yard.objects, envelopes: yard.pending },
      isPaused: dispatcher.keys.isPaused,
      pausedKeys: dispatcher.keys.pausedCount,
      resting: dispatcher.restingLanes().map(({ lane }) => lane),
      lastDeliveredAtMs: dispatcher.lastDeliveredAtMs,
      lastFailure: dispatcher.lastFailure,
    };
  }

  async refreshBooks(): Promise<void> {
    const parts = this.#started();
    if (!this.#draining.signal.aborted) await parts.source.count(this.#aborting.signal);
    this.#showWaiting(parts);
  }

  drain(withinMs: number): Promise<void> {
    this.#drained ??= this.#drain(withinMs);
    return this.#drained;
  }

  stop(): Promise<void> {
    // Also cuts short a drain that is under way.
    this.#aborting.abort(new Error('stopped'));
    return this.drain(0);
  }

  async #drain(withinMs: number): Promise<void> {
    this.#draining.abort(new Error('draining'));
    if (!this.#parts) return;
    const { dispatcher, spiller, yard, source, consumer } = this.#parts;
    dispatcher.stop();
    yard.stop();
    const settled = Promise.all([dispatcher.settled(), spiller.settled(), yard.settled()]);
    const cancel = this.#settings.clock.after(withinMs, () => this.#aborting.abort(new Error('drain deadline')));
    await settled;
    cancel();
    this.#aborting.abort(new Error('drained'));
    await Promise.all(this.#loops);
    await this.#committing;
    await this.#commit(consumer, source.window.committable);
    this.#showWaiting(this.#parts);
  }

  #started(): Parts {
    if (!this.#parts) throw new Error('BUG: the forwarder was not started');
    return this.#parts;
  }

  async #tickOn(parts: Parts): Promise<void> {
    const { clock, commitEveryMs } = this.#settings;
    const signal = this.#draining.signal;
    for (let tick = 1; !signal.aborted; tick++) {
      await clock.sleep(commitEveryMs, signal).catch(() => {});
      if (signal.aborted) return;
      this.#tick(parts, tick);
    }
  }

  #tick(parts: Parts, tick: number): void {
    const { source, dispatcher, yard, spiller, consumer } = parts;
    if (tick % SWEEP_EVERY_TICKS === 0) dispatcher.sweepOld();
    dispatcher.pump();
    spiller.check(this.#draining.signal);
    yard.tick();
    if (source.isFull) this.#count(source);
    this.#showWaiting(parts);
    this.#committing ??= this.#commit(consumer, source.window.committable).finally(() => {
      this.#committing = undefined;
    });
  }

  #count(source: JournalSource): void {
    source.count(this.#aborting.signal).catch((error) => {
      this.#settings.log.warn({ reason: messageOf(error) }, 'counting the backlog failed');
    });
  }

  async #commit(consumer: JournalConsumer, position: Position): Promise<void> {
    if (position <= consumer.state.position) return;
    try {
      await consumer.commit(position);
    } catch (error) {
      if (!isProxyError(error)) throw error;
      // The next tick tries again; until then the journal keeps what it could let go.
      this.#settings.log.warn({ reason: messageOf(error), position }, 'the position could not be written');
    }
  }

  #showWaiting({ source, yard }: Parts): void {
    this.#books.waiting(source.pending + yard.pending, yard.objects);
  }
}
