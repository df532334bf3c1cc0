/**
 * Envelopes whose answer may not have reached the sender, the newest only: bounded by count and by the retry window. In order
 * of position, and so nearly in order of receipt.
 */
import type { EnvelopeHead, Position } from '../core/envelope.ts';
import type { UnconfirmedEnvelope } from './journal.ts';

export const UNCONFIRMED_MAX = 100_000;

export class UnconfirmedSet {
  readonly #held = new Map<Position, UnconfirmedEnvelope>();
  readonly #windowMs: number;
  /** No position below it is held: a Map whose front is deleted again and again is slow to walk from its start. */
  #oldest: Position = 0;

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  get size(): number {
    return this.#held.size;
  }

  add(envelope: UnconfirmedEnvelope, nowMs: number): void {
    const { position } = envelope;
    if (this.#held.size === 0 || position < this.#oldest) this.#oldest = position;
    this.#held.set(position, envelope);
    for (; this.#oldest < position; this.#oldest += 1) {
      const oldest = this.#held.get(this.#oldest);
      if (!oldest) continue;
      if (this.#held.size <= UNCONFIRMED_MAX && this.#isYoung(oldest, nowMs)) return;
      this.#held.delete(this.#oldest);
    }
  }

  confirm(position: Position): void {
    this.#held.delete(position);
  }

  /** Those before `before` that are still within the window, in order of position. */
  list(nowMs: number, before: Position = Number.POSITIVE_INFINITY): UnconfirmedEnvelope[] {
    const found: UnconfirmedEnvelope[] = [];
    for (const envelope of this.#held.values()) {
      if (envelope.position < before && this.#isYoung(envelope, nowMs)) found.push(envelope);
    }
    return found;
  }

  #isYoung(envelope: UnconfirmedEnvelope, nowMs: number): boolean {
    return nowMs - envelope.receivedAtMs <= this.#windowMs;
  }
}

export function unconfirmedOf(position: Position, head: EnvelopeHead): UnconfirmedEnvelope {
  return {
    position,
    bodyHash: head.bodyHash,
    ...(head.requestId === undefined ? {} : { requestId: head.requestId }),
    receivedAtMs: head.receivedAtMs,
  };
}
