/** Which decoder reads which protocol: the one switch between a body and its columns. */
import type { Protocol } from '../core/envelope.ts';
import type { Decode } from './decoder.ts';
import { decodeEvents } from './events.ts';
import { decodeLogs } from './logs.ts';
import { decodeMetrics } from './metrics.ts';
import { decodeTraces } from './traces.ts';

const DECODERS: Record<Protocol, Decode> = {
  'series-v1-json': decodeMetrics,
  'series-v2-json': decodeMetrics,
  'series-v2-proto': decodeMetrics,
  'series-v3-proto': decodeMetrics,
  'sketches-proto': decodeMetrics,
  'distribution-points-json': decodeMetrics,
  'check-run-json': decodeEvents,
  'logs-json': decodeLogs,
  'logs-text': decodeLogs,
  'traces-agent-proto': decodeTraces,
  'stats-agent-msgpack': decodeTraces,
  'stats-client-msgpack': decodeTraces,
  'traces-v04-msgpack': decodeTraces,
  'traces-v04-json': decodeTraces,
  'traces-v05-msgpack': decodeTraces,
  'traces-v07-msgpack': decodeTraces,
  'events-v1-json': decodeEvents,
  'events-v2-json': decodeEvents,
  'intake-json': decodeEvents,
};

export const decodeEnvelope: Decode = (input) => DECODERS[input.protocol](input);
