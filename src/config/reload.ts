/** What a running process takes over when it reads its configuration again (SIGHUP); for the rest it must be started again. */
import { KNOWN_SETTINGS, type KnownSetting, type Settings } from './registry.ts';

export const RELOADABLE: ReadonlySet<string> = new Set([
  'server.log_level',
  'server.connection_age_max',
  'server.drain_notice',
  'server.drain_deadline',
  'intake.api_keys_allowed',
]);

export interface Reload {
  /** As before, but for what could be taken over. */
  settings: Settings;
  /** Paths of what changed, without values. */
  applied: string[];
  needRestart: string[];
}

export function reloadOf(before: Settings, wanted: Settings): Reload {
  const values = structureOf(before);
  const applied: string[] = [];
  const needRestart: string[] = [];
  for (const known of KNOWN_SETTINGS) {
    const value = settingOf(wanted, known);
    // Secrets show as fingerprints, which is enough to tell them apart.
    if (JSON.stringify(settingOf(before, known)) === JSON.stringify(value)) continue;
    if (RELOADABLE.has(known.path)) {
      values[known.group]![known.name] = value;
      applied.push(known.path);
    } else {
      needRestart.push(known.path);
    }
  }
  return { settings: values as unknown as Settings, applied, needRestart };
}

type Values = Record<string, Record<string, unknown>>;

function structureOf(settings: Settings): Values {
  return Object.fromEntries(Object.entries(settings).map(([group, members]) => [group, { ...members }]));
}

function settingOf(settings: Settings, { group, name }: KnownSetting): unknown {
  return (settings as unknown as Values)[group]?.[name];
}
