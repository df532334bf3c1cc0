/** Settings: where values come from, what is refused and how it is said, and that no secret is ever printed. */
import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { replicaIdOf } from '../../src/config/declaration.ts';
import { configurationPage, describeSettings, settingsHelp } from '../../src/config/help.ts';
import { effectiveMode, type LoadInput, loadSettings } from '../../src/config/load.ts';
import { editDistance } from '../../src/config/nearest.ts';
import { KNOWN_ENV, KNOWN_SETTINGS } from '../../src/config/registry.ts';
import { upkeepRulesOf } from '../../src/config/tiers.ts';
import { MIB } from '../../src/core/limits.ts';
import { fingerprintOf } from '../../src/core/sealer.ts';

const KEY = '0123456789abcdef0123456789abcdef';
const SEAL_KEY = Buffer.alloc(32, 7).toString('base64');

function input(env: Record<string, string> = {}, yaml?: string, files: Record<string, string> = {}): LoadInput {
  const all: Record<string, string> = { ...files, ...(yaml === undefined ? {} : { 'c.yaml': yaml }) };
  return {
    env,
    ...(yaml === undefined ? {} : { configPath: 'c.yaml' }),
    hostname: 'Web_1.example.com',
    cpuCount: 4,
    readText: (path) => {
      const text = all[path];
      if (text === undefined) throw Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' });
      return text;
    },
  };
}

function loaded(env?: Record<string, string>, yaml?: string, files?: Record<string, string>) {
  const result = loadSettings(input(env, yaml, files));
  if (!result.ok) throw new Error(result.problems.join('\n'));
  return result;
}

function problemsOf(env?: Record<string, string>, yaml?: string, files?: Record<string, string>): string[] {
  const result = loadSettings(input(env, yaml, files));
  return result.ok ? [] : result.problems;
}

describe('values', () => {
  test('defaults need no setting at all', () => {
    const { settings, warnings, sources } = loaded();
    expect(warnings).toEqual([]);
    expect(settings.server).toMatchObject({
      port: 8080,
      host: '0.0.0.0',
      dataDir: './data',
      replicaId: 'web-1-example-com',
    });
    expect(settings.server.adminPort).toBeUndefined();
    expect(settings.intake).toMatchObject({ bodyBytesMax: 64 * MIB, inflightBytesMax: 256 * MIB, decodeWorkers: 3 });
    expect(settings.journal).toMatchObject({ durability: 'auto', budgetBytes: 4096 * MIB });
    expect(settings.archive).toMatchObject({ compression: 'medium', flushAfterMs: 300_000 });
    expect(new Set(Object.values(sources))).toEqual(new Set(['default']));
    expect(effectiveMode(settings, sources)).toBe('store-only');
  });

  test('a class that must be restored before it is read is refused', () => {
    const { settings } = loaded({ STORAGE_WARM_CLASS: 'STANDARD_IA', STORAGE_COLD_CLASS: 'GLACIER_IR' });
    const [, warm, cold] = upkeepRulesOf(settings).tiers;
    expect([warm?.storageClass, cold?.storageClass]).toEqual(['STANDARD_IA', 'GLACIER_IR']);
    expect(upkeepRulesOf(loaded().settings).tiers.every((tier) => !('storageClass' in tier))).toBe(true);
    for (const [name, value] of [
      ['STORAGE_COLD_CLASS', 'GLACIER'],
      ['S3_STORAGE_CLASS', 'DEEP_ARCHIVE'],
      ['AZURE_ACCESS_TIER', 'Archive'],
    ] as const) {
      expect(problemsOf({ [name]: value })).toEqual([expect.stringContaining('without being restored first')]);
    }
    // Google's is read at once.
    expect(problemsOf({ GCS_STORAGE_CLASS: 'ARCHIVE' })).toEqual([]);
  });

  test("every setting's default passes its own check", () => {
    for (const { path, setting } of KNOWN_SETTINGS) {
      const value = setting.defaultOf({ hostname: 'h', cpuCount: 2 });
      if (value === undefined || setting.isSecret) continue;
      expect([path, setting.parse(setting.show(value))]).toEqual([path, { ok: true, value }]);
    }
  });

  test('the environment wins over the file, and sources tell', () => {
    const yaml =
      'server:\n  port: 9000\n  host: "::"\narchive:\n  flush_after: 1h30m\nintake:\n  body_bytes_max: 1MB\n';
    const { settings, sources } = loaded({ REDUCTRAI_PORT: '9001', REDUCTRAI_FORWARD_CONCURRENCY: '3' }, yaml);
    expect(settings.server).toMatchObject({ port: 9001, host: '::' });
    expect(settings.archive.flushAfterMs).toBe(5_400_000);
    expect(settings.intake.bodyBytesMax).toBe(1_000_000);
    expect(settings.forward.concurrency).toBe(3);
    expect(sources).toMatchObject({
      'server.port': 'REDUCTRAI_PORT',
      'server.host': 'c.yaml:3:3',
      'server.data_dir': 'default',
    });
  });

  test('aliases of a name; an empty variable counts as not set', () => {
    expect(loaded({ DD_API_KEY: KEY, DATADOG_API_KEY: '' }).settings.forward.datadogApiKey?.reveal()).toBe(KEY);
    expect(loaded({ REDUCTRAI_DATA_DIR: '/d' }).settings.server.dataDir).toBe('/d');
    const both = loaded({ DATADOG_API_KEY: KEY, DD_API_KEY: `${KEY}0` });
    expect(both.settings.forward.datadogApiKey?.reveal()).toBe(KEY);
    expect(both.warnings).toEqual(['DD_API_KEY differs from DATADOG_API_KEY and is not used']);
  });

  test('lists, from the environment and from the file', () => {
    const revealed = (result: ReturnType<typeof loaded>) =>
      result.settings.intake.apiKeysAllowed.map((key) => key.reveal());
    expect(revealed(loaded({ API_KEYS_ALLOWED: 'a, b,,c' }))).toEqual(['a', 'b', 'c']);
    expect(revealed(loaded({}, 'intake:\n  api_keys_allowed: [a, "b"]\n'))).toEqual(['a', 'b']);
    expect(revealed(loaded({ API_KEYS_ALLOWED_FILE: 'k' }, undefined, { k: 'a\nb\n' }))).toEqual(['a', 'b']);
  });

  test('secrets from files', () => {
    expect(
      loaded({ DATADOG_API_KEY_FILE: '/run/key' }, undefined, {
        '/run/key': `${KEY}\n`,
      }).settings.forward.datadogApiKey?.reveal(),
    ).toBe(KEY);
    expect(loaded({}, 'journal:\n  seal_key_file: s\n', { s: SEAL_KEY }).settings.journal.sealKey?.reveal()).toBe(
      SEAL_KEY,
    );
    expect(problemsOf({ DATADOG_API_KEY_FILE: '/none' })).toEqual([
      'DATADOG_API_KEY_FILE: cannot read "/none" (ENOENT)',
    ]);
    expect(problemsOf({ SEAL_KEY: SEAL_KEY, SEAL_KEY_FILE: 's' }, undefined, { s: SEAL_KEY })).toEqual([
      'SEAL_KEY: SEAL_KEY and SEAL_KEY_FILE are both set',
    ]);
  });

  test.each([
    ['Host.Name', 'host-name'],
    ['--A__b--', 'a-b'],
    ['###', 'replica'],
    ['x'.repeat(80), 'x'.repeat(63)],
  ])('replica id of %s', (hostname, id) => {
    expect(replicaIdOf(hostname)).toBe(id);
  });

  test('a word about forwarding makes the mode count', () => {
    for (const env of [
      { DATADOG_API_KEY: KEY },
      { FORWARD_TO: 'http://x' },
      { PROXY_MODE: 'all' },
      { DD_SITE: 'datadoghq.eu' },
    ]) {
      const { settings, sources } = loaded(env);
      expect(effectiveMode(settings, sources)).toBe('all');
    }
    const { settings, sources } = loaded({ PROXY_MODE: 'forward-only' });
    expect(effectiveMode(settings, sources)).toBe('forward-only');
  });
});

describe('problems', () => {
  test('all at once, each with its place', () => {
    const yaml =
      'server:\n  prot: 1\n  port: abc\nintak:\n  x: 1\narchive:\n  flush_after: 5\n  flush_rows_max: [1]\njournal: 3\n';
    expect(
      problemsOf(
        { PROXY_MODE: 'sample', DURABILITY: 'shared', REDUCTRAI_ADMIN_PORT: '70000', SEAL_KEY: 'short' },
        yaml,
      ).sort(),
    ).toEqual(
      [
        'DURABILITY: the value must be one of auto, memory, disk, store',
        'PROXY_MODE: the value is `sample`, which is not available yet: use `all`, `store-only` or `forward-only`',
        'REDUCTRAI_ADMIN_PORT: the value must be 0 to 65535',
        'SEAL_KEY: the value must be 32 bytes in base64',
        'c.yaml:2:3: unknown key "server.prot"; the nearest known one is "server.port"',
        'c.yaml:3:3: server.port must be a whole number',
        'c.yaml:4:1: unknown key "intak"; the nearest known one is "intake"',
        'c.yaml:7:3: archive.flush_after must be a duration such as 250ms or 5m',
        'c.yaml:8:3: archive.flush_rows_max must be a single value',
        'c.yaml:9:1: journal must be a map of settings',
      ].sort(),
    );
  });

  test.each([
    ['REDUCTRAI_PORT', '-1'],
    ['REDUCTRAI_PORT', '80.5'],
    ['REDUCTRAI_INTAKE_BODY_BYTES_MAX', '64 parsecs'],
    ['REDUCTRAI_INTAKE_BODY_BYTES_MAX', '1KiB'],
    ['REDUCTRAI_ARCHIVE_FLUSH_AFTER', '5'],
    ['DATADOG_ENDPOINT', 'datadoghq.com'],
    ['DATADOG_ENDPOINT', 'ftp://x'],
    ['FORWARD_TO', 'http://user:pass@x'],
    ['FORWARD_TO', 'http://x/?a=1'],
    ['LOG_LEVEL', 'loud'],
    ['STORAGE_WARM_ENABLED', 'maybe'],
    ['SAMPLE_RATE', '1.5'],
    ['CLEANUP_SCHEDULE', 'daily'],
    ['REPLICA_ID', 'Web_1'],
    ['COLD_COMPRESSION_LEVEL', '23'],
    ['STORAGE_COLD_TYPE', 'tape'],
    ['STORAGE_WARM_AGGREGATION', 'lots'],
    ['DD_SITE', 'nowhere'],
    ['DD_API_KEY', 'two words'],
  ])('%s=%s is refused', (name, value) => {
    const problems = problemsOf({ [name]: value });
    expect(problems.length).toBe(1);
    expect(problems[0]).toMatch(new RegExp(`^${name}: the value must `));
  });

  test('a misspelt variable is a problem, a strange one a warning, links of a service are neither', () => {
    expect(problemsOf({ REDUCTRAI_PROT: '1' })).toEqual([
      'REDUCTRAI_PROT: unknown variable; the nearest known one is REDUCTRAI_PORT',
    ]);
    expect(problemsOf({ DATADOG_APIKEY: KEY })).toEqual([
      'DATADOG_APIKEY: unknown variable; the nearest known one is DATADOG_API_KEY',
    ]);
    expect(loaded({ AZURE_CLIENT_ID: 'x' }).warnings[0]).toMatch(/^AZURE_CLIENT_ID is not a setting and is not used/);
    const links = {
      REDUCTRAI_PORT: 'tcp://10.0.0.1:8080',
      REDUCTRAI_PORT_8080_TCP: 'tcp://10.0.0.1:8080',
      REDUCTRAI_PORT_8080_TCP_ADDR: '10.0.0.1',
      REDUCTRAI_SERVICE_HOST: '10.0.0.1',
      REDUCTRAI_SERVICE_PORT_HTTP: '8080',
      PATH: '/bin',
    };
    expect(loaded(links)).toMatchObject({ warnings: [], settings: { server: { port: 8080 } } });
  });

  test('what cannot be read as YAML, or is not there', () => {
    expect(problemsOf({}, 'server:\n  port: 1\n  port: 2\n')).toEqual(['c.yaml:3:3: the key is there twice']);
    expect(problemsOf({}, 'a: [')[0]).toMatch(/^c\.yaml:\d+:\d+: not valid YAML/);
    expect(problemsOf({}, '- a\n')).toEqual(['c.yaml:1:1: the file must be a map of groups']);
    expect(problemsOf({ REDUCTRAI_CONFIG: 'none.yaml' })).toEqual([
      'REDUCTRAI_CONFIG: cannot read "none.yaml" (ENOENT)',
    ]);
    expect(loaded({}, '').settings.server.port).toBe(8080);
    expect(loaded({}, '# nothing\nserver:\narchive:\n  flush_after:\n').settings.archive.flushAfterMs).toBe(300_000);
    expect(loaded({}, 'server: &s\n  port: 1\n').settings.server.port).toBe(1);
  });

  test('settings that contradict each other', () => {
    expect(problemsOf({ REDUCTRAI_INTAKE_INFLIGHT_BYTES_MAX: '100MiB' })[0]).toMatch(
      /^intake\.inflight_bytes_max must hold/,
    );
    expect(problemsOf({ REDUCTRAI_JOURNAL_BUDGET_BYTES: '8MiB' })[0]).toMatch(
      /^journal\.budget_bytes must be at least/,
    );
    expect(problemsOf({ REDUCTRAI_ADMIN_PORT: '8080' })).toEqual(['server.admin_port must differ from server.port']);
  });
});

describe('accepted names', () => {
  test('the whole compatibility surface is known', () => {
    const names = [
      'REDUCTRAI_LICENSE_KEY DATADOG_API_KEY DATADOG_ENDPOINT FORWARD_TO PROXY_MODE SAMPLE_RATE REDUCTRAI_PORT REDUCTRAI_HOST',
      'REDUCTRAI_COMPRESSION_LEVEL S3_BUCKET S3_REGION S3_ACCESS_KEY S3_SECRET_KEY S3_ENDPOINT AWS_REGION GCS_BUCKET GCS_PROJECT_ID',
      'GCS_CREDENTIALS_PATH AZURE_STORAGE_ACCOUNT AZURE_STORAGE_KEY AZURE_CONTAINER COLD_COMPRESSION_LEVEL AUTO_CLEANUP_ENABLED',
      'CLEANUP_SCHEDULE NEW_RELIC_API_KEY OTLP_ENDPOINT PROMETHEUS_ENDPOINT DURABILITY SEAL_KEY',
      'DATADOG_API_KEY_FILE S3_SECRET_KEY_FILE SEAL_KEY_FILE',
      ...['HOT', 'WARM', 'COLD'].flatMap((tier) =>
        ['ENABLED', 'RETENTION_DAYS', 'PATH', 'AGGREGATION', 'LAYOUT', 'TYPE'].map((name) => `STORAGE_${tier}_${name}`),
      ),
    ].flatMap((line) => line.split(' '));
    expect(names.filter((name) => !KNOWN_ENV.has(name))).toEqual([]);
  });

  test('what has no effect yet says so when it is set', () => {
    const { warnings } = loaded({
      NEW_RELIC_API_KEY: 'x',
      OTLP_ENDPOINT: 'http://collector:4318',
      REDUCTRAI_LICENSE_KEY: 'x',
    });
    expect(warnings).toEqual(['accepted, without effect in this version: NEW_RELIC_API_KEY, OTLP_ENDPOINT']);
    expect(loaded({}, 'forward:\n  otlp_endpoint: http://c:4318\n').warnings).toEqual([
      'accepted, without effect in this version: forward.otlp_endpoint',
    ]);
  });
});

describe('roll-ups', () => {
  test('a tier that keeps no points needs a window', () => {
    expect(problemsOf({ STORAGE_COLD_RAW: 'false', STORAGE_COLD_AGGREGATION: 'none' })).toEqual([
      'STORAGE_COLD_RAW=false needs STORAGE_COLD_AGGREGATION: nothing would be kept',
    ]);
    expect(problemsOf({ STORAGE_WARM_RAW: 'false', STORAGE_WARM_AGGREGATION: '7m' })).toEqual([
      'STORAGE_COLD_AGGREGATION must be a multiple of STORAGE_WARM_AGGREGATION where STORAGE_WARM_RAW=false',
    ]);
    expect(problemsOf({ STORAGE_WARM_RAW: 'false', STORAGE_COLD_RAW: 'false' })).toEqual([]);
    expect(problemsOf({ STORAGE_WARM_AGGREGATION: '0m' })).toHaveLength(1);
  });

  test('windows are those of the settings', () => {
    const { settings } = loaded({
      STORAGE_WARM_AGGREGATION: '90s',
      STORAGE_COLD_AGGREGATION: 'raw',
      STORAGE_WARM_RAW: 'false',
    });
    expect(upkeepRulesOf(settings).tiers.map(({ rollup }) => rollup)).toEqual([
      undefined,
      { everyMs: 90_000, keepsRaw: false },
      undefined,
    ]);
    expect(upkeepRulesOf(loaded({}).settings).tiers.map(({ rollup }) => rollup?.everyMs)).toEqual([
      undefined,
      300_000,
      3_600_000,
    ]);
  });
});

describe('retention', () => {
  test('of signals, tenants, and signals of tenants, the most particular first', () => {
    const { settings } = loaded({ STORAGE_RETENTION: 'logs=30d, team-b=400d,team-a/traces=90d,metrics=7d' });
    expect(upkeepRulesOf(settings).kept).toEqual([
      { tenant: 'team-a', signal: 'traces', days: 90 },
      { tenant: 'team-b', days: 400 },
      { signal: 'logs', days: 30 },
      { signal: 'metrics', days: 7 },
    ]);
    expect(upkeepRulesOf(loaded({}).settings).kept).toEqual([]);
    for (const wrong of ['logs', 'logs=30', 'logs=0d', 'a/b/logs=1d', 'a/log=1d', 'logs=1d,,', '/logs=1d']) {
      expect(problemsOf({ STORAGE_RETENTION: wrong }), wrong).toHaveLength(1);
    }
  });
});

describe('printing', () => {
  test('no secret is shown anywhere', () => {
    const env = { DATADOG_API_KEY: KEY, SEAL_KEY, API_KEYS_ALLOWED: `${KEY}1,${KEY}2` };
    const { settings, sources, warnings } = loaded(env);
    const shown = [
      inspect(settings, { depth: 9, showHidden: true }),
      JSON.stringify(settings),
      ...describeSettings(settings, sources),
      ...warnings,
    ].join('\n');
    for (const secret of [KEY, SEAL_KEY]) expect(shown).not.toContain(secret);
    expect(shown).toContain(fingerprintOf(KEY));
    const problems = problemsOf(
      { DATADOG_API_KEY: `${KEY} x`, SEAL_KEY: KEY, API_KEYS_ALLOWED: `ok,${KEY} y` },
      `forward:\n  datadog_api_key: "${KEY}\n`,
    );
    expect(problems.length).toBe(4);
    expect(problems.join('\n')).not.toContain(KEY);
  });

  test('help and page name every setting', () => {
    for (const { path, env } of KNOWN_SETTINGS) {
      for (const text of [settingsHelp(), configurationPage()]) {
        expect(text).toContain(path);
        for (const name of env) expect(text).toContain(name);
      }
    }
    expect(
      settingsHelp()
        .split('\n')
        .filter((line) => line.length > 110),
    ).toEqual([]);
  });

  test('no two settings share a path or variable', () => {
    for (const names of [KNOWN_SETTINGS.map(({ path }) => path), KNOWN_SETTINGS.flatMap(({ env }) => [...env])]) {
      expect(new Set(names).size).toBe(names.length);
    }
  });
});

test.each([
  ['', '', 0],
  ['port', 'prot', 1],
  ['kitten', 'sitting', 3],
  ['abc', '', 3],
])('edit distance of %s and %s', (a, b, distance) => {
  expect(editDistance(a, b)).toBe(distance);
});
