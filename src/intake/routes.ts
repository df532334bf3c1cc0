/**
 * The intake's routes: one row per path. What is not here is relayed. Sources: datadog-intake.md §1.2 (core agent), §1.3 (logs),
 * §1.4 (trace agent), §1.6 (public API), §1.7 (tracers).
 */
import type { Protocol, Signal } from '../core/envelope.ts';
import { REPLIES, type SuccessReply } from './replies.ts';

export interface IntakeRoute {
  path: string;
  methods: readonly ('POST' | 'PUT')[];
  signal: Signal;
  /** By content type (lower case, without parameters). */
  protocolOf: (contentType: string) => Protocol;
  /** Tracer routes belong to a real Agent, all others to Datadog. */
  destination: 'datadog' | 'agent';
  reply: SuccessReply;
}

const isJson = (contentType: string): boolean => contentType.includes('json');
const only = (protocol: Protocol) => (): Protocol => protocol;

const POST = ['POST'] as const;
const PUT_POST = ['POST', 'PUT'] as const;

const metrics = (path: string, protocolOf: IntakeRoute['protocolOf'], reply: SuccessReply): IntakeRoute => ({
  path,
  methods: POST,
  signal: 'metrics',
  protocolOf,
  destination: 'datadog',
  reply,
});

const events = (path: string, protocol: Protocol, reply: SuccessReply): IntakeRoute => ({
  path,
  methods: POST,
  signal: 'events',
  protocolOf: only(protocol),
  destination: 'datadog',
  reply,
});

const logs = (path: string, reply: SuccessReply): IntakeRoute => ({
  path,
  methods: POST,
  signal: 'logs',
  // Anything that does not say it is text is read as JSON: senders forget the header.
  protocolOf: (type) => (type.startsWith('text/') || type === 'application/logplex-1' ? 'logs-text' : 'logs-json'),
  destination: 'datadog',
  reply,
});

const traces = (
  path: string,
  methods: IntakeRoute['methods'],
  protocolOf: IntakeRoute['protocolOf'],
  reply: SuccessReply,
) => ({
  path,
  methods,
  signal: 'traces' as const,
  protocolOf,
  destination: path.startsWith('/api/') ? ('datadog' as const) : ('agent' as const),
  reply,
});

export const ROUTES: readonly IntakeRoute[] = [
  metrics('/api/v1/series', only('series-v1-json'), REPLIES.statusOk),
  metrics('/api/v2/series', (type) => (isJson(type) ? 'series-v2-json' : 'series-v2-proto'), REPLIES.errorsEmpty),
  metrics('/api/intake/metrics/v3/series', only('series-v3-proto'), REPLIES.errorsEmpty),
  metrics('/api/intake/metrics/v3/sketches', only('series-v3-proto'), REPLIES.errorsEmpty),
  metrics('/api/beta/sketches', only('sketches-proto'), REPLIES.errorsEmpty),
  metrics('/api/v1/distribution_points', only('distribution-points-json'), REPLIES.statusOk),
  events('/api/v1/check_run', 'check-run-json', REPLIES.statusOk),
  events('/api/v1/events', 'events-v1-json', REPLIES.statusOk),
  events('/api/v2/events', 'events-v2-json', REPLIES.eventTaken),
  events('/intake', 'intake-json', REPLIES.statusOk),
  events('/intake/', 'intake-json', REPLIES.statusOk),
  logs('/api/v2/logs', REPLIES.emptyObject202),
  logs('/v1/input', REPLIES.emptyObject200),
  logs('/v1/input/', REPLIES.emptyObject200),
  logs('/v1/input/:key', REPLIES.emptyObject200),
  traces('/api/v0.2/traces', POST, only('traces-agent-proto'), REPLIES.emptyObject202),
  traces('/api/v0.2/stats', POST, only('stats-agent-msgpack'), REPLIES.emptyObject202),
  traces('/v0.3/traces', PUT_POST, (type) => (isJson(type) ? 'traces-v04-json' : 'traces-v04-msgpack'), REPLIES.textOk),
  traces(
    '/v0.4/traces',
    PUT_POST,
    (type) => (isJson(type) ? 'traces-v04-json' : 'traces-v04-msgpack'),
    REPLIES.ratesOne,
  ),
  traces('/v0.5/traces', PUT_POST, only('traces-v05-msgpack'), REPLIES.ratesOne),
  traces('/v0.7/traces', PUT_POST, only('traces-v07-msgpack'), REPLIES.ratesOne),
  traces('/v0.6/stats', PUT_POST, only('stats-client-msgpack'), REPLIES.empty200),
];
