/**
 * How much a fleet needs: replicas, memory, disk, requests to the store, bytes per tier, money. Pure arithmetic on means: what comes in is known
 * to the caller, what it costs was measured (figures.ts). More load never gives fewer of anything.
 */
import type { Tier } from '../../store/commit-log.ts';
import type { Cloud, Prices } from './prices.ts';

export const GB = 1e9;
export const MIB = 1024 * 1024;
export const MONTH_SECONDS = 30 * 24 * 60 * 60;
const DAY_SECONDS = 24 * 60 * 60;
const HOURS_PER_MONTH = 30 * 24;

/** Beside the budgets of bytes, what a process needs (docs/runbooks/instance-down.md), and upkeep, which runs in one of its own. */
const PROCESS_BYTES = 500 * MIB;
const UPKEEP_BYTES = 500 * MIB;
const MEMORY_STEP_BYTES = 256 * MIB;
/** How often a process asks for an object that is not there, to know whether the store answers (app.ts). */
const PROBE_SECONDS = 5;
/** A commit record and a list of hashes. */
const OBJECTS_PER_FLUSH = 2;
/** A flush that lies across the hour has its segments twice; late data makes some more. */
const SEGMENTS_PER_SIGNAL = 1.2;

export type Kind = 'points' | 'logs' | 'spans' | 'sketches';
export const KINDS: readonly Kind[] = ['points', 'logs', 'spans', 'sketches'];

/** A second, of the whole fleet, as a mean: items, but bytes (raw) of logs. */
export type Load = Record<Kind, number>;

/** Of one item, or one raw byte of logs. */
export interface Cost {
  cpuSeconds: number;
  rawBytes: number;
  storedBytes: Record<Tier, number>;
  /** Days after which it is gone, where that is before the last tier ends. */
  keptDaysMax?: number;
}

export interface TierAge {
  tier: Tier;
  /** From the day the tier before ends. */
  days: number;
}

export interface PlanInput {
  load: Load;
  costs: Record<Kind, Cost>;
  /** The most over the mean. */
  peak: number;
  zones: number;
  cpuPerReplica: number;
  /** Share of the processors that may be busy at the peak. */
  cpuShareMax: number;
  /** Raw bytes by bytes as received. */
  wireRatio: number;
  outageHours: number;
  durability: 'memory' | 'disk' | 'store';
  workers: number;
  inflightBytesMax: number;
  heldBytesMax: number;
  chunkBytesMax: number;
  flushAfterSeconds: number;
  flushBytesMax: number;
  /** Of one replica that is never idle (config/durability.ts). */
  perReplica: { chunksPerMonth: number; leasesPerMonth: number; listsPerMonth: number };
  tiers: readonly TierAge[];
  isForwarding: boolean;
  forwardAgeMaxSeconds: number;
  cloud?: Cloud;
  prices?: Prices;
}

export interface Replicas {
  /** That carry the peak. */
  needed: number;
  count: number;
  zones: number;
  /** Processors busy at the peak, of the whole fleet. */
  cpuBusyAtPeak: number;
  cpuEach: number;
  memoryBytesEach: number;
}

export interface Requests {
  chunks: number;
  segments: number;
  upkeep: number;
  leases: number;
  /** The four above. */
  puts: number;
  lists: number;
  gets: number;
}

export interface Plan {
  replicas: Replicas;
  journal: {
    durability: PlanInput['durability'];
    bytesPerSecondEach: number;
    outageHours: number;
    diskBytesEach: number;
  };
  /** A month, of the whole fleet. */
  bytes: { raw: number; received: number; stored: number; byKind: Record<Kind, number> };
  requests: Requests;
  /** Once the fleet has run for as long as data is kept. */
  tiers: { tier: Tier; fromDays: number; toDays: number; bytes: number; byKind: Record<Kind, number> }[];
  keptBytes: number;
  vendor: { bytesPerMonth: number; backlogBytesMax: number };
  cost?: {
    cloud: Cloud;
    currency: 'USD';
    storage: number;
    requests: number;
    cpu: number;
    egress: number;
    total: number;
  };
}

export function planOf(input: PlanInput): Plan {
  const { load, costs, wireRatio } = input;
  const rate = (of: (cost: Cost) => number): number =>
    KINDS.reduce((sum, kind) => sum + load[kind] * of(costs[kind]), 0);
  const cpu = rate(({ cpuSeconds }) => cpuSeconds);
  const rawPerSecond = rate(({ rawBytes }) => rawBytes);
  const wirePerSecond = rawPerSecond / wireRatio;
  const replicas = replicasOf(input, cpu);
  const left = replicas.count - lostWithAZone(replicas.count, replicas.zones);
  const bytesPerSecondEach = (wirePerSecond * input.peak) / left;
  const byKind = kindsOf((kind) => load[kind] * costs[kind].storedBytes.hot * MONTH_SECONDS);
  const tiers = tiersOf(input);
  const keptBytes = tiers.reduce((sum, { bytes }) => sum + bytes, 0);
  const requests = requestsOf(input, replicas.count, rawPerSecond, wirePerSecond);
  const vendorBytes = input.isForwarding ? wirePerSecond * MONTH_SECONDS : 0;
  return {
    replicas,
    journal: {
      durability: input.durability,
      bytesPerSecondEach,
      outageHours: input.outageHours,
      diskBytesEach: input.durability === 'disk' ? bytesPerSecondEach * input.outageHours * 3600 : 0,
    },
    bytes: {
      raw: rawPerSecond * MONTH_SECONDS,
      received: wirePerSecond * MONTH_SECONDS,
      stored: sumOf(byKind),
      byKind,
    },
    requests,
    tiers,
    keptBytes,
    vendor: {
      bytesPerMonth: vendorBytes,
      backlogBytesMax: input.isForwarding ? wirePerSecond * input.forwardAgeMaxSeconds : 0,
    },
    ...costOf(input, { replicas, requests, tiers, vendorBytes }),
  };
}

/** The fewest that still carry the peak when the fullest zone (with one zone: a replica) is gone. */
function replicasOf(input: PlanInput, cpuMean: number): Replicas {
  const { zones, cpuPerReplica, workers } = input;
  const cpuBusyAtPeak = cpuMean * input.peak;
  const needed = Math.max(1, Math.ceil(cpuBusyAtPeak / (cpuPerReplica * input.cpuShareMax)));
  let count = Math.max(needed + 1, zones);
  while (count - lostWithAZone(count, zones) < needed) count += 1;
  const wanted = input.inflightBytesMax + input.heldBytesMax + PROCESS_BYTES * workers + UPKEEP_BYTES;
  const memoryBytesEach = Math.ceil(wanted / MEMORY_STEP_BYTES) * MEMORY_STEP_BYTES;
  return { needed, count, zones, cpuBusyAtPeak, cpuEach: cpuPerReplica, memoryBytesEach };
}

function lostWithAZone(count: number, zones: number): number {
  return zones === 1 ? 1 : Math.ceil(count / zones);
}

function requestsOf(input: PlanInput, count: number, rawPerSecond: number, wirePerSecond: number): Requests {
  const { perReplica, durability, workers } = input;
  const writers = count * workers;
  // Whichever comes first closes a chunk, or a flush: its age or its size.
  const isInStore = durability === 'store';
  const chunks = isInStore
    ? Math.max(perReplica.chunksPerMonth * count, (wirePerSecond * MONTH_SECONDS) / input.chunkBytesMax)
    : 0;
  const flushes = Math.max(
    (writers * MONTH_SECONDS) / input.flushAfterSeconds,
    (rawPerSecond * MONTH_SECONDS) / input.flushBytesMax,
  );
  const signals = signalsOf(input.load);
  const written = flushes * signals * SEGMENTS_PER_SIGNAL;
  const segments = written + flushes * OBJECTS_PER_FLUSH;
  // An hour is merged while hot and again when it becomes warm; a day when it becomes cold. Metrics have roll-ups beside them.
  const rollups = input.load.points + input.load.sketches > 0 ? 1 : 0;
  const merged = input.tiers.reduce(
    (sum, { tier }) => sum + (signals + (tier === 'hot' ? 0 : rollups)) * (tier === 'cold' ? 30 : HOURS_PER_MONTH),
    0,
  );
  const leases = isInStore ? perReplica.leasesPerMonth * count : 0;
  return {
    chunks: Math.round(chunks),
    segments: Math.round(segments),
    upkeep: Math.round(merged),
    leases: Math.round(leases),
    puts: Math.round(chunks) + Math.round(segments) + Math.round(merged) + Math.round(leases),
    lists: isInStore ? Math.round(perReplica.listsPerMonth * count) : 0,
    // Every renewal reads the leases of all; every process asks whether the store is there; upkeep reads what it merges whole, once a tier.
    gets: Math.round(leases * writers + (writers * MONTH_SECONDS) / PROBE_SECONDS + written + merged),
  };
}

function signalsOf({ points, sketches, logs, spans }: Load): number {
  return [points + sketches, logs, spans].filter((one) => one > 0).length;
}

function tiersOf({ load, costs, tiers }: PlanInput): Plan['tiers'] {
  let fromDays = 0;
  return tiers.map(({ tier, days }) => {
    const from = fromDays;
    const toDays = Math.max(from, days);
    fromDays = toDays;
    const byKind = kindsOf((kind) => {
      const { keptDaysMax = toDays, storedBytes } = costs[kind];
      const daysIn = Math.max(0, Math.min(toDays, keptDaysMax) - from);
      return load[kind] * storedBytes[tier] * DAY_SECONDS * daysIn;
    });
    return { tier, fromDays: from, toDays, bytes: sumOf(byKind), byKind };
  });
}

function costOf(
  { cloud, prices }: PlanInput,
  plan: Pick<Plan, 'replicas' | 'requests' | 'tiers'> & { vendorBytes: number },
): Pick<Plan, 'cost'> {
  if (!cloud || !prices) return {};
  const { replicas, requests } = plan;
  const storage = plan.tiers.reduce((sum, { tier, bytes }) => sum + (bytes / GB) * prices.storageGbMonth[tier], 0);
  const asked =
    ((requests.puts + requests.lists) / 1e6) * prices.millionPuts + (requests.gets / 1e6) * prices.millionGets;
  const cpu = replicas.count * replicas.cpuEach * HOURS_PER_MONTH * prices.cpuHour;
  const egress = (plan.vendorBytes / GB) * prices.egressGb;
  return {
    cost: { cloud, currency: 'USD', storage, requests: asked, cpu, egress, total: storage + asked + cpu + egress },
  };
}

function kindsOf(of: (kind: Kind) => number): Record<Kind, number> {
  return Object.fromEntries(KINDS.map((kind) => [kind, of(kind)])) as Record<Kind, number>;
}

function sumOf(byKind: Record<Kind, number>): number {
  return KINDS.reduce((sum, kind) => sum + byKind[kind], 0);
}
