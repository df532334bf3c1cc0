/**
 * Which envelopes of a journal on disk are archived as doubtful: answers that were not heard by then. Their sender may have come back to
 * another replica; one that comes back here is met at the door, and told as heard late.
 */
import type { Clock } from '../core/clock.ts';
import type { Position } from '../core/envelope.ts';
import type { HeardEnvelope, UnconfirmedEnvelope } from './journal.ts';

/** Answers on their way are waited for. */
const ANSWERS_WITHIN_MS = 500;
const LOOK_EVERY_MS = 50;
const HEARD_LATE_MAX = 4096;

/** The oldest go first; they count as heard then. */
const UNHEARD_MAX = 100_000;

export class DiskDoubts {
  readonly #clock: Clock;
  readonly #epoch: number;
  readonly #closing = new AbortController();
  /** Of what may not be archived yet, in order of position. However old: its retry may have come to others in time. */
  readonly #unheard = new Map<Position, UnconfirmedEnvelope>();
  readonly #heardLate: HeardEnvelope[] = [];
  #askedTo: Position = 0;

  constructor(clock: Clock, epoch: number) {
    this.#clock = clock;
    this.#epoch = epoch;
  }

  /** Up to there an earlier life, or another replica, may have told what is doubtful. */
  resume(askedTo: Position): void {
    this.#askedTo = askedTo;
  }

  add(envelope: UnconfirmedEnvelope): void {
    this.#unheard.set(envelope.position, envelope);
    if (this.#unheard.size <= UNHEARD_MAX) return;
    const oldest = this.#unheard.keys().next();
    if (!oldest.done) this.#unheard.delete(oldest.value);
  }

  async tell(first: Position, last: Position): Promise<UnconfirmedEnvelope[]> {
    const within = () => [...this.#unheard.values()].filter(({ position }) => position >= first && position <= last);
    for (let waitedMs = 0; waitedMs < ANSWERS_WITHIN_MS && within().length > 0; waitedMs += LOOK_EVERY_MS) {
      if (this.#closing.signal.aborted) break;
      await this.#clock.sleep(LOOK_EVERY_MS, this.#closing.signal).catch(() => {});
    }
    this.#askedTo = Math.max(this.#askedTo, last);
    const found = within();
    // What is archived as doubtful stays so, whatever is heard later.
    for (const position of this.#unheard.keys()) {
      if (position > last) break;
      this.#unheard.delete(position);
    }
    return found;
  }

  confirmed(position: Position): void {
    if (this.#unheard.delete(position) || position > this.#askedTo) return;
    this.#heardLate.push({ epoch: this.#epoch, position });
    if (this.#heardLate.length > HEARD_LATE_MAX) this.#heardLate.shift();
  }

  heardLate(): HeardEnvelope[] {
    return this.#heardLate.splice(0);
  }

  close(): void {
    this.#closing.abort();
  }
}
