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

export interface AdminOptions {
  health: () => HealthReport;
  status: () => Promise<unknown>;
  metrics: Metrics;
  version: string;
}

export function addHealthRoutes(server: FastifyInstance, options: AdminOptions): void {
  server.get('/health', (_request, reply) => {
    const report = options.health();
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
    return reply.header('content-type', registry.contentType).send(await registry.metrics());
  });
  server.get('/status', async (_request, reply) => reply.send(await options.status()));
}
