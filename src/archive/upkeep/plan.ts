/**
 * What upkeep has to do, from what is live and how old it is: a pure function. Segments that grew too old for their tier are merged into
 * the tier of their age (hot and warm by the hour, cold by the day); small ones of the first tier are merged within it; what is
 * older than the last tier keeps is let go. A segment is merged at most once per tier: the work per row is bounded. The roll-up of a
 * segment comes and goes with it; one whose points are not kept ages by itself.
 */
import type { Layout } from '../../codec/codec.ts';
import type { Signal } from '../../core/envelope.ts';
import { rangesOf, type SegmentEntry, type Tier } from '../../store/commit-log.ts';
import { DOUBT_SETTLED_MS } from '../../store/doubts.ts';
import type { LiveSegment } from '../../store/live-segments.ts';
import { DAY_MS } from '../partition.ts';

export interface TierRule {
  tier: Tier;
  /** Age of the youngest row from which a segment is too old for this tier. */
  days: number;
  zstdLevel: number;
  /** `plain` where not set. */
  layout?: Layout;
  /** Of the bucket. */
  storageClass?: string;
  /** Metrics are rolled up when they come into this tier. */
  rollup?: RollupRule;
}

export interface RollupRule {
  everyMs: number;
  /** Beside the points as they were sent, or instead of them. */
  keepsRaw: boolean;
}

export interface UpkeepRules {
  /** The tiers in use, young to old; at least one. */
  tiers: readonly TierRule[];
  /** Age from which what these hold is let go, whatever the tiers say; the first that fits counts. */
  kept?: readonly { tenant?: string; signal?: Signal; days: number }[];
  /** Segments of the first tier are merged once they are this old and this many lie in one partition. */
  compactAfterMs: number;
  compactInputsMin: number;
}

export interface MergeJob {
  tenant: string;
  signal: Signal;
  from: Tier;
  to: Tier;
  day: string;
  /** Undefined where the tier is filed by day. */
  hour: string | undefined;
  zstdLevel: number;
  layout: Layout;
  storageClass: string | undefined;
  /** In the order of their journals. */
  inputs: SegmentEntry[];
  /** Roll-ups of the inputs: they go with them. */
  companions: SegmentEntry[];
  /** What is made of the points of metrics, or of the roll-ups that are the inputs. */
  rollup: RollupRule | undefined;
  /** Windows of the inputs, where they are roll-ups. */
  inputEveryMs: number | undefined;
  /** When the youngest of the inputs' rows was received, at most. */
  receivedMaxMs: number;
}

export interface UpkeepPlan {
  merges: MergeJob[];
  expired: SegmentEntry[];
  /** Envelopes that were in doubt, and are there a second time. */
  doubled: SegmentEntry[];
}

/** How long a segment is kept, from when its youngest row was received. */
export function keptMs({ tenant, signal }: Pick<SegmentEntry, 'tenant' | 'signal'>, rules: UpkeepRules): number {
  const own = rules.kept?.find((rule) => (rule.tenant ?? tenant) === tenant && (rule.signal ?? signal) === signal);
  return (own ?? rules.tiers.at(-1)!).days * DAY_MS;
}

/** `leftOut`: keys of those whose envelope is there a second time. */
export function planUpkeep(
  live: Iterable<LiveSegment>,
  rules: UpkeepRules,
  nowMs: number,
  leftOut: ReadonlySet<string> = new Set(),
): UpkeepPlan {
  const merges = new Map<string, MergeJob>();
  const expired: SegmentEntry[] = [];
  const doubled: SegmentEntry[] = [];
  const first = rules.tiers[0]!;
  const rankOf = (tier: Tier): number => rules.tiers.findIndex((rule) => rule.tier === tier);
  const all = [...live];
  const keys = new Set(all.map(({ entry }) => entry.key));
  const companions = new Map<string, SegmentEntry[]>();
  for (const { entry } of all) {
    const of = entry.rollup?.of;
    if (of === undefined) continue;
    // Its points have expired without it.
    if (!keys.has(of)) expired.push(entry);
    else companions.set(of, [...(companions.get(of) ?? []), entry]);
  }
  for (const { entry, committedAtMs } of all) {
    if (entry.rollup?.of !== undefined) continue;
    // Its sender may still come back with it, or turn out to have heard the answer.
    if (entry.doubt && nowMs - entry.doubt.receivedAtMs < DOUBT_SETTLED_MS) continue;
    if (leftOut.has(entry.key)) {
      doubled.push(entry);
      continue;
    }
    const own = companions.get(entry.key) ?? [];
    const receivedMaxMs = entry.receivedMaxMs ?? committedAtMs;
    const ageMs = nowMs - receivedMaxMs;
    const target = rules.tiers.find(({ days }) => ageMs < days * DAY_MS) ?? rules.tiers.at(-1)!;
    if (ageMs >= keptMs(entry, rules)) {
      expired.push(entry, ...own);
      continue;
    }
    // A tier that is no longer in use (rank -1) is left for the one of the segment's age; nothing grows younger.
    const moves = target.tier !== entry.tier && rankOf(target.tier) > rankOf(entry.tier);
    const compacts = target === first && entry.tier === first.tier && !entry.ranges && ageMs >= rules.compactAfterMs;
    if (!moves && !compacts) continue;
    const filed = filedUnder(entry);
    if (!filed) continue;
    const hour = target.tier === 'cold' ? undefined : filed.hour;
    const { tenant, signal } = entry;
    const inputEveryMs = entry.rollup?.everyMs;
    const id = [tenant, signal, entry.tier, target.tier, filed.day, hour ?? '', inputEveryMs ?? ''].join('/');
    const job = merges.get(id);
    if (job) {
      job.inputs.push(entry);
      job.companions.push(...own);
      job.receivedMaxMs = Math.max(job.receivedMaxMs, receivedMaxMs);
    } else {
      merges.set(id, {
        ...{ tenant, signal, from: entry.tier, to: target.tier, day: filed.day, hour },
        ...{ zstdLevel: target.zstdLevel, layout: target.layout ?? 'plain', storageClass: target.storageClass },
        ...{ inputs: [entry], receivedMaxMs },
        ...{ companions: own, rollup: signal === 'metrics' ? target.rollup : undefined, inputEveryMs },
      });
    }
  }
  const jobs = [...merges.values()].filter(
    ({ from, to, inputs }) => from !== to || inputs.length >= rules.compactInputsMin,
  );
  for (const { inputs } of jobs) inputs.sort((a, b) => compare(orderOf(a), orderOf(b)));
  // The oldest first: what waits longest takes most room.
  jobs.sort((a, b) => compare(`${a.day}/${a.hour}/${a.signal}`, `${b.day}/${b.hour}/${b.signal}`));
  return { merges: jobs, doubled, expired: expired.sort((a, b) => compare(a.key, b.key)) };
}

function filedUnder(entry: SegmentEntry): { day: string; hour: string | undefined } | undefined {
  const found = /\/dt=(\d{4}-\d{2}-\d{2})\/(?:hour=(\d{2})\/)?[^/]+$/.exec(entry.key);
  return found ? { day: found[1]!, hour: found[2] } : undefined;
}

/** Rows of one journal end up in order where their segments do not overlap. */
function orderOf(entry: SegmentEntry): string {
  const [range] = rangesOf(entry);
  if (!range) return entry.key;
  const pad = (value: number): string => String(value).padStart(16, '0');
  return `${range.replica} ${pad(range.epoch)} ${pad(range.first)} ${entry.key}`;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
