/** What every Upstream must hold, whatever it sends to. An implementation joins by handing in a factory for a given base URL. */
import { gzipSync } from 'node:zlib';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Envelope, EnvelopeHead } from '../../src/core/envelope.ts';
import type { Upstream } from '../../src/upstream/upstream.ts';
import { type FakeVendor, startFakeVendor } from '../support/fake-vendor.ts';

export interface UpstreamSuiteParts {
  role: 'datadog' | 'agent';
  open: (url: string, options: { timeoutMs: number; connectionsMax: number }) => Upstream;
  /** An envelope this upstream's vendor takes, with a gzipped body. */
  envelope: (overrides?: Partial<EnvelopeHead>) => Envelope;
}

export function upstreamSuite(name: string, parts: UpstreamSuiteParts): void {
  const never = new AbortController().signal;
  const KEY = 'a'.repeat(32);

  const opened = async (timeoutMs = 10_000): Promise<{ vendor: FakeVendor; upstream: Upstream }> => {
    const vendor = await startFakeVendor({ role: parts.role });
    const upstream = parts.open(vendor.url, { timeoutMs, connectionsMax: 2 });
    onTestFinished(async () => {
      await upstream.close();
      await vendor.close();
    });
    return { vendor, upstream };
  };

  describe(`upstream: ${name}`, () => {
    it('sends body, path, query, type, encoding and relayed headers as they came', async () => {
      const { vendor, upstream } = await opened();
      const plain = parts.envelope();
      const envelope = { ...plain, head: { ...plain.head, path: `${plain.head.path}?a=1&b=%20x` } };
      envelope.head.headers = { ...envelope.head.headers, 'datadog-meta-lang': 'nodejs', 'user-agent': 'client/1' };
      expect(await upstream.send(envelope, KEY, never)).toMatchObject({ kind: 'delivered' });
      const [request] = vendor.requests;
      expect(Buffer.from(envelope.body).equals(request!.body)).toBe(true);
      expect(request).toMatchObject({ method: envelope.head.method, path: plain.head.path });
      expect(String(request!.query)).toBe('a=1&b=+x');
      expect(request!.headers).toMatchObject({
        'content-type': envelope.head.contentType,
        'content-encoding': 'gzip',
        'content-length': String(envelope.body.byteLength),
        'datadog-meta-lang': 'nodejs',
        'user-agent': 'client/1',
      });
      expect(vendor.violations).toEqual([]);
    });

    it('sends no encoding header where there was none, and empty bodies', async () => {
      const { vendor, upstream } = await opened();
      const envelope = { ...parts.envelope({ contentEncoding: '' }), body: new Uint8Array(0) };
      expect(await upstream.send(envelope, KEY, never)).toMatchObject({ kind: 'delivered' });
      expect(vendor.requests[0]!.headers['content-encoding']).toBeUndefined();
      expect(vendor.requests[0]!.bodyBytes).toBe(0);
    });

    it.each([
      [400, 'refused'],
      [413, 'refused'],
      [401, 'unauthorized'],
      [403, 'unauthorized'],
      [404, 'retry'],
      [408, 'retry'],
      [429, 'retry'],
      [500, 'retry'],
      [503, 'retry'],
    ])('status %i means %s', async (status, kind) => {
      const { vendor, upstream } = await opened();
      vendor.script(() => ({ status, body: `{"errors":["no, ${KEY}"]}` }));
      const outcome = await upstream.send(parts.envelope(), KEY, never);
      expect(outcome).toMatchObject({ kind, status });
      expect(JSON.stringify(outcome)).toContain('errors');
      if (parts.role === 'datadog') expect(JSON.stringify(outcome)).not.toContain(KEY);
    });

    it('hands on how long to wait', async () => {
      const { vendor, upstream } = await opened();
      vendor.script(() => ({ status: 429, headers: { 'retry-after': '7' } }));
      expect(await upstream.send(parts.envelope(), KEY, never)).toMatchObject({ kind: 'retry', afterMs: 7000 });
    });

    it('does not follow redirects', async () => {
      const { vendor, upstream } = await opened();
      vendor.script(() => ({ status: 307, headers: { location: `${vendor.url}/elsewhere` } }));
      expect(await upstream.send(parts.envelope(), KEY, never)).toMatchObject({ kind: 'retry', status: 307 });
      expect(vendor.requests).toHaveLength(1);
    });

    it('a refused connection, a reset, a cut answer and a silent vendor are retries', async () => {
      const { vendor, upstream } = await opened(300);
      await vendor.down();
      const lost = { kind: 'retry', status: undefined };
      expect(await upstream.send(parts.envelope(), KEY, never)).toMatchObject(lost);
      await vendor.up();
      vendor.script(() => ({ reset: true }));
      expect(await upstream.send(parts.envelope(), KEY, never)).toMatchObject(lost);
      vendor.script(() => ({ cutAnswer: true, body: 'x'.repeat(100) }));
      expect((await upstream.send(parts.envelope(), KEY, never)).kind).not.toBe('refused');
      vendor.script(() => ({ hang: true }));
      const silent = await upstream.send(parts.envelope(), KEY, never);
      expect(silent).toMatchObject(lost);
      expect(silent).toHaveProperty('reason', expect.stringContaining('300 ms'));
      vendor.script(undefined);
      expect(await upstream.send(parts.envelope(), KEY, never)).toMatchObject({ kind: 'delivered' });
    });

    it('ends at once when told to', async () => {
      const { vendor, upstream } = await opened();
      vendor.script(() => ({ hang: true }));
      const stopping = new AbortController();
      const sending = upstream.send(parts.envelope(), KEY, stopping.signal);
      await vendor.waitFor(1);
      stopping.abort();
      expect(await sending).toMatchObject({ kind: 'retry' });
      expect(await upstream.send(parts.envelope(), KEY, stopping.signal)).toMatchObject({ kind: 'retry' });
    });

    it('reads no more of an endless answer than its bound, and goes on', async () => {
      const { vendor, upstream } = await opened();
      vendor.script(() => ({ status: 500, body: 'x'.repeat(5_000_000) }));
      const outcome = await upstream.send(parts.envelope(), KEY, never);
      expect(outcome).toMatchObject({ kind: 'retry', status: 500 });
      expect(JSON.stringify(outcome).length).toBeLessThan(1000);
      vendor.script(undefined);
      expect(await upstream.send(parts.envelope(), KEY, never)).toMatchObject({ kind: 'delivered' });
    });

    it('keeps its connections, and opens no more than it may', async () => {
      const { vendor, upstream } = await opened();
      const outcomes = await Promise.all(Array.from({ length: 20 }, () => upstream.send(parts.envelope(), KEY, never)));
      expect(outcomes.every(({ kind }) => kind === 'delivered')).toBe(true);
      expect(vendor.connectionCount).toBeLessThanOrEqual(2);
    });
  });
}

export const gzipped = (raw: string | Uint8Array): Uint8Array => gzipSync(raw);
