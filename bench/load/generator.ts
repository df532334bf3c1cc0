/**
 * The generator: a process of its own that sends bodies over keep-alive connections as fast as they are answered. Told by one JSON
 * argument. Prints `ready`, after warm-up `begin`, and at the end one JSON line with what was acknowledged.
 */
import type { Signal } from '../../src/core/envelope.ts';
import { quantile } from '../measure.ts';
import { Connection } from './connection.ts';
import { type MixOptions, makeSendings } from './mixes.ts';
import { nextBody, type Sending } from './templates.ts';

export interface GeneratorOrder extends MixOptions {
  url: string;
  connections: number;
  warmUpSeconds: number;
  seconds: number;
}

export interface Acknowledged {
  requests: number;
  rawBytes: number;
  rows: number;
}

export interface GeneratorReport {
  /** In the measured time. */
  seconds: number;
  acknowledged: Acknowledged;
  p50Ms: number;
  p99Ms: number;
  p999Ms: number;
  maxMs: number;
  /** CPU time of the generator over the measured time: near 1, the generator was the limit. */
  generatorCpu: number;
  /** Of the whole run, warm-up included. */
  total: {
    acknowledged: Acknowledged;
    /** Items acknowledged, by signal. */
    items: Partial<Record<Signal, number>>;
    /** Answers that did not acknowledge, by status; `broken`: a connection that ended without an answer. */
    refused: Record<string, number>;
  };
}

/** A refused sender waits, as real ones do. */
const PAUSE_AFTER_REFUSAL_MS = 50;
const LATENCIES_MAX = 5_000_000;

async function run(order: GeneratorOrder): Promise<GeneratorReport> {
  const sendings = await makeSendings(order, Date.now());
  const heads = sendings.map((sending) => headOf(sending, order.url));
  process.stdout.write('ready\n');
  const none = (): Acknowledged => ({ requests: 0, rawBytes: 0, rows: 0 });
  const total = none();
  const items: Partial<Record<Signal, number>> = {};
  const refused: Record<string, number> = {};
  const latencies: number[] = [];
  let window: Acknowledged | undefined;
  let isOver = false;
  let next = 0;
  /** Templates' own buffers that are on their way. */
  const underway = new Set<Buffer>();

  const lane = async (): Promise<void> => {
    const connection = new Connection(order.url);
    while (!isOver) {
      const index = next++ % sendings.length;
      const sending = sendings[index]!;
      const { template } = sending;
      // What is on its way must not change: it is left to the socket, and a copy is the template's from now on.
      if (underway.has(template.raw)) template.raw = Buffer.from(template.raw);
      const body = nextBody(sending);
      if (body === template.raw) underway.add(body);
      const startedMs = performance.now();
      let outcome: string;
      try {
        const { status } = await connection.send(heads[index]!, body);
        outcome = status < 300 ? '' : String(status);
      } catch {
        outcome = 'broken';
      }
      underway.delete(body);
      if (outcome !== '') {
        refused[outcome] = (refused[outcome] ?? 0) + 1;
        await new Promise((resolve) => setTimeout(resolve, PAUSE_AFTER_REFUSAL_MS));
        continue;
      }
      items[template.signal] = (items[template.signal] ?? 0) + template.items;
      for (const count of window && !isOver ? [total, window] : [total]) {
        count.requests += 1;
        count.rawBytes += template.raw.byteLength;
        count.rows += template.rows;
      }
      if (window && latencies.length < LATENCIES_MAX) latencies.push(performance.now() - startedMs);
    }
    connection.close();
  };

  const lanes = Promise.all(Array.from({ length: order.connections }, lane));
  await new Promise((resolve) => setTimeout(resolve, order.warmUpSeconds * 1000));
  process.stdout.write('begin\n');
  window = none();
  const startedMs = performance.now();
  const cpuBefore = process.cpuUsage();
  await new Promise((resolve) => setTimeout(resolve, order.seconds * 1000));
  isOver = true;
  const seconds = (performance.now() - startedMs) / 1000;
  const cpu = process.cpuUsage(cpuBefore);
  const acknowledged = { ...window };
  // The last answers count for the books, not for the speed.
  await lanes;
  latencies.sort((a, b) => a - b);
  return {
    seconds,
    acknowledged,
    p50Ms: quantile(latencies, 0.5),
    p99Ms: quantile(latencies, 0.99),
    p999Ms: quantile(latencies, 0.999),
    maxMs: latencies.at(-1) ?? Number.NaN,
    generatorCpu: (cpu.user + cpu.system) / 1e6 / seconds,
    total: { acknowledged: total, items, refused },
  };
}

function headOf({ template, encoding }: Sending, url: string): string {
  const { method, path, headers } = template;
  const encoded = encoding === 'identity' ? {} : { 'content-encoding': encoding };
  const lines = Object.entries({ host: new URL(url).host, 'dd-api-key': 'bench', ...headers, ...encoded });
  return `${method} ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}`;
}

const report = await run(JSON.parse(process.argv[2] ?? '{}') as GeneratorOrder);
process.stdout.write(`${JSON.stringify(report)}\n`);
