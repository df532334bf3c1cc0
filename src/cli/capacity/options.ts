/** The options of `reductrai plan`, from their text to numbers. What is wrong is told with the option's name and an example. */
import { parseArgs } from 'node:util';
import { nearestOf } from '../../config/nearest.ts';
import type { Tier } from '../../store/commit-log.ts';

export interface NumberOption {
  name: string;
  /** What stands for the value in the help. */
  unit: string;
  help: string;
  example: string;
  min?: number;
  max?: number;
  isWhole?: boolean;
  /** `HOT,WARM,COLD`, or one number for all three. */
  isPerTier?: boolean;
}

const SHARE = { min: 0.05, max: 1 } as const;
const POSITIVE = { min: 1e-9 } as const;

const one = (name: string, unit: string, example: string, help: string, bounds: Partial<NumberOption> = {}) => ({
  ...{ name, unit, example, help },
  ...bounds,
});

export const LOAD_OPTIONS: readonly NumberOption[] = [
  one('points-per-second', 'N', '100000', 'points of metrics, mean of the whole fleet'),
  one('logs-mb-per-second', 'N', '5', 'MB of logs (JSON, decompressed), mean'),
  one('spans-per-second', 'N', '20000', 'spans, mean'),
  one('sketches-per-second', 'N', '2000', 'sketches (distributions), mean; a sketch of one time is one'),
];

export const FLEET_OPTIONS: readonly NumberOption[] = [
  one('peak', 'N', '2', 'the peak is so many times the mean (2)', { min: 1, max: 1000 }),
  one('zones', 'N', '3', 'zones the replicas are spread over; one may be lost (3)', { min: 1, max: 16, isWhole: true }),
  one('cpu-per-replica', 'N', '2', 'processors of a replica (2)', { min: 0.25, max: 256 }),
  one('cpu-share', 'N', '0.6', 'share of them that may be busy at the peak (0.6)', SHARE),
  one(
    'outage-hours',
    'N',
    '4',
    'with DURABILITY=disk: outage of the store or the vendor that the journal must hold (4)',
  ),
  one('workers', 'N', '1', 'as WORKERS', { min: 1, max: 64, isWhole: true }),
  one('retention-hot-days', 'N', '7', 'as STORAGE_HOT_RETENTION_DAYS', { min: 1, max: 36500, isWhole: true }),
  one('retention-warm-days', 'N', '30', 'as STORAGE_WARM_RETENTION_DAYS', { min: 1, max: 36500, isWhole: true }),
  one('retention-cold-days', 'N', '365', 'as STORAGE_COLD_RETENTION_DAYS', { min: 1, max: 36500, isWhole: true }),
];

const PER_TIER = { isPerTier: true } as const;

export const FIGURE_OPTIONS: readonly NumberOption[] = [
  one('bytes-per-point', 'N[,N,N]', '2.4,2.3,1.5', 'stored bytes of a point: hot, warm, cold', {
    ...POSITIVE,
    ...PER_TIER,
  }),
  one('bytes-per-span', 'N[,N,N]', '57,49,40', 'stored bytes of a span', { ...POSITIVE, ...PER_TIER }),
  one('log-ratio', 'N[,N,N]', '29,35,71', 'raw bytes of logs by stored bytes', { ...POSITIVE, ...PER_TIER }),
  one('bytes-per-sketch', 'N[,N,N]', '22', 'stored bytes of a sketch', { ...POSITIVE, ...PER_TIER }),
  one('wire-ratio', 'N', '3', 'raw bytes by bytes as received: how well senders compress (3, an assumption)', {
    min: 1,
    max: 1000,
  }),
  one('cpu-per-million-points', 'SECONDS', '20', 'CPU seconds', POSITIVE),
  one('cpu-per-million-spans', 'SECONDS', '57', 'CPU seconds', POSITIVE),
  one('cpu-per-million-sketches', 'SECONDS', '74', 'CPU seconds', POSITIVE),
  one('cpu-per-gb-logs', 'SECONDS', '102', 'CPU seconds by GB of raw bytes', POSITIVE),
];

export const PRICE_OPTIONS: readonly NumberOption[] = [
  one('price-storage-gb-month', 'N[,N,N]', '0.023,0.0125,0.004', 'hot, warm, cold', PER_TIER),
  one('price-million-puts', 'N', '5', 'PUTs and listings'),
  one('price-million-gets', 'N', '0.4', 'GETs'),
  one('price-egress-gb', 'N', '0.09', 'to the vendor'),
  one('price-cpu-hour', 'N', '0.05', 'a processor for an hour, with its memory'),
];

const NUMBER_OPTIONS = [...LOAD_OPTIONS, ...FLEET_OPTIONS, ...FIGURE_OPTIONS, ...PRICE_OPTIONS];

const DURABILITIES = ['store', 'disk', 'memory'] as const;
const CLOUDS = ['s3', 'gcs', 'azure', 'none'] as const;

export interface PlanOptions {
  numberOf(name: string): number | undefined;
  tiersOf(name: string): Record<Tier, number> | undefined;
  durability?: (typeof DURABILITIES)[number];
  cloud?: (typeof CLOUDS)[number];
  json: boolean;
  help: boolean;
}

/** Throws an Error whose message tells what is wrong, and what would be right. */
export function planOptionsOf(args: readonly string[]): PlanOptions {
  const names = NUMBER_OPTIONS.map(({ name }) => name);
  const known = [...names, 'durability', 'cloud', 'json', 'help'];
  for (const arg of args) {
    const name = /^--([^=]+)/.exec(arg)?.[1];
    if (name === undefined || known.includes(name)) continue;
    const nearest = nearestOf(name, known);
    const hint = nearest && nearest.distance <= 4 ? `; did you mean --${nearest.name}?` : '';
    throw new Error(`--${name} is not an option of plan${hint}`);
  }
  const { values } = parseArgs({
    args: [...args],
    options: {
      ...Object.fromEntries(names.map((name) => [name, { type: 'string' as const }])),
      durability: { type: 'string' },
      cloud: { type: 'string' },
      json: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  const texts = values as Record<string, string | boolean | undefined>;
  const numbers = new Map<string, readonly number[]>();
  for (const option of NUMBER_OPTIONS) {
    const text = texts[option.name];
    if (typeof text === 'string') numbers.set(option.name, numbersIn(option, text));
  }
  const durability = choiceOf('durability', texts.durability, DURABILITIES);
  const cloud = choiceOf('cloud', texts.cloud, CLOUDS);
  return {
    numberOf: (name) => numbers.get(name)?.[0],
    tiersOf: (name) => {
      const [hot, warm, cold] = numbers.get(name) ?? [];
      return hot === undefined ? undefined : { hot, warm: warm ?? hot, cold: cold ?? hot };
    },
    ...(durability === undefined ? {} : { durability }),
    ...(cloud === undefined ? {} : { cloud }),
    json: texts.json === true,
    help: texts.help === true,
  };
}

function numbersIn(option: NumberOption, text: string): number[] {
  const { name, example, min = 0, max = 1e15, isWhole = false, isPerTier = false } = option;
  const parts = isPerTier ? text.split(',') : [text];
  if (isPerTier && parts.length !== 1 && parts.length !== 3) {
    throw new Error(`--${name} takes one number, or three: hot,warm,cold; for example --${name} ${example}`);
  }
  return parts.map((part) => {
    if (!/^\d+(\.\d+)?(e\d{1,2})?$/i.test(part)) {
      throw new Error(`--${name}: ${JSON.stringify(part)} is not a plain number; for example --${name} ${example}`);
    }
    const value = Number(part);
    if (isWhole && !Number.isInteger(value)) throw new Error(`--${name} takes a whole number, not ${part}`);
    if (value < min || value > max) {
      throw new Error(`--${name}: ${part} is out of bounds; from ${min} to ${max}`);
    }
    return value;
  });
}

function choiceOf<T extends string>(
  name: string,
  text: string | boolean | undefined,
  choices: readonly T[],
): T | undefined {
  if (text === undefined) return undefined;
  const found = choices.find((choice) => choice === text);
  if (found === undefined) throw new Error(`--${name} ${text}: one of ${choices.join(', ')}`);
  return found;
}
