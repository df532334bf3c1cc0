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

export interface RetryMemoryOptions {
  clock: Clock;
  windowMs: number;
  entriesMax: number;
}

interface Entry {
  position: Position;
  expiresAtMs: number;
  /** A retry of it is being answered: it excuses no second one meanwhile. */
  claimed: boolean;
}

/** One request under way, from the moment its hash is known. */
export interface Flight {
  hash: string;
  socketClosed: boolean;
  /** Resolves to the position when it was appended, to undefined when it was not. */
  outcome: Promise<Position | undefined>;
}

export class RetryMemory {
  readonly #options: RetryMemoryOptions;
  /** Unconfirmed envelopes by body hash, oldest first. */
  readonly #unconfirmed = new Map<string, Entry[]>();
  #unconfirmedCount = 0;
  /** `request id + hash` → when it may be forgotten. */
  readonly #requestIds = new Map<string, { position: Position; expiresAtMs: number }>();
  readonly #flights = new Map<string, Set<Flight>>();

  constructor(options: RetryMemoryOptions) {
    this.#options = options;
  }

  restore(envelopes: readonly UnconfirmedEnvelope[]): void {
    for (const { bodyHash, position, requestId } of envelopes) {
      this.remember(bodyHash, position);
      if (requestId) this.rememberRequestId(requestId, bodyHash, position);
    }
  }

  get size(): number {
    return this.#unconfirmedCount;
  }

  /** The answer for this envelope did not (surely) reach its sender. */
  remember(hash: string, position: Position): void {
    const entry = { position, expiresAtMs: this.#options.clock.monotonicMs() + this.#options.windowMs, claimed: false };
    const list = this.#unconfirmed.get(hash);
    if (list) list.push(entry);
    else this.#unconfirmed.set(hash, [entry]);
    this.#unconfirmedCount += 1;
    this.#trim();
  }

  rememberRequestId(requestId: string, hash: string, position: Position): void {
    this.#requestIds.set(`${requestId}\n${hash}`, {
      position,
      expiresAtMs: this.#options.clock.monotonicMs() + this.#options.windowMs,
    });
    if (this.#requestIds.size > this.#options.entriesMax) {
      const oldest = this.#requestIds.keys().next();
      if (!oldest.done) this.#requestIds.delete(oldest.value);
    }
  }

  /** Is this request a retry of something already kept? Waits for a twin whose sender has hung up. */
  async match(hash: string, requestId: string | undefined): Promise<Claim | undefined> {
    const byId = requestId ? this.#requestIds.get(`${requestId}\n${hash}`) : undefined;
    if (byId && byId.expiresAtMs > this.#options.clock.monotonicMs())
      return { position: byId.position, settle: () => {} };
    const claim = this.#claim(hash);
    if (claim) return claim;
    for (const flight of this.#flights.get(hash) ?? []) {
      if (!flight.socketClosed) continue;
      await flight.outcome;
      const late = this.#claim(hash);
      if (late) return late;
    }
    return undefined;
  }

  #claim(hash: string): Claim | undefined {
    const now = this.#options.clock.monotonicMs();
    const entry = this.#unconfirmed.get(hash)?.find((candidate) => !candidate.claimed && candidate.expiresAtMs > now);
    if (!entry) return undefined;
    entry.claimed = true;
    return {
      position: entry.position,
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

  begin(flight: Flight): void {
    const flights = this.#flights.get(flight.hash);
    if (flights) flights.add(flight);
    else this.#flights.set(flight.hash, new Set([flight]));
  }

  end(flight: Flight): void {
    const flights = this.#flights.get(flight.hash);
    flights?.delete(flight);
    if (flights?.size === 0) this.#flights.delete(flight.hash);
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

/** A recognised retry. `settle` tells whether its own answer arrived. */
export interface Claim {
  position: Position;
  settle(confirmed: boolean): void;
}
