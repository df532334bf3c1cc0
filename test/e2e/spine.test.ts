/** The main job on a real process: agent traffic in, Parquet on disk and the vendor out, answers back out of what was kept. */
import { deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { request } from 'undici';
import { describe, expect, test } from 'vitest';
import { startFakeVendor } from '../support/fake-vendor.ts';
import { runCli, startProxy } from '../support/proxy-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const KEY = '0123456789abcdef0123456789abcdef';

async function post(url: string, body: string | Buffer, headers: Record<string, string> = {}) {
  const answer = await request(url, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json', 'dd-api-key': KEY, ...headers },
  });
  return { status: answer.statusCode, body: await answer.body.text(), headers: answer.headers };
}

describe('the spine', () => {
  test('series and logs are acknowledged, forwarded byte-identical, kept, exported equal and queried', async () => {
    const folder = await temporaryFolder();
    const vendor = await startFakeVendor({ apiKeys: ['f'.repeat(32)] });
    const proxy = await startProxy({
      dataFolder: folder,
      env: { FORWARD_TO: vendor.url, DATADOG_API_KEY: 'f'.repeat(32) },
    });
    const nowS = Math.floor(Date.now() / 1000);
    const series = [
      {
        metric: 'a.b',
        type: 3,
        points: [{ timestamp: nowS, value: 0.1 }],
        tags: ['env:prod', 'x'],
        resources: [{ name: 'h1', type: 'host' }],
      },
      {
        metric: 'c',
        type: 1,
        interval: 10,
        points: [
          { timestamp: nowS - 7200, value: -2.5e-9 },
          { timestamp: nowS, value: 1e300 },
        ],
      },
      { metric: 'v1.shaped', points: [[nowS, 42]], odd: { deep: [1, null, 'é'] } },
    ];
    const logs = [
      {
        message: 'hello',
        service: 'web',
        ddsource: 'nginx',
        ddtags: 'env:prod,team:a',
        hostname: 'h1',
        status: 'info',
        timestamp: nowS * 1000,
      },
      { message: 'error 500', service: 'web', status: 'error', http: { status_code: 500 }, nested: { a: [1, 2.5] } },
    ];
    try {
      const bodies: { path: string; body: Buffer; encoding?: string; status: number }[] = [
        { path: '/api/v2/series', body: Buffer.from(JSON.stringify({ series })), status: 202 },
        {
          path: '/api/v1/series',
          body: deflateSync(
            JSON.stringify({ series: [{ metric: 'v1', points: [[nowS, 1.5]], type: 'gauge', host: 'h2' }] }),
          ),
          encoding: 'deflate',
          status: 202,
        },
        { path: '/api/v2/logs', body: zstdCompressSync(JSON.stringify(logs)), encoding: 'zstd', status: 202 },
        {
          path: '/v1/input',
          body: gzipSync(JSON.stringify({ message: 'single', service: 'lib' })),
          encoding: 'gzip',
          status: 200,
        },
      ];
      for (const { path, body, encoding, status } of bodies) {
        const answer = await post(proxy.url + path, body, encoding ? { 'content-encoding': encoding } : {});
        expect(answer, path).toMatchObject({ status });
      }
      const seen = await vendor.waitFor(4);
      expect(vendor.violations).toEqual([]);
      for (const { path, body, encoding } of bodies) {
        const found = seen.find((one) => one.path === path)!;
        expect(Buffer.compare(found.body, body), path).toBe(0);
        expect(found.headers['content-encoding']).toBe(encoding);
        expect(found.apiKey).toBe('f'.repeat(32));
      }
      const health = await request(`${proxy.url}/health`);
      expect(health.statusCode).toBe(200);
      expect(await health.body.json()).toMatchObject({ status: 'ok', storage: 'connected', datadog: 'connected' });
      const status = (await (await request(`${proxy.url}/status`)).body.json()) as {
        books: { intake: { balance: number } };
      };
      expect(status.books.intake.balance).toBe(0);
      proxy.child.kill('SIGTERM');
      expect(await proxy.exited).toEqual({ code: 0, signal: null });

      const env = { DATA_DIR: folder };
      const metrics = (await runCli(['export', '--signal', 'metrics'], env)).stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      expect(metrics.slice(0, 3)).toEqual(series);
      const exported = (await runCli(['export', '--signal', 'logs'], env)).stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      expect(exported).toEqual([...logs, { message: 'single', service: 'lib' }]);
      const query = await runCli(
        ['query', '--format', 'ndjson', 'SELECT service, count(*) AS n FROM logs GROUP BY service ORDER BY service'],
        env,
      );
      expect(query.stderr).toBe('');
      expect(
        query.stdout
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line)),
      ).toEqual([
        { service: 'lib', n: 1 },
        { service: 'web', n: 2 },
      ]);
      const list = await runCli(['ls'], env);
      expect(list.stdout).toMatch(/logs/);
      expect(proxy.lines.join('\n')).not.toContain(KEY);
    } finally {
      await proxy.kill();
      await vendor.close();
    }
  });

  test('without any key it starts store-only, and unknown paths are swallowed with 202', async () => {
    const folder = await temporaryFolder();
    const proxy = await startProxy({ dataFolder: folder });
    try {
      expect((await post(`${proxy.url}/api/v1/metadata`, '{}')).status).toBe(202);
      expect((await post(`${proxy.url}/api/v2/logs`, '[{"message":"x"}]')).status).toBe(202);
      const health = (await (await request(`${proxy.url}/health`)).body.json()) as { datadog: string };
      expect(health.datadog).toBe('not configured');
    } finally {
      await proxy.kill();
    }
  });

  test('what callers send before the vendor answers is never held up by it; spill keeps the journal free', async () => {
    const folder = await temporaryFolder();
    const vendor = await startFakeVendor();
    vendor.script(() => ({ hang: true }));
    const proxy = await startProxy({
      dataFolder: folder,
      env: {
        FORWARD_TO: vendor.url,
        DATADOG_API_KEY: KEY,
        REDUCTRAI_JOURNAL_BUDGET_BYTES: '80MiB',
        REDUCTRAI_FORWARD_SPILL_SHARE: '0.05',
        REDUCTRAI_ARCHIVE_FLUSH_AFTER: '300ms',
      },
    });
    try {
      const bodies: Buffer[] = [];
      for (let i = 0; i < 60; i++) {
        const noise = Array.from({ length: 60 }, (_, n) => ({
          message: `${i} ${n} ${Math.sin(i * 1000 + n)} `.repeat(400),
          service: 's',
        }));
        bodies.push(Buffer.from(JSON.stringify(noise)));
      }
      // 60 × 2 MB: more than the whole journal may hold.
      for (const body of bodies) {
        let answer = await post(`${proxy.url}/api/v2/logs`, body);
        for (let tries = 0; answer.status === 503 && tries < 100; tries++) {
          await new Promise((resolve) => setTimeout(resolve, 100));
          answer = await post(`${proxy.url}/api/v2/logs`, body);
        }
        expect(answer.status).toBe(202);
      }
      vendor.script(undefined);
      await vendor.down();
      await vendor.up();
      const deadline = Date.now() + 60_000;
      const delivered = () => new Set(vendor.delivered().map((one) => one.bodySha256)).size;
      while (delivered() < bodies.length && Date.now() < deadline)
        await new Promise((resolve) => setTimeout(resolve, 100));
      expect(delivered()).toBe(bodies.length);
    } finally {
      await proxy.kill();
      await vendor.close();
    }
  }, 120_000);
});
