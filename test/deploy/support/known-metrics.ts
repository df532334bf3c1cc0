/** What /metrics of a real process and the declaration of the metrics know: names with their labels, as Prometheus stores them. */
import { createMetrics } from '../../../src/telemetry/metrics.ts';
import { startProxy } from '../../support/proxy-process.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';

/** Of each metric the labels that its own series have. Histograms become the three series that they are. */
export async function declaredMetrics(): Promise<Map<string, Set<string>>> {
  const known = new Map<string, Set<string>>();
  const metrics = createMetrics();
  for (const { name, type } of await metrics.registry.getMetricsAsJSON()) {
    const { labelNames } = metrics.registry.getSingleMetric(name) as unknown as { labelNames: string[] };
    const own = labelNames.filter((label) => label !== 'le');
    if (String(type) === 'histogram') {
      known.set(`${name}_bucket`, new Set([...own, 'le']));
      known.set(`${name}_sum`, new Set(own));
      known.set(`${name}_count`, new Set(own));
    } else known.set(name, new Set(own));
  }
  return known;
}

/** The names of `# TYPE` lines that a process just started gives out. */
export async function exportedNames(): Promise<Set<string>> {
  const proxy = await startProxy({ dataFolder: await temporaryFolder() });
  try {
    const text = await (await fetch(`${proxy.url}/metrics`)).text();
    return new Set([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name]) => name!));
  } finally {
    await proxy.kill();
  }
}
