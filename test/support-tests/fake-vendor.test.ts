import { deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { pack } from 'msgpackr';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type FakeVendor, type FakeVendorOptions, startFakeVendor } from '../support/fake-vendor.ts';

async function started(options: FakeVendorOptions = {}): Promise<FakeVendor> {
  const vendor = await startFakeVendor({ apiKeys: ['k1'], ...options });
  onTestFinished(() => vendor.close());
  return vendor;
}

const JSON_HEADERS = { 'dd-api-key': 'k1', 'content-type': 'application/json' };
const post = (url: string, body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = JSON_HEADERS) =>
  fetch(url, { method: 'POST', body, headers });

describe('fake vendor', () => {
  it('answers as Datadog does and keeps what it received', async () => {
    const vendor = await started();
    const body = gzipSync('[{"message":"hi"}]');
    const answer = await post(`${vendor.url}/api/v2/logs?ddsource=x`, new Uint8Array(body), {
      ...JSON_HEADERS,
      'content-encoding': 'gzip',
    });
    expect([answer.status, await answer.text()]).toEqual([202, '{}']);
    expect(vendor.requests[0]).toMatchObject({
      order: 1,
      method: 'POST',
      path: '/api/v2/logs',
      status: 202,
      apiKey: 'k1',
    });
    expect(vendor.requests[0]!.query.get('ddsource')).toBe('x');
    expect(Buffer.compare(vendor.requests[0]!.body, body)).toBe(0);
    const series = await post(`${vendor.url}/api/v1/series`, '{"series":[]}');
    expect([series.status, await series.text()]).toEqual([202, '{"status":"ok"}']);
    const valid = await fetch(`${vendor.url}/api/v1/validate?api_key=k1`);
    expect([valid.status, await valid.text()]).toEqual([200, '{"valid":true}']);
    expect((await post(`${vendor.url}/v1/input`, '{}')).status).toBe(200);
    expect(vendor.violations).toEqual([]);
    expect(vendor.delivered()).toHaveLength(4);
  });

  it('refuses wrong keys, unknown paths, bad encodings and bad frames, and remembers it', async () => {
    const vendor = await started();
    const { url } = vendor;
    const without = { 'content-type': 'application/json' };
    expect((await post(`${url}/api/v2/logs`, '[]', without)).status).toBe(403);
    expect((await post(`${url}/api/v2/logs`, '[]', { ...without, 'dd-api-key': 'other' })).status).toBe(403);
    expect((await post(`${url}/api/v2/series?api_key=k1`, '{"series":[]}', without)).status).toBe(403);
    expect((await post(`${url}/no/such`, '{}')).status).toBe(404);
    expect((await fetch(`${url}/api/v2/logs`, { headers: JSON_HEADERS })).status).toBe(404);
    expect((await post(`${url}/api/v2/logs`, '[]', { ...JSON_HEADERS, 'content-encoding': 'br' })).status).toBe(415);
    expect((await post(`${url}/api/v2/logs`, '[1]', { ...JSON_HEADERS, 'content-encoding': 'gzip' })).status).toBe(400);
    expect((await post(`${url}/api/v2/logs`, '[{')).status).toBe(400);
    expect((await post(`${url}/api/beta/sketches`, new Uint8Array([0x0a, 0x05, 1]))).status).toBe(400);
    expect((await post(`${url}/api/v0.2/stats`, new Uint8Array([0x92, 0x01]))).status).toBe(400);
    expect(vendor.violations.map((violation) => violation.kind)).toEqual([
      'key',
      'key',
      'key',
      'path',
      'path',
      'encoding',
      'encoding',
      'frame',
      'frame',
      'frame',
    ]);
    expect(vendor.delivered()).toEqual([]);
  });

  it('reads every encoding that agents use', async () => {
    const vendor = await started();
    const text = JSON.stringify([{ message: 'x'.repeat(5000) }]);
    const half = Math.floor(text.length / 2);
    const frames = Buffer.concat([zstdCompressSync(text.slice(0, half)), zstdCompressSync(text.slice(half))]);
    for (const [encoding, body] of [
      ['identity', Buffer.from(text)],
      ['gzip', gzipSync(text)],
      ['deflate', deflateSync(text)],
      ['zstd', zstdCompressSync(text)],
      ['zstd1', frames],
      ['gzip, zstd', zstdCompressSync(gzipSync(text))],
    ] as const) {
      const headers = { ...JSON_HEADERS, 'content-encoding': encoding };
      expect((await post(`${vendor.url}/api/v2/logs`, new Uint8Array(body), headers)).status, encoding).toBe(202);
    }
    const truncated = new Uint8Array(frames.subarray(0, frames.byteLength - 5));
    const headers = { ...JSON_HEADERS, 'content-encoding': 'zstd' };
    expect((await post(`${vendor.url}/api/v2/logs`, truncated, headers)).status).toBe(400);
    expect((await post(`${vendor.url}/api/v0.2/stats`, new Uint8Array(pack({ Stats: [] })))).status).toBe(202);
    expect((await post(`${vendor.url}/api/beta/sketches`, new Uint8Array([0x0a, 0x01, 1]))).status).toBe(202);
    for (const probe of ['', '{}']) expect((await post(`${vendor.url}/api/v2/series`, probe)).status).toBe(202);
  });

  it('misbehaves as scripted', async () => {
    const vendor = await started();
    const url = `${vendor.url}/api/v2/logs`;
    vendor.script(({ order }) => {
      if (order === 1) return { status: 429, headers: { 'retry-after': '3' }, body: '{"errors":["slow down"]}' };
      if (order === 2) return { reset: true };
      if (order === 3) return { hang: true };
      if (order === 4) return { cutAnswer: true };
      return undefined;
    });
    const limited = await post(url, '[]');
    expect([limited.status, limited.headers.get('retry-after')]).toEqual([429, '3']);
    await expect(post(url, '[]')).rejects.toThrow();
    const patience = new AbortController();
    const hanging = fetch(url, { method: 'POST', body: '[]', headers: JSON_HEADERS, signal: patience.signal });
    await vendor.waitFor(3);
    patience.abort();
    await expect(hanging).rejects.toThrow();
    await expect(post(url, '[]').then((answer) => answer.text())).rejects.toThrow();
    expect((await post(url, '[]')).status).toBe(202);
    expect(vendor.requests.map((request) => request.status)).toEqual([429, 0, 0, 202, 202]);
  });

  it('goes down and comes up on the same port', async () => {
    const vendor = await started({ keepBodies: false });
    const { url } = vendor;
    expect((await post(`${url}/api/v2/logs`, '[1]')).status).toBe(202);
    await vendor.down();
    await expect(post(`${url}/api/v2/logs`, '[2]')).rejects.toThrow();
    await vendor.up();
    expect(vendor.url).toBe(url);
    expect((await post(`${url}/api/v2/logs`, '[3]')).status).toBe(202);
    expect(vendor.requests.map(({ body, bodyBytes }) => [body.byteLength, bodyBytes])).toEqual([
      [0, 3],
      [0, 3],
    ]);
    expect(vendor.requests[0]!.bodySha256).not.toBe(vendor.requests[1]!.bodySha256);
  });

  it('plays an Agent, which needs no key', async () => {
    const vendor = await started({ role: 'agent' });
    const traces = await fetch(`${vendor.url}/v0.4/traces`, {
      method: 'PUT',
      body: new Uint8Array(pack([[]])),
      headers: { 'content-type': 'application/msgpack' },
    });
    expect([traces.status, await traces.json()]).toEqual([200, { rate_by_service: { 'service:,env:': 1 } }]);
    expect((await fetch(`${vendor.url}/info`)).status).toBe(200);
    expect(vendor.violations).toEqual([]);
  });
});
