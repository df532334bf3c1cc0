import { Packr } from 'msgpackr';
import { expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { createAgentUpstream } from '../../src/upstream/agent-upstream.ts';
import { createDatadogUpstream } from '../../src/upstream/datadog-upstream.ts';
import { gzipped, upstreamSuite } from '../contract/upstream-suite.ts';
import { envelopeOf } from '../forward/forward-support.ts';
import { startFakeVendor } from '../support/fake-vendor.ts';

const clock = systemClock;

upstreamSuite('datadog', {
  role: 'datadog',
  open: (url, options) => createDatadogUpstream({ target: { kind: 'base', url }, clock, ...options }),
  envelope: (overrides) => ({
    ...envelopeOf('x', { contentEncoding: 'gzip', ...overrides }),
    body: gzipped('[{"message":"x"}]'),
  }),
});

upstreamSuite('agent', {
  role: 'agent',
  open: (url, options) => createAgentUpstream({ url: `${url}/`, clock, ...options }),
  envelope: (overrides) => ({
    ...envelopeOf('x', {
      signal: 'traces',
      protocol: 'traces-v04-msgpack',
      destination: 'agent',
      method: 'PUT',
      path: '/v0.4/traces',
      contentType: 'application/msgpack',
      contentEncoding: 'gzip',
      ...overrides,
    }),
    body: gzipped(new Packr().pack([])),
  }),
});

it('Datadog gets the key in the header, an Agent gets none', async () => {
  const vendor = await startFakeVendor();
  const agent = await startFakeVendor({ role: 'agent' });
  const options = { clock, connectionsMax: 1, timeoutMs: 5_000, userAgent: 'reductrai/1' };
  const datadog = createDatadogUpstream({ target: { kind: 'base', url: vendor.url }, ...options });
  const tracer = createAgentUpstream({ url: agent.url, ...options });
  const never = new AbortController().signal;
  await datadog.send(envelopeOf('x', { headers: { 'dd-api-key': 'smuggled' } }), 'own', never);
  await tracer.send(envelopeOf('x', { path: '/v0.4/traces', headers: { 'dd-api-key': 'smuggled' } }), 'own', never);
  expect(vendor.requests[0]!.headers).toMatchObject({ 'dd-api-key': 'own', 'user-agent': 'reductrai/1' });
  expect(agent.requests[0]!.headers['dd-api-key']).toBeUndefined();
  await Promise.all([datadog.close(), tracer.close(), vendor.close(), agent.close()]);
});

it('its lanes are the hosts that fail together', () => {
  const options = { clock, connectionsMax: 1, timeoutMs: 5_000 };
  const site = createDatadogUpstream({ target: { kind: 'site', site: 'datadoghq.eu' }, ...options });
  const lane = (path: string): string | undefined => site.laneOf?.(envelopeOf('x', { path }).head);
  expect(lane('/api/v2/logs?ddsource=x')).toBe('https://http-intake.logs.datadoghq.eu');
  expect(lane('/api/v2/series')).toBe('https://api.datadoghq.eu');
  expect(lane('/api/v0.2/traces')).toBe('https://trace.agent.datadoghq.eu');
});
