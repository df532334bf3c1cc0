/** The witness for tests: real metrics in a registry of their own, and a log that says nothing (or keeps its lines). */
import { Writable } from 'node:stream';
import { createLog, type Log, type LogLevel } from '../../src/telemetry/log.ts';
import { createMetrics, type Metrics } from '../../src/telemetry/metrics.ts';

export interface Witness {
  metrics: Metrics;
  log: Log;
}

export function quietWitness(): Witness {
  return { metrics: createMetrics(), log: createLog('silent') };
}

/** A log whose lines can be looked at: for tests that secrets do not reach it. */
export function keptLog(level: LogLevel = 'trace'): { log: Log; lines: string[] } {
  const lines: string[] = [];
  const sink = new Writable({
    write(chunk, _encoding, done) {
      lines.push(String(chunk));
      done();
    },
  });
  return { log: createLog(level, sink), lines };
}

/** Value of one metric with these labels; 0 when it was never set. */
export async function metricValue(
  metrics: Metrics,
  name: string,
  labels: Record<string, string> = {},
): Promise<number> {
  const metric = metrics.registry.getSingleMetric(name);
  if (!metric) throw new Error(`BUG: no metric ${name}`);
  const { values } = await metric.get();
  const found = values.find((value) =>
    Object.entries(labels).every(([label, wanted]) => (value.labels as Record<string, unknown>)[label] === wanted),
  );
  return found?.value ?? 0;
}
