/** One case under load: a server process, the generator against it, and what both say afterwards. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SIGNALS, type Signal } from '../../src/core/envelope.ts';
import { findS3Server, type S3Server, startS3Server } from '../../test/support/servers/s3-server.ts';
import type { GeneratorReport } from './generator.ts';
import type { MixOptions } from './mixes.ts';
import { cpuSecondsOf, peakRssMiBOf } from './process-facts.ts';
import { type PlainServer, startGenerator, startPlainServer } from './processes.ts';
import { type Backlog, backlogOf, startProxyCase, storedItems, untilDelivered } from './proxy-case.ts';

export const SERVERS = [
  'bare',
  'inflating',
  'memory/store-only',
  'memory/forward',
  'disk/store-only',
  'disk/forward',
  'store/store-only',
] as const;
export type ServerKind = (typeof SERVERS)[number];

export interface LoadOptions extends Omit<MixOptions, 'mix'> {
  seconds: number;
  warmUpSeconds: number;
  connections: number;
}

export interface LoadResult {
  /** `corpus-mixed/disk/forward`. */
  name: string;
  mix: string;
  server: ServerKind;
  requestsPerSecond: number;
  /** Points of series, sketches, logs, spans, check runs and events. */
  itemsPerSecond: number;
  rawMBps: number;
  rowsPerRequest: number;
  rawBytesPerRequest: number;
  p50Ms: number;
  p99Ms: number;
  p999Ms: number;
  maxMs: number;
  /** CPU seconds of the server process per second of the measured time. */
  cpuPerSecond: number;
  /** From the start of the load to the last item stored and delivered. */
  cpuSeconds: number;
  cpuSecondsPerMillionItems: number;
  cpuSecondsPerRawGB: number;
  peakRssMiB: number;
  generatorCpu: number;
  /** The generator's own CPU for a request. */
  generatorMicrosPerRequest: number;
  refused: Record<string, number>;
  /** Of the proxy only. */
  proxy?: {
    backlogAtEnd: Backlog;
    deliverySeconds: number;
    drainSeconds: number;
    acknowledged: Partial<Record<Signal, number>>;
    stored: Partial<Record<Signal, number>>;
    delivered: { requests: number; of: number } | undefined;
    /** Stored equals acknowledged, for every signal; and all was delivered, where it was to be. */
    isComplete: boolean;
  };
}

const DELIVERY_SECONDS_MAX = 600;
const START_SECONDS_MAX = 60;

/** Without an S3 server (`test/servers/install.sh`) there is no case with one. */
export function canRun(server: ServerKind): boolean {
  return !server.startsWith('store') || findS3Server() !== undefined;
}

export async function runLoadCase(mix: string, server: ServerKind, options: LoadOptions): Promise<LoadResult> {
  return server === 'bare' || server === 'inflating' ? runPlain(mix, server, options) : runProxy(mix, server, options);
}

async function runPlain(mix: string, server: 'bare' | 'inflating', options: LoadOptions): Promise<LoadResult> {
  const plain = await startPlainServer(server);
  try {
    const { report, cpuPerSecond, cpuBefore } = await loadOn(plain.url, plain.pid, mix, options);
    return resultOf(mix, server, report, cpuPerSecond, cpuSecondsOf(plain.pid) - cpuBefore, peakRssMiBOf(plain.pid));
  } finally {
    await plain.stop();
  }
}

async function runProxy(mix: string, server: ServerKind, options: LoadOptions): Promise<LoadResult> {
  const dataFolder = await mkdtemp(join(tmpdir(), 'reductrai-load-'));
  const forwards = server.endsWith('/forward');
  let sink: PlainServer | undefined;
  let bucket: S3Server | undefined;
  try {
    const durability = server.split('/')[0] as 'memory' | 'disk' | 'store';
    if (durability === 'store') bucket = await startS3Server();
    const storeEnv = bucket ? await envOf(bucket) : {};
    if (forwards) sink = await startPlainServer('sink');
    const proxy = await startProxyCase({
      durability,
      sinkUrl: sink?.url,
      dataFolder,
      storeEnv,
    });
    try {
      const { report, cpuPerSecond, cpuBefore } = await loadOn(proxy.url, proxy.pid, mix, options);
      const backlogAtEnd = await backlogOf(proxy.url);
      const deliverySeconds = await untilDelivered(proxy.url, DELIVERY_SECONDS_MAX);
      const stopped = await stopAndWatch(proxy);
      const stored = await storedItems(dataFolder, storeEnv);
      const { items, acknowledged } = report.total;
      const arrived = sink && Number(await (await fetch(`${sink.url}/count`)).text());
      const delivered = arrived === undefined ? undefined : { requests: arrived, of: acknowledged.requests };
      const isStored = SIGNALS.every((signal) => (stored[signal] ?? 0) === (items[signal] ?? 0));
      const cpuSeconds = stopped.cpuSeconds - cpuBefore;
      return {
        ...resultOf(mix, server, report, cpuPerSecond, cpuSeconds, stopped.peakRssMiB),
        proxy: {
          backlogAtEnd,
          deliverySeconds,
          drainSeconds: stopped.seconds,
          acknowledged: items,
          stored,
          delivered,
          // At least once: a delivery may be repeated.
          isComplete: isStored && (delivered === undefined || delivered.requests >= delivered.of),
        },
      };
    } finally {
      await proxy.kill();
    }
  } finally {
    await sink?.stop();
    await bucket?.close();
    await rm(dataFolder, { recursive: true, force: true });
  }
}

async function envOf(server: S3Server): Promise<Record<string, string>> {
  return {
    STORAGE_URL: `s3://${await server.bucket()}/kept?endpoint=${server.endpoint}`,
    S3_ACCESS_KEY: server.accessKeyId,
    S3_SECRET_KEY: server.secretAccessKey,
  };
}

/** Ends it as an orchestrator does. Facts are read while it still lives: the kernel forgets them with the process. */
async function stopAndWatch(proxy: { pid: number; kill(signal: NodeJS.Signals): Promise<void>; lines: string[] }) {
  const startedMs = performance.now();
  let cpuSeconds = cpuSecondsOf(proxy.pid);
  let peakRssMiB = peakRssMiBOf(proxy.pid);
  const timer = setInterval(() => {
    const [cpu, rss] = [cpuSecondsOf(proxy.pid), peakRssMiBOf(proxy.pid)];
    if (cpu >= cpuSeconds) cpuSeconds = cpu;
    if (rss >= peakRssMiB) peakRssMiB = rss;
  }, 20);
  try {
    await proxy.kill('SIGTERM');
  } finally {
    clearInterval(timer);
  }
  return { seconds: (performance.now() - startedMs) / 1000, cpuSeconds, peakRssMiB };
}

async function loadOn(url: string, pid: number, mix: string, options: LoadOptions) {
  const cpuBefore = cpuSecondsOf(pid);
  const generator = await startGenerator({ url, mix, ...options });
  // A generator that hangs must not hang the run.
  const limit = setTimeout(
    () => void generator.stop(),
    (START_SECONDS_MAX + options.warmUpSeconds + options.seconds) * 1000,
  );
  try {
    await generator.begun;
    const cpuAtBegin = cpuSecondsOf(pid);
    const beganMs = performance.now();
    const report = await generator.report;
    const cpuPerSecond = (cpuSecondsOf(pid) - cpuAtBegin) / ((performance.now() - beganMs) / 1000);
    return { report, cpuPerSecond, cpuBefore };
  } finally {
    clearTimeout(limit);
    await generator.stop();
  }
}

function resultOf(
  mix: string,
  server: ServerKind,
  report: GeneratorReport,
  cpuPerSecond: number,
  cpuSeconds: number,
  peakRssMiB: number,
): LoadResult {
  const { acknowledged, seconds, total, p50Ms, p99Ms, p999Ms, maxMs, generatorCpu } = report;
  return {
    name: `${mix}/${server}`,
    mix,
    server,
    requestsPerSecond: acknowledged.requests / seconds,
    itemsPerSecond: acknowledged.rows / seconds,
    rawMBps: acknowledged.rawBytes / 1e6 / seconds,
    rowsPerRequest: acknowledged.rows / acknowledged.requests,
    rawBytesPerRequest: acknowledged.rawBytes / acknowledged.requests,
    p50Ms,
    p99Ms,
    p999Ms,
    maxMs,
    cpuPerSecond,
    cpuSeconds,
    cpuSecondsPerMillionItems: cpuSeconds / (total.acknowledged.rows / 1e6),
    cpuSecondsPerRawGB: cpuSeconds / (total.acknowledged.rawBytes / 1e9),
    peakRssMiB,
    generatorCpu,
    generatorMicrosPerRequest: (1e6 * generatorCpu * seconds) / acknowledged.requests,
    refused: total.refused,
  };
}
