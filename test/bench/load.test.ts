/** The load benchmark on next to no data: its bodies never repeat, and the proxy keeps all it acknowledged. No speed is checked. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { pack, unpack } from 'msgpackr';
import { afterEach, expect, test, vi } from 'vitest';
import { corpusSendings, sourceWeights } from '../../bench/load/corpus-templates.ts';
import { casesFor } from '../../bench/load/load.ts';
import { runLoadCase, SERVERS } from '../../bench/load/load-case.ts';
import { mixesFor } from '../../bench/load/mixes.ts';
import { findStamps, moveStamps, stampCount } from '../../bench/load/stamps.ts';
import { generatedSendings, nextBody, type Sending } from '../../bench/load/templates.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const OPTIONS = { seed: 2, seconds: 0.5, warmUpSeconds: 0.2, connections: 4, templates: 20, corpusBytes: 1e6 };
const CORPUS_SENDINGS = 8192;
const END_MS = 1_790_000_000_500;
/** A minute, and what rounding to seconds takes. */
const OLDEST_MS = END_MS - 63_000;

afterEach(() => vi.unstubAllEnvs());

const series = (name: string, ...times: number[]): string =>
  JSON.stringify({
    series: times.map((timestamp) => ({
      metric: name,
      type: 3,
      points: [{ timestamp, value: 0.5 }],
      resources: [{ type: 'host', name: 'h' }],
      tags: ['a:b'],
    })),
  });
const logs = (...times: number[]): string =>
  JSON.stringify(times.map((timestamp) => ({ message: `{"timestamp":${timestamp}}`, service: 's', timestamp })));
/** Nanoseconds are beyond what a number holds: put in as text. */
const spans = (...times: string[]): string =>
  `[${times
    .map(
      (start, id) =>
        `[{"service":"s","name":"n","resource":"r","trace_id":${id + 1},"span_id":7,"parent_id":0,"start":${start},"duration":5,"error":0,"meta":{},"metrics":{},"type":""}]`,
    )
    .join(',')}]`;

/** A folder as the shared corpus is one, with converters that print what lies there. */
async function makeCorpus(bodies: Record<string, string[]>): Promise<void> {
  const root = await temporaryFolder();
  await mkdir(join(root, 'tools'), { recursive: true });
  const tool =
    "import { readFileSync } from 'node:fs';\nprocess.stdout.write(readFileSync(process.argv.at(-1) + '/bodies'));\n";
  for (const kind of ['logs', 'metrics', 'traces']) await writeFile(join(root, 'tools', `${kind}2dd.mjs`), tool);
  // The recorded exchanges are always there; here they have no times, so that nothing is made of them.
  const untimed = { 'datadog/dd-trace-py': [spans('0')], 'datadog/libdatadog': [spans('1000000')] };
  for (const [name, lines] of Object.entries({ ...untimed, ...bodies })) {
    await mkdir(join(root, 'corpus', name), { recursive: true });
    await writeFile(join(root, 'corpus', name, 'bodies'), lines.map((line) => `${line}\n`).join(''));
  }
  vi.stubEnv('REDUCTRAI_CORPUS', root);
}

const CORPUS = {
  'metrics/small': [series('a', 1_200_000_000), series('b', 1_200_000_000), series('c', 1_200_000_000, 1_200_000_001)],
  // The first again, with another time: the same once both are moved to now.
  'metrics/again': [series('a', 1_300_000_000), series('d', 1_300_000_000)],
  // Years apart, and some with digits behind the second.
  'logs/far': [logs(1_200_000_000_123, 1_400_000_000_456), logs(1_400_000_000_999), '[{"message":"without a time"}]'],
  'logs/large': [logs(...Array.from({ length: 300 }, (_, i) => 1_300_000_000_000 + i))],
  'traces/one': [spans('1661140339307586801', '1661140339907586802'), spans('1661140339307586801')],
};

const rawOf = (sending: Sending): Buffer => {
  const body = nextBody(sending);
  return sending.encoding === 'zstd' ? zstdDecompressSync(body) : body;
};

test('times of every form are moved forth and back in place, whatever is carried', () => {
  const at = (ms: number, width = 3_600_000) => ({ fromMs: ms - width, toMs: ms + width });
  const json = Buffer.from(
    '{"a":1789999999,"b":1789999999123,"c":"1789999999123456789","d":"2026-09-21T13:46:39.123Z","e":17899999990,"f":1589999999}',
  );
  const inJson = findStamps(json, 'application/json', at(1_789_999_999_000));
  expect(stampCount(inJson)).toBe(4);
  const before = Buffer.from(json);
  moveStamps(json, inJson, 1);
  expect(json.toString()).toBe(
    '{"a":1790000000,"b":1790000000123,"c":"1790000000123456789","d":"2026-09-21T13:46:40.123Z","e":17899999990,"f":1589999999}',
  );
  moveStamps(json, inJson, 100_000);
  moveStamps(json, inJson, -100_001);
  expect(json.equals(before)).toBe(true);
  expect(stampCount(findStamps(Buffer.from('[{}]'), 'application/json', { fromMs: 0, toMs: 1e13 }))).toBe(0);

  const varint = (value: bigint): number[] =>
    value < 128n ? [Number(value)] : [Number(value & 127n) | 128, ...varint(value >> 7n)];
  // Seconds of which adding one carries through three groups; then nanoseconds.
  const seconds = 1_789_999_999n | 0x1fffffn;
  const protobuf = (s: bigint, ns: bigint) => Buffer.from([0x10, ...varint(s), 0x38, ...varint(ns), 0x08, 0x05]);
  const body = protobuf(seconds, seconds * 1_000_000_000n + 7n);
  const inProtobuf = findStamps(body, 'application/x-protobuf', at(Number(seconds) * 1000));
  expect(stampCount(inProtobuf)).toBe(2);
  moveStamps(body, inProtobuf, 1);
  expect(body).toEqual(protobuf(seconds + 1n, (seconds + 1n) * 1_000_000_000n + 7n));
  moveStamps(body, inProtobuf, -1);
  expect(body).toEqual(protobuf(seconds, seconds * 1_000_000_000n + 7n));

  // Signed (as msgpackr writes it) and unsigned.
  const nanos = 1_661_140_339_307_586_801n;
  const signed = Buffer.from(pack({ start: nanos }));
  const unsigned = Buffer.from(signed);
  unsigned[unsigned.indexOf(0xd3)] = 0xcf;
  for (const packed of [signed, unsigned]) {
    const stamps = findStamps(packed, 'application/msgpack', at(1_661_140_339_307));
    expect(stampCount(stamps)).toBe(1);
    moveStamps(packed, stamps, 5_000_000);
    expect(unpack(packed)).toEqual({ start: nanos + 5_000_000n * 1_000_000_000n });
    moveStamps(packed, stamps, -5_000_001);
    expect(unpack(packed)).toEqual({ start: nanos - 1_000_000_000n });
  }
});

test('generated bodies never repeat, keep their length, and are told apart by their times alone', () => {
  const sendings = generatedSendings('generated-mixed', 12, 3, 1_790_000_000_000);
  expect(new Set(sendings.map(({ template }) => template.path)).size).toBe(8);
  for (const sending of sendings) {
    const { template } = sending;
    const before = Buffer.from(template.raw);
    const first = Buffer.from(nextBody(sending));
    expect(template.raw.equals(before)).toBe(true);
    const second = Buffer.from(nextBody(sending));
    expect(second.equals(first)).toBe(false);
    expect(template.raw.byteLength).toBe(before.byteLength);
    moveStamps(template.raw, template.stamps, -1);
    expect(template.raw.equals(before)).toBe(true);
  }
});

test('bodies of a corpus: all that have times, in every form of the mix, none twice, at about now', async () => {
  await makeCorpus(CORPUS);
  const sendings = await corpusSendings('corpus-mixed', 1e6, 1, END_MS);
  expect(Math.abs(sendings.length - CORPUS_SENDINGS)).toBeLessThan(10);
  const templates = [...new Set(sendings.map(({ template }) => template))];
  const counted = (path: string, type: string) =>
    templates
      .filter((one) => one.path === path && one.headers['content-type'] === type)
      .map(({ items, rows }) => `${items} ${rows}`)
      .sort();
  expect(counted('/api/v2/series', 'application/x-protobuf')).toEqual(['1 1', '1 1', '1 1', '2 2']);
  expect(counted('/api/v2/series', 'application/json')).toEqual(['1 1', '1 1', '1 1', '2 2']);
  expect(counted('/api/v2/logs', 'application/json')).toEqual(['1 1', '2 2', '300 300']);
  expect(counted('/v0.4/traces', 'application/msgpack')).toEqual(['1 1', '2 2']);
  for (const { items, stamps } of templates) expect(stampCount(stamps)).toBe(items);

  const share = (test: (sending: Sending) => boolean) => sendings.filter(test).length / sendings.length;
  expect(share(({ template }) => template.signal === 'traces')).toBeCloseTo(60 / 76, 2);
  expect(share(({ template }) => template.signal === 'logs')).toBeCloseTo(12 / 76, 2);
  expect(share(({ encoding }) => encoding === 'zstd')).toBeCloseTo(0.5, 2);

  const timesOf = ({ template }: Sending, body: Buffer): number[] => {
    if (template.headers['content-type'] !== 'application/json') return [];
    if (template.signal === 'logs')
      return (JSON.parse(body.toString()) as { timestamp: number }[]).map(({ timestamp }) => timestamp);
    return (JSON.parse(body.toString()) as { series: { points: { timestamp: number }[] }[] }).series.map(
      ({ points }) => points[0]!.timestamp * 1000,
    );
  };
  // Twice through all: each body is sent many times.
  const seen = new Set<string>();
  const outside: number[][] = [];
  for (const sending of [...sendings, ...sendings]) {
    const { sent } = sending.template;
    const body = rawOf(sending);
    seen.add(`${sending.template.path} ${body.toString('latin1')}`);
    const times = timesOf(sending, body);
    if (times.length === 0) continue;
    if (Math.min(...times) < OLDEST_MS + sent * 1000 || Math.max(...times) > END_MS + sent * 1000) outside.push(times);
  }
  expect(outside).toEqual([]);
  expect(seen.size).toBe(2 * sendings.length);
  // A text that looks like a time of the corpus stays as it is.
  expect([...seen].some((body) => body.includes('\\"timestamp\\":1200000000123'))).toBe(true);

  const order = (list: Sending[]) => list.map(({ template, encoding }) => `${encoding} ${template.raw.byteLength}`);
  const one = await corpusSendings('corpus-logs-json', 1e6, 1, END_MS);
  expect(order(await corpusSendings('corpus-logs-json', 1e6, 1, END_MS))).toEqual(order(one));
  expect(order(await corpusSendings('corpus-logs-json', 1e6, 2, END_MS))).not.toEqual(order(one));
});

test('no source has more than a third of the bytes, and small ones come equally often', () => {
  const bytes = [8_000, 70_000, 2_000_000, 190_000];
  const weights = sourceWeights(bytes);
  const total = weights.reduce((sum, weight, i) => sum + weight * bytes[i]!, 0);
  weights.forEach((weight, i) => {
    expect((weight * bytes[i]!) / total).toBeLessThan(1 / 3 + 1e-6);
  });
  expect(weights[0]).toBe(weights[1]);
  expect(weights.reduce((sum, weight) => sum + weight, 0)).toBeCloseTo(1, 9);
  expect(sourceWeights([5])).toEqual([1]);
  expect(sourceWeights([5, 5000])[1]).toBeCloseTo(1 / 1001, 6);
});

test('cases: of the corpus when nothing is said, of the generator when they are named or there is no corpus', () => {
  const corpus = ['corpus-mixed', 'corpus-series-proto', 'corpus-logs-json'];
  const generated = ['generated-mixed', 'generated-series-proto', 'generated-logs-json'];
  expect(mixesFor('', true)).toEqual(corpus);
  expect(mixesFor('', false)).toEqual(generated);
  const mixes = (filter: string, withCorpus: boolean) => [
    ...new Set(casesFor(filter, withCorpus).map(({ mix }) => mix)),
  ];
  expect(mixes('generated-mixed', true)).toEqual(['generated-mixed']);
  expect(mixes('logs-json', true)).toEqual(['corpus-logs-json', 'generated-logs-json']);
  expect(mixes('corpus', false)).toEqual([]);
  const servers = casesFor('corpus-mixed/memory/forward', true).map(({ server }) => server);
  expect(servers).toEqual(SERVERS.filter((server) => ['bare', 'inflating', 'memory/forward'].includes(server)));
});

test('under load: the plain server, and the proxy that keeps and forwards all it acknowledged', async () => {
  const plain = await runLoadCase('generated-mixed', 'inflating', OPTIONS);
  expect(plain).toMatchObject({ refused: {}, name: 'generated-mixed/inflating' });
  expect(plain.requestsPerSecond).toBeGreaterThan(0);
  await makeCorpus(CORPUS);
  for (const mix of ['generated-mixed', 'corpus-mixed']) {
    const ours = await runLoadCase(mix, 'disk/forward', OPTIONS);
    expect(ours).toMatchObject({ refused: {}, proxy: { isComplete: true } });
    expect(ours.rowsPerRequest).toBeGreaterThan(0);
    expect(ours.rawBytesPerRequest).toBeGreaterThan(0);
    const { stored, acknowledged } = ours.proxy!;
    // So short a case may not come to every signal.
    const some = (counts: Record<string, number>) => Object.entries(counts).filter(([, count]) => count > 0);
    expect(some(acknowledged)).not.toEqual([]);
    expect(Object.fromEntries(some(stored))).toEqual(Object.fromEntries(some(acknowledged)));
  }
});
