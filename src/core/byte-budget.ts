/**
 * One count of bytes in flight for the whole process, shared by the main thread and its workers through shared memory.
 * A body is reserved before it is read, and again before it is inflated; what does not fit is refused, never queued.
 * Counted in units of 1 KiB, so that 2 TiB fit into 31 bits.
 */
const UNIT_BYTES = 1024;

export class ByteBudget {
  readonly #cells: Int32Array;
  readonly #held: Int32Array | undefined;
  readonly #isBound: boolean;

  /**
   * Cells: [used units, limit units, peak units]. `held`: one cell that follows what this holder has reserved. Unless `isBound`
   * the holder is counted but never refused.
   */
  constructor(shared: SharedArrayBuffer, held?: SharedArrayBuffer, isBound = true) {
    this.#cells = new Int32Array(shared);
    this.#held = held ? new Int32Array(held) : undefined;
    this.#isBound = isBound;
  }

  static create(limitBytes: number): ByteBudget {
    const shared = new SharedArrayBuffer(12);
    new Int32Array(shared)[1] = Math.floor(limitBytes / UNIT_BYTES);
    return new ByteBudget(shared);
  }

  /** What a reservation of `bytes` takes: such numbers may be added up and released in one. */
  static rounded(bytes: number): number {
    return Math.ceil(bytes / UNIT_BYTES) * UNIT_BYTES;
  }

  get shared(): SharedArrayBuffer {
    return this.#cells.buffer as SharedArrayBuffer;
  }

  get limitBytes(): number {
    return Atomics.load(this.#cells, 1) * UNIT_BYTES;
  }

  get usedBytes(): number {
    return Atomics.load(this.#cells, 0) * UNIT_BYTES;
  }

  get peakBytes(): number {
    return Atomics.load(this.#cells, 2) * UNIT_BYTES;
  }

  /** True: `bytes` are ours until `release(bytes)` is called with the same number. False: nothing was taken. */
  tryReserve(bytes: number): boolean {
    const units = Math.ceil(bytes / UNIT_BYTES);
    const limit = Atomics.load(this.#cells, 1);
    for (;;) {
      const used = Atomics.load(this.#cells, 0);
      if (this.#isBound && used + units > limit) return false;
      if (Atomics.compareExchange(this.#cells, 0, used, used + units) === used) {
        if (used + units > Atomics.load(this.#cells, 2)) Atomics.store(this.#cells, 2, used + units);
        if (this.#held) Atomics.add(this.#held, 0, units);
        return true;
      }
    }
  }

  release(bytes: number): void {
    const units = Math.ceil(bytes / UNIT_BYTES);
    Atomics.sub(this.#cells, 0, units);
    if (this.#held) Atomics.sub(this.#held, 0, units);
  }

  /** A reservation changes hands: it stays, but this holder no longer answers for it. */
  handOver(bytes: number): void {
    if (this.#held) Atomics.sub(this.#held, 0, Math.ceil(bytes / UNIT_BYTES));
  }

  /** Gives back what a holder that is gone (a lost worker) still held. */
  releaseHeld(held: SharedArrayBuffer): void {
    const units = Atomics.exchange(new Int32Array(held), 0, 0);
    Atomics.sub(this.#cells, 0, units);
  }
}
