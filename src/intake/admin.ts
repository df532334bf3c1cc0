/**
 * What operators and probes ask: /health (the compatibility surface), /livez (the process only), /readyz (may this replica take
 * traffic? never the vendor's state), /metrics, /status.
 */
import type { FastifyInstance } from 'fastify';
import type { Metrics } from '../telemetry/metrics.ts';

export type Connection = 'connected' | 'disconnected' | 'not configured';

export interface HealthReport {
  journalWritable: boolean;
  storeConnected: boolean;
  draining: boolean;
  datadog: Connection;
  agent: Connection;
  uptimeSeconds: number;
  /** Said on /health for people: for instance that tracer routes are only stored. */
  notes: string[];
}

/** Of a replica with several processes, where this is one of them. */
export interface ReplicaReports {
  metrics(): Promise<string>;
  health(): Promise<HealthReport>;
  status(): Promise<unknown>;
}

export interface AdminOptions {
  health: () => HealthReport;
  status: () => Promise<unknown>;
  /** Brings gauges up to date. */
  measure: () => Promise<void>;
  metrics: Metrics;
  version: string;
  replica?: ReplicaReports;
}

export function addHealthRoutes(server: FastifyInstance, options: AdminOptions): void {
  server.get('/health', async (_request, reply) => {
    const report = options.replica ? await options.replica.health() : options.health();
    const serving = report.journalWritable && !report.draining;
    reply.code(serving ? 200 : 503);
    return reply.send({
      status: !serving ? 'unavailable' : report.storeConnected ? 'ok' : 'degraded',
      uptime: Math.floor(report.uptimeSeconds),
      version: options.version,
      storage: report.storeConnected ? 'connected' : 'disconnected',
      datadog: report.datadog,
      agent: report.agent,
      notes: report.notes,
    });
  });
  server.get('/livez', (_request, reply) => reply.send({ status: 'ok' }));
  server.get('/readyz', (_request, reply) => {
    const report = options.health();
    const reasons = [
      ...(report.draining ? ['draining'] : []),
      ...(report.journalWritable ? [] : ['journal not writable']),
      ...(report.storeConnected ? [] : ['store not reachable']),
    ];
    reply.code(reasons.length === 0 ? 200 : 503);
    return reply.send({ status: reasons.length === 0 ? 'ready' : 'not ready', reasons });
  });
}

export function addOperatorRoutes(server: FastifyInstance, options: AdminOptions): void {
  server.get('/metrics', async (_request, reply) => {
    const { registry } = options.metrics;
    if (!options.replica) await options.measure();
    const text = await (options.replica ?? registry).metrics();
    return reply.header('content-type', registry.contentType).send(text);
  });
  server.get('/status', async (_request, reply) => reply.send(await (options.replica ?? options).status()));
}
