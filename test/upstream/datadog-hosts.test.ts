import { expect, test } from 'vitest';
import { datadogOrigin, datadogTarget } from '../../src/upstream/datadog-hosts.ts';

test.each([
  [{}, { kind: 'site', site: 'datadoghq.com' }],
  [{ site: 'us5.datadoghq.com' }, { kind: 'site', site: 'us5.datadoghq.com' }],
  [{ endpoint: 'https://api.datadoghq.com' }, { kind: 'site', site: 'datadoghq.com' }],
  [{ endpoint: 'https://app.datadoghq.eu/' }, { kind: 'site', site: 'datadoghq.eu' }],
  [{ endpoint: 'https://http-intake.logs.us3.datadoghq.com' }, { kind: 'site', site: 'us3.datadoghq.com' }],
  [{ endpoint: 'https://proxy.example/dd/' }, { kind: 'base', url: 'https://proxy.example/dd' }],
  [{ endpoint: 'https://notdatadoghq.com' }, { kind: 'base', url: 'https://notdatadoghq.com' }],
  [
    { forwardTo: 'http://127.0.0.1:1', endpoint: 'https://api.datadoghq.com', site: 'x' },
    { kind: 'base', url: 'http://127.0.0.1:1' },
  ],
])('%j', (settings, expected) => {
  expect(datadogTarget(settings)).toEqual(expected);
});

const EU = { kind: 'site', site: 'datadoghq.eu' } as const;

test.each([
  ['/api/v2/logs', 'http-intake.logs'],
  ['/v1/input', 'http-intake.logs'],
  ['/api/v1/series', 'api'],
  ['/api/v2/series', 'api'],
  ['/intake/', 'app'],
  ['/api/v1/metadata', 'app'],
  ['/api/v0.2/traces', 'trace.agent'],
  ['/api/v0.2/stats', 'trace.agent'],
  ['/api/v0.2/ping-pong', 'config'],
  ['/api/v0.1/configurations', 'config'],
  ['/api/v0.1/pipeline_stats', 'trace.agent'],
  ['/api/v1/collector', 'process'],
  ['/api/v2/orchmanif', 'orchestrator'],
  ['/something/new', 'api'],
])('%s belongs to %s', (path, host) => {
  expect(datadogOrigin(path, {}, EU)).toBe(`https://${host}.datadoghq.eu`);
});

test('the sub-domain header decides for event-platform tracks, and cannot lead elsewhere', () => {
  const origin = (subdomain: string): string =>
    datadogOrigin('/api/v2/citestcycle', { 'x-datadog-evp-subdomain': subdomain }, EU);
  expect(origin('citestcycle-intake')).toBe('https://citestcycle-intake.datadoghq.eu');
  expect(origin('evil.example/')).toBe('https://api.datadoghq.eu');
  expect(origin('evil.example#')).toBe('https://api.datadoghq.eu');
});

test('a base URL takes every path; irregular sites have their own hosts for spans', () => {
  expect(datadogOrigin('/api/v2/logs', {}, { kind: 'base', url: 'http://x/y' })).toBe('http://x/y');
  expect(datadogOrigin('/api/v2/spans', {}, { kind: 'site', site: 'us3.datadoghq.com' })).toBe(
    'https://trace.browser-intake-us3-datadoghq.com',
  );
  expect(datadogOrigin('/api/v2/spans', {}, EU)).toBe('https://public-trace-http-intake.logs.datadoghq.eu');
});
