/**
 * The generator: a process of its own that sends bodies over keep-alive connections as fast as they are answered. Told by one JSON
 * argument. Prints `ready`, after warm-up `begin`, and at the end one JSON line with what was acknowledged.
 */
import type { Signal } from '../../src/core/envelope.ts';
import { quantile } from '../measure.ts';
import { Connection } from './connection.ts';
import { type Mix, makeTemplates, nextBody, type Template } from './templates.ts';

export interface GeneratorOrder {
  url: string;
  mix: Mix;
  seed: number;
  /** Different bodies; each is sent many times with other times in it. */
  templates: number;
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
  const templates = makeTemplates(order.mix, order.templates, order.seed, Date.now());
  const heads = templates.map((template) => headOf(template, order.url));
  process.stdout.write('ready\n');
  const none = (): Acknowledged => ({ requests: 0, rawBytes: 0, rows: 0 });
  const total = none();
  const items: Partial<Record<Signal, number>> = {};
  const refused: Record<string, number> = {};
  const latencies: number[] = [];
  let window: Acknowledged | undefined;
  let isOver = false;
  let next = 0;

  const lane = async (): Promise<void> => {
    const connection = new Connection(order.url);
    while (!isOver) {
      const index = next++ % templates.length;
      const template = templates[index]!;
      const body = nextBody(template);
      // An identity body is the template's own buffer, which another lane may restamp while this one is on its way.
      const sent = body === template.raw ? Buffer.from(body) : body;
      const startedMs = performance.now();
      let outcome: string;
      try {
        const { status } = await connection.send(heads[index]!, sent);
        outcome = status < 300 ? '' : String(status);
      } catch {
        outcome = 'broken';
      }
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

function headOf({ method, path, headers }: Template, url: string): string {
  const lines = Object.entries({ host: new URL(url).host, 'dd-api-key': 'bench', ...headers });
  return `${method} ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}`;
}

const report = await run(JSON.parse(process.argv[2] ?? '{}') as GeneratorOrder);
process.stdout.write(`${JSON.stringify(report)}\n`);
