/** What several workers say, put together as one replica's word. */
import { AggregatorRegistry, type MetricObjectWithValues, type MetricValue } from 'prom-client';
import type { HealthReport, ReplicaReports } from './intake/intake.ts';
import type { WorkerLink } from './worker-link.ts';

type MetricsJson = MetricObjectWithValues<MetricValue<string>>[];

/** Own reports stand in where nobody answers. */
export function replicaReports(link: WorkerLink, own: () => HealthReport): ReplicaReports {
  return {
    metrics: async () => {
      const { values } = await link.ask('metrics');
      return AggregatorRegistry.aggregate(values.filter((value) => value !== undefined) as MetricsJson[]).metrics();
    },
    health: async () => {
      const { values, wanted } = await link.ask('health');
      const reports = values.filter((value) => value !== undefined) as HealthReport[];
      return mergedHealth(reports.length === 0 ? [own()] : reports, wanted);
    },
    status: async () => {
      const { values, wanted } = await link.ask('status');
      const workers = values.filter((value) => value !== undefined) as { books?: unknown }[];
      return { workers, workersWanted: wanted, books: summed(workers.map(({ books }) => books)) };
    },
  };
}

export function mergedHealth(reports: readonly HealthReport[], wanted: number): HealthReport {
  const worst = (connections: HealthReport['datadog'][]): HealthReport['datadog'] =>
    connections.find((connection) => connection === 'disconnected') ?? connections[0]!;
  const missing = wanted - reports.length;
  return {
    journalWritable: reports.every(({ journalWritable }) => journalWritable),
    storeConnected: reports.every(({ storeConnected }) => storeConnected),
    draining: reports.some(({ draining }) => draining),
    datadog: worst(reports.map(({ datadog }) => datadog)),
    agent: worst(reports.map(({ agent }) => agent)),
    uptimeSeconds: Math.max(...reports.map(({ uptimeSeconds }) => uptimeSeconds)),
    notes: [
      ...new Set(reports.flatMap(({ notes }) => notes)),
      ...(missing > 0 ? [`${missing} of ${wanted} workers are being started again`] : []),
    ],
  };
}

/** Members of equal names added up, however deep; what is no number is left out. */
export function summed(trees: readonly unknown[]): unknown {
  const objects = trees.filter((tree) => typeof tree === 'object' && tree !== null) as Record<string, unknown>[];
  if (objects.length > 0) {
    const names = new Set(objects.flatMap((object) => Object.keys(object)));
    return Object.fromEntries([...names].map((name) => [name, summed(objects.map((object) => object[name]))]));
  }
  const numbers = trees.filter((tree) => typeof tree === 'number');
  return numbers.length === 0 ? null : numbers.reduce((total, value) => total + value, 0);
}

/** Gauges of what a worker found at its start, with those of what it left: its successor finds that, and the books stay balanced. */
const FOUND_AND_LEFT = new Map([
  ['reductrai_envelopes_archive_recovered', 'reductrai_envelopes_archive_pending'],
  ['reductrai_forward_recovered', 'reductrai_forward_pending'],
]);

/** What stays of a worker that has ended: what only ever grows. `last` is what it told last. */
export function lastingMetrics(departed: MetricsJson, last: MetricsJson): MetricsJson {
  const lasting = last.flatMap((metric) => {
    const type = String(metric.type);
    if (type === 'counter' || type === 'histogram') return [metric];
    const left = last.find(({ name }) => name === FOUND_AND_LEFT.get(metric.name));
    return left ? [{ ...metric, values: [...metric.values, ...left.values.map(negative)] }] : [];
  });
  const registry = AggregatorRegistry.aggregate([departed, lasting]);
  return registry.getMetricsAsArray().map((metric) => (metric as unknown as { get(): MetricsJson[number] }).get());
}

function negative(value: MetricsJson[number]['values'][number]): MetricsJson[number]['values'][number] {
  return { ...value, value: -value.value };
}
