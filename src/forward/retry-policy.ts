/** When to try again: pure arithmetic. Exponential back-off with full jitter; what the vendor asked for is never undercut. */
export interface RetryPolicy {
  baseMs: number;
  capMs: number;
  /** Between probes of a refused key: drawn from this range. */
  probeMsMin: number;
  probeMsMax: number;
}

export const DEFAULT_RETRY_POLICY: RetryPolicy = {
  baseMs: 1_000,
  capMs: 60_000,
  probeMsMin: 30_000,
  probeMsMax: 60_000,
};

const DOUBLINGS_MAX = 20;

function ceilingMs(policy: RetryPolicy, failures: number): number {
  return Math.min(policy.capMs, policy.baseMs * 2 ** Math.min(DOUBLINGS_MAX, Math.max(0, failures - 1)));
}

/** Wait of one envelope after its n-th failure (n ≥ 1): drawn from [0, ceiling), at least what was asked. `chance` in [0, 1). */
export function retryDelayMs(policy: RetryPolicy, failures: number, chance: number, askedMs?: number): number {
  return Math.max(askedMs ?? 0, chance * ceilingMs(policy, failures));
}

/** Rest of a whole lane when its breaker opens for the n-th time in a row: in [ceiling/2, ceiling), so that it is a rest at all. */
export function restDelayMs(policy: RetryPolicy, opens: number, chance: number, askedMs?: number): number {
  return Math.max(askedMs ?? 0, (0.5 + chance / 2) * ceilingMs(policy, opens));
}

/** Pause of a refused key: the first probe comes soon (one odd body may be at fault), the next ones in the probe range. */
export function pauseDelayMs(policy: RetryPolicy, refusals: number, chance: number): number {
  if (refusals <= 1) return restDelayMs(policy, 1, chance);
  return policy.probeMsMin + chance * (policy.probeMsMax - policy.probeMsMin);
}
