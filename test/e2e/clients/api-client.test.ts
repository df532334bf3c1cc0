/**
 * Datadog's public API client as it comes from npm, pointed here by its own configuration: every submit call it has for what we
 * serve, in every encoding it offers. Its typed answers, what was kept and what Datadog got, held against a wiretap on its side.
 *
 * It is an old version on purpose: the newest has 28,000 files, five times as many, and they are half of what `npm ci` has to do. The two
 * calls that came later are made here as 1.64 makes them.
 */
import { gunzipSync, inflateSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { client, v1, v2 } from '@datadog/datadog-api-client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ClientSession, openSession, VENDOR_KEY } from '../../support/clients/session.ts';
import { startWiretap, type TappedRequest, type Wiretap } from '../../support/clients/wiretap.ts';
import { canonicalJson, canonicalOf } from '../../support/corpus/canonical-json.ts';

const CALLER_KEY = '0123456789abcdef0123456789abcdef';
const nowS = Math.floor(Date.now() / 1000);
const TEXT = 'žluťoučký "kůň" 商品 🔑\n\t\u0001';

const seriesV1 = (metric: string): v1.MetricsPayload => ({
  series: [
    {
      metric,
      type: 'gauge',
      host: 'h1',
      tags: ['env:prod', TEXT],
      points: [
        [nowS, 0.1],
        [nowS - 7200, -2.5e-9],
      ],
    },
    { metric: `${metric}.rate`, type: 'rate', interval: 10, points: [[nowS, 1e300]] },
  ],
});
const seriesV2 = (metric: string): v2.MetricPayload => ({
  series: [
    {
      metric,
      type: 3,
      points: [
        { timestamp: nowS, value: 0.1 },
        { timestamp: nowS - 7200, value: 5e-324 },
      ],
      resources: [{ name: 'h1', type: 'host' }],
      tags: ['env:prod', TEXT],
      unit: 'byte',
      sourceTypeName: 'x',
      metadata: { origin: { metricType: 1, product: 2, service: 3 } },
    },
    { metric: `${metric}.count`, type: 1, interval: 10, points: [{ timestamp: nowS, value: -7 }] },
  ],
});
const log = (message: string) => ({
  message,
  service: 'shop',
  ddsource: 'nodejs',
  ddtags: 'env:prod,team:a',
  hostname: 'h1',
  additionalProperties: { status: 'error', requestId: TEXT },
});

/** What a call gave back. */
let answers: Record<string, unknown>;
let session: ClientSession;
let tap: Wiretap;
let sent: TappedRequest[];
const lines: Record<string, string[]> = {};

function configure(key: string) {
  return client.createConfiguration({
    baseServer: new client.BaseServerConfiguration(tap.url, {}),
    authMethods: { apiKeyAuth: key },
    zstdCompressorCallback: (body: string) => zstdCompressSync(body),
  });
}

/** A call that this version of the client does not have: the parsed answer. */
async function newerCall(method: string, path: string, body?: unknown): Promise<unknown> {
  const answer = await fetch(tap.url + path, {
    method,
    headers: { accept: 'application/json', 'content-type': 'application/json', 'dd-api-key': CALLER_KEY },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

beforeAll(async () => {
  session = await openSession();
  tap = await startWiretap(session.url);
  const configuration = configure(CALLER_KEY);
  const metrics1 = new v1.MetricsApi(configuration);
  const metrics2 = new v2.MetricsApi(configuration);
  const logs1 = new v1.LogsApi(configuration);
  const logs2 = new v2.LogsApi(configuration);
  const checks: v1.ServiceCheck[] = [
    { check: 'app.ok', hostName: 'h1', status: 0, tags: ['env:prod'] },
    { check: 'app.ok', hostName: 'h2', status: 2, tags: [], message: TEXT, timestamp: nowS },
  ];
  const event: v1.EventCreateRequest = {
    title: TEXT,
    text: '%%% \n bold \n %%%',
    tags: ['env:prod'],
    alertType: 'error',
    priority: 'normal',
    aggregationKey: 'key',
    dateHappened: nowS,
    host: 'h1',
  };
  const change = {
    data: {
      type: 'event',
      attributes: {
        title: TEXT,
        category: 'change',
        message: 'a change',
        timestamp: new Date(nowS * 1000).toISOString(),
        tags: ['env:prod'],
        attributes: { changedResource: { name: 'flag', type: 'feature_flag' }, newValue: { a: [1, 2.5, null] } },
      },
    },
  };
  const distribution: v1.DistributionPointsPayload = {
    series: [
      {
        metric: 'd.one',
        host: 'h1',
        tags: ['env:prod'],
        points: [
          [nowS, [0.1, 2, 3e-9]],
          [nowS - 10, [4]],
        ],
      },
    ],
  };
  const calls: [name: string, call: () => Promise<unknown>][] = [
    ['validate v1', () => new v1.AuthenticationApi(configuration).validate()],
    ['validate v2', () => newerCall('GET', '/api/v2/validate')],
    ['validate nothing', () => new v1.AuthenticationApi(configure('')).validate()],
    ['series v1', () => metrics1.submitMetrics({ body: seriesV1('v1.plain') })],
    ['series v1 deflate', () => metrics1.submitMetrics({ body: seriesV1('v1.deflate'), contentEncoding: 'deflate' })],
    ['series v1 gzip', () => metrics1.submitMetrics({ body: seriesV1('v1.gzip'), contentEncoding: 'gzip' })],
    ['series v2', () => metrics2.submitMetrics({ body: seriesV2('v2.plain') })],
    ['series v2 deflate', () => metrics2.submitMetrics({ body: seriesV2('v2.deflate'), contentEncoding: 'deflate' })],
    ['series v2 gzip', () => metrics2.submitMetrics({ body: seriesV2('v2.gzip'), contentEncoding: 'gzip' })],
    ['series v2 zstd', () => metrics2.submitMetrics({ body: seriesV2('v2.zstd'), contentEncoding: 'zstd1' })],
    ['distribution', () => metrics1.submitDistributionPoints({ body: distribution })],
    [
      'distribution deflate',
      () => metrics1.submitDistributionPoints({ body: distribution, contentEncoding: 'deflate' }),
    ],
    ['logs v1', () => logs1.submitLog({ body: [log('v1')], ddtags: 'from:query,é:1' })],
    ['logs v1 gzip', () => logs1.submitLog({ body: [log('v1 gzip'), log('again')], contentEncoding: 'gzip' })],
    ['logs v2', () => logs2.submitLog({ body: [log('v2'), { message: TEXT }], ddtags: 'from:query,é:1' })],
    ['logs v2 identity', () => logs2.submitLog({ body: [log('v2 identity')], contentEncoding: 'identity' })],
    ['logs v2 gzip', () => logs2.submitLog({ body: [log('v2 gzip')], contentEncoding: 'gzip' })],
    ['logs v2 deflate', () => logs2.submitLog({ body: [log('v2 deflate')], contentEncoding: 'deflate' })],
    ['checks', () => new v1.ServiceChecksApi(configuration).submitServiceCheck({ body: checks })],
    ['event v1', () => new v1.EventsApi(configuration).createEvent({ body: event })],
    ['event v2', () => newerCall('POST', '/api/v2/events', change)],
  ];
  answers = {};
  for (const [name, call] of calls) {
    answers[name] = await call().catch((error: unknown) => ({ failed: name, error }));
  }
  sent = tap.requests().filter((request) => request.method === 'POST');
  await session.stop();
  for (const signal of ['metrics', 'logs', 'events']) lines[signal] = await session.exported(signal);
}, 120_000);

afterAll(async () => {
  await tap?.close();
  await session?.close();
});

/** Requests by their path; a query does not count. */
const sentTo = (...paths: string[]) =>
  sent.filter(({ target }) => paths.includes(new URL(target, 'http://client').pathname));

function inflated({ body, headers }: TappedRequest): string {
  const encoding = headers['content-encoding'];
  if (encoding === 'gzip') return gunzipSync(body).toString();
  if (encoding === 'deflate') return inflateSync(body).toString();
  if (encoding === 'zstd1') return zstdDecompressSync(body).toString();
  return body.toString();
}

/** Items of bodies as canonical texts, in order; bodies are read by JSON.parse: these have no number it would change. */
function itemsSent(itemsOf: (body: never) => unknown[], ...paths: string[]): string[] {
  return sentTo(...paths).flatMap((request) => itemsOf(JSON.parse(inflated(request)) as never).map(canonicalOf));
}

describe('datadog-api-client', () => {
  test('gets the typed answers that it expects', () => {
    expect(answers['validate v1']).toMatchObject({ valid: true });
    expect(answers['validate v2']).toMatchObject({
      data: { type: 'validate_v2', attributes: { api_key_id: expect.any(String), api_key_scopes: [], valid: true } },
    });
    const accepted = (name: string) => {
      if (name === 'event v2') return { data: { type: 'event', attributes: { attributes: { evt: {} } } } };
      if (name.startsWith('logs')) return {};
      return name.startsWith('series v2') ? { errors: [] } : { status: 'ok' };
    };
    const names = Object.keys(answers).filter((name) => !name.startsWith('validate'));
    expect(names).toHaveLength(18);
    for (const name of names) {
      expect(answers[name], name).toMatchObject(accepted(name));
      expect(answers[name], name).not.toHaveProperty('failed');
      // The client's mark for an answer that does not fit its model.
      expect(answers[name], name).not.toHaveProperty('unparsedObject');
    }
  });

  test('a missing key is refused as Datadog refuses it', () => {
    const { error } = answers['validate nothing'] as { error: unknown };
    expect(error).toMatchObject({ code: 403, body: { errors: ['API key required'] } });
  });

  test('compresses as it was told', () => {
    const encodings = sent.map(({ headers }) => headers['content-encoding'] ?? 'none');
    expect(encodings.filter((one) => one === 'gzip')).toHaveLength(4);
    expect(encodings.filter((one) => one === 'deflate')).toHaveLength(4);
    expect(encodings.filter((one) => one === 'zstd1')).toHaveLength(1);
  });

  test('Datadog gets every body byte for byte, as compressed, with query and headers, under the configured key', () => {
    expect(session.vendor.violations).toEqual([]);
    expect(session.agent.requests).toEqual([]);
    expect(session.vendor.requests.filter(({ method }) => method === 'POST')).toHaveLength(sent.length);
    for (const { target, body, headers } of sent) {
      const url = new URL(target, 'http://client');
      const found = session.vendor.requests.filter(
        (request) => request.path === url.pathname && Buffer.compare(request.body, body) === 0,
      );
      expect(found, target).toHaveLength(1);
      const [received] = found;
      expect(received!.apiKey).toBe(VENDOR_KEY);
      expect(received!.status).toBeLessThan(300);
      expect([...received!.query]).toEqual([...url.searchParams]);
      expect(received!.headers['content-encoding']).toBe(headers['content-encoding']);
      expect(received!.headers['content-type']).toBe(headers['content-type']);
      expect(received!.headers['user-agent']).toBe(headers['user-agent']);
    }
  });

  test('metrics are kept as they were sent', () => {
    const series = (body: { series: unknown[] }) => body.series;
    const paths = ['/api/v1/series', '/api/v2/series', '/api/v1/distribution_points'];
    const wanted = itemsSent(series, ...paths);
    expect(wanted).toHaveLength(16);
    expect(lines.metrics!.map(canonicalJson)).toEqual(wanted);
  });

  test('logs are kept as they were sent', () => {
    const wanted = itemsSent((body: unknown[]) => body, '/v1/input', '/api/v2/logs');
    expect(wanted).toHaveLength(8);
    expect(lines.logs!.map(canonicalJson)).toEqual(wanted);
  });

  test('events and checks are kept as they were sent', () => {
    const items = (body: unknown) => (Array.isArray(body) ? body : [body]);
    const wanted = itemsSent(items, '/api/v1/check_run', '/api/v1/events', '/api/v2/events');
    expect(wanted).toHaveLength(4);
    expect(lines.events!.map(canonicalJson)).toEqual(wanted);
  });
});
