/**
 * `reductrai plan`: what a fleet for a given load needs: replicas, CPU, memory, disk, requests, bytes per tier, money. It reads the settings, asks
 * nobody, and changes nothing. The arithmetic and what it rests on: capacity/.
 */
import { availableParallelism } from 'node:os';
import { ZSTD_LEVELS } from '../config/declaration.ts';
import { costsOf, durabilityOf } from '../config/durability.ts';
import { effectiveMode } from '../config/load.ts';
import type { Settings } from '../config/registry.ts';
import { targetOf } from '../config/storage.ts';
import { upkeepRulesOf } from '../config/tiers.ts';
import { workerCountOf } from '../config/workers.ts';
import type { Signal } from '../core/envelope.ts';
import { messageOf } from '../core/errors.ts';
import type { Tier } from '../store/commit-log.ts';
import { type Cost, GB, type Kind, type Load, type PlanInput, planOf } from './capacity/arithmetic.ts';
import {
  CPU_SECONDS,
  RAW_BYTES,
  SOURCES,
  STORED_BYTES_PER_POINT,
  STORED_BYTES_PER_SPAN,
  STORED_SHARE_OF_LOGS,
  STORED_SHARE_OF_SKETCHES,
  type StoredBytes,
} from './capacity/figures.ts';
import {
  FIGURE_OPTIONS,
  FLEET_OPTIONS,
  LOAD_OPTIONS,
  type NumberOption,
  type PlanOptions,
  PRICE_OPTIONS,
  planOptionsOf,
} from './capacity/options.ts';
import { type Cloud, PRICES, type Prices } from './capacity/prices.ts';
import { reportOf } from './capacity/report.ts';
import { type CliIo, fail, write } from './io.ts';
import { configPathOf, load, type ServeDeps } from './serve.ts';

/** Of the JSON: a member is never renamed or taken away under the same number. */
const FORMAT = 1;

const helpOf = (options: readonly NumberOption[]): string =>
  options.map(({ name, unit, help }) => `  ${`--${name} ${unit}`.padEnd(36)} ${help}\n`).join('');

const USAGE = `Usage: reductrai plan [--config FILE] [--json] OPTIONS

What comes in, of which at least one is needed:
${helpOf(LOAD_OPTIONS)}
The fleet; the rest is taken from the settings:
${helpOf(FLEET_OPTIONS)}  ${'--durability store|disk|memory'.padEnd(36)} as DURABILITY
  ${'--cloud s3|gcs|azure|none'.padEnd(36)} whose prices (that of the settings); with a cloud DURABILITY=auto means store

Figures of your own in place of the medians (npm run bench -- --payloads DIR measures them):
${helpOf(FIGURE_OPTIONS)}
Prices in USD, in place of rounded list prices:
${helpOf(PRICE_OPTIONS)}`;

const SIGNAL_OF: Record<Kind, Signal> = { points: 'metrics', sketches: 'metrics', logs: 'logs', spans: 'traces' };

/** Exit code: 0, or 2 when the options or the configuration cannot be used. */
export async function runPlan(
  args: readonly string[],
  own: readonly string[],
  deps: ServeDeps,
  io: CliIo,
): Promise<number> {
  let options: PlanOptions;
  try {
    options = planOptionsOf(own);
  } catch (error) {
    return fail(io, messageOf(error), 'reductrai plan --help lists all options.\n');
  }
  if (options.help) {
    await write(io.stdout, USAGE);
    return 0;
  }
  const rates = loadOf(options);
  if (Object.values(rates).every((rate) => rate === 0)) {
    return fail(io, 'How much comes in? For example: --points-per-second 100000 --logs-mb-per-second 5', USAGE);
  }
  const loaded = load(deps.env, configPathOf([...args]));
  if (!loaded.ok) return fail(io, loaded.problems.join('\n'), 'reductrai check-config tells what is wrong.\n');
  const settings = withOptions(loaded.settings, options);
  const mode = effectiveMode(settings, loaded.sources);
  let input: PlanInput;
  try {
    input = inputOf(rates, settings, mode, options);
  } catch (error) {
    return fail(io, messageOf(error), 'reductrai check-config tells what is wrong.\n');
  }
  const plan = planOf(input);
  const notes = notesOf(input, settings, options);
  if (options.json) {
    const { load: _, costs, prices, ...assumptions } = input;
    const all = {
      format: FORMAT,
      load: rates,
      plan,
      assumptions: { ...assumptions, costs, prices, sources: SOURCES },
      notes,
    };
    await write(io.stdout, `${JSON.stringify(all, null, 2)}\n`);
    return 0;
  }
  const { peak, isForwarding } = input;
  const text = reportOf(
    { load: rates, plan, peak, isForwarding, budgetBytes: settings.journal.budgetBytes, notes },
    io.columns,
  );
  await write(io.stdout, text);
  return 0;
}

function loadOf({ numberOf }: PlanOptions): Load {
  return {
    points: numberOf('points-per-second') ?? 0,
    logs: (numberOf('logs-mb-per-second') ?? 0) * 1e6,
    spans: numberOf('spans-per-second') ?? 0,
    sketches: numberOf('sketches-per-second') ?? 0,
  };
}

function withOptions(settings: Settings, { numberOf, durability }: PlanOptions): Settings {
  const days = <T extends { retentionDays: number }>(tier: T, name: Tier): T => ({
    ...tier,
    retentionDays: numberOf(`retention-${name}-days`) ?? tier.retentionDays,
  });
  return {
    ...settings,
    journal: { ...settings.journal, durability: durability ?? settings.journal.durability },
    storageHot: days(settings.storageHot, 'hot'),
    storageWarm: days(settings.storageWarm, 'warm'),
    storageCold: days(settings.storageCold, 'cold'),
  };
}

function inputOf(rates: Load, settings: Settings, mode: Settings['forward']['mode'], options: PlanOptions): PlanInput {
  const { numberOf } = options;
  const { kind } = targetOf(settings);
  const ofSettings = kind === 's3' || kind === 'gcs' || kind === 'azure' ? kind : 'none';
  const cloud = options.cloud ?? ofSettings;
  const isAuto = settings.journal.durability === 'auto';
  const durability =
    isAuto && options.cloud && options.cloud !== 'none' ? 'store' : durabilityOf(settings, mode).durability;
  const workers = numberOf('workers') ?? workerCountOf(settings, availableParallelism());
  const isArchived = mode !== 'forward-only';
  const rules = upkeepRulesOf(settings);
  const { intake, journal, archive, forward } = settings;
  return {
    load: rates,
    costs: costsOfItems(settings, options, isArchived),
    peak: numberOf('peak') ?? 2,
    zones: numberOf('zones') ?? 3,
    cpuPerReplica: numberOf('cpu-per-replica') ?? 2,
    cpuShareMax: numberOf('cpu-share') ?? 0.6,
    wireRatio: numberOf('wire-ratio') ?? 3,
    outageHours: numberOf('outage-hours') ?? 4,
    durability,
    workers,
    inflightBytesMax: intake.inflightBytesMax,
    heldBytesMax: archive.heldBytesMax,
    chunkBytesMax: journal.chunkBytesMax,
    flushAfterSeconds: archive.flushAfterMs / 1000,
    flushBytesMax: archive.flushBytesMax,
    perReplica: costsOf(settings, workers),
    tiers: rules.tiers.map(({ tier, days }) => ({ tier, days })),
    isForwarding: mode !== 'store-only',
    forwardAgeMaxSeconds: forward.ageMaxMs / 1000,
    ...(cloud === 'none' ? {} : { cloud, prices: pricesOf(cloud, options) }),
  };
}

/** With nothing archived, nothing is stored. */
function costsOfItems(settings: Settings, { numberOf, tiersOf }: PlanOptions, isArchived: boolean): PlanInput['costs'] {
  const { kept = [] } = upkeepRulesOf(settings);
  const { layout, compressionLevel } = settings.storageCold;
  const stored = (own: Record<Tier, number> | undefined, figures: StoredBytes): Record<Tier, number> => {
    if (!isArchived) return { hot: 0, warm: 0, cold: 0 };
    // A level below that of the warm tier compresses no better than it; what lies between was not measured.
    const cold =
      compressionLevel < ZSTD_LEVELS.heavy ? figures.heavy : layout === 'packed' ? figures.packed : figures.plain;
    return own ?? { hot: figures[settings.archive.compression].median, warm: figures.heavy.median, cold: cold.median };
  };
  const costOf = (kind: Kind, cpuSeconds: number, rawBytes: number, storedBytes: Record<Tier, number>): Cost => {
    const rule = kept.find(({ tenant, signal }) => tenant === undefined && signal === SIGNAL_OF[kind]);
    return { cpuSeconds, rawBytes, storedBytes, ...(rule ? { keptDaysMax: rule.days } : {}) };
  };
  const cpu = (name: string, figure: number, per: number): number => (numberOf(name) ?? figure) / per;
  const ratio = tiersOf('log-ratio');
  const share = ratio && { hot: 1 / ratio.hot, warm: 1 / ratio.warm, cold: 1 / ratio.cold };
  const ofSketch = spreadOf(RAW_BYTES.sketch * STORED_SHARE_OF_SKETCHES);
  return {
    points: costOf(
      'points',
      cpu('cpu-per-million-points', CPU_SECONDS.perMillionPoints, 1e6),
      RAW_BYTES.point,
      stored(tiersOf('bytes-per-point'), STORED_BYTES_PER_POINT),
    ),
    logs: costOf('logs', cpu('cpu-per-gb-logs', CPU_SECONDS.perGbOfLogs, GB), 1, stored(share, STORED_SHARE_OF_LOGS)),
    spans: costOf(
      'spans',
      cpu('cpu-per-million-spans', CPU_SECONDS.perMillionSpans, 1e6),
      RAW_BYTES.span,
      stored(tiersOf('bytes-per-span'), STORED_BYTES_PER_SPAN),
    ),
    sketches: costOf(
      'sketches',
      cpu('cpu-per-million-sketches', CPU_SECONDS.perMillionSketches, 1e6),
      RAW_BYTES.sketch,
      stored(tiersOf('bytes-per-sketch'), ofSketch),
    ),
  };
}

function spreadOf(value: number): StoredBytes {
  const spread = { median: value, low: value, high: value };
  return { light: spread, medium: spread, heavy: spread, plain: spread, packed: spread };
}

function pricesOf(cloud: Cloud, { numberOf, tiersOf }: PlanOptions): Prices {
  const list = PRICES[cloud];
  const own = PRICE_OPTIONS.filter(({ name }) => numberOf(name) !== undefined);
  const names = own.map(({ name }) => `--${name}`).join(', ');
  return {
    storageGbMonth: tiersOf('price-storage-gb-month') ?? list.storageGbMonth,
    millionPuts: numberOf('price-million-puts') ?? list.millionPuts,
    millionGets: numberOf('price-million-gets') ?? list.millionGets,
    egressGb: numberOf('price-egress-gb') ?? list.egressGb,
    cpuHour: numberOf('price-cpu-hour') ?? list.cpuHour,
    source: own.length === 0 ? list.source : `${list.source}, but ${names} as given`,
  };
}

function notesOf(input: PlanInput, settings: Settings, { numberOf, tiersOf }: PlanOptions): string[] {
  const { load: rates, cloud, prices, durability } = input;
  const range = ({ low, high }: { low: number; high: number }): string => `${low} to ${high}`;
  const spreads = [
    ...(rates.points > 0 ? [`a point ${range(STORED_BYTES_PER_POINT.medium)} B`] : []),
    ...(rates.logs > 0
      ? [
          `logs a ${Math.round(1 / STORED_SHARE_OF_LOGS.medium.high)}th to a ${Math.round(1 / STORED_SHARE_OF_LOGS.medium.low)}th`,
        ]
      : []),
    ...(rates.spans > 0 ? [`a span ${range(STORED_BYTES_PER_SPAN.medium)} B`] : []),
  ];
  const hasClass = settings.storageWarm.storageClass ?? settings.storageCold.storageClass;
  return [
    `An estimate. Sizes are medians of a corpus (${SOURCES.sizes}) whose sources differ much${spreads.length > 0 ? `: ${spreads.join(', ')}` : ''}. npm run bench -- --payloads DIR gives your own.`,
    `CPU was measured on two processors of one machine (${SOURCES.load}); yours differ. Queries and roll-ups of metrics are not counted.`,
    ...(rates.sketches > 0 && tiersOf('bytes-per-sketch') === undefined
      ? ['Sketches: their stored size is that of generated ones; give --bytes-per-sketch.']
      : []),
    ...(numberOf('wire-ratio') === undefined ? ['How well senders compress is assumed (--wire-ratio 3).'] : []),
    ...(input.isForwarding
      ? []
      : ['Nothing is forwarded with these settings; with DATADOG_API_KEY set the plan has the traffic to the vendor.']),
    ...(prices ? [`Prices: ${prices.source}.`] : ['No prices: --cloud s3, gcs or azure gives them.']),
    ...(cloud && hasClass && tiersOf('price-storage-gb-month') === undefined
      ? ['Storage classes of the settings cost other than the standard one: --price-storage-gb-month HOT,WARM,COLD.']
      : []),
    ...(durability === 'store'
      ? ['PUTs of chunks are for replicas that are never idle; a longer REDUCTRAI_JOURNAL_CHUNK_AFTER makes fewer.']
      : []),
  ];
}
