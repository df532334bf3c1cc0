/**
 * What the generator sends: bodies, decompressed, with the places of their times, and in which order and compression they go out. Here
 * those of the product's seeded traffic; corpus-templates.ts has those of the corpus.
 */
import { constants, deflateSync, gzipSync } from 'node:zlib';
import zstd from 'zstd-napi/binding.js';
import { TRAFFIC_STEP_MS, traffic } from '../../src/cli/demo/traffic.ts';
import type { Signal } from '../../src/core/envelope.ts';
import { rawBodyOf } from '../generated.ts';
import { decodeBody, itemRows } from '../pipeline.ts';
import { findStamps, moveStamps, type Stamps, stampCount } from './stamps.ts';

/** `generated-mixed`: all that the product's traffic has. The others: one kind of request only. */
export const GENERATED_MIXES = {
  'generated-mixed': () => true,
  'generated-series-proto': (path: string, type: string) => path === '/api/v2/series' && type.includes('protobuf'),
  'generated-logs-json': (path: string) => path === '/api/v2/logs',
} as const;
export type GeneratedMix = keyof typeof GENERATED_MIXES;

export type Encoding = 'identity' | 'gzip' | 'deflate' | 'zstd';

export interface Template {
  signal: Signal;
  method: string;
  path: string;
  /** Without Content-Encoding. */
  headers: Record<string, string>;
  /** Changed in place by every sending. */
  raw: Buffer;
  stamps: Stamps;
  /** Series, sketches, logs, spans, check runs or events. */
  items: number;
  /** Rows of the archive: points of series, else as items. */
  rows: number;
  /** How often it was sent. */
  sent: number;
}

/** One after another, and again from the first: each time with other times in its body. */
export interface Sending {
  template: Template;
  encoding: Encoding;
}

/** Each sending of a body moves its times by this much. */
const STEP_SECONDS = 1;
const REQUESTS_MAX = 40_000;

/** `endMs`: time of the last body, about. Equal arguments give equal bodies. */
export function generatedSendings(mix: GeneratedMix, count: number, seed: number, endMs: number): Sending[] {
  const sendings: Sending[] = [];
  const startMs = endMs - count * TRAFFIC_STEP_MS;
  // Spans may have begun long before they are sent.
  const range = { fromMs: startMs - 600_000, toMs: endMs + REQUESTS_MAX * TRAFFIC_STEP_MS };
  for (const request of traffic(seed, { startMs, requests: REQUESTS_MAX })) {
    const type = request.headers['content-type'] ?? '';
    if (!GENERATED_MIXES[mix](request.path, type)) continue;
    const body = rawBodyOf(request);
    const raw = Buffer.from(body.bytes);
    const stamps = findStamps(raw, type, range);
    // Without a time (a few logs that have none) it would be the same each time.
    if (stampCount(stamps) === 0) continue;
    const { 'content-encoding': encoding = 'identity', ...headers } = request.headers;
    const template = {
      signal: request.signal,
      method: request.method,
      path: request.path,
      headers,
      raw,
      stamps,
      items: request.items,
      rows: itemRows(decodeBody(body, 0).batch),
      sent: 0,
    };
    sendings.push({ template, encoding: encoding as Encoding });
    if (sendings.length === count) break;
  }
  return sendings;
}

/** As agents compress: zstd and the others at level 1. One context and one target for all bodies: fresh memory is slow. */
const context = new zstd.CCtx();
context.setParameter(zstd.CParameter.compressionLevel, 1);
let target = Buffer.alloc(0);

/**
 * The body as it goes out next: no two sendings are equal. An identity body is the template's own buffer, which the next call for the
 * same template changes.
 */
export function nextBody({ template, encoding }: Sending): Buffer {
  const { raw } = template;
  if (template.sent > 0) moveStamps(raw, template.stamps, STEP_SECONDS);
  template.sent += 1;
  switch (encoding) {
    case 'gzip':
      return gzipSync(raw, { level: constants.Z_BEST_SPEED });
    case 'deflate':
      return deflateSync(raw, { level: constants.Z_BEST_SPEED });
    case 'zstd': {
      const bytesMax = zstd.compressBound(raw.byteLength);
      if (target.byteLength < bytesMax) target = Buffer.alloc(bytesMax);
      return Buffer.from(target.subarray(0, context.compress2(target, raw)));
    }
    case 'identity':
      return raw;
  }
}
