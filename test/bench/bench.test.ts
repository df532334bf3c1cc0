/** The benchmarks run and give what they say, on next to no data. No figure is checked here but counts and sizes. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { sizeElsewhere, stagesElsewhere } from '../../bench/case-process.ts';
import { parseOptions } from '../../bench/options.ts';
import { HOT_LEVEL, LEVELS, storeAll } from '../../bench/pipeline.ts';
import { checkCuts, checkRoundTrip, itemTexts } from '../../bench/round-trip.ts';
import { jsonBody, payloadSources } from '../../bench/sources.ts';
import { stageNames } from '../../bench/stages.ts';
import { createParquetCodec } from '../../src/codec/parquet-codec.ts';
import { PROJECT } from '../support/proxy-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const TINY = { seconds: 0.01, samplesMin: 1 };

test('own bodies, plain and compressed: sizes, baselines, and every item back', async () => {
  const folder = await temporaryFolder();
  for (const signal of ['metrics', 'logs', 'traces']) await mkdir(join(folder, signal));
  const series = (value: number) =>
    `{"series":[{"metric":"a.b","type":3,"points":[{"timestamp":1789990000,"value":${value}},{"timestamp":1789990010,"value":1e2}],"resources":[{"name":"h","type":"host"}],"tags":["x:1"]}]}`;
  await writeFile(join(folder, 'metrics', 'm.ndjson.gz'), gzipSync(`${series(0.1)}\n\n${series(-7)}\n`));
  const log =
    '[{"message":"a \\ud800 \\"b\\"","service":"s","n":12345678901234567890.50,"n":1,"timestamp":1789990000000}]';
  await writeFile(join(folder, 'logs', 'l.ndjson.zst'), zstdCompressSync(`${log}\n`.repeat(40)));
  const span =
    '{"service":"s","name":"n","resource":"r","trace_id":18446744073709551615,"span_id":9007199254740993,"parent_id":0,"start":1789990000000000001,"duration":5,"error":0,"meta":{"k":"v"},"metrics":{"m":0.5},"type":"web"}';
  await writeFile(join(folder, 'traces', 't.ndjson'), `[[${span},${span}],[${span}]]`);

  const results = await Promise.all(
    payloadSources(folder).map((source) =>
      sizeElsewhere(source, {
        ...TINY,
        capBytes: Number.POSITIVE_INFINITY,
        duckdb: source.signal === 'traces',
        forms: true,
      }),
    ),
  );
  expect(results.map(({ name, signal, items, bodies }) => ({ name, signal, items, bodies }))).toEqual([
    { name: 'm', signal: 'metrics', items: 4, bodies: 2 },
    { name: 'l', signal: 'logs', items: 40, bodies: 40 },
    { name: 't', signal: 'traces', items: 3, bodies: 1 },
  ]);
  expect(results[1]!.rawBytes).toBe(40 * log.length);
  for (const result of results) {
    expect(result.roundTripProblem).toBeUndefined();
    expect(result).toMatchObject({ roundTripExact: true, isCapped: false, segments: 1 });
    const { gzip6, zstd3, zstd19Long } = result.baselines;
    for (const bytes of [...LEVELS.map((level) => result.storedBytes[level]), gzip6, zstd3, zstd19Long]) {
      expect(bytes).toBeGreaterThan(0);
    }
    for (const speed of [result.encodeMBps, result.itemsPerSecond, result.decodeMBps]) expect(speed).toBeGreaterThan(0);
  }
  expect(results.map(({ forms }) => forms?.map(({ protocol, items }) => `${protocol} ${items}`))).toEqual([
    ['series-v2-proto 4'],
    [],
    ['traces-v04-msgpack 3', 'traces-agent-proto 3'],
  ]);
  for (const { forms } of results) for (const form of forms!) expect(form.roundTripProblem).toBeUndefined();
  expect(results[2]!.baselines.duckdbParquet).toBeGreaterThan(100);
  expect(results[1]!.baselines.duckdbParquet).toBeNull();

  const file = join(folder, 'results.json');
  const run = promisify(execFile);
  const args = [
    'bench/bench.ts',
    '--quick',
    '--no-duckdb',
    '--payloads',
    folder,
    '--filter',
    'traces/t',
    '--json',
    file,
  ];
  const { stdout } = await run(process.execPath, args, { cwd: PROJECT });
  expect(stdout).toMatch(/^t +0\.00 +3 .* yes$/m);
  const [only, ...others] = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>[];
  expect(others).toEqual([]);
  expect(only).toMatchObject({ name: 't', signal: 'traces', items: 3, storedBytes: results[2]!.storedBytes });
});

test('what is not given back as it was sent is reported with its place', async () => {
  const body = (value: string) => `[{"message":"m","n":${value}},{"message":"k"}]`;
  const codec = createParquetCodec();
  const cuts: Uint8Array[][] = [];
  const bodies = [jsonBody('logs', Buffer.from(body('1'))), jsonBody('logs', Buffer.from(body('2')))];
  storeAll(bodies, codec, HOT_LEVEL, (segments) => cuts.push(segments.map(({ bytes }) => bytes)));
  expect(cuts).toHaveLength(1);
  const check = (...sent: string[]) =>
    checkRoundTrip(codec, 'logs', cuts[0]!, { first: 1, last: sent.length }, (position) =>
      itemTexts(sent[position - 1]!, 'logs'),
    );
  expect(await check(body('1'), body('2'))).toEqual({ exact: true, items: 4 });
  expect(await check(body('1'), body('3'))).toMatchObject({
    exact: false,
    problem: expect.stringContaining('body 2, item 0'),
  });

  // The same in three flushes, of which the second holds a body without items.
  const many: Uint8Array[][] = [];
  const texts = [body('1'), '[]', body('2'), body('3')];
  const sent = texts.map((text) => jsonBody('logs', Buffer.from(text)));
  const bounds = { rows: 2, rawBytes: 1e9, heldBytes: 1e9 };
  storeAll(sent, codec, HOT_LEVEL, (segments) => many.push(segments.map(({ bytes }) => bytes)), bounds);
  expect(many).toHaveLength(3);
  const checkAll = (list: string[]) =>
    checkCuts(codec, 'logs', many, list.length, (position) => itemTexts(list[position - 1]!, 'logs'));
  expect(await checkAll(texts)).toBeUndefined();
  expect(await checkAll([...texts.slice(0, 3), body('4')])).toContain('body 4, item 0');
  expect(await checkAll([...texts, body('4')])).toContain('body 5: 2 items sent, 0 given back');
  expect(await check(body('1'), body('2'), body('2'))).toMatchObject({
    exact: false,
    problem: 'body 3: 2 items sent, 0 given back',
  });
});

test('a stage for everything that is listed', async () => {
  const [logs, events] = await Promise.all(
    (['logs', 'events'] as const).map((signal) =>
      stagesElsewhere(signal, { ...TINY, seed: 1, bytesPerProtocol: 4096, filter: '' }),
    ),
  );
  expect(logs!.map(({ name }) => name)).toEqual(stageNames('logs'));
  expect(events!.map(({ name }) => name)).toEqual(stageNames('events'));
  for (const stage of [...logs!, ...events!]) {
    expect(stage.items).toBeGreaterThan(0);
    expect(stage.mbPerSecond.low).toBeLessThanOrEqual(stage.mbPerSecond.high);
  }
});

test('an item that differs is seen', () => {
  expect(itemTexts('{"extra":1,"series":[{"metric":"]"}]}', 'metrics')).toEqual(['{"metric":"]"}']);
  expect(itemTexts('{"message":"one"}', 'logs')).toEqual(itemTexts('[ {"message": "\\u006fne"} ]', 'logs'));
  expect(itemTexts('[{"n":1.10}]', 'logs')).not.toEqual(itemTexts('[{"n":1.11}]', 'logs'));
  expect(() => itemTexts('{"message":"one"}', 'metrics')).toThrow();
});

test('options and bounds', async () => {
  expect(parseOptions(['--seconds', 'x'])).toContain('--seconds');
  expect(parseOptions(['--nope'])).toContain('--nope');
  expect(parseOptions(['--payloads', 'd'])).toMatchObject({ capBytes: Number.POSITIVE_INFINITY, seconds: 2 });
  expect(readFileSync(join(PROJECT, 'bench/README.md'), 'utf8')).toContain('bench:load');
});
