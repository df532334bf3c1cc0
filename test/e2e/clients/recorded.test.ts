/**
 * Recorded Datadog traffic sent again: API cassettes, requests of the AWS forwarder, and span snapshots of tracers' own test suites
 * (as JSON and as msgpack). Everything is taken, kept as it was sent, and passed on byte for byte.
 */
import { Readable } from 'node:stream';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RecordedRequest, readRecorded } from '../../support/clients/recorded.ts';
import { type ClientSession, openSession, requestsTo, VENDOR_KEY } from '../../support/clients/session.ts';
import { canonicalJson } from '../../support/corpus/canonical-json.ts';
import { Ledger } from '../../support/corpus/ledger.ts';
import type { SentBody } from '../../support/corpus/sent-body.ts';
import { findCorpus, listSources, readBodies } from '../../support/corpus/sources.ts';
import { reencodedSpans, spansJson } from '../../support/corpus/traces-bodies.ts';

const corpus = findCorpus();
const SNAPSHOTS = ['datadog/dd-trace-py', 'datadog/libdatadog'];
/** All of them with CORPUS_SHARE=1. */
const SHARE = process.env.CORPUS_SHARE === '1' ? 1 : 0.25;
/** As the manifest counts them; equal spans of one file are one. */
const SPANS_MIN = SHARE < 1 ? 300 : 3000;
const SENDERS = 16;
const RECORDED_KEY = 'abcdefghijklmnopqrstuvwxyz012345';

async function send(url: string, method: 'POST' | 'PUT', headers: Record<string, string>, body: Uint8Array) {
  const answer = await request(url, { method, headers, body });
  return { status: answer.statusCode, text: await answer.body.text() };
}

/** The values an item list holds, as canonical texts: the whole body, or one text for each item of its list. */
function itemsOf({ path, text }: RecordedRequest): string[] {
  const canonical = canonicalJson(text);
  const value = JSON.parse(canonical) as unknown;
  const isSeries = /series$|distribution_points$/.test(path);
  const list = isSeries ? (value as { series: unknown[] }).series : Array.isArray(value) ? value : [value];
  return list.map((item) => canonicalJson(JSON.stringify(item)));
}

/** Span snapshots, each once as JSON and once as msgpack. */
async function* spanBodies(root: string): AsyncGenerator<SentBody> {
  for (const source of listSources(root).filter(({ name }) => SNAPSHOTS.includes(name))) {
    for await (const { text, index } of readBodies(root, source, SHARE, 'clients')) {
      yield spansJson(text);
      yield* reencodedSpans(text, `${source.name} ${index}`).filter(({ path }) => path === '/v0.4/traces');
    }
  }
}

// In CI the corpus is there.
const title = corpus ? 'recorded traffic' : 'recorded traffic: SKIPPED, no corpus in REDUCTRAI_CORPUS or ../shared';
describe.skipIf(corpus === undefined)(title, () => {
  let session: ClientSession;
  let recorded: RecordedRequest[];
  const statuses = new Map<RecordedRequest, number>();
  const spans: SentBody[] = [];
  const spanStatuses = new Set<number>();
  const ledger = new Ledger();
  const lines: Record<string, string[]> = {};

  beforeAll(async () => {
    session = await openSession();
    recorded = await readRecorded(corpus!);
    for (const one of recorded) {
      const { status } = await send(session.url + one.target, 'POST', one.headers, one.body);
      statuses.set(one, status);
    }
    const queue = spanBodies(corpus!);
    // Several at once, as tracers send: the order of requests is free, that of the spans in one is not.
    const sendAll = async (): Promise<void> => {
      for await (const body of queue) {
        spans.push(body);
        ledger.expect(`${body.contentType} ${spans.length}`, body.items);
        const headers = {
          'content-type': body.contentType,
          'datadog-meta-lang': 'python',
          'x-datadog-trace-count': '1',
        };
        spanStatuses.add((await send(session.url + body.path, 'PUT', headers, body.body)).status);
      }
    };
    await Promise.all(Array.from({ length: SENDERS }, sendAll));
    await session.stop();
    for (const signal of ['metrics', 'logs', 'events', 'traces']) lines[signal] = await session.exported(signal);
  }, 240_000);

  afterAll(() => session?.close());

  const pick = (pattern: RegExp) => recorded.filter(({ path }) => pattern.test(path));

  test('holds what the manifest promises', () => {
    expect(pick(/\/series$/).length).toBeGreaterThanOrEqual(9);
    expect(pick(/\/events$/).length).toBeGreaterThanOrEqual(5);
    expect(pick(/\/logs$|\/input/).length).toBeGreaterThanOrEqual(18);
    expect(pick(/\/distribution_points$/).length).toBeGreaterThanOrEqual(16);
    expect(pick(/\/check_run$/).length).toBeGreaterThanOrEqual(1);
    expect(spans.reduce((sum, { items }) => sum + items.length, 0)).toBeGreaterThanOrEqual(2 * SPANS_MIN);
    expect(spans.filter(({ contentType }) => contentType === 'application/msgpack').length).toBe(spans.length / 2);
  });

  test('every request is taken', () => {
    for (const one of recorded) expect(statuses.get(one), one.label).toBe(one.path.startsWith('/v1/input') ? 200 : 202);
    expect(spanStatuses).toEqual(new Set([200]));
  });

  test('Datadog and the Agent get every body byte for byte', () => {
    expect(session.vendor.violations).toEqual([]);
    expect(session.agent.violations).toEqual([]);
    const received = session.vendor.requests.map(
      ({ path, body }) => `${path.replace(/^\/v1\/input.*/, '/v1/input')} ${hex(body)}`,
    );
    const sent = recorded.map(({ path, body }) => `${path.replace(/^\/v1\/input.*/, '/v1/input')} ${hex(body)}`);
    expect(received.sort()).toEqual(sent.sort());
    // The key a request came with goes no further, wherever it stood.
    for (const { path, query, apiKey } of session.vendor.requests) {
      expect(`${path}?${query}`).not.toContain(RECORDED_KEY);
      expect(apiKey).toBe(VENDOR_KEY);
    }
    const toAgent = requestsTo(session.agent, '/v0.4/traces');
    expect(toAgent.map(({ body, headers }) => `${headers['content-type']} ${hex(body)}`).sort()).toEqual(
      spans.map(({ body, contentType }) => `${contentType} ${hex(body)}`).sort(),
    );
  });

  test.each([
    ['metrics', /series$|distribution_points$/],
    ['logs', /\/logs$|\/input/],
    ['events', /\/events$|\/check_run$/],
  ])('%s are kept as they were recorded', (signal, pattern) => {
    const wanted = pick(pattern).flatMap(itemsOf);
    expect(wanted.length).toBeGreaterThan(0);
    expect(lines[signal]!.map(canonicalJson)).toEqual(wanted);
  });

  test('spans are kept as they were recorded, to the last digit of their ids', async () => {
    const problems = await ledger.match(Readable.from(lines.traces!.map(canonicalJson)));
    expect(problems).toEqual([]);
    expect(lines.traces).toHaveLength(ledger.items);
  });
});

const hex = (body: Uint8Array): string => Buffer.from(body).toString('hex');
