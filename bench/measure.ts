/**
 * How a figure is taken: warm-up, then samples until the time is used up, then median and spread. A sample lasts long enough for the
 * clock; garbage collection inside the samples is counted, so that its share is known.
 */
import { PerformanceObserver } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Samples {
  count: number;
  /** Of one run, in seconds of wall time. */
  median: number;
  /** Half of the samples lie between these. */
  lowQuartile: number;
  highQuartile: number;
  /** CPU time of the whole process over wall time: above 1, other threads (garbage collection, compilation) helped. */
  cpuPerWall: number;
  /** Share of the sampled wall time that garbage collection took. */
  gcShare: number;
}

export interface MeasureOptions {
  seconds: number;
  samplesMin: number;
}

/** Of the time to sample, how long it is warmed up at least; and at most, where runs still get faster. */
const WARM_UP_SHARE = 0.4;
const WARM_UP_SHARE_MAX = 2;
/** It is warm once so many runs in a row were no faster than the best before them, by this factor. */
const STEADY_RUNS = 6;
const FASTER = 0.97;
const SAMPLES_MAX = 200;
const SAMPLE_SECONDS_MIN = 0.01;
/** The observer's entries come a moment later. */
const ENTRIES_LATE_MS = 20;

/** Returns how long the fastest run took, in seconds. */
async function warmUp(run: () => void | Promise<void>, seconds: number): Promise<number> {
  const beganMs = performance.now();
  let best = Number.POSITIVE_INFINITY;
  let steadyRuns = 0;
  for (let runs = 0; runs < 10_000; runs++) {
    const startedMs = performance.now();
    await run();
    const endedMs = performance.now();
    const tookSeconds = (endedMs - startedMs) / 1000;
    steadyRuns = tookSeconds < best * FASTER ? 0 : steadyRuns + 1;
    best = Math.min(best, tookSeconds);
    const share = (endedMs - beganMs) / 1000 / seconds;
    if (share >= WARM_UP_SHARE_MAX || (share >= WARM_UP_SHARE && steadyRuns >= STEADY_RUNS)) break;
  }
  return best;
}

/** `run` does the work once. */
export async function measure(run: () => void | Promise<void>, options: MeasureOptions): Promise<Samples> {
  const { seconds, samplesMin } = options;
  const runSeconds = await warmUp(run, seconds);
  const runsPerSample = Math.max(1, Math.ceil(SAMPLE_SECONDS_MIN / Math.max(runSeconds, 1e-7)));

  let gcMs = 0;
  const fromMs = performance.now();
  let toMs = Number.POSITIVE_INFINITY;
  const observer = new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) {
      if (startTime >= fromMs && startTime <= toMs) gcMs += duration;
    }
  });
  observer.observe({ entryTypes: ['gc'] });
  const samples: number[] = [];
  let wallMs = 0;
  const cpuBefore = process.cpuUsage();
  const endMs = fromMs + seconds * 1000;
  while (samples.length < samplesMin || (performance.now() < endMs && samples.length < SAMPLES_MAX)) {
    const startedMs = performance.now();
    for (let i = 0; i < runsPerSample; i++) await run();
    const tookMs = performance.now() - startedMs;
    wallMs += tookMs;
    samples.push(tookMs / 1000 / runsPerSample);
  }
  const cpu = process.cpuUsage(cpuBefore);
  toMs = performance.now();
  await sleep(ENTRIES_LATE_MS);
  observer.disconnect();
  samples.sort((a, b) => a - b);
  return {
    count: samples.length,
    median: quantile(samples, 0.5),
    lowQuartile: quantile(samples, 0.25),
    highQuartile: quantile(samples, 0.75),
    cpuPerWall: (cpu.user + cpu.system) / 1000 / wallMs,
    gcShare: gcMs / wallMs,
  };
}

/** Between neighbours linearly; `sorted` ascending and not empty. */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  const at = (sorted.length - 1) * share;
  const low = sorted[Math.floor(at)] ?? Number.NaN;
  const high = sorted[Math.ceil(at)] ?? low;
  return low + (high - low) * (at - Math.floor(at));
}

/** A speed with its spread: the quartiles of the time, turned around. */
export interface Speed {
  median: number;
  low: number;
  high: number;
}

export function speedOf(amount: number, samples: Samples): Speed {
  return {
    median: amount / samples.median,
    low: amount / samples.highQuartile,
    high: amount / samples.lowQuartile,
  };
}
