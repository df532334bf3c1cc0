/** A clock that moves only when told. Sleepers and timers fire in the order of their deadlines while it is advanced. */
import type { Clock } from '../../src/core/clock.ts';

export interface ManualClock extends Clock {
  /** Moves both clocks; each timer that falls due runs at its own time, and what it awaits gets turns to go on. */
  advance(ms: number): Promise<void>;
  /** Lets the wall clock jump without time passing. */
  jumpTo(nowMs: number): void;
  /** Timers and sleepers that wait. */
  readonly waiting: number;
  /** Deadline of the next one on the monotonic clock; undefined when none waits. */
  readonly nextAtMs: number | undefined;
}

interface Timer {
  atMs: number;
  fire: () => void;
}

export function createManualClock(nowMs = Date.UTC(2026, 0, 1)): ManualClock {
  let wallMs = nowMs;
  let monotonicMs = 0;
  const timers: Timer[] = [];

  const add = (ms: number, fire: () => void): (() => void) => {
    const timer = { atMs: monotonicMs + Math.max(0, ms), fire };
    const index = timers.findIndex((other) => other.atMs > timer.atMs);
    if (index < 0) timers.push(timer);
    else timers.splice(index, 0, timer);
    return () => {
      const at = timers.indexOf(timer);
      if (at >= 0) timers.splice(at, 1);
    };
  };

  return {
    nowMs: () => wallMs,
    monotonicMs: () => monotonicMs,
    sleep: (ms, signal) =>
      new Promise<void>((resolve, reject) => {
        if (signal?.aborted) {
          reject(signal.reason);
          return;
        }
        const abort = (): void => {
          cancel();
          reject(signal?.reason);
        };
        const cancel = add(ms, () => {
          signal?.removeEventListener('abort', abort);
          resolve();
        });
        signal?.addEventListener('abort', abort, { once: true });
      }),
    after: (ms, task) => add(ms, task),
    advance: async (ms) => {
      const untilMs = monotonicMs + ms;
      await settle();
      for (let next = timers[0]; next && next.atMs <= untilMs; next = timers[0]) {
        timers.shift();
        wallMs += next.atMs - monotonicMs;
        monotonicMs = next.atMs;
        next.fire();
        await settle();
      }
      wallMs += untilMs - monotonicMs;
      monotonicMs = untilMs;
    },
    jumpTo: (toMs) => {
      wallMs = toMs;
    },
    get waiting() {
      return timers.length;
    },
    get nextAtMs() {
      return timers[0]?.atMs;
    },
  };
}

/** Some turns of the event loop, so that awaits and finished I/O go on before the clock does. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}
