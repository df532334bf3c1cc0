/**
 * A gate lets envelopes through, or, once shut, one probe at a time after each rest. It stands before a lane (the breaker) and
 * before a key (the pause). Times are on the monotonic clock.
 */
export type Passage = 'open' | 'probe' | 'shut';

export class Gate {
  /** Successes so far: tells whether others got through since. */
  successes = 0;
  #shutUntilMs: number | undefined;
  #isProbing = false;
  #shutCount = 0;

  passage(nowMs: number): Passage {
    if (this.#shutUntilMs === undefined) return 'open';
    return this.#isProbing || nowMs < this.#shutUntilMs ? 'shut' : 'probe';
  }

  get isOpen(): boolean {
    return this.#shutUntilMs === undefined;
  }

  /** When a probe may pass; undefined while the gate is open or a probe is under way. */
  get probeAtMs(): number | undefined {
    return this.#isProbing ? undefined : this.#shutUntilMs;
  }

  /** How often it was shut since it was last open, this time included once `shut` is called. */
  get shutCount(): number {
    return this.#shutCount;
  }

  /** Must be called by whoever passes; true when it is the probe. */
  enter(nowMs: number): boolean {
    if (this.passage(nowMs) !== 'probe') return false;
    this.#isProbing = true;
    return true;
  }

  /** `delayMs` from how often in a row it was shut. Late failures of those that passed before do not prolong the rest. */
  shut(nowMs: number, wasProbe: boolean, delayOf: (shutCount: number) => number): boolean {
    if (!wasProbe && this.#shutUntilMs !== undefined) return false;
    this.#shutCount++;
    this.#isProbing = false;
    this.#shutUntilMs = nowMs + delayOf(this.#shutCount);
    return true;
  }

  /** True when it was shut before. */
  open(): boolean {
    const wasShut = this.#shutUntilMs !== undefined;
    this.#shutUntilMs = undefined;
    this.#isProbing = false;
    this.#shutCount = 0;
    return wasShut;
  }

  /** A probe ended without telling anything. */
  abandonProbe(): void {
    this.#isProbing = false;
  }
}

/**
 * The breaker of one lane: opens after so many failures in a row, if they come from different envelopes; a single bad one is no
 * reason to rest.
 */
export class Lane {
  readonly gate = new Gate();
  #failuresInRow = 0;
  #lastFailed: unknown;
  #hasDifferent = false;

  /** The host answered sensibly, whatever it said about the envelope. True when the lane was resting. */
  answered(): boolean {
    this.#failuresInRow = 0;
    this.#hasDifferent = false;
    this.#lastFailed = undefined;
    return this.gate.open();
  }

  /** True when the lane should rest now. */
  failed(envelope: unknown, failuresMax: number): boolean {
    this.#failuresInRow++;
    if (this.#lastFailed !== undefined && this.#lastFailed !== envelope) this.#hasDifferent = true;
    this.#lastFailed = envelope;
    return this.#hasDifferent && this.#failuresInRow >= failuresMax;
  }
}
