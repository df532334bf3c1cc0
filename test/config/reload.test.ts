/** What SIGHUP takes over, and what it only names. */
import { expect, test } from 'vitest';
import { loadSettings } from '../../src/config/load.ts';
import { KNOWN_SETTINGS, type Settings } from '../../src/config/registry.ts';
import { RELOADABLE, reloadOf } from '../../src/config/reload.ts';

const KEYS = ['a', 'b', 'c'].map((letter) => letter.repeat(32));

function settingsOf(env: Record<string, string>): Settings {
  const loaded = loadSettings({ env, hostname: 'h', cpuCount: 2, readText: () => '' });
  if (!loaded.ok) throw new Error(loaded.problems.join('\n'));
  return loaded.settings;
}

test('changed keys and levels are taken over, the rest is named and stays', () => {
  const before = settingsOf({ API_KEYS_ALLOWED: `${KEYS[0]},${KEYS[1]}`, LOG_LEVEL: 'info' });
  const wanted = settingsOf({
    API_KEYS_ALLOWED: `${KEYS[0]},${KEYS[2]}`,
    LOG_LEVEL: 'debug',
    REDUCTRAI_PORT: '9999',
    DATADOG_API_KEY: KEYS[0]!,
  });
  const { settings, applied, needRestart } = reloadOf(before, wanted);
  expect(applied.sort()).toEqual(['intake.api_keys_allowed', 'server.log_level']);
  expect(needRestart.sort()).toEqual(['forward.datadog_api_key', 'server.port']);
  expect(settings.intake.apiKeysAllowed.map((key) => key.reveal())).toEqual([KEYS[0], KEYS[2]]);
  expect(settings.server).toMatchObject({ logLevel: 'debug', port: 8080 });
  expect(before.server.logLevel).toBe('info');
  expect(reloadOf(settings, wanted).applied).toEqual([]);
});

test('only settings that exist are said to be reloadable', () => {
  const known = new Set(KNOWN_SETTINGS.map(({ path }) => path));
  expect([...RELOADABLE].filter((path) => !known.has(path))).toEqual([]);
});
