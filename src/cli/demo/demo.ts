/**
 * `reductrai demo`: the whole journey in one process, on a folder of its own: made-up traffic → the proxy → a sink that stands in for
 * Datadog and an Agent. Then says what came in, went out and was kept, and asks the archive. Fails when anything is missing anywhere.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { request as send } from 'undici';
import { type App, openApp } from '../../app.ts';
import type { Settings } from '../../config/registry.ts';
import { systemClock } from '../../core/clock.ts';
import { SIGNALS, type Signal } from '../../core/envelope.ts';
import { messageOf } from '../../core/errors.ts';
import { nodeFileSystem } from '../../core/file-system.ts';
import { systemRandom } from '../../core/random.ts';
import { openCatalogue } from '../../query/catalogue.ts';
import { openEngine } from '../../query/engine.ts';
import { cellOf, formatTable, humanBytes } from '../../query/table.ts';
import { readCommits } from '../../store/commit-records.ts';
import { createLog } from '../../telemetry/log.ts';
import { VERSION } from '../../version.ts';
import { type CliIo, fail, filesOf } from '../io.ts';
import { openStoreToRead } from '../open-store.ts';
import { load } from '../serve.ts';
import { payloads } from './payloads.ts';
import { openSink, type Sink } from './sink.ts';
import { TRAFFIC_STEP_MS, type TrafficRequest, traffic } from './traffic.ts';

const USAGE = `Usage: reductrai demo [options]

Sends made-up traffic through a proxy of its own to a stand-in for Datadog, and shows what became of it.

  --requests N      how many requests to send (600; with --payloads: all)
  --seed N          seed of the traffic (1): equal seeds send equal values
  --payloads DIR    send these instead: DIR/{metrics,logs,traces}/*.ndjson, one JSON body a line
                    (series v2, arrays of logs, arrays of v0.4 traces)
  --keep            keep the folder, for queries of your own
`;

const REQUESTS = 600;
const CONCURRENCY = 8;
const DELIVERY_DEADLINE_MS = 120_000;
const DRAIN_DEADLINE_MS = 60_000;
const QUERY =
  "SELECT service, count(*) AS logs, count(*) FILTER (status = 'error') AS errors FROM logs GROUP BY ALL ORDER BY errors DESC, service LIMIT 10";

interface Tally {
  requests: number;
  items: number;
  sentBytes: number;
  rawBytes: number;
  refused: number;
}

interface Kept {
  envelopes: number;
  rawBytes: number;
  storedBytes: number;
}

type PerSignal<T> = Record<Signal, T>;

/** Exit code: 0 when all that was sent was also kept and forwarded, 1 when not, 2 for wrong usage. */
export async function runDemo(args: string[], io: CliIo): Promise<number> {
  let options: DemoOptions;
  try {
    options = optionsOf(args);
  } catch (error) {
    return fail(io, messageOf(error), USAGE);
  }
  if (options.help) {
    io.stdout.write(USAGE);
    return 0;
  }
  const folder = await mkdtemp(join(tmpdir(), 'reductrai-demo-'));
  try {
    return await run(folder, options, io);
  } catch (error) {
    return fail(io, `${messageOf(error)}\n`);
  } finally {
    if (options.keep) {
      io.stdout.write(`\nKept in ${folder}: DATA_DIR=${folder} bin/reductrai query "SELECT count(*) FROM spans"\n`);
    } else await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

interface DemoOptions {
  requests: number;
  seed: number;
  payloads: string | undefined;
  keep: boolean;
  help: boolean;
}

function optionsOf(args: string[]): DemoOptions {
  const { values } = parseArgs({
    args,
    options: {
      requests: { type: 'string' },
      seed: { type: 'string' },
      payloads: { type: 'string' },
      keep: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  const whole = (name: string, text: string | undefined, fallback: number, least: number): number => {
    if (text === undefined) return fallback;
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < least || value > 0xffffffff) throw new Error(`--${name}: not a count: ${text}`);
    return value;
  };
  const everything = values.payloads === undefined ? REQUESTS : Number.POSITIVE_INFINITY;
  return {
    requests: whole('requests', values.requests, everything, 1),
    seed: whole('seed', values.seed, 1, 0),
    payloads: values.payloads,
    keep: values.keep === true,
    help: values.help === true,
  };
}

async function run(folder: string, options: DemoOptions, io: CliIo): Promise<number> {
  const sink = await openSink();
  try {
    const settings = settingsFor(folder, sink.url);
    const app = await openApp({
      settings,
      mode: 'all',
      version: VERSION,
      fileSystem: nodeFileSystem,
      clock: systemClock,
      random: systemRandom,
      log: createLog(settings.server.logLevel),
    });
    let sent: PerSignal<Tally>;
    let duplicates: number;
    const startedAtMs = systemClock.monotonicMs();
    try {
      const { requests, seed } = options;
      const startMs = systemClock.nowMs() - requests * TRAFFIC_STEP_MS;
      const source = options.payloads ? payloads(options.payloads) : traffic(seed, { startMs, requests });
      sent = await sendAll(app.address, source, requests);
      duplicates = await untilDelivered(app, sink, sent);
    } finally {
      await app.drain(DRAIN_DEADLINE_MS, 0);
    }
    const seconds = (systemClock.monotonicMs() - startedAtMs) / 1000;
    return await report(settings, { sent, duplicates, sink, seconds }, io);
  } finally {
    await sink.close();
  }
}

function settingsFor(folder: string, sinkUrl: string): Settings {
  const loaded = load({
    DATA_DIR: folder,
    FORWARD_TO: sinkUrl,
    AGENT_URL: sinkUrl,
    DATADOG_API_KEY: 'demo',
    REDUCTRAI_HOST: '127.0.0.1',
    REDUCTRAI_PORT: '0',
    REPLICA_ID: 'demo',
    LOG_LEVEL: 'warn',
  });
  if (!loaded.ok) throw new Error(`BUG: the demo's settings are refused: ${loaded.problems.join('; ')}`);
  return loaded.settings;
}

/** A few connections at a time share one source; each asks for the next request when its last one is answered. */
async function sendAll(
  address: string,
  source: Iterable<TrafficRequest> | AsyncIterable<TrafficRequest>,
  requestsMax: number,
): Promise<PerSignal<Tally>> {
  const sent = perSignal<Tally>(() => ({ requests: 0, items: 0, sentBytes: 0, rawBytes: 0, refused: 0 }));
  const queue = limited(source, requestsMax);
  const lane = async (): Promise<void> => {
    for (;;) {
      const { value, done } = await queue.next();
      if (done) return;
      const { signal, method, path, headers, body, rawBytes, items } = value;
      const answer = await send(`${address}${path}`, { method, headers: { ...headers, 'dd-api-key': 'demo' }, body });
      await answer.body.dump();
      const tally = sent[signal];
      tally.requests += 1;
      tally.items += items;
      tally.sentBytes += body.byteLength;
      tally.rawBytes += rawBytes;
      if (answer.statusCode >= 300) tally.refused += 1;
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, lane));
  return sent;
}

async function* limited<T>(source: Iterable<T> | AsyncIterable<T>, countMax: number): AsyncGenerator<T> {
  let left = countMax;
  for await (const value of source) {
    if (left-- <= 0) return;
    yield value;
  }
}

/** Returns how many requests the proxy took for retries after a lost answer: those are kept and forwarded once. */
async function untilDelivered(app: App, sink: Sink, sent: PerSignal<Tally>): Promise<number> {
  const { books } = (await app.status()) as { books: { intake: { duplicate: number } } };
  const { duplicate } = books.intake;
  const wanted = SIGNALS.reduce((sum, signal) => sum + sent[signal].requests - sent[signal].refused, -duplicate);
  const endsAtMs = systemClock.monotonicMs() + DELIVERY_DEADLINE_MS;
  const arrived = (): number => SIGNALS.reduce((sum, signal) => sum + sink.counts[signal].requests, 0);
  while (arrived() < wanted && systemClock.monotonicMs() < endsAtMs) await systemClock.sleep(50);
  return duplicate;
}

interface Outcome {
  sent: PerSignal<Tally>;
  duplicates: number;
  sink: Sink;
  seconds: number;
}

async function report(settings: Settings, outcome: Outcome, io: CliIo): Promise<number> {
  const { sent, sink, seconds } = outcome;
  const opened = await openStoreToRead(settings);
  const { store } = opened;
  const kept = perSignal<Kept>(() => ({ envelopes: 0, rawBytes: 0, storedBytes: 0 }));
  for await (const record of readCommits(store)) {
    for (const signal of SIGNALS) {
      kept[signal].envelopes += record.envelopes[signal] ?? 0;
      kept[signal].rawBytes += record.rawBytes[signal] ?? 0;
    }
    for (const { signal, sizeBytes } of record.adds) kept[signal].storedBytes += sizeBytes;
  }
  const shown = SIGNALS.filter((signal) => sent[signal].requests > 0);
  const row = (name: string, signals: readonly Signal[]): string[] => {
    const sum = (read: (signal: Signal) => number) => signals.reduce((total, signal) => total + read(signal), 0);
    const rawBytes = sum((signal) => sent[signal].rawBytes);
    const storedBytes = sum((signal) => kept[signal].storedBytes);
    return [
      name,
      String(sum((signal) => sent[signal].requests)),
      String(sum((signal) => sent[signal].items)),
      humanBytes(rawBytes),
      humanBytes(sum((signal) => sent[signal].sentBytes)),
      humanBytes(sum((signal) => sink.counts[signal].bodyBytes)),
      humanBytes(storedBytes),
      storedBytes > 0 ? `${(rawBytes / storedBytes).toFixed(1)}x` : '',
    ];
  };
  const header = ['signal', 'requests', 'items', 'raw', 'as sent', 'forwarded', 'stored', 'raw/stored'];
  const rows = [...shown.map((signal) => row(signal, [signal])), row('all', shown)];
  io.stdout.write(`${formatTable(header, rows, io.columns)}\nSent, forwarded and stored in ${seconds.toFixed(1)} s.\n`);

  const catalogue = await openCatalogue(store);
  const engine = await openEngine({
    catalogue,
    ...filesOf(opened),
  });
  try {
    const { columns, rows: chunks } = await engine.run(QUERY);
    const cells: string[][] = [];
    for await (const chunk of chunks) cells.push(...chunk.map((values) => values.map(cellOf)));
    io.stdout.write(`\n> ${QUERY}\n${formatTable(columns, cells, io.columns)}`);
  } finally {
    await engine.close();
    await opened.close();
  }

  const problems = problemsOf(outcome, kept);
  for (const problem of problems) io.stderr.write(`${problem}\n`);
  return problems.length > 0 ? 1 : 0;
}

/** Everything accepted must have arrived and must be in commit records, to the byte. */
function problemsOf({ sent, duplicates, sink }: Outcome, kept: PerSignal<Kept>): string[] {
  const problems: string[] = [];
  let missing = -duplicates;
  for (const signal of SIGNALS) {
    const { requests, refused, rawBytes } = sent[signal];
    const arrived = sink.counts[signal].requests;
    const { envelopes } = kept[signal];
    missing += requests - refused - envelopes;
    if (refused > 0) problems.push(`${signal}: ${refused} requests were refused`);
    if (arrived !== envelopes) problems.push(`${signal}: ${arrived} requests arrived, ${envelopes} are kept`);
    if (envelopes === requests && kept[signal].rawBytes !== rawBytes) {
      problems.push(`${signal}: ${rawBytes} bytes were sent, ${kept[signal].rawBytes} are accounted for`);
    }
  }
  if (missing !== 0) problems.push(`${missing} requests that were accepted are not kept`);
  return problems;
}

function perSignal<T>(make: (signal: Signal) => T): PerSignal<T> {
  return Object.fromEntries(SIGNALS.map((signal) => [signal, make(signal)])) as PerSignal<T>;
}
