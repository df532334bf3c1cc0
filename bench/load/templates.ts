/** What the generator sends: bodies of the product's seeded traffic, decompressed, with the places of their times. */
import { constants, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { TRAFFIC_STEP_MS, traffic } from '../../src/cli/demo/traffic.ts';
import type { Signal } from '../../src/core/envelope.ts';
import { rawBodyOf } from '../generated.ts';
import { decodeBody, itemRows } from '../pipeline.ts';
import { applyStamps, findStamps, type Stamp } from './stamps.ts';

/** `mixed`: all that a fleet sends. The others: one kind of request only. */
export const MIXES = {
  mixed: () => true,
  'series-proto': (path: string, type: string) => path === '/api/v2/series' && type.includes('protobuf'),
  'logs-json': (path: string) => path === '/api/v2/logs',
} as const;
export type Mix = keyof typeof MIXES;

export interface Template {
  signal: Signal;
  method: string;
  path: string;
  headers: Record<string, string>;
  encoding: string;
  /** Changed in place by every sending. */
  raw: Buffer;
  stamps: Stamp[];
  /** Series, sketches, logs, spans, check runs or events. */
  items: number;
  /** Rows of the archive: points of series, else as items. */
  rows: number;
  sent: number;
}

/** Each sending of a body moves its times by this much. */
const SHIFT_MS = 1000;
const REQUESTS_MAX = 40_000;

/** `endMs`: time of the last body, about. Equal arguments give equal bodies. */
export function makeTemplates(mix: Mix, count: number, seed: number, endMs: number): Template[] {
  const templates: Template[] = [];
  const startMs = endMs - count * TRAFFIC_STEP_MS;
  // Spans may have begun long before they are sent.
  const range = { fromMs: startMs - 600_000, toMs: endMs + REQUESTS_MAX * TRAFFIC_STEP_MS };
  for (const request of traffic(seed, { startMs, requests: REQUESTS_MAX })) {
    const type = request.headers['content-type'] ?? '';
    if (!MIXES[mix](request.path, type)) continue;
    const body = rawBodyOf(request);
    const raw = Buffer.from(body.bytes);
    const stamps = findStamps(raw, type, range);
    // Without a time (a few logs that have none) it would be the same each time.
    if (stamps.length === 0) continue;
    templates.push({
      signal: request.signal,
      method: request.method,
      path: request.path,
      headers: request.headers,
      encoding: request.headers['content-encoding'] ?? '',
      raw,
      stamps,
      items: request.items,
      rows: itemRows(decodeBody(body, 0).batch),
      sent: 0,
    });
    if (templates.length === count) break;
  }
  return templates;
}

/** The body as it goes out next: no two sendings are equal. */
export function nextBody(template: Template): Buffer {
  applyStamps(template.raw, template.stamps, template.sent * SHIFT_MS);
  template.sent += 1;
  switch (template.encoding) {
    case 'gzip':
      return gzipSync(template.raw, { level: 1 });
    case 'deflate':
      return deflateSync(template.raw, { level: 1 });
    case 'zstd':
      return zstdCompressSync(template.raw, { params: { [constants.ZSTD_c_compressionLevel]: 1 } });
    default:
      return template.raw;
  }
}
