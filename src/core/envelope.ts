/**
 * The envelope: one accepted request, with its body as received. It is what the journal keeps, what the archive decodes and
 * what the forwarder delivers. The body is never re-encoded on its way through.
 */
export const SIGNALS = ['metrics', 'logs', 'traces', 'events'] as const;
export type Signal = (typeof SIGNALS)[number];

/**
 * How the body is to be read. One name per wire format, whatever the path it came by.
 *
 * | protocol | body |
 * |---|---|
 * | `series-v1-json`, `series-v2-json` | `{"series":[…]}` |
 * | `series-v2-proto` | datadog.agentpayload MetricPayload |
 * | `series-v3-proto` | intake_v3.Payload (columnar); also `…/v3/sketches` |
 * | `sketches-proto` | SketchPayload |
 * | `distribution-points-json` | `{"series":[…]}` with lists of values |
 * | `check-run-json` | check runs, array or object |
 * | `logs-json` | array or object; `logs-text` one log per line (text/plain, logplex) |
 * | `traces-agent-proto` | AgentPayload of `/api/v0.2/traces` |
 * | `stats-agent-msgpack`, `stats-client-msgpack` | APM stats, agent and tracer form |
 * | `traces-v03-msgpack` … | tracer bodies; v0.3 and v0.4 share one form, JSON has its own name |
 * | `events-v1-json`, `events-v2-json`, `intake-json` | events API v1, v2, agent multiplex |
 */
export const PROTOCOLS = [
  'series-v1-json',
  'series-v2-json',
  'series-v2-proto',
  'series-v3-proto',
  'sketches-proto',
  'distribution-points-json',
  'check-run-json',
  'logs-json',
  'logs-text',
  'traces-agent-proto',
  'stats-agent-msgpack',
  'stats-client-msgpack',
  'traces-v04-msgpack',
  'traces-v04-json',
  'traces-v05-msgpack',
  'traces-v07-msgpack',
  'events-v1-json',
  'events-v2-json',
  'intake-json',
] as const;
export type Protocol = (typeof PROTOCOLS)[number];

/** Which configured destination an envelope is meant for; `none` is archived only. */
export type Destination = 'datadog' | 'agent' | 'none';

/** Everything of the request but the body. Kept as JSON in the journal frame's head. */
export interface EnvelopeHead {
  tenant: string;
  signal: Signal;
  protocol: Protocol;
  destination: Destination;
  method: 'POST' | 'PUT';
  /** Path and query as received, with any API key removed. */
  path: string;
  contentType: string;
  /** The Content-Encoding header as received; '' when absent. */
  contentEncoding: string;
  /** Wall clock at receipt, milliseconds. */
  receivedAtMs: number;
  /** Headers that are relayed upstream, lower-case names. Never a key. */
  headers: Record<string, string>;
  /** First 16 hex digits of SHA-256 over the caller's key; '' when the caller sent none. */
  keyFingerprint: string;
  /** The caller's key, sealed (`keyId:base64`), only where callers' own keys are forwarded. */
  sealedKey?: string;
  /** The body rests sealed (it holds an API key); readers of the journal get it opened. */
  sealedBody?: true;
  /** SHA-256 over path, key fingerprint and body as received, hex: what tells a sender's retry. */
  bodyHash: string;
  /** The sender's request id, where it sends one (X-Metrics-Request-ID with sequence, X-DD-Request-ID). */
  requestId?: string;
  /** Items as counted by the framing pass. */
  itemCount: number;
  /** Size of the body once decompressed. */
  rawBytes: number;
}

export interface Envelope {
  head: EnvelopeHead;
  /** As received: still compressed. */
  body: Uint8Array;
  /** CRC-32 of `body`, where it was computed off the event loop already. */
  bodyCrc?: number;
}

/** Dense, increasing by one for each envelope of one journal; the first is 1. */
export type Position = number;

export interface JournalEntry extends Envelope {
  position: Position;
  /** The whole buffer behind `body` is this entry's alone: it may be transferred or let go of. */
  isOwn?: true;
}

/** Names one journal's life: a replica id and an epoch that grows each time its journal starts anew. */
export interface JournalIdentity {
  replica: string;
  epoch: number;
}
