/**
 * The kinds of settings: how a text becomes a value, and what may be said about the value. Each function declares one setting;
 * its type says what loading yields. A problem never repeats the text of a secret.
 */
import { GIB, KIB, MIB } from '../core/limits.ts';
import { Secret } from './secret.ts';

export type Parsed<T> = { ok: true; value: T } | { ok: false; problem: string };

/** What defaults may depend on. */
export interface Surroundings {
  hostname: string;
  cpuCount: number;
}

/** `active`: does what its help says. `accepted`: checked, no effect in this version. `ignored`: by design without effect. */
export type Status = 'active' | 'accepted' | 'ignored';

export interface Setting<T> {
  kind: string;
  /** Names of environment variables, best first; none given: derived from the path. */
  env: readonly string[] | undefined;
  help: string;
  status: Status;
  isSecret: boolean;
  isList: boolean;
  /** What may be written, for help and documentation: `1 to 65535`. */
  bounds: string;
  defaultOf(surroundings: Surroundings): T;
  /** The default in words or as it would be written. */
  defaultText: string;
  parse(text: string): Parsed<T>;
  /** As it would be written; secrets as their fingerprint. */
  show(value: T): string;
}

interface Options<T> {
  help: string;
  env?: readonly string[];
  status?: Status;
  default?: T;
  /** A default that depends on the machine, with its description. */
  defaultFrom?: { text: string; of: (surroundings: Surroundings) => T };
}

type Declared<T, O> = Setting<O extends { default: unknown } | { defaultFrom: unknown } ? T : T | undefined>;

interface Kind<T> {
  kind: string;
  bounds?: string;
  isSecret?: boolean;
  isList?: boolean;
  parse(text: string): Parsed<T>;
  show(value: T): string;
}

function declare<T, O extends Options<T>>(kind: Kind<T>, options: O): Declared<T, O> {
  const { defaultFrom } = options;
  const setting: Setting<T | undefined> = {
    kind: kind.kind,
    env: options.env,
    help: options.help,
    status: options.status ?? 'active',
    isSecret: kind.isSecret ?? false,
    isList: kind.isList ?? false,
    bounds: kind.bounds ?? '',
    defaultOf: (surroundings) => (defaultFrom ? defaultFrom.of(surroundings) : options.default),
    defaultText: defaultFrom?.text ?? (options.default === undefined ? '' : kind.show(options.default)),
    parse: kind.parse,
    show: (value) => (value === undefined ? '' : kind.show(value)),
  };
  return setting as Declared<T, O>;
}

const fail = <T>(problem: string): Parsed<T> => ({ ok: false, problem });

export function text<const O extends Options<string> & { pattern?: RegExp; form?: string }>(
  options: O,
): Declared<string, O> {
  const { pattern, form } = options;
  return declare<string, O>(
    {
      kind: 'text',
      bounds: form ?? '',
      parse: (value) => (pattern && !pattern.test(value) ? fail(`must be ${form}`) : { ok: true, value }),
      show: (value) => value,
    },
    options,
  );
}

export function boolean<const O extends Options<boolean>>(options: O): Declared<boolean, O> {
  return declare<boolean, O>(
    {
      kind: 'boolean',
      bounds: 'true or false',
      parse: (value) => {
        const word = value.toLowerCase();
        if (['true', '1', 'yes', 'on'].includes(word)) return { ok: true, value: true };
        if (['false', '0', 'no', 'off'].includes(word)) return { ok: true, value: false };
        return fail('must be true or false');
      },
      show: String,
    },
    options,
  );
}

interface Bounds {
  min: number;
  max: number;
}

function within(value: number, bounds: Bounds, show: (value: number) => string): Parsed<number> {
  if (value >= bounds.min && value <= bounds.max) return { ok: true, value };
  return fail(`must be ${boundsText(bounds, show)}`);
}

function boundsText({ min, max }: Bounds, show: (value: number) => string): string {
  return max === Number.POSITIVE_INFINITY ? `at least ${show(min)}` : `${show(min)} to ${show(max)}`;
}

export function integer<const O extends Options<number> & Bounds>(options: O): Declared<number, O> {
  return declare<number, O>(
    {
      kind: 'integer',
      bounds: boundsText(options, String),
      parse: (value) =>
        /^-?\d{1,15}$/.test(value) ? within(Number(value), options, String) : fail('must be a whole number'),
      show: String,
    },
    options,
  );
}

export function fraction<const O extends Options<number> & Bounds>(options: O): Declared<number, O> {
  return declare<number, O>(
    {
      kind: 'number',
      bounds: boundsText(options, String),
      parse: (value) =>
        /^\d{1,9}(\.\d{1,9})?$/.test(value) ? within(Number(value), options, String) : fail('must be a number'),
      show: String,
    },
    options,
  );
}

const BYTE_UNITS: Record<string, number> = {
  '': 1,
  b: 1,
  kib: KIB,
  mib: MIB,
  gib: GIB,
  tib: 1024 * GIB,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
};

export function showBytes(value: number): string {
  for (const [unit, size] of [
    ['TiB', 1024 * GIB],
    ['GiB', GIB],
    ['MiB', MIB],
    ['KiB', KIB],
  ] as const) {
    if (value >= size && value % size === 0) return `${value / size}${unit}`;
  }
  return `${value}B`;
}

/** `64MiB`, `1GB`, `4096`; yields bytes. */
export function bytes<const O extends Options<number> & Bounds>(options: O): Declared<number, O> {
  return declare<number, O>(
    {
      kind: 'bytes',
      bounds: boundsText(options, showBytes),
      parse: (value) => {
        const parts = /^(\d{1,12}(?:\.\d{1,6})?)\s*([a-z]*)$/i.exec(value);
        const unit = BYTE_UNITS[parts?.[2]?.toLowerCase() ?? 'none'];
        if (!parts || unit === undefined) return fail('must be a size such as 64MiB');
        return within(Math.floor(Number(parts[1]) * unit), options, showBytes);
      },
      show: showBytes,
    },
    options,
  );
}

const DURATION_UNITS = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1 } as const;

export function showDuration(value: number): string {
  for (const [unit, size] of Object.entries(DURATION_UNITS)) {
    if (value >= size && value % size === 0) return `${value / size}${unit}`;
  }
  return `${value}ms`;
}

/** `250ms`, `5m`, `1h30m`; yields milliseconds. */
export function duration<const O extends Options<number> & Bounds>(options: O): Declared<number, O> {
  return declare<number, O>(
    {
      kind: 'duration',
      bounds: boundsText(options, showDuration),
      parse: (value) => {
        if (!/^(\d{1,9}(ms|s|m|h|d))+$/.test(value)) return fail('must be a duration such as 250ms or 5m');
        let total = 0;
        for (const [, count, unit] of value.matchAll(/(\d+)(ms|s|m|h|d)/g)) {
          total += Number(count) * DURATION_UNITS[unit as keyof typeof DURATION_UNITS];
        }
        return within(total, options, showDuration);
      },
      show: showDuration,
    },
    options,
  );
}

/** `refused` values are known but cannot be used: each with the reason. */
export function choice<
  const V extends readonly string[],
  const O extends Options<V[number]> & { refused?: Record<string, string> },
>(values: V, options: O): Declared<V[number], O> {
  const { refused = {} } = options;
  return declare<V[number], O>(
    {
      kind: 'choice',
      bounds: values.join(', '),
      parse: (value) => {
        if (refused[value] !== undefined) return fail(refused[value]);
        return values.includes(value) ? { ok: true, value } : fail(`must be one of ${values.join(', ')}`);
      },
      show: (value) => value,
    },
    options,
  );
}

/** An http or https URL without user, password, query or trailing slash. */
export function url<const O extends Options<string>>(options: O): Declared<string, O> {
  return declare<string, O>(
    {
      kind: 'url',
      bounds: 'http:// or https://',
      parse: (value) => {
        if (!URL.canParse(value)) return fail('must be a URL such as https://host:port');
        const parsed = new URL(value);
        if (parsed.protocol !== 'http:' && parsed.protocol !== 'https:')
          return fail('must begin with http:// or https://');
        if (parsed.username !== '' || parsed.password !== '') return fail('must not hold a user or password');
        if (parsed.search !== '' || parsed.hash !== '') return fail('must not have a query or fragment');
        return { ok: true, value: parsed.href.replace(/\/+$/, '') };
      },
      show: (value) => value,
    },
    options,
  );
}

export type CheckSecret = (value: string) => string | undefined;

/** `check` returns what is wrong, without the value. */
export function secret<const O extends Options<Secret> & { check?: CheckSecret }>(options: O): Declared<Secret, O> {
  return declare<Secret, O>(
    { kind: 'secret', isSecret: true, parse: (value) => parseSecret(value, options.check), show: String },
    options,
  );
}

/** Commas or line ends part the secrets. */
export function secretList<const O extends Options<readonly Secret[]> & { check?: CheckSecret }>(
  options: O,
): Declared<readonly Secret[], O> {
  return declare<readonly Secret[], O>(
    {
      kind: 'list of secrets',
      isSecret: true,
      isList: true,
      parse: (value) => {
        const secrets: Secret[] = [];
        for (const part of value.split(/[,\n]/)) {
          if (part.trim() === '') continue;
          const parsed = parseSecret(part.trim(), options.check);
          if (!parsed.ok) return fail(`entry ${secrets.length + 1} ${parsed.problem}`);
          secrets.push(parsed.value);
        }
        return { ok: true, value: secrets };
      },
      show: (value) => value.join(', '),
    },
    options,
  );
}

function parseSecret(value: string, check: CheckSecret | undefined): Parsed<Secret> {
  const problem = /\s/.test(value) ? 'must not hold white space' : check?.(value);
  return problem ? fail(problem) : { ok: true, value: new Secret(value) };
}
