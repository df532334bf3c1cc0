/**
 * A few writes to the store at a time, apart from the sending slots: a store that is away must not stop the sending. Its length is
 * bounded by the parcels that are held.
 */
export class WriteQueue {
  readonly #concurrencyMax: number;
  readonly #waiting: (() => Promise<void>)[] = [];
  readonly #running = new Set<Promise<void>>();

  constructor(concurrencyMax: number) {
    this.#concurrencyMax = concurrencyMax;
  }

  get size(): number {
    return this.#waiting.length + this.#running.size;
  }

  /** `ended` is told the error of a write that rejected: aborted by the stop, or a bug. */
  add(write: () => Promise<void>, ended: (error: unknown) => void): void {
    this.#waiting.push(() => write().then(() => ended(undefined), ended));
    this.#pump();
  }

  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  #pump(): void {
    while (this.#running.size < this.#concurrencyMax) {
      const start = this.#waiting.shift();
      if (!start) return;
      const work = start().finally(() => {
        this.#running.delete(work);
        this.#pump();
      });
      this.#running.add(work);
    }
  }
}
