/** The environment of a manifest's container, as the proxy itself would read it: with all its checks, files of secrets made up. */
import { expect } from 'vitest';
import { type Durability, durabilityOf } from '../../../src/config/durability.ts';
import { effectiveMode, type LoadResult, loadSettings } from '../../../src/config/load.ts';
import type { Settings } from '../../../src/config/registry.ts';
import { storeSettingsOf } from '../../../src/config/storage.ts';

export interface Understood {
  settings: Settings;
  mode: Settings['forward']['mode'];
  durability: Durability['durability'];
  /** `local`, `s3`, `gcs` or `azure`. */
  store: string;
}

export function settingsOf(env: Readonly<Record<string, string>>, files: Record<string, string> = {}): Understood {
  const loaded: LoadResult = loadSettings({
    env,
    hostname: 'proxy-0',
    cpuCount: 4,
    readText: (path) => files[path] ?? 'made-up-secret',
  });
  if (!loaded.ok) throw new Error(`the proxy would refuse this environment:\n${loaded.problems.join('\n')}`);
  expect(loaded.warnings).toEqual([]);
  const { settings, sources } = loaded;
  const mode = effectiveMode(settings, sources);
  const { target } = storeSettingsOf(settings);
  return {
    settings,
    mode,
    durability: durabilityOf(settings, mode).durability,
    store: typeof target === 'string' ? target : target.kind,
  };
}

/** What a container must be given after SIGTERM: the drain, whatever runs before it, and some slack. */
export function expectGrace(graceSeconds: number, settings: Settings, preStopSeconds = 0): void {
  expect(graceSeconds).toBeGreaterThanOrEqual(preStopSeconds + settings.server.drainDeadlineMs / 1000 + 5);
}

/** `40s`, `1m30s`. */
export function secondsOf(duration: string): number {
  let seconds = 0;
  for (const [, count, unit] of duration.matchAll(/(\d+)(h|m|s)/g)) {
    seconds += Number(count) * ({ h: 3600, m: 60, s: 1 }[unit!] ?? Number.NaN);
  }
  return seconds;
}
