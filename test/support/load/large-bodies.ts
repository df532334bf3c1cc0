/** The largest bodies in several forms, made from a seed: what compresses well, what does not, JSON and protobuf. */
import { zstdCompressSync } from 'node:zlib';
import { seededRandom } from '../../../src/core/random.ts';
import { ProtobufWriter } from '../protobuf-writer.ts';

export interface LargeBody {
  form: 'logs-json' | 'logs-noise' | 'series-json' | 'series-proto';
  /** Before compression. */
  rawBytes: number;
  encoding: 'identity' | 'zstd';
}

export interface PreparedBody {
  path: string;
  headers: Record<string, string>;
  body: Buffer;
}

const PATHS = {
  'logs-json': '/api/v2/logs',
  'logs-noise': '/api/v2/logs',
  'series-json': '/api/v2/series',
  'series-proto': '/api/v2/series',
} as const;

export function largeBody({ form, rawBytes, encoding }: LargeBody): PreparedBody {
  const raw = MAKERS[form](rawBytes);
  const body = encoding === 'zstd' ? zstdCompressSync(raw) : raw;
  const contentType = form === 'series-proto' ? 'application/x-protobuf' : 'application/json';
  const headers: Record<string, string> = { 'content-type': contentType };
  if (encoding === 'zstd') headers['content-encoding'] = 'zstd';
  return { path: PATHS[form], headers, body };
}

const MAKERS: Record<LargeBody['form'], (rawBytes: number) => Buffer> = {
  'logs-json': (rawBytes) =>
    jsonList('[', ']', rawBytes, (index) => ({
      message: `GET /orders/${index} ${'x'.repeat(900)}`,
      service: 'crowd',
      hostname: `host-${index % 50}`,
      ddtags: 'env:prod,team:a',
    })),
  // Base64 of noise: three quarters are left when compressed.
  'logs-noise': (rawBytes) => {
    const random = seededRandom(3);
    return jsonList('[', ']', rawBytes, () => ({
      message: Buffer.from(random.bytes(6000)).toString('base64'),
      service: 'crowd',
    }));
  },
  'series-json': (rawBytes) =>
    jsonList('{"series":[', ']}', rawBytes, (index) => ({
      metric: `crowd.metric.${index % 500}`,
      type: 3,
      points: Array.from({ length: 40 }, (_, point) => ({
        timestamp: 1_790_000_000 + point * 10,
        value: index + point / 7,
      })),
      tags: ['env:prod', `pod:${index % 100}`],
      resources: [{ name: `host-${index % 50}`, type: 'host' }],
    })),
  'series-proto': (rawBytes) => {
    const kinds = Array.from({ length: 200 }, (_, index) => seriesMessage(index));
    const parts: Uint8Array[] = [];
    for (let bytes = 0, index = 0; ; index++) {
      const part = kinds[index % kinds.length]!;
      bytes += part.byteLength;
      if (bytes > rawBytes) break;
      parts.push(part);
    }
    return Buffer.concat(parts);
  },
};

function jsonList(open: string, close: string, rawBytes: number, item: (index: number) => unknown): Buffer {
  const parts: string[] = [];
  let bytes = open.length + close.length;
  for (let index = 0; ; index++) {
    const text = JSON.stringify(item(index));
    bytes += text.length + 1;
    if (bytes > rawBytes) break;
    parts.push(text);
  }
  return Buffer.from(open + parts.join(',') + close);
}

/** One `series` of datadog.agentpayload MetricPayload. */
function seriesMessage(index: number): Uint8Array {
  const writer = new ProtobufWriter();
  writer.message(1, (series) => {
    series.message(1, (resource) => resource.string(1, 'host').string(2, `host-${index % 50}`));
    series.string(2, `crowd.metric.${index}`).string(3, 'env:prod').string(3, `pod:${index}`);
    for (let point = 0; point < 40; point++) {
      series.message(4, (one) => one.double(1, index + point / 7).varint(2, 1_790_000_000 + point * 10));
    }
    series.varint(5, 3);
  });
  return writer.finish();
}
