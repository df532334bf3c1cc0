/**
 * Time as the code sees it. Wall time is for stamps, monotonic time for durations and deadlines.
 * Nothing else may call `Date.now()`, `performance.now()` or `setTimeout` (a tidy test enforces it).
 */
import { setTimeout as sleepFor } from 'node:timers/promises';

export interface Clock {
  /** Wall clock, milliseconds since the epoch. May jump. */
  nowMs(): number;
  /** Never goes backwards; milliseconds from an arbitrary origin, fractional. */
  monotonicMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when it aborts first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Runs `task` once after `ms`, without keeping the process alive. Returns a function that cancels it. */
  after(ms: number, task: () => void): () => void;
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep: async (ms, signal) => {
    await sleepFor(ms, undefined, signal ? { signal } : {});
  },
  after: (ms, task) => {
    const timer = setTimeout(task, ms);
    timer.unref();
    return () => clearTimeout(timer);
  },
};
