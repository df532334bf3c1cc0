/**
 * Metrics of every wire format → rows, and an item's rows → JSON. metrics-json.ts, metrics-protobuf.ts and metrics-v3.ts know
 * the formats and what `shape` means in each; this is their edge, where malformed input becomes a rejection.
 */
import { JsonSyntaxError } from '../wire/json-scanner.ts';
import { ProtobufError } from '../wire/protobuf.ts';
import type { Decode, DecodeInput, DecodeResult } from './decoder.ts';
import { decodeMetricsJson } from './metrics-json.ts';
import { decodeMetricsProtobuf } from './metrics-protobuf.ts';
import { decodeMetricsV3 } from './metrics-v3.ts';

export { renderMetric } from './metrics-render.ts';

export const decodeMetrics: Decode = (input) => {
  try {
    return decodeFormat(input);
  } catch (error) {
    if (error instanceof JsonSyntaxError || error instanceof ProtobufError) {
      return { ok: false, reason: error.message, offset: error.offset };
    }
    throw error;
  }
};

function decodeFormat(input: DecodeInput): DecodeResult {
  switch (input.protocol) {
    case 'series-v1-json':
    case 'series-v2-json':
    case 'distribution-points-json':
      return decodeMetricsJson(input);
    case 'series-v2-proto':
    case 'sketches-proto':
      return decodeMetricsProtobuf(input);
    case 'series-v3-proto':
      return decodeMetricsV3(input);
    default:
      throw new Error(`BUG: ${input.protocol} is no protocol of metrics`);
  }
}
