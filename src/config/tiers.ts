/** How data ages under these settings. */
import type { UpkeepRules } from '../archive/upkeep/plan.ts';
import { ZSTD_LEVELS } from './declaration.ts';
import type { Settings } from './registry.ts';

/** Fewer than these are not worth a merge within their tier. */
const COMPACT_INPUTS_MIN = 4;

/** Without any tier in use everything stays hot for as long as the hot tier says. */
export function upkeepRulesOf({ storageHot, storageWarm, storageCold, cleanup }: Settings): UpkeepRules {
  const hot = { tier: 'hot', days: storageHot.retentionDays, zstdLevel: ZSTD_LEVELS.medium } as const;
  const warm = {
    tier: 'warm' as const,
    days: storageWarm.retentionDays,
    zstdLevel: ZSTD_LEVELS.heavy,
    ...classOf(storageWarm),
  };
  const cold = {
    tier: 'cold' as const,
    days: storageCold.retentionDays,
    zstdLevel: storageCold.compressionLevel,
    ...classOf(storageCold),
  };
  const tiers = [
    ...(storageHot.enabled ? [hot] : []),
    ...(storageWarm.enabled ? [warm] : []),
    ...(storageCold.enabled ? [cold] : []),
  ];
  return {
    tiers: tiers.length === 0 ? [hot] : tiers,
    compactAfterMs: cleanup.compactAfterMs,
    compactInputsMin: COMPACT_INPUTS_MIN,
  };
}

function classOf({ storageClass }: { storageClass: string | undefined }): { storageClass?: string } {
  return storageClass === undefined ? {} : { storageClass };
}
