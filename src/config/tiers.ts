/** How data ages under these settings. */

import type { RollupRule, UpkeepRules } from '../archive/upkeep/plan.ts';
import type { Layout } from '../codec/codec.ts';
import { SIGNALS } from '../core/envelope.ts';
import { ZSTD_LEVELS } from './declaration.ts';
import type { Settings } from './registry.ts';

/** Fewer than these are not worth a merge within their tier. */
const COMPACT_INPUTS_MIN = 4;

const UNIT_MS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** Without any tier in use everything stays hot for as long as the hot tier says. */
export function upkeepRulesOf({ storageHot, storageWarm, storageCold, cleanup }: Settings): UpkeepRules {
  const hot = {
    tier: 'hot' as const,
    days: storageHot.retentionDays,
    zstdLevel: ZSTD_LEVELS.medium,
    layout: storageHot.layout as Layout,
    ...rollupOf(storageHot.aggregation, true),
  };
  const warm = {
    tier: 'warm' as const,
    days: storageWarm.retentionDays,
    zstdLevel: ZSTD_LEVELS.heavy,
    layout: storageWarm.layout as Layout,
    ...classOf(storageWarm),
    ...rollupOf(storageWarm.aggregation, storageWarm.raw),
  };
  const cold = {
    tier: 'cold' as const,
    days: storageCold.retentionDays,
    zstdLevel: storageCold.compressionLevel,
    layout: storageCold.layout as Layout,
    ...classOf(storageCold),
    ...rollupOf(storageCold.aggregation, storageCold.raw),
  };
  const tiers = [
    ...(storageHot.enabled ? [hot] : []),
    ...(storageWarm.enabled ? [warm] : []),
    ...(storageCold.enabled ? [cold] : []),
  ];
  return {
    tiers: tiers.length === 0 ? [hot] : tiers,
    kept: keptOf(cleanup.retention),
    compactAfterMs: cleanup.compactAfterMs,
    compactInputsMin: COMPACT_INPUTS_MIN,
  };
}

function classOf({ storageClass }: { storageClass: string | undefined }): { storageClass?: string } {
  return storageClass === undefined ? {} : { storageClass };
}

/** The most particular first. */
function keptOf(text: string | undefined): NonNullable<UpkeepRules['kept']> {
  if (text === undefined) return [];
  const rules = text.split(',').map((one) => {
    const [what, days] = one.trim().split('=') as [string, string];
    const [first, second] = what.split('/') as [string, string | undefined];
    const signal = SIGNALS.find((name) => name === (second ?? first));
    const tenant = second !== undefined || !signal ? first : undefined;
    return {
      ...(tenant === undefined ? {} : { tenant }),
      ...(signal === undefined ? {} : { signal }),
      days: Number.parseInt(days, 10),
    };
  });
  const weight = ({ tenant, signal }: (typeof rules)[number]): number => (tenant ? 2 : 0) + (signal ? 1 : 0);
  return rules.sort((a, b) => weight(b) - weight(a));
}

/** Undefined for `none` and `raw`. */
export function everyMsOf(aggregation: string): number | undefined {
  const found = /^(\d+)([smhd])$/.exec(aggregation);
  return found ? Number(found[1]) * UNIT_MS[found[2] as keyof typeof UNIT_MS] : undefined;
}

function rollupOf(aggregation: string, keepsRaw: boolean): { rollup?: RollupRule } {
  const everyMs = everyMsOf(aggregation);
  return everyMs === undefined ? {} : { rollup: { everyMs, keepsRaw } };
}

/** What cannot be, of how data ages. */
export function tierProblems({ storageWarm, storageCold, cleanup }: Settings): string[] {
  const problems: string[] = [];
  for (const one of cleanup.retention?.split(',') ?? []) {
    const [what] = one.trim().split('=') as [string];
    const [tenant, signal, more] = what.split('/');
    if (signal !== undefined && (!tenant || more !== undefined || !SIGNALS.some((name) => name === signal))) {
      problems.push(`STORAGE_RETENTION: ${what} is not a signal (${SIGNALS.join(', ')}) of a tenant`);
    }
  }
  const [warm, cold] = [everyMsOf(storageWarm.aggregation), everyMsOf(storageCold.aggregation)];
  for (const [name, { raw }, every] of [
    ['STORAGE_WARM', storageWarm, warm],
    ['STORAGE_COLD', storageCold, cold],
  ] as const) {
    if (!raw && every === undefined)
      problems.push(`${name}_RAW=false needs ${name}_AGGREGATION: nothing would be kept`);
  }
  if (!storageWarm.raw && storageWarm.enabled && storageCold.enabled && warm && cold && cold % warm !== 0) {
    problems.push(
      'STORAGE_COLD_AGGREGATION must be a multiple of STORAGE_WARM_AGGREGATION where STORAGE_WARM_RAW=false',
    );
  }
  return problems;
}
