/**
 * The generator's requests as bodies: decompressed with their protocol, or as the JSON that the same items are as series v2, log and
 * v0.4 trace bodies.
 */
import { gunzipSync, inflateSync, zstdDecompressSync } from 'node:zlib';
import type { TrafficRequest } from '../src/cli/demo/traffic.ts';
import { ROUTES } from '../src/intake/routes.ts';
import { renderMetric } from '../src/record/metrics.ts';
import { renderSpan } from '../src/record/traces.ts';
import { itemsOf, rowsOf } from '../test/support/rows.ts';
import { decodeBody, type RawBody } from './pipeline.ts';

export function rawBodyOf(request: TrafficRequest): RawBody {
  const route = ROUTES.find(({ path }) => path === request.path);
  if (!route) throw new Error(`BUG: no route ${request.path}`);
  const contentType = request.headers['content-type'] ?? '';
  return {
    signal: request.signal,
    protocol: route.protocolOf(contentType),
    contentType,
    path: request.path,
    bytes: inflated(request),
  };
}

function inflated({ headers, body }: TrafficRequest): Buffer {
  switch (headers['content-encoding']) {
    case undefined:
      return body;
    case 'gzip':
      return gunzipSync(body);
    case 'deflate':
      return inflateSync(body);
    case 'zstd':
      return zstdDecompressSync(body);
    default:
      throw new Error(`BUG: encoding ${headers['content-encoding']}`);
  }
}

/** Undefined for what has no such form: sketches and v1 series. */
export function generatedJson(request: TrafficRequest): Buffer | undefined {
  const raw = rawBodyOf(request);
  switch (raw.protocol) {
    case 'series-v2-json':
    case 'logs-json':
      return Buffer.from(raw.bytes);
    case 'series-v2-proto':
      return Buffer.from(`{"series":[${itemsIn(raw).map(renderMetric).join(',')}]}`);
    case 'traces-v04-msgpack':
    case 'traces-agent-proto':
      return tracesJson(raw);
    default:
      return undefined;
  }
}

/** Spans of a msgpack or protobuf body as v0.4 JSON: what a tracer of these spans would send, if it sent JSON. */
export function tracesJson(raw: RawBody): Buffer {
  const traces = new Map<string, string[]>();
  for (const rows of itemsIn(raw)) {
    const key = `${rows[0]!.payload} ${rows[0]!.chunk} ${rows[0]!.trace_id}`;
    const text = renderSpan(rows);
    const trace = traces.get(key);
    if (trace) trace.push(text);
    else traces.set(key, [text]);
  }
  return Buffer.from(`[${[...traces.values()].map((spans) => `[${spans.join(',')}]`).join(',')}]`);
}

function itemsIn(raw: RawBody) {
  const rows = rowsOf(decodeBody(raw, 0).batch).filter(({ kind }) => kind !== 'payload');
  // Rows of segments carry their protocol; renderers look at it.
  for (const row of rows) row.protocol = raw.protocol;
  return itemsOf(rows);
}
