/** What `auto` means, and what cannot be. */
import { expect, test } from 'vitest';
import { costsOf, durabilityOf } from '../../src/config/durability.ts';
import { loadSettings } from '../../src/config/load.ts';
import type { Settings } from '../../src/config/registry.ts';

function settingsOf(env: Record<string, string>): Settings {
  const loaded = loadSettings({ env, hostname: 'h', cpuCount: 2, readText: () => '' });
  if (!loaded.ok) throw new Error(loaded.problems.join('\n'));
  return loaded.settings;
}

const BUCKET = { STORAGE_URL: 's3://bucket/prefix' };
const KEY = { DATADOG_API_KEY: '0123456789abcdef0123456789abcdef' };

test.each([
  ['a folder', {}, 'all', 'disk'],
  ['a bucket', { ...BUCKET, ...KEY }, 'all', 'store'],
  ['a bucket, nothing forwarded', BUCKET, 'store-only', 'store'],
  ['a bucket, nothing archived', { ...BUCKET, ...KEY }, 'forward-only', 'disk'],
  ['asked for with a folder', { DURABILITY: 'store', ...KEY }, 'all', 'store'],
  ['asked for', { DURABILITY: 'memory', ...BUCKET, ...KEY }, 'all', 'memory'],
] as const)('%s', (_name, env, mode, durability) => {
  expect(durabilityOf(settingsOf(env), mode)).toEqual({ durability });
});

test('keys that no other replica could open: auto falls back and says why, store is refused', () => {
  const { durability, problem } = durabilityOf(settingsOf(BUCKET), 'all');
  expect(durability).toBe('disk');
  expect(problem).toContain('SEAL_KEY');
  expect(durabilityOf(settingsOf({ ...BUCKET, DURABILITY: 'store' }), 'all')).toMatchObject({
    durability: 'store',
    problem,
  });
  const sealed = { ...BUCKET, SEAL_KEY: Buffer.alloc(32, 1).toString('base64') };
  expect(durabilityOf(settingsOf(sealed), 'all')).toEqual({ durability: 'store' });
});

test('what it costs', () => {
  expect(costsOf(settingsOf({}), 1)).toEqual({
    chunksPerMonth: 10_368_000,
    leasesPerMonth: 518_400,
    listsPerMonth: 1_036_800,
    waitMsMax: 250,
  });
});
