/** What an acknowledgement is worth under these settings, and what that costs. */
import { parseStoreUrl } from '../store/store-url.ts';
import type { Settings } from './registry.ts';
import { storeSettingsOf } from './storage.ts';

export interface Durability {
  durability: 'memory' | 'disk' | 'store';
  /** Why `auto` is not `store`, or why `store` cannot be. */
  problem?: string;
}

const MONTH_MS = 30 * 24 * 60 * 60 * 1000;
const RENEWALS_PER_LEASE = 3;
/** Leases, and journals. */
const LISTS_PER_RENEWAL = 2;

/** `store-only`: nothing is sent to the vendor. `forward-only`: nothing is archived, so the store may be away. */
export function durabilityOf(settings: Settings, mode: Settings['forward']['mode']): Durability {
  const { durability, sealKey } = settings.journal;
  const { target } = storeSettingsOf(settings);
  const { kind } = typeof target === 'string' ? parseStoreUrl(target) : target;
  const automatic = kind === 'local' || mode === 'forward-only' ? 'disk' : 'store';
  const wanted = durability === 'auto' ? automatic : durability;
  if (wanted !== 'store' || sealKey || mode === 'store-only' || settings.forward.datadogApiKey)
    return { durability: wanted };
  return {
    durability: durability === 'store' ? 'store' : 'disk',
    problem:
      "callers' own keys are forwarded, and another replica could not open them: set SEAL_KEY to the same 32 bytes (base64) in all replicas, or DATADOG_API_KEY",
  };
}

export interface DurabilityCosts {
  chunksPerMonth: number;
  leasesPerMonth: number;
  listsPerMonth: number;
  waitMsMax: number;
}

/**
 * Of a replica that is never idle: requests to the store a month, and what a caller waits at most beside the write itself. Each worker
 * writes a journal of its own.
 */
export function costsOf({ journal }: Settings, workers: number): DurabilityCosts {
  const renewals = Math.ceil((MONTH_MS / journal.leaseMs) * RENEWALS_PER_LEASE) * workers;
  return {
    chunksPerMonth: Math.ceil(MONTH_MS / journal.chunkAfterMs) * workers,
    leasesPerMonth: renewals,
    listsPerMonth: renewals * LISTS_PER_RENEWAL,
    waitMsMax: journal.chunkAfterMs,
  };
}
