/**
 * Sends parcels: picks the oldest that may go, keeps up to `concurrencyMax` under way, and decides what each outcome means for the
 * parcel, its lane and its key. At most half of the attempts are for parcels from spill, so that a drain never starves new data.
 * A parcel leaves only as delivered, durable in the dead letters, or durable in a spill object of its own.
 */
import { messageOf } from '../core/errors.ts';
import type { SendOutcome } from '../upstream/upstream.ts';
import { Attempts } from './attempts.ts';
import type { Books } from './books.ts';
import { writeDeadLetter } from './dead-letters.ts';
import type { ForwardSettings } from './forward-options.ts';
import { type Gate, Lane } from './gate.ts';
import { Keys } from './keys.ts';
import type { GivenUpReason, Parcel } from './parcel.ts';
import { pauseDelayMs, restDelayMs, retryDelayMs } from './retry-policy.ts';
import { WriteQueue } from './write-queue.ts';

export interface DispatcherHooks {
  /** Makes the parcel durable in an object of its own; then it is done for its source. */
  stepAside: (parcel: Parcel) => Promise<void>;
  /** Something finished: there may be room, or something to commit. */
  changed: () => void;
}

type Kind = Parcel['source']['kind'];

/** A recalled parcel stays where it is for this long, to be put away; after that it may be sent again. */
const RECALLED_REST_MS = 5_000;

export class Dispatcher {
  readonly #settings: ForwardSettings;
  readonly #books: Books;
  readonly #hooks: DispatcherHooks;
  /** Ends attempts and writes that are under way. */
  readonly #signal: AbortSignal;
  readonly #waiting: Record<Kind, Set<Parcel>> = { journal: new Set(), spill: new Set() };
  readonly #lanes = new Map<string, Lane>();
  readonly #keys: Keys;
  readonly #writes: WriteQueue;
  readonly #attempts: Attempts;
  readonly #running: Record<Kind, number> = { journal: 0, spill: 0 };
  readonly #underWay = new Set<Promise<void>>();
  #spillsTurn = false;
  #isJournalHeld = false;
  #isStopping = false;
  lastFailure: string | undefined;
  lastDeliveredAtMs: number | undefined;

  constructor(settings: ForwardSettings, books: Books, hooks: DispatcherHooks, signal: AbortSignal) {
    this.#settings = settings;
    this.#books = books;
    this.#hooks = hooks;
    this.#signal = signal;
    this.#keys = new Keys(settings);
    this.#writes = new WriteQueue(4);
    this.#attempts = new Attempts(signal);
  }

  get inFlight(): number {
    return this.#running.journal + this.#running.spill;
  }

  waiting(kind: Kind): ReadonlySet<Parcel> {
    return this.#waiting[kind];
  }

  get keys(): Pick<Keys, 'isPaused' | 'pausedCount'> {
    return this.#keys;
  }

  /** Lanes whose breaker is open, with the time of the next probe (monotonic; undefined while one is under way). */
  restingLanes(): { lane: string; probeAtMs: number | undefined }[] {
    return [...this.#lanes]
      .filter(([, { gate }]) => !gate.isOpen)
      .map(([lane, { gate }]) => ({ lane, probeAtMs: gate.probeAtMs }));
  }

  isLaneOpen(lane: string): boolean {
    return this.#lanes.get(lane)?.gate.isOpen ?? true;
  }

  /** Something can get through: a rest or pause does not cover everything. */
  get hasOpenWay(): boolean {
    if (this.#keys.isPaused) return false;
    return this.#lanes.size === 0 || [...this.#lanes.values()].some(({ gate }) => gate.isOpen);
  }

  /** It waits for its lane or key, not for its own back-off. */
  isHeldBack(parcel: Parcel): boolean {
    return !this.#lane(parcel).gate.isOpen || !this.#keys.gateOf(parcel.head).isOpen;
  }

  add(parcel: Parcel): void {
    this.#waiting[parcel.source.kind].add(parcel);
  }

  /** Takes a waiting parcel out; false when it is no longer waiting. */
  take(parcel: Parcel): boolean {
    return this.#waiting[parcel.source.kind].delete(parcel);
  }

  /** Starts whatever may start now. Cheap when nothing may. */
  pump(): void {
    while (!this.#isStopping && this.inFlight < this.#settings.concurrencyMax) {
      const parcel = this.#next();
      if (!parcel) return;
      this.take(parcel);
      const { kind } = parcel.source;
      this.#running[kind]++;
      const work = this.#attempt(parcel).finally(() => {
        this.#running[kind]--;
        this.#underWay.delete(work);
        this.#hooks.changed();
        this.pump();
      });
      this.#underWay.add(work);
    }
  }

  /** Gives up on what is too old though its turn never comes (a key that stays refused). */
  sweepOld(): void {
    for (const set of Object.values(this.#waiting)) {
      for (const parcel of set) {
        if (this.#isTooOld(parcel) && this.take(parcel)) this.#giveUp(parcel, 'too-old');
      }
    }
  }

  /** Attempts for the journal's envelopes that take this long already end; their envelopes wait again. */
  recall(ranMs: number): void {
    this.#attempts.recall(this.#settings.clock.monotonicMs() - ranMs);
  }

  /** While held, one attempt at a time is for the journal's envelopes: what is not under way can be put away. */
  holdJournal(isHeld: boolean): void {
    this.#isJournalHeld = isHeld;
  }

  /** Starts nothing any more. */
  stop(): void {
    this.#isStopping = true;
  }

  /** Resolves when nothing is under way. */
  async settled(): Promise<void> {
    while (this.#underWay.size > 0 || this.#writes.size > 0) {
      await Promise.allSettled(this.#underWay);
      await this.#writes.settled();
    }
  }

  #lane(parcel: Parcel): Lane {
    let lane = this.#lanes.get(parcel.lane);
    if (!lane) {
      lane = new Lane();
      this.#lanes.set(parcel.lane, lane);
    }
    return lane;
  }

  #next(): Parcel | undefined {
    const nowMs = this.#settings.clock.monotonicMs();
    const probesDue = this.#probesDue(nowMs);
    const spillMax = Math.max(1, Math.floor(this.#settings.concurrencyMax / 2));
    const kinds: Kind[] = this.#spillsTurn ? ['spill', 'journal'] : ['journal', 'spill'];
    for (const kind of kinds) {
      if (kind === 'spill' && this.#running.spill >= spillMax) continue;
      if (kind === 'journal' && this.#isJournalHeld && this.#running.journal > 0) continue;
      const found = this.#nextOf(kind, nowMs, probesDue);
      if (found) {
        this.#spillsTurn = kind === 'journal';
        return found;
      }
    }
    return undefined;
  }

  #probesDue(nowMs: number): boolean {
    for (const { gate } of this.#lanes.values()) if (gate.passage(nowMs) === 'probe') return true;
    return this.#keys.isProbeDue(nowMs);
  }

  /** The oldest that may go. A probe goes first, with the parcel that was tried least: one bad body must not be every probe. */
  #nextOf(kind: Kind, nowMs: number, probesDue: boolean): Parcel | undefined {
    let oldest: Parcel | undefined;
    let probe: Parcel | undefined;
    for (const parcel of this.#waiting[kind]) {
      if (parcel.notBeforeMs > nowMs) continue;
      const lane = this.#lane(parcel).gate.passage(nowMs);
      const key = this.#keys.gateOf(parcel.head).passage(nowMs);
      if (lane === 'shut' || key === 'shut') continue;
      if (lane === 'open' && key === 'open') {
        oldest ??= parcel;
        if (!probesDue) break;
      } else if (!probe || parcel.attempts < probe.attempts) probe = parcel;
    }
    return probe ?? oldest;
  }

  #isTooOld(parcel: Parcel): boolean {
    return this.#settings.clock.nowMs() - parcel.head.receivedAtMs > this.#settings.ageLimitMs;
  }

  async #attempt(parcel: Parcel): Promise<void> {
    const { clock, upstream } = this.#settings;
    if (this.#isTooOld(parcel)) return this.#giveUp(parcel, 'too-old');
    const choice = this.#keys.choose(parcel.head);
    if (choice.kind === 'missing') return this.#giveUp(parcel, 'no-key');
    if (choice.kind === 'unreadable') return this.#giveUp(parcel, 'key-unreadable');
    const startedAtMs = clock.monotonicMs();
    const keyGate = this.#keys.gateOf(parcel.head);
    const probes = {
      lane: this.#lane(parcel).gate.enter(startedAtMs),
      key: keyGate.enter(startedAtMs),
    };
    const attempt = this.#attempts.begin(parcel, startedAtMs);
    let outcome: SendOutcome;
    try {
      outcome = await upstream.send(parcel, choice.key, attempt.signal);
    } catch (error) {
      // Against its contract; the parcel must not be lost for that.
      this.#settings.log.error({ err: error, upstream: upstream.name }, 'BUG: an upstream threw');
      outcome = { kind: 'retry', status: undefined, reason: messageOf(error), afterMs: undefined };
    } finally {
      attempt.end();
    }
    if (this.#signal.aborted && outcome.kind === 'retry') return this.add(parcel);
    this.#books.attempt(outcome, (clock.monotonicMs() - startedAtMs) / 1000);
    if (attempt.isRecalled && outcome.kind === 'retry' && outcome.status === undefined) {
      this.#recalled(parcel, keyGate, probes);
    } else this.#judge(parcel, outcome, keyGate, probes);
    this.#books.paused(this.#keys.isPaused);
    this.#books.resting(this.restingLanes().length > 0);
  }

  /** Neither lane nor key nor envelope is blamed. */
  #recalled(parcel: Parcel, keyGate: Gate, probes: { lane: boolean; key: boolean }): void {
    if (probes.lane) this.#lane(parcel).gate.abandonProbe();
    if (probes.key) keyGate.abandonProbe();
    this.lastFailure = 'recalled: no answer while the journal fills up';
    parcel.notBeforeMs = this.#settings.clock.monotonicMs() + RECALLED_REST_MS;
    this.add(parcel);
  }

  #judge(parcel: Parcel, outcome: SendOutcome, keyGate: Gate, probes: { lane: boolean; key: boolean }): void {
    const lane = this.#lane(parcel);
    if (outcome.kind === 'retry') {
      if (probes.key) keyGate.abandonProbe();
      this.#failed(parcel, lane, outcome, probes.lane);
      return;
    }
    if (lane.answered()) this.#log('info', 'upstream answers again', { lane: parcel.lane });
    if (outcome.kind === 'unauthorized') {
      this.#unauthorized(parcel, keyGate, outcome, probes.key);
      return;
    }
    lane.gate.successes++;
    if (outcome.kind === 'delivered') {
      keyGate.successes++;
      if (keyGate.open()) this.#log('info', 'key is taken again', { key: parcel.head.keyFingerprint });
      this.lastDeliveredAtMs = this.#settings.clock.nowMs();
      this.#books.delivered(parcel.head.signal, parcel.body.byteLength);
      parcel.source.done(parcel);
      return;
    }
    if (probes.key) keyGate.abandonProbe();
    this.#note(parcel, outcome);
    this.#giveUp(parcel, 'refused');
  }

  #failed(parcel: Parcel, lane: Lane, outcome: Extract<SendOutcome, { kind: 'retry' }>, wasProbe: boolean): void {
    const { breakerFailuresMax, clock, random, retry } = this.#settings;
    const nowMs = clock.monotonicMs();
    this.#note(parcel, outcome);
    const isSolo = parcel.laneSuccesses !== undefined && lane.gate.successes > parcel.laneSuccesses;
    parcel.laneSuccesses = lane.gate.successes;
    const isExhausted = lane.failed(parcel, breakerFailuresMax);
    // A 429 with a time is about all that we send, not about this envelope.
    const isTold = outcome.status === 429 && outcome.afterMs !== undefined;
    if (wasProbe || isExhausted || isTold) {
      const didShut = lane.gate.shut(nowMs, wasProbe, (opens) =>
        restDelayMs(retry, opens, random.next(), outcome.afterMs),
      );
      if (didShut && lane.gate.shutCount === 1) {
        this.#log('warn', 'upstream rests after failures', { lane: parcel.lane, reason: outcome.reason });
      }
    }
    if (isSolo) parcel.soloFailures++;
    // While the lane rests, the lane decides when to try.
    parcel.notBeforeMs =
      lane.gate.isOpen || isSolo ? nowMs + retryDelayMs(retry, parcel.attempts, random.next(), outcome.afterMs) : nowMs;
    this.#keepTrying(parcel);
  }

  #unauthorized(
    parcel: Parcel,
    keyGate: Gate,
    outcome: Extract<SendOutcome, { kind: 'unauthorized' }>,
    wasProbe: boolean,
  ): void {
    const { clock, random, retry } = this.#settings;
    const nowMs = clock.monotonicMs();
    this.#note(parcel, outcome);
    // The same key got through since: then it is this envelope that is refused.
    const isSolo = parcel.keySuccesses !== undefined && keyGate.successes > parcel.keySuccesses;
    parcel.keySuccesses = keyGate.successes;
    if (!isSolo || wasProbe) {
      const didShut = keyGate.shut(nowMs, wasProbe, (refusals) => pauseDelayMs(retry, refusals, random.next()));
      this.#keys.noteShut(keyGate);
      if (didShut && keyGate.shutCount === 1) {
        this.#log('error', 'the key is refused: paused', { key: parcel.head.keyFingerprint, reason: outcome.reason });
      }
    }
    if (isSolo) {
      parcel.soloFailures++;
      parcel.notBeforeMs = nowMs + retryDelayMs(retry, parcel.attempts, random.next());
    }
    this.#keepTrying(parcel);
  }

  #keepTrying(parcel: Parcel): void {
    const isOwnFault =
      parcel.soloFailures >= this.#settings.attemptsBeforeAside ||
      (parcel.source.isRetried && !this.isHeldBack(parcel));
    if (!isOwnFault) this.add(parcel);
    else if (parcel.source.isAlone) parcel.source.setBack(parcel);
    else {
      this.#log('warn', 'an envelope steps aside', { position: parcel.position, reason: parcel.lastReason });
      this.#write(parcel, () => this.#hooks.stepAside(parcel));
    }
  }

  #giveUp(parcel: Parcel, reason: GivenUpReason): void {
    this.#log('warn', 'an envelope goes to the dead letters', {
      position: parcel.position,
      givenUp: reason,
      reason: parcel.lastReason,
    });
    this.#write(parcel, async () => {
      await writeDeadLetter(this.#settings, parcel, reason, this.#signal);
      this.#books.deadLettered(reason);
      parcel.source.done(parcel);
    });
  }

  #write(parcel: Parcel, write: () => Promise<void>): void {
    this.#writes.add(write, (error) => {
      if (error !== undefined && !this.#signal.aborted) {
        this.#settings.log.error({ err: error }, 'BUG: a parcel could not be put away');
        parcel.notBeforeMs = this.#settings.clock.monotonicMs() + this.#settings.retry.capMs;
        this.add(parcel);
      }
      this.#hooks.changed();
    });
  }

  #note(parcel: Parcel, outcome: Exclude<SendOutcome, { kind: 'delivered' }>): void {
    parcel.attempts++;
    parcel.lastReason = outcome.reason;
    parcel.lastStatus = outcome.status;
    this.lastFailure = outcome.reason;
  }

  #log(level: 'info' | 'warn' | 'error', text: string, fields: Record<string, unknown>): void {
    this.#settings.log[level]({ upstream: this.#settings.upstream.name, ...fields }, text);
  }
}
