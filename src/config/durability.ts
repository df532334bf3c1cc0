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

/** `forwards`: something is sent to the vendor. */
export function durabilityOf(settings: Settings, forwards: boolean): Durability {
  const { durability, sealKey } = settings.journal;
  const { target } = storeSettingsOf(settings);
  const { kind } = typeof target === 'string' ? parseStoreUrl(target) : target;
  const wanted = durability === 'auto' ? (kind === 'local' ? 'disk' : 'store') : durability;
  if (wanted !== 'store' || sealKey || !forwards || settings.forward.datadogApiKey) return { durability: wanted };
  return {
    durability: durability === 'store' ? 'store' : 'disk',
    problem:
      "callers' own keys are forwarded, and another replica could not open them: set SEAL_KEY to the same 32 bytes (base64) in all replicas, or DATADOG_API_KEY",
  };
}

/** Of a replica that is never idle: writes to the store a month, and what a caller waits at most beside the write itself. */
export function costsOf({ journal }: Settings): { chunksPerMonth: number; leasesPerMonth: number; waitMsMax: number } {
  return {
    chunksPerMonth: Math.ceil(MONTH_MS / journal.chunkAfterMs),
    leasesPerMonth: Math.ceil((MONTH_MS / journal.leaseMs) * RENEWALS_PER_LEASE),
    waitMsMax: journal.chunkAfterMs,
  };
}
