/**
 * Settings from defaults, a YAML file and the environment, which wins. All problems are reported at once, each with its place and,
 * for an unknown name, the nearest known one. Nothing is read but what is passed in.
 */
import { isProxyError } from '../core/errors.ts';
import type { Surroundings } from './kinds.ts';
import { nearestOf } from './nearest.ts';
import { CONFIG_FILE_ENV, KNOWN_ENV, KNOWN_SETTINGS, type KnownSetting, type Settings } from './registry.ts';
import { storeSettingsOf } from './storage.ts';
import { tierStoreSettingsOf, tierStoreWarnings } from './tier-stores.ts';
import { tierProblems } from './tiers.ts';
import { type FileValue, type FileValues, readYaml } from './yaml-file.ts';

export interface LoadInput extends Surroundings {
  env: Readonly<Record<string, string | undefined>>;
  /** From `--config`; else REDUCTRAI_CONFIG names the file. */
  configPath?: string;
  /** UTF-8 text of a file; throws as node:fs does. */
  readText: (path: string) => string;
}

/** By path: `default`, the name of the variable, or the place in the file. */
export type Sources = Readonly<Record<string, string>>;

export type LoadResult =
  | { ok: true; settings: Settings; warnings: string[]; sources: Sources }
  | { ok: false; problems: string[] };

const OWN_PREFIXES = ['REDUCTRAI_', 'STORAGE_', 'S3_', 'GCS_', 'AZURE_', 'PROXY_', 'DATADOG_'];
const TYPING_ERRORS_MAX = 2;
/** Set on most machines of that cloud, for others' sake: no reason for a warning. */
const SHARED_ENV = new Set(['AWS_REGION']);

export function loadSettings(input: LoadInput): LoadResult {
  const problems: string[] = [];
  const warnings: string[] = [];
  const file = readFile(input, problems);
  const sources: Record<string, string> = {};
  const values: Record<string, Record<string, unknown>> = {};
  for (const known of KNOWN_SETTINGS) {
    values[known.group] ??= {};
    const found =
      fromEnv(known, input, problems, warnings) ?? fromFile(known, file.values.get(known.path), input, problems);
    sources[known.path] = found?.source ?? 'default';
    let value = known.setting.defaultOf(input);
    if (found?.text !== undefined) {
      const parsed = known.setting.parse(found.text);
      if (parsed.ok) value = parsed.value;
      else problems.push(`${found.source}: ${found.label} ${parsed.problem}`);
    }
    values[known.group]![known.name] = value;
  }
  checkEnvNames(input.env, problems, warnings);
  // Each value has the type its declaration says; see Settings.
  const settings = values as unknown as Settings;
  if (problems.length === 0) checkTogether(settings, problems, warnings);
  if (problems.length === 0) checkStores(settings, problems, warnings);
  if (problems.length > 0) return { ok: false, problems };
  warnAboutAccepted(sources, warnings);
  return { ok: true, settings, warnings, sources };
}

function readFile(input: LoadInput, problems: string[]): FileValues {
  const path = input.configPath ?? input.env[CONFIG_FILE_ENV];
  if (path === undefined || path === '') return { values: new Map(), problems: [] };
  const from = input.configPath === undefined ? CONFIG_FILE_ENV : '--config';
  const source = readOr(path, from, input, problems);
  if (source === undefined) return { values: new Map(), problems: [] };
  const file = readYaml(source, path);
  problems.push(...file.problems);
  return file;
}

function readOr(path: string, from: string, input: LoadInput, problems: string[]): string | undefined {
  try {
    return input.readText(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException | undefined)?.code ?? 'unknown reason';
    problems.push(`${from}: cannot read ${JSON.stringify(path)} (${code})`);
    return undefined;
  }
}

/** `text` undefined: given, but not readable; a problem has been noted. */
interface Found {
  text: string | undefined;
  source: string;
  /** Starts the sentence of a problem; '' where the source is the name already. */
  label: string;
}

/** An empty variable counts as not set: that is what manifests make of one. */
function fromEnv(known: KnownSetting, input: LoadInput, problems: string[], warnings: string[]): Found | undefined {
  const found: Found[] = [];
  for (const name of known.env) {
    const value = input.env[name];
    if (value !== undefined && value !== '' && !isServiceLink(name, value))
      found.push({ text: value.trim(), source: name, label: 'the value' });
    const path = known.setting.isSecret ? input.env[`${name}_FILE`] : undefined;
    if (path !== undefined && path !== '') {
      if (value !== undefined && value !== '') problems.push(`${name}: ${name} and ${name}_FILE are both set`);
      found.push({
        text: readOr(path, `${name}_FILE`, input, problems)?.trim(),
        source: `${name}_FILE`,
        label: 'the value in the file',
      });
    }
  }
  const [first, ...others] = found;
  for (const other of others) {
    if (first && other.text !== first.text)
      warnings.push(`${other.source} differs from ${first.source} and is not used`);
  }
  return first;
}

function fromFile(
  known: KnownSetting,
  value: FileValue | undefined,
  input: LoadInput,
  problems: string[],
): Found | undefined {
  if (!value) return undefined;
  const text = value.isPath ? readOr(value.text, value.place, input, problems)?.trim() : value.text.trim();
  return { text, source: value.place, label: known.path };
}

/** Kubernetes sets REDUCTRAI_PORT=tcp://… and more of the kind in pods beside a service named `reductrai`. */
function isServiceLink(name: string, value: string): boolean {
  return /_PORT(_\d+_(TCP|UDP))?$/.test(name) && /^(tcp|udp):\/\//.test(value);
}

function checkEnvNames(env: LoadInput['env'], problems: string[], warnings: string[]): void {
  for (const [name, value] of Object.entries(env)) {
    if (value === undefined || KNOWN_ENV.has(name) || !OWN_PREFIXES.some((prefix) => name.startsWith(prefix))) continue;
    if (
      isServiceLink(name, value) ||
      /_SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?$/.test(name) ||
      /_PORT_\d+_(TCP|UDP)_(PROTO|PORT|ADDR)$/.test(name)
    )
      continue;
    const nearest = nearestOf(name, KNOWN_ENV);
    if (nearest && nearest.distance <= TYPING_ERRORS_MAX)
      problems.push(`${name}: unknown variable; the nearest known one is ${nearest.name}`);
    else
      warnings.push(
        `${name} is not a setting and is not used${nearest ? ` (the nearest known one is ${nearest.name})` : ''}`,
      );
  }
}

/** What no single setting can say. */
function checkTogether(
  { intake, journal, server, storageHot, storageWarm, storageCold }: Settings,
  problems: string[],
  warnings: string[],
): void {
  if (intake.inflightBytesMax < intake.bodyBytesMax + intake.decompressedBytesMax) {
    problems.push(
      'intake.inflight_bytes_max must hold at least one largest body: intake.body_bytes_max and intake.decompressed_bytes_max together',
    );
  }
  // A body of the largest size must fit into the journal beside what is being written.
  if (journal.budgetBytes < intake.bodyBytesMax) {
    problems.push('journal.budget_bytes must be at least intake.body_bytes_max');
  }
  if (server.adminPort !== undefined && server.adminPort !== 0 && server.adminPort === server.port) {
    problems.push('server.admin_port must differ from server.port');
  }
  if (storageHot.retentionDays > storageWarm.retentionDays || storageWarm.retentionDays > storageCold.retentionDays) {
    warnings.push('storage: retention days should grow from hot over warm to cold');
  }
}

/** Where things are kept, as far as that can be told without asking. */
function checkStores(settings: Settings, problems: string[], warnings: string[]): void {
  try {
    storeSettingsOf(settings);
    const own = tierStoreSettingsOf(settings);
    if (settings.cleanup.lists && (own.size > 0 || settings.storage.encryptionKey)) {
      problems.push('cleanup.lists: other engines can read neither encrypted segments nor tiers in several stores');
    }
    warnings.push(...tierStoreWarnings(settings));
    problems.push(...tierProblems(settings));
  } catch (error) {
    if (!isProxyError(error)) throw error;
    problems.push(error.message);
  }
}

function warnAboutAccepted(sources: Sources, warnings: string[]): void {
  const names: string[] = [];
  for (const { path, setting } of KNOWN_SETTINGS) {
    const source = sources[path]!;
    if (setting.status !== 'accepted' || source === 'default' || SHARED_ENV.has(source)) continue;
    names.push(/^[A-Z0-9_]+$/.test(source) ? source : path);
  }
  if (names.length > 0) warnings.push(`accepted, without effect in this version: ${names.join(', ')}`);
}

/** The mode that is run: without any word about forwarding there is nowhere to forward to, and data is only kept. */
export function effectiveMode(settings: Settings, sources: Sources): Settings['forward']['mode'] {
  const said = ['mode', 'datadog_api_key', 'datadog_site', 'datadog_endpoint', 'forward_to'].some(
    (name) => sources[`forward.${name}`] !== 'default',
  );
  return said ? settings.forward.mode : 'store-only';
}
