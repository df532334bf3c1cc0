/** Traces of the fleet: what a trace agent sends on (AgentPayload), and what a tracer hands to its agent (v0.4 msgpack). */
import { type Fleet, type Host, SERVICES, type Service } from './fleet.ts';
import type { Body } from './metric-bodies.ts';
import { Double, packMsgpack } from './msgpack-writer.ts';
import { ProtobufWriter } from './protobuf-writer.ts';

interface Span {
  service: string;
  name: string;
  resource: string;
  type: string;
  traceId: bigint;
  spanId: bigint;
  parentId: bigint;
  startNs: bigint;
  durationNs: bigint;
  error: number;
  meta: Record<string, string>;
  metrics: Record<string, number>;
}

/** A request with its database calls; child spans lie within their parent. */
function traceOf(fleet: Fleet, service: Service, nowMs: number): Span[] {
  const [resource, typicalMs] = fleet.pick(service.endpoints);
  const [method, route] = resource.split(' ');
  const isError = fleet.chance(service.errorShare);
  const durationNs = Math.round(fleet.skewed(typicalMs) * 1e6);
  const startNs = BigInt(Math.floor(nowMs)) * 1_000_000n + BigInt(fleet.whole(0, 999_999)) - BigInt(durationNs);
  const traceId = fleet.id();
  const root: Span = {
    service: service.name,
    name: 'web.request',
    resource,
    type: 'web',
    traceId,
    spanId: fleet.id(),
    parentId: 0n,
    startNs,
    durationNs: BigInt(durationNs),
    error: isError ? 1 : 0,
    meta: {
      env: 'prod',
      version: service.version,
      language: service.language,
      'span.kind': 'server',
      'http.method': method!,
      'http.route': route!,
      'http.status_code': isError ? '500' : '200',
      '_dd.p.tid': fleet.hex(8).padEnd(16, '0'),
      ...(isError ? { 'error.type': 'TimeoutError', 'error.message': 'no answer after 5000 ms' } : {}),
    },
    metrics: { _sampling_priority_v1: 1, '_dd.top_level': 1, '_dd.agent_psr': 1, process_id: fleet.whole(7, 40) },
  };
  const spans = [root];
  const calls = fleet.whole(1, 6);
  for (let i = 0; i < calls; i++) {
    const table = fleet.pick(['orders', 'items', 'users', 'sessions']);
    const share = durationNs / (calls + 1);
    spans.push({
      service: `${service.name}-${service.database}`,
      name: `${service.database}.query`,
      resource: `SELECT * FROM ${table} WHERE id = ?`,
      type: 'sql',
      traceId,
      spanId: fleet.id(),
      parentId: root.spanId,
      startNs: startNs + BigInt(Math.floor(share * i)),
      durationNs: BigInt(Math.floor(share * (fleet.whole(20, 95) / 100))),
      error: 0,
      meta: { env: 'prod', 'span.kind': 'client', 'db.instance': 'shop', 'db.table': table, 'out.host': 'orders-db' },
      metrics: { 'network.destination.port': 5432, 'db.row_count': fleet.whole(0, 50) },
    });
  }
  return spans;
}

function tracesOf(fleet: Fleet, service: Service, nowMs: number): Span[][] {
  return Array.from({ length: fleet.whole(3, 12) }, (_, i) => traceOf(fleet, service, nowMs - i * 83));
}

const countOf = (traces: readonly Span[][]): number => traces.reduce((sum, spans) => sum + spans.length, 0);

/** `/api/v0.2/traces`. Source: datadog-agent pkg/proto/datadog/trace/{agent_payload,tracer_payload,span}.proto. */
export function agentPayload(fleet: Fleet, host: Host, nowMs: number): Body {
  const payload = new ProtobufWriter().string(1, host.name).string(2, 'prod');
  let items = 0;
  for (const service of SERVICES) {
    if (!fleet.chance(0.6)) continue;
    const traces = tracesOf(fleet, service, nowMs);
    items += countOf(traces);
    payload.message(5, (tracer) => {
      tracer.string(2, service.language).string(3, '1.0').string(4, '2.4.1').string(5, fleet.hex(32));
      for (const spans of traces) {
        tracer.message(6, (chunk) => {
          chunk.varint(1, 1);
          for (const span of spans) chunk.message(3, (writer) => writeSpan(writer, span));
        });
      }
      tracer.string(8, 'prod').string(9, host.name).string(10, service.version);
    });
  }
  payload.string(7, '7.55.1').double(8, 10).double(9, 10);
  return { bytes: payload.finish(), items };
}

function writeSpan(writer: ProtobufWriter, span: Span): void {
  writer.string(1, span.service).string(2, span.name).string(3, span.resource);
  writer.varint(4, span.traceId).varint(5, span.spanId);
  if (span.parentId !== 0n) writer.varint(6, span.parentId);
  writer.varint(7, span.startNs).varint(8, span.durationNs);
  if (span.error) writer.varint(9, span.error);
  for (const [key, value] of Object.entries(span.meta)) {
    writer.message(10, (entry) => entry.string(1, key).string(2, value));
  }
  for (const [key, value] of Object.entries(span.metrics)) {
    writer.message(11, (entry) => entry.string(1, key).double(2, value));
  }
  writer.string(12, span.type);
}

/** `/v0.4/traces`: an array of traces, each an array of span maps. `traces` goes into X-Datadog-Trace-Count. */
export function tracerPayload(fleet: Fleet, service: Service, nowMs: number): Body & { traces: number } {
  const traces = tracesOf(fleet, service, nowMs);
  const bytes = packMsgpack(
    traces.map((spans) =>
      spans.map((span) => ({
        service: span.service,
        name: span.name,
        resource: span.resource,
        trace_id: span.traceId,
        span_id: span.spanId,
        parent_id: span.parentId,
        start: span.startNs,
        duration: span.durationNs,
        error: span.error,
        meta: span.meta,
        metrics: Object.fromEntries(Object.entries(span.metrics).map(([key, value]) => [key, new Double(value)])),
        type: span.type,
      })),
    ),
  );
  return { bytes, items: countOf(traces), traces: traces.length };
}
