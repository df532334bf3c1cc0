/**
 * dd-trace as it comes from npm, in a program of its own, with this proxy as its Agent: it finds no fault, its spans are kept as it
 * sent them, and the Agent behind the proxy gets its bodies byte for byte. Truth: what the program says it made, and a wiretap.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { Unpackr } from 'msgpackr';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { MadeSpan } from '../../support/clients/dd-trace-process.ts';
import { type ClientSession, openSession, requestsTo } from '../../support/clients/session.ts';
import { startWiretap, type TappedRequest, type Wiretap } from '../../support/clients/wiretap.ts';
import { canonicalJson, canonicalOf } from '../../support/corpus/canonical-json.ts';
import { PROJECT } from '../../support/proxy-process.ts';

const NODE = join(PROJECT, 'node_modules', 'node', 'bin', 'node');
const PROGRAM = join(PROJECT, 'test', 'support', 'clients', 'dd-trace-process.ts');
const STATS = '/v0.6/stats';
/** What dd-trace says, whatever the answer is. */
const TRACES_ANSWERED = 'Response from the agent: ';
const FIELDS_V05 = 'service name resource trace_id span_id parent_id start duration error meta metrics type'.split(' ');
/** What dd-trace says when all is well, on the same stream as its errors. */
const GOOD_NEWS = /^DATADOG TRACER (CONFIGURATION|INTEGRATIONS LOADED) - /;

interface TracedRun {
  url: string;
  spans: MadeSpan[];
  stdout: string;
  stderr: string;
  code: number | null;
}

interface SpanJson {
  name: string;
  service: string;
  resource: string;
  type?: string;
  error: number;
  trace_id: bigint;
  span_id: bigint;
  parent_id: bigint;
  meta: Record<string, string>;
  metrics: Record<string, number>;
}

/** The Agent has statistics that came over this wire. */
async function agentHasStatistics({ agent }: ClientSession, tap: Wiretap): Promise<void> {
  const isStats = (request: { path: string }) => request.path === STATS;
  for (let count = 1; ; count++) {
    const received = await agent.waitFor(count, isStats);
    if (received.some((request) => tap.carried(request.body))) return;
    count = received.length;
  }
}

/** Runs the program until it has the answer to its spans and the Agent its statistics, which dd-trace sends every ten seconds. */
async function runProgram(session: ClientSession, tap: Wiretap, env: Record<string, string>): Promise<TracedRun> {
  const child = spawn(NODE, [PROGRAM], {
    env: {
      PATH: process.env.PATH ?? '',
      DD_TRACE_AGENT_URL: tap.url,
      DD_TRACE_STATS_COMPUTATION_ENABLED: 'true',
      DD_TRACE_STARTUP_LOGS: 'true',
      DD_TRACE_DEBUG: 'true',
      DD_SERVICE: 'shop',
      DD_ENV: 'tést',
      DD_VERSION: '1.2.3',
      ...env,
    },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  const answered = new Promise<void>((resolve) => {
    child.stdout.on('data', (chunk) => {
      out.push(chunk);
      if (Buffer.concat(out).includes(TRACES_ANSWERED)) resolve();
    });
  });
  child.stderr.on('data', (chunk) => err.push(chunk));
  const closed = once(child, 'close');
  // Its input ends only then: at its end it does not wait for answers that are under way.
  await Promise.race([Promise.all([agentHasStatistics(session, tap), answered]), closed]);
  child.stdin.end();
  const [code] = await closed;
  const stdout = Buffer.concat(out).toString('utf8');
  const spans = JSON.parse(/^SPANS (.*)$/m.exec(stdout)?.[1] ?? '[]') as MadeSpan[];
  return { url: tap.url, spans, stdout, stderr: Buffer.concat(err).toString('utf8'), code };
}

/** The spans of a v0.4 or v0.5 body, read by msgpackr, as the JSON that an export must give; in order. */
function spansSent(body: Buffer, version: string): Record<string, unknown>[] {
  if (version === '0.4') return (unpack(body, true) as Record<string, unknown>[][]).flat();
  const [strings, traces] = unpack(body, false) as [string[], unknown[][][]];
  const text = (index: unknown): string => strings[Number(index)]!;
  return traces.flat().map((values) => {
    const span: Record<string, unknown> = {};
    for (const [i, field] of FIELDS_V05.entries()) span[field] = values[i];
    for (const field of ['service', 'name', 'resource', 'type']) span[field] = text(span[field]);
    const meta = [...(span.meta as Map<number, number>)].map(([key, value]) => [text(key), text(value)]);
    const metrics = [...(span.metrics as Map<number, number>)].map(([key, value]) => [text(key), value]);
    return { ...span, meta: Object.fromEntries(meta), metrics: Object.fromEntries(metrics) };
  });
}

/** Maps as objects; where keys are numbers, as Map: an object would sort them. */
function unpack(body: Buffer, mapsAsObjects: boolean): unknown {
  return new Unpackr({ int64AsType: 'bigint', mapsAsObjects }).unpack(body);
}

/** An exported line with its ids as they are. */
function spanOf(line: string): SpanJson {
  return JSON.parse(line, (key, value: unknown, context?: { source: string }) =>
    key.endsWith('_id') && typeof value === 'number' ? BigInt(context!.source) : value,
  ) as SpanJson;
}

const VERSIONS = ['0.4', '0.5'];
let session: ClientSession;
const taps = new Map<string, Wiretap>();
const runs = new Map<string, TracedRun>();
let exported: string[];
let exportedWithAll: string[];

// Both programs at once: most of the time is the wait for statistics.
beforeAll(async () => {
  session = await openSession();
  for (const version of VERSIONS) taps.set(version, await startWiretap(session.url));
  await Promise.all(
    VERSIONS.map(async (version) => {
      // v0.4 is what dd-trace speaks when it is told nothing.
      const env: Record<string, string> = version === '0.4' ? {} : { DD_TRACE_AGENT_PROTOCOL_VERSION: version };
      runs.set(version, await runProgram(session, taps.get(version)!, env));
    }),
  );
  await session.stop();
  exported = await session.exported('traces');
  exportedWithAll = await session.exported('traces', '--all');
}, 120_000);

afterAll(async () => {
  for (const tap of taps.values()) await tap.close();
  await session?.close();
});

describe.each(VERSIONS)('dd-trace over v%s', (version) => {
  const runOf = (): TracedRun => runs.get(version)!;
  const sentTo = (path: string): TappedRequest[] =>
    taps
      .get(version)!
      .requests()
      .filter((request) => request.target === path);
  /** Lines of the program's own traces. */
  const linesOf = (): string[] => {
    const ids = new Set(runOf().spans.map((span) => BigInt(span.traceId)));
    return exported.filter((line) => ids.has(spanOf(line).trace_id));
  };

  test('finds no fault', () => {
    const run = runOf();
    expect(run.code).toBe(0);
    const complaints = run.stderr.split('\n').filter((line) => line !== '' && !GOOD_NEWS.test(line));
    expect(complaints).toEqual([]);
    expect(run.stderr).toContain(`"agent_url":"${run.url}/"`);
    expect(run.stdout).toContain('Response from the agent: {"rate_by_service":{"service:,env:":1}}');
    expect(session.agent.violations).toEqual([]);
    expect(session.vendor.violations).toEqual([]);
  });

  test('every span is kept with its ids, parent, names, tags and numbers', () => {
    const run = runOf();
    const lines = linesOf();
    const kept = new Map(lines.map(spanOf).map((span) => [`${span.trace_id} ${span.span_id}`, span]));
    expect(run.spans).toHaveLength(80);
    expect(lines).toHaveLength(run.spans.length);
    for (const made of run.spans) {
      const span = kept.get(`${made.traceId} ${made.spanId}`);
      expect(span, made.name).toMatchObject({
        name: made.name,
        service: made.service,
        resource: made.resource,
        error: made.isError ? 1 : 0,
        meta: made.texts,
        metrics: made.numbers,
      });
      expect(span!.parent_id).toBe(made.parentId === '' ? 0n : BigInt(made.parentId));
      expect(span!.type ?? '').toBe(made.type);
    }
    expect(new Set(run.spans.map((span) => span.traceId)).size).toBe(20);
  });

  test('what was kept is what was on the wire, member by member', () => {
    const bodies = sentTo(`/v${version}/traces`).map((request) => request.body);
    const wanted = bodies.flatMap((body) => spansSent(body, version)).map(canonicalOf);
    expect(wanted).toHaveLength(runOf().spans.length);
    const lines = linesOf();
    expect(lines).toHaveLength(wanted.length);
    const [index, line] = [...lines.map(canonicalJson).entries()].find(([i, text]) => text !== wanted[i]) ?? [];
    expect(line, `span ${index}`).toBe(index === undefined ? undefined : wanted[index]);
  });

  test('spans and statistics reach the Agent byte for byte, with the headers that matter', () => {
    for (const path of [`/v${version}/traces`, STATS]) {
      const requests = sentTo(path);
      expect(requests.length, path).toBeGreaterThan(0);
      for (const { method, body, headers } of requests) {
        const found = requestsTo(session.agent, path).filter((one) => Buffer.compare(one.body, body) === 0);
        expect(found, path).toHaveLength(1);
        const [received] = found;
        expect(received!.method).toBe(method);
        const relayed = Object.entries(headers).filter(([name]) => /^(datadog-|x-datadog-|content-type$)/.test(name));
        expect(received!.headers).toMatchObject(Object.fromEntries(relayed));
      }
    }
    const [spans] = sentTo(`/v${version}/traces`);
    // Without it the Agent would compute statistics of its own, and the spans would count twice.
    expect(spans!.headers['datadog-client-computed-stats']).toBe('yes');
    expect(requestsTo(session.agent, `/v${version}/traces`)[0]!.headers['datadog-client-computed-stats']).toBe('yes');
  });

  test('statistics are kept as they came', () => {
    const kept = exportedWithAll
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter((row) => row.kind === 'stats')
      .map((row) => row.raw_base64);
    const wanted = VERSIONS.flatMap((one) => taps.get(one)!.requests()).filter(({ target }) => target === STATS);
    expect(kept.sort()).toEqual(wanted.map(({ body }) => body.toString('base64')).sort());
    const [body] = sentTo(STATS);
    const { Stats } = unpack(body!.body, true) as { Stats: { Stats: { Hits: bigint }[] }[] };
    const hits = Stats.flatMap((bucket) => bucket.Stats).reduce((sum, row) => sum + Number(row.Hits), 0);
    expect(hits).toBeGreaterThanOrEqual(20);
  });
});
