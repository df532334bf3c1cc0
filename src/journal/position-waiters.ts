/** Those who wait for a position to become durable. Each leaves when it is reached, when its signal aborts, or at close. */
import type { Position } from '../core/envelope.ts';

interface Waiter {
  position: Position;
  settle: (reached: boolean) => void;
}

export class PositionWaiters {
  readonly #waiting = new Set<Waiter>();
  #closed = false;

  wait(position: Position, end: Position, signal: AbortSignal): Promise<boolean> {
    if (end >= position) return Promise.resolve(true);
    if (this.#closed || signal.aborted) return Promise.resolve(false);
    return new Promise((resolve) => {
      const onAbort = () => waiter.settle(false);
      const waiter: Waiter = {
        position,
        settle: (reached) => {
          this.#waiting.delete(waiter);
          signal.removeEventListener('abort', onAbort);
          resolve(reached);
        },
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiting.add(waiter);
    });
  }

  reach(end: Position): void {
    for (const waiter of this.#waiting) if (waiter.position <= end) waiter.settle(true);
  }

  close(): void {
    this.#closed = true;
    for (const waiter of this.#waiting) waiter.settle(false);
  }
}
