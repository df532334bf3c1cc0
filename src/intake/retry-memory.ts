/**
 * Promise 2: a sender's retry after a lost answer is kept once; equal bodies sent on purpose are kept each time.
 *
 * An equal body alone is no retry. It is one only if the earlier envelope's answer is unconfirmed (its socket closed before the
 * answer left, the answer was slower than senders wait, or the process died), or if it carries the same request id. One
 * unconfirmed envelope excuses one retry. Everything here is bounded in count and in time; the oldest goes first.
 */
import type { Clock } from '../core/clock.ts';
import type { Position } from '../core/envelope.ts';
import type { UnconfirmedEnvelope } from '../journal/journal.ts';
import { lookForHangUps } from './answers.ts';

export interface RetryMemoryOptions {
  clock: Clock;
  windowMs: number;
  entriesMax: number;
}

/** Where an envelope lies: at a position of this journal, or of an earlier life's. */
export interface Place {
  position: Position;
  epoch?: number | undefined;
}

interface Entry extends Place {
  expiresAtMs: number;
  /** A retry of it is being answered: it excuses no second one meanwhile. */
  claimed: boolean;
}

/** One request under way, from the moment its head was read. */
export interface Flight {
  /** Equal bodies have equal ones: path and length. */
  readonly likeness: string;
  /** Its sender listens no more. */
  hasHungUp(): boolean;
  readonly settled: Promise<void>;
  settle(): void;
  waitsFor: Flight | undefined;
}

export class RetryMemory {
  readonly #options: RetryMemoryOptions;
  /** Unconfirmed envelopes by body hash, oldest first. */
  readonly #unconfirmed = new Map<string, Entry[]>();
  #unconfirmedCount = 0;
  /** `request id + hash` → when it may be forgotten. */
  readonly #requestIds = new Map<string, Place & { expiresAtMs: number }>();
  /** By likeness. */
  readonly #flights = new Map<string, Set<Flight>>();

  constructor(options: RetryMemoryOptions) {
    this.#options = options;
  }

  restore(envelopes: readonly UnconfirmedEnvelope[]): void {
    for (const { bodyHash, position, epoch, requestId } of envelopes) {
      this.remember(bodyHash, { position, epoch });
      if (requestId) this.rememberRequestId(requestId, bodyHash, { position, epoch });
    }
  }

  get size(): number {
    return this.#unconfirmedCount;
  }

  /** The answer for this envelope did not (surely) reach its sender. */
  remember(hash: string, place: Place): void {
    const entry = { ...place, expiresAtMs: this.#options.clock.monotonicMs() + this.#options.windowMs, claimed: false };
    const list = this.#unconfirmed.get(hash);
    if (list) list.push(entry);
    else this.#unconfirmed.set(hash, [entry]);
    this.#unconfirmedCount += 1;
    this.#trim();
  }

  rememberRequestId(requestId: string, hash: string, place: Place): void {
    this.#requestIds.set(`${requestId}\n${hash}`, {
      ...place,
      expiresAtMs: this.#options.clock.monotonicMs() + this.#options.windowMs,
    });
    if (this.#requestIds.size > this.#options.entriesMax) {
      const oldest = this.#requestIds.keys().next();
      if (!oldest.done) this.#requestIds.delete(oldest.value);
    }
  }

  /**
   * Is this request a retry of something already kept? Waits for what may be its twin and whose sender has hung up: after a pause of
   * the process both may be here at once, and the retry may be decoded first.
   */
  async match(flight: Flight, hash: string, requestId: string | undefined): Promise<Claim | undefined> {
    const byId = requestId ? this.#requestIds.get(`${requestId}\n${hash}`) : undefined;
    if (byId && byId.expiresAtMs > this.#options.clock.monotonicMs())
      return { position: byId.position, epoch: byId.epoch, settle: () => {} };
    const claim = this.#claim(hash);
    if (claim) return claim;
    const alike = this.#flights.get(flight.likeness);
    if (!alike || alike.size < 2) return undefined;
    await lookForHangUps(this.#options.clock);
    for (const other of [...alike]) {
      if (other === flight || !other.hasHungUp() || waitsFor(other, flight)) continue;
      flight.waitsFor = other;
      await other.settled;
      flight.waitsFor = undefined;
    }
    return this.#claim(hash);
  }

  #claim(hash: string): Claim | undefined {
    const now = this.#options.clock.monotonicMs();
    const entry = this.#unconfirmed.get(hash)?.find((candidate) => !candidate.claimed && candidate.expiresAtMs > now);
    if (!entry) return undefined;
    entry.claimed = true;
    return {
      position: entry.position,
      epoch: entry.epoch,
      settle: (confirmed) => {
        if (confirmed) this.#forget(hash, entry);
        else entry.claimed = false;
      },
    };
  }

  #forget(hash: string, entry: Entry): void {
    const list = this.#unconfirmed.get(hash);
    const index = list?.indexOf(entry) ?? -1;
    if (!list || index < 0) return;
    list.splice(index, 1);
    this.#unconfirmedCount -= 1;
    if (list.length === 0) this.#unconfirmed.delete(hash);
  }

  begin(likeness: string, hasHungUp: () => boolean): Flight {
    const { promise, resolve } = Promise.withResolvers<void>();
    const flight: Flight = { likeness, hasHungUp, settled: promise, settle: resolve, waitsFor: undefined };
    const alike = this.#flights.get(likeness);
    if (alike) alike.add(flight);
    else this.#flights.set(likeness, new Set([flight]));
    return flight;
  }

  end(flight: Flight): void {
    const alike = this.#flights.get(flight.likeness);
    alike?.delete(flight);
    if (alike?.size === 0) this.#flights.delete(flight.likeness);
    flight.settle();
  }

  /** Drops what has expired at the old end, then what is over the bound. */
  #trim(): void {
    const now = this.#options.clock.monotonicMs();
    for (const [hash, list] of this.#unconfirmed) {
      const oldest = list[0]!;
      if (oldest.expiresAtMs > now && this.#unconfirmedCount <= this.#options.entriesMax) break;
      this.#forget(hash, oldest);
    }
  }
}

function waitsFor(flight: Flight, other: Flight): boolean {
  for (let next = flight.waitsFor; next; next = next.waitsFor) {
    if (next === other) return true;
  }
  return false;
}

/** A recognised retry. `settle` tells whether its own answer arrived. */
export interface Claim extends Place {
  settle(confirmed: boolean): void;
}
