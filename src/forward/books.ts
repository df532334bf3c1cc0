/** The forwarder's side of the books: addressed (+ recovered) = delivered + pending + dead-lettered + dropped by policy. */
import type { Signal } from '../core/envelope.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { SendOutcome } from '../upstream/upstream.ts';
import type { GivenUpReason } from './parcel.ts';

export class Books {
  readonly #metrics: Metrics;
  readonly #upstream: string;
  readonly #isDatadog: boolean;
  #recovered = 0;

  constructor(metrics: Metrics, upstream: string, isDatadog: boolean) {
    this.#metrics = metrics;
    this.#upstream = upstream;
    this.#isDatadog = isDatadog;
    // Series that exist from the start, so that a rate over them is never missing.
    metrics.forwardDelivered.inc({ upstream }, 0);
    metrics.forwardSpilled.inc({ upstream }, 0);
    this.paused(false);
    this.resting(false);
  }

  attempt(outcome: SendOutcome, seconds: number): void {
    const upstream = this.#upstream;
    this.#metrics.forwardAttempts.inc({ upstream, outcome: outcome.kind });
    this.#metrics.forwardSeconds.observe({ upstream }, seconds);
    if (this.#isDatadog && outcome.kind !== 'delivered') this.#metrics.datadogForwardErrors.inc();
  }

  delivered(signal: Signal, bodyBytes: number): void {
    const upstream = this.#upstream;
    this.#metrics.forwardDelivered.inc({ upstream });
    this.#metrics.forwardBytes.inc({ upstream, signal }, bodyBytes);
  }

  deadLettered(reason: GivenUpReason, count = 1): void {
    this.#metrics.forwardDeadLettered.inc({ upstream: this.#upstream, reason }, count);
  }

  spilled(count: number): void {
    this.#metrics.forwardSpilled.inc({ upstream: this.#upstream }, count);
  }

  recovered(count: number): void {
    this.#recovered += count;
    this.#metrics.forwardRecovered.set({ upstream: this.#upstream }, this.#recovered);
  }

  waiting(pending: number, spillObjects: number): void {
    this.#metrics.forwardPending.set({ upstream: this.#upstream }, pending);
    this.#metrics.forwardSpillObjects.set({ upstream: this.#upstream }, spillObjects);
  }

  paused(isPaused: boolean): void {
    this.#metrics.forwardPaused.set({ upstream: this.#upstream }, isPaused ? 1 : 0);
  }

  resting(isResting: boolean): void {
    this.#metrics.forwardBreakerOpen.set({ upstream: this.#upstream }, isResting ? 1 : 0);
  }
}
