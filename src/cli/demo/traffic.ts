/**
 * Requests as a fleet of agents, tracers and libraries sends them, from a seed: equal seeds and options give equal bytes. No I/O and no
 * clock. Used by the demo, by tests and by benchmarks.
 */
import { deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import type { Signal } from '../../core/envelope.ts';
import { seededRandom } from '../../core/random.ts';
import { Fleet, SERVICES } from './fleet.ts';
import { agentLogs, deployEvent, libraryLogs } from './log-bodies.ts';
import { type Body, checkRuns, seriesProtobuf, seriesV1Json, seriesV2Json, sketchesProtobuf } from './metric-bodies.ts';
import { agentPayload, tracerPayload } from './trace-bodies.ts';

export interface TrafficRequest {
  signal: Signal;
  method: 'POST' | 'PUT';
  path: string;
  /** Lower-case names; without a key. */
  headers: Record<string, string>;
  /** As sent. */
  body: Buffer;
  /** Size before compression. */
  rawBytes: number;
  /** Series, sketches, logs, spans, check runs or events. */
  items: number;
}

export interface TrafficOptions {
  /** Time of the first request; the others follow every `stepMs`. */
  startMs: number;
  requests: number;
  hosts?: number;
  stepMs?: number;
}

export const TRAFFIC_STEP_MS = 250;
const HOSTS = 12;

type Encoding = 'identity' | 'gzip' | 'deflate' | 'zstd';
type Make = (fleet: Fleet, nowMs: number) => TrafficRequest;

const PROTOBUF = 'application/x-protobuf';
const JSON_TYPE = 'application/json';

/** How often each kind of request comes, as weights. */
const KINDS: readonly (readonly [weight: number, make: Make])[] = [
  [34, byHost('metrics', '/api/v2/series', PROTOBUF, () => 'zstd', seriesProtobuf)],
  [9, byHost('metrics', '/api/beta/sketches', PROTOBUF, () => 'zstd', sketchesProtobuf)],
  [4, byHost('metrics', '/api/v1/series', JSON_TYPE, () => 'deflate', seriesV1Json)],
  [
    5,
    byHost('metrics', '/api/v2/series', JSON_TYPE, (fleet) => (fleet.chance(0.5) ? 'identity' : 'gzip'), seriesV2Json),
  ],
  [18, byHost('logs', '/api/v2/logs', JSON_TYPE, (fleet) => (fleet.chance(0.5) ? 'zstd' : 'gzip'), agentLogs)],
  [7, byHost('logs', '/api/v2/logs', JSON_TYPE, (fleet) => (fleet.chance(0.5) ? 'identity' : 'gzip'), libraryLogs)],
  [11, byHost('traces', '/api/v0.2/traces', PROTOBUF, (fleet) => (fleet.chance(0.5) ? 'zstd' : 'gzip'), agentPayload)],
  [8, tracer],
  [2, byHost('events', '/api/v1/check_run', JSON_TYPE, () => 'deflate', checkRuns)],
  [2, byHost('events', '/api/v1/events', JSON_TYPE, () => 'identity', deployEvent)],
];

export function* traffic(seed: number, options: TrafficOptions): Generator<TrafficRequest> {
  const { startMs, requests, hosts = HOSTS, stepMs = TRAFFIC_STEP_MS } = options;
  const fleet = new Fleet(seed, hosts);
  const order = seededRandom(seed ^ 0x5eed);
  const weights = KINDS.reduce((sum, [weight]) => sum + weight, 0);
  for (let i = 0; i < requests; i++) {
    // One of each kind first, so that even a short run shows them all.
    const make = KINDS[i]?.[1] ?? kindAt(order.next() * weights);
    yield make(fleet, startMs + i * stepMs);
  }
}

function kindAt(point: number): Make {
  let left = point;
  for (const [weight, make] of KINDS) {
    left -= weight;
    if (left < 0) return make;
  }
  return KINDS[0]![1];
}

function byHost(
  signal: Signal,
  path: string,
  contentType: string,
  encodingOf: (fleet: Fleet) => Encoding,
  bodyOf: (fleet: Fleet, host: Fleet['hosts'][number], nowMs: number) => Body,
): Make {
  return (fleet, nowMs) => {
    const encoding = encodingOf(fleet);
    const { bytes, items } = bodyOf(fleet, fleet.pick(fleet.hosts), nowMs);
    return request(signal, path, { 'content-type': contentType }, encoding, bytes, items);
  };
}

function tracer(fleet: Fleet, nowMs: number): TrafficRequest {
  const service = fleet.pick(SERVICES);
  const { bytes, items, traces } = tracerPayload(fleet, service, nowMs);
  const headers = {
    'content-type': 'application/msgpack',
    'datadog-meta-lang': service.language,
    'datadog-meta-tracer-version': '2.4.1',
    'x-datadog-trace-count': String(traces),
  };
  return { ...request('traces', '/v0.4/traces', headers, 'identity', bytes, items), method: 'PUT' };
}

/** One request of a body that is at hand. */
export function request(
  signal: Signal,
  path: string,
  headers: Record<string, string>,
  encoding: Encoding,
  bytes: Buffer,
  items: number,
): TrafficRequest {
  const withEncoding = encoding === 'identity' ? headers : { ...headers, 'content-encoding': encoding };
  const body = compress(bytes, encoding);
  return { signal, method: 'POST', path, headers: withEncoding, body, rawBytes: bytes.byteLength, items };
}

function compress(bytes: Buffer, encoding: Encoding): Buffer {
  switch (encoding) {
    case 'identity':
      return bytes;
    case 'gzip':
      return gzipSync(bytes);
    case 'deflate':
      return deflateSync(bytes);
    case 'zstd':
      return zstdCompressSync(bytes);
  }
}
