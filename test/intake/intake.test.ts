/** The intake over real sockets, with the real decode worker and a memory journal behind it. */

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { Worker } from 'node:worker_threads';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { Agent, request } from 'undici';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { ByteBudget } from '../../src/core/byte-budget.ts';
import { systemClock } from '../../src/core/clock.ts';
import { MIB } from '../../src/core/limits.ts';
import { seededRandom, systemRandom } from '../../src/core/random.ts';
import { createSealer } from '../../src/core/sealer.ts';
import { type AcceptedEnvelope, createIntake, type Intake, type IntakeOptions } from '../../src/intake/intake.ts';
import { createMemoryJournal } from '../../src/journal/memory-journal.ts';
import { createDecodePool } from '../../src/record/decode-pool.ts';
import { quietWitness } from '../support/quiet.ts';

const KEY = '0123456789abcdef0123456789abcdef';
const closers: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

interface Bench {
  url: string;
  intake: Intake;
  accepted: AcceptedEnvelope[];
  budget: ByteBudget;
  journal: ReturnType<typeof createMemoryJournal>;
  count(name: string): Promise<number>;
}

/** Starting a worker takes longer than all that a test asks of it. Each test gives back what it took of the budget. */
const budget = ByteBudget.create(64 * MIB);
const pool = createDecodePool({
  workers: 1,
  budget,
  decompressedBytesMax: 8 * MIB,
  jobsMax: 100,
  heapMiBMax: 256,
  log: quietWitness().log,
});
afterAll(() => pool.close());

async function open(overrides: Partial<IntakeOptions> = {}): Promise<Bench> {
  const { metrics, log } = quietWitness();
  const journal = createMemoryJournal({
    replica: 'r',
    epoch: 1,
    clock: systemClock,
    metrics,
    log,
    budgetBytes: 64 * MIB,
  });
  const accepted: AcceptedEnvelope[] = [];
  const intake = createIntake({
    host: '127.0.0.1',
    port: 0,
    journal,
    decode: pool.decode,
    budget,
    onAccepted: (envelope) => {
      accepted.push(envelope);
      budget.release(envelope.reservedBytes);
    },
    sealer: createSealer([seededRandom(1).bytes(32)], systemRandom),
    callerKeysKept: true,
    allowedKeys: [],
    upstreams: { datadog: true, agent: false },
    relay: { target: undefined, agentUrl: undefined, apiKey: undefined },
    health: () => ({
      journalWritable: true,
      storeConnected: true,
      draining: false,
      datadog: 'not configured',
      agent: 'not configured',
      uptimeSeconds: 1,
      notes: [],
    }),
    status: async () => ({ fine: true }),
    measure: async () => {},
    metrics,
    log,
    clock: systemClock,
    random: systemRandom,
    version: '0.0.0',
    limits: {
      bodyBytesMax: 4 * MIB,
      requestTimeoutMs: 2000,
      retryWindowMs: 60_000,
      patienceMs: 5000,
      retryEntriesMax: 1000,
      connectionMaxAgeMs: 60_000,
    },
    ...overrides,
  });
  const { address } = await intake.listen();
  closers.push(() => intake.close(1000));
  const sum = async (metric: { get(): Promise<{ values: { value: number }[] }> }) =>
    (await metric.get()).values.reduce((total, { value }) => total + value, 0);
  return {
    url: address,
    intake,
    accepted,
    budget,
    journal,
    count: (name) => sum(metrics[name as 'received']),
  };
}

async function send(
  url: string,
  body: string | Uint8Array,
  headers: Record<string, string> = {},
  method: 'POST' | 'PUT' = 'POST',
) {
  const answer = await request(url, {
    method,
    body,
    headers: { 'content-type': 'application/json', 'dd-api-key': KEY, ...headers },
  });
  return { status: answer.statusCode, text: await answer.body.text(), headers: answer.headers };
}

const EVENT_TAKEN = '{"data":{"type":"event","attributes":{"attributes":{"evt":{}}}}}';
const SERIES = '{"series":[{"metric":"a","points":[[1700000000,1]]}]}';

describe('routes', () => {
  test.each([
    ['/api/v1/series', SERIES, 202, '{"status":"ok"}'],
    ['/api/v2/series', SERIES, 202, '{"errors":[]}'],
    [
      '/api/v1/distribution_points',
      '{"series":[{"metric":"d","points":[[1700000000,[1,2]]]}]}',
      202,
      '{"status":"ok"}',
    ],
    ['/api/v1/check_run', '[{"check":"c","status":0}]', 202, '{"status":"ok"}'],
    ['/api/v2/logs', '[{"message":"x"}]', 202, '{}'],
    ['/v1/input', '{"message":"x"}', 200, '{}'],
    [`/v1/input/${KEY}`, '{"message":"x"}', 200, '{}'],
    ['/intake/', '{"apiKey":"","events":{}}', 202, '{"status":"ok"}'],
    ['/api/v2/events', '{"data":{"type":"event","attributes":{"title":"t"}}}', 202, EVENT_TAKEN],
  ])('%s', async (path, body, status, text) => {
    const { url, accepted, budget } = await open();
    expect(await send(url + path, body)).toMatchObject({ status, text });
    expect(accepted).toHaveLength(1);
    expect(budget.usedBytes).toBe(0);
  });

  test('tracer routes answer as the Agent does', async () => {
    const { url, accepted } = await open();
    const trace = JSON.stringify([
      [
        {
          trace_id: 1,
          span_id: 2,
          parent_id: 0,
          start: 1,
          duration: 1,
          name: 'n',
          service: 's',
          resource: 'r',
          meta: {},
          metrics: {},
        },
      ],
    ]);
    expect(await send(`${url}/v0.3/traces`, trace)).toMatchObject({ status: 200, text: 'OK' });
    const answer = await send(`${url}/v0.4/traces`, trace, {}, 'PUT');
    expect(JSON.parse(answer.text)).toEqual({ rate_by_service: { 'service:,env:': 1 } });
    const info = await request(`${url}/info`);
    const document = (await info.body.json()) as {
      endpoints: string[];
      client_drop_p0s: boolean;
      config: { obfuscation: { redis: unknown } };
    };
    expect(document.client_drop_p0s).toBe(false);
    expect(document.endpoints).not.toContain('/v1.0/traces');
    expect(document.config.obfuscation.redis).toBeTypeOf('object');
    expect(answer.headers['datadog-agent-state']).toBe(info.headers['datadog-agent-state']);
    expect((await send(`${url}/v1.0/traces`, trace)).status).toBe(404);
    expect((await send(`${url}/v0.7/config`, '{}')).status).toBe(404);
    expect(accepted.map(({ head }) => head.destination)).toEqual(['none', 'none']);
  });

  test('probes are answered with success and not kept', async () => {
    const { url, accepted, count } = await open();
    for (const path of ['/api/v2/series', '/api/beta/sketches', '/api/v2/logs', '/api/v0.2/traces']) {
      expect((await send(url + path, '{}')).status, path).toBe(202);
      expect((await send(url + path, '')).status, path).toBe(202);
      expect((await request(url + path)).statusCode).toBe(200);
    }
    expect(accepted).toHaveLength(0);
    expect(await count('received')).toBe(0);
  });

  test('validate', async () => {
    const { url } = await open({ allowedKeys: [KEY] });
    const get = async (path: string) => (await request(url + path)).statusCode;
    expect(await get(`/api/v1/validate?api_key=${KEY}`)).toBe(200);
    expect(await get('/api/v1/validate?api_key=wrong')).toBe(403);
    expect(await get('/api/v1/validate')).toBe(403);
    expect(await get(`/api/v2/validate?api_key=${KEY}`)).toBe(200);
  });
});

describe('bodies', () => {
  test.each([
    ['broken JSON', '[{"message":', {}, 400],
    ['not gzip', 'nonsense', { 'content-encoding': 'gzip' }, 400],
    ['cut zstd', zstdCompressSync(Buffer.from('x'.repeat(1000))).subarray(0, 12), { 'content-encoding': 'zstd' }, 400],
    ['unknown encoding', 'x', { 'content-encoding': 'br' }, 415],
    ['too large', Buffer.alloc(5 * MIB, 0x20), {}, 413],
    ['a bomb', gzipSync(Buffer.alloc(20 * MIB, 0x20)), { 'content-encoding': 'gzip' }, 413],
  ])('%s', async (_name, body, headers, status) => {
    const { url, accepted, budget, count } = await open();
    const answer = await send(`${url}/api/v2/logs`, body, headers as Record<string, string>);
    expect(answer.status).toBe(status);
    expect(JSON.parse(answer.text).errors[0]).not.toBe('');
    expect(accepted).toHaveLength(0);
    expect(budget.usedBytes).toBe(0);
    expect(await count('received')).toBe(await count('rejected'));
  });

  test('no budget left is 503 with Retry-After, and nothing leaks', async () => {
    const { url, budget } = await open();
    expect(budget.tryReserve(63.9 * MIB)).toBe(true);
    const answer = await send(`${url}/api/v2/logs`, Buffer.from(`[{"message":"${'x'.repeat(MIB)}"}]`));
    expect(answer.status).toBe(503);
    expect(answer.headers['retry-after']).toBe('1');
    budget.release(63.9 * MIB);
    expect(budget.usedBytes).toBe(0);
    expect((await send(`${url}/api/v2/logs`, '[{"message":"x"}]')).status).toBe(202);
  });

  test('chunked bodies grow', async () => {
    const { url, accepted, budget } = await open();
    async function* chunks() {
      yield '[{"message":"';
      for (let i = 0; i < 30; i++) yield 'y'.repeat(10_000);
      yield '"}]';
    }
    const answer = await request(`${url}/api/v2/logs`, {
      method: 'POST',
      body: chunks() as never,
      headers: { 'content-type': 'application/json' },
    });
    expect(answer.statusCode).toBe(202);
    expect(accepted[0]!.head.rawBytes).toBe(300_016);
    expect(budget.usedBytes).toBe(0);
  });
});

describe('keys', () => {
  test('are found in path, query and header, and stripped from what is kept', async () => {
    const { url, accepted } = await open({ allowedKeys: [KEY] });
    const other = { 'dd-api-key': 'x' };
    expect((await send(`${url}/v1/input/${KEY}`, '{"message":"1"}', other)).status).toBe(200);
    expect(
      (await send(`${url}/api/v2/logs?ddtags=a&api_key=${KEY}&service=s`, '[{"message":"2"}]', other)).status,
    ).toBe(202);
    expect((await send(`${url}/api/v2/logs`, '[{"message":"3"}]')).status).toBe(202);
    expect((await send(`${url}/api/v2/logs`, '[{"message":"4"}]', other)).status).toBe(403);
    expect(accepted.map(({ head }) => head.path)).toEqual([
      '/v1/input',
      '/api/v2/logs?ddtags=a&service=s',
      '/api/v2/logs',
    ]);
    expect(JSON.stringify(accepted.map(({ head }) => head))).not.toContain(KEY);
    expect(accepted.every(({ head }) => head.sealedKey !== undefined)).toBe(true);
  });
});

describe('retries (promise 2)', () => {
  function requestText(path: string, body: string): string {
    return `POST ${path} HTTP/1.1\r\nhost: x\r\ndd-api-key: ${KEY}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
  }

  /** Sends over a raw socket and hangs up before the answer. */
  async function sendAndHangUp(url: string, path: string, body: string): Promise<void> {
    const { hostname, port } = new URL(url);
    await new Promise<void>((resolve) => {
      const socket = connect(Number(port), hostname, () => {
        socket.write(requestText(path, body), () => socket.destroy());
      });
      socket.on('close', () => resolve());
    });
  }

  test('equal bodies sent on purpose are kept each time', async () => {
    const { url, accepted } = await open();
    for (let i = 0; i < 3; i++) expect((await send(`${url}/api/v2/logs`, '[{"message":"same"}]')).status).toBe(202);
    await Promise.all(Array.from({ length: 5 }, () => send(`${url}/api/v2/logs`, '[{"message":"same"}]')));
    expect(accepted).toHaveLength(8);
  });

  test('a retry after a lost answer is kept once, and only one', async () => {
    const { url, accepted, count } = await open();
    const body = '[{"message":"lost"}]';
    await sendAndHangUp(url, '/api/v2/logs', body);
    await expect.poll(() => accepted.length, { timeout: 20_000 }).toBe(1);
    expect((await send(`${url}/api/v2/logs`, body)).status).toBe(202);
    expect(accepted).toHaveLength(1);
    expect(await count('duplicates')).toBe(1);
    expect((await send(`${url}/api/v2/logs`, body)).status).toBe(202);
    expect(accepted).toHaveLength(2);
    expect(await count('received')).toBe((await count('accepted')) + (await count('duplicates')));
  });

  test('a sender that gave up while the process stood still was not answered', async () => {
    const inner = createMemoryJournal({
      ...quietWitness(),
      replica: 'r',
      epoch: 1,
      clock: systemClock,
      budgetBytes: MIB,
    });
    const body = '[{"message":"stood still"}]';
    // The sender lives in a thread of its own: it hangs up while this one, in the middle of an append, does nothing at all.
    const signals = new Int32Array(new SharedArrayBuffer(8));
    let appends = 0;
    const { url, accepted, count } = await open({
      journal: {
        append: async (envelope) => {
          appends += 1;
          if (appends === 1) {
            Atomics.store(signals, 0, 1);
            Atomics.notify(signals, 0);
            expect(Atomics.wait(signals, 1, 0, 10_000)).not.toBe('timed-out');
          }
          return inner.append(envelope);
        },
        confirm: (position, epoch) => inner.confirm(position, epoch),
        unconfirm: (envelope) => inner.unconfirm(envelope),
        unconfirmedAtOpen: () => [],
        usage: () => inner.usage(),
      },
    });
    const { port } = new URL(url);
    const sender = new Worker(
      `const { workerData: { port, text, signals } } = require('node:worker_threads');
       const socket = require('node:net').connect(port, '127.0.0.1', () => socket.write(text, () => {
         Atomics.wait(signals, 0, 0);
         socket.on('close', () => { Atomics.store(signals, 1, 1); Atomics.notify(signals, 1); });
         socket.destroy();
       }));`,
      { eval: true, workerData: { port: Number(port), text: requestText('/api/v2/logs', body), signals } },
    );
    closers.push(async () => void (await sender.terminate()));
    await expect.poll(() => accepted.length, { timeout: 20_000 }).toBe(1);
    expect((await send(`${url}/api/v2/logs`, body)).status).toBe(202);
    expect(accepted).toHaveLength(1);
    expect(await count('duplicates')).toBe(1);
  });

  test('an answer that lay unread when its connection was reset did not reach its sender', async () => {
    const { url, accepted, count } = await open();
    const body = '[{"message":"to a balancer"}]';
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    await once(socket, 'connect');
    // Nothing is read: what comes stays in the kernel.
    socket.pause();
    socket.write(requestText('/api/v2/logs', body));
    await expect.poll(() => accepted.length, { timeout: 20_000 }).toBe(1);
    // The answer is written right after.
    await new Promise((resolve) => setTimeout(resolve, 100));
    socket.resetAndDestroy();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect((await send(`${url}/api/v2/logs`, body)).status).toBe(202);
    expect(accepted).toHaveLength(1);
    expect(await count('duplicates')).toBe(1);
    // It excuses one.
    expect((await send(`${url}/api/v2/logs`, body)).status).toBe(202);
    expect(accepted).toHaveLength(2);
  });

  test('the same request id is a retry whatever became of the answer', async () => {
    const { url, accepted } = await open();
    for (let i = 0; i < 3; i++) {
      expect(
        (await send(`${url}/api/v2/series`, SERIES, { 'x-metrics-request-id': 'u1', 'x-metrics-request-seq': '0' }))
          .status,
      ).toBe(202);
    }
    expect((await send(`${url}/api/v2/series`, SERIES, { 'x-metrics-request-id': 'u2' })).status).toBe(202);
    expect(accepted).toHaveLength(2);
  });
});

describe('relay', () => {
  test('other paths go through with our key, and are swallowed without an upstream', async () => {
    const seen: { url: string | undefined; key: unknown }[] = [];
    const server = createServer((incoming, response) => {
      seen.push({ url: incoming.url, key: incoming.headers['dd-api-key'] });
      incoming.resume();
      response.writeHead(207, { 'x-answer': 'yes' }).end('relayed');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closers.push(async () => void server.close());
    const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const { url, count } = await open({
      relay: { target: { kind: 'base', url: base }, agentUrl: undefined, apiKey: 'ours' },
    });
    const answer = await send(`${url}/api/v1/metadata?api_key=theirs&x=1`, '{}');
    expect(answer).toMatchObject({ status: 207, text: 'relayed' });
    expect(answer.headers['x-answer']).toBe('yes');
    expect(seen).toEqual([{ url: '/api/v1/metadata?api_key=ours&x=1', key: 'ours' }]);
    expect((await send(`${url}/telemetry/proxy/api/v2/apmtelemetry`, '{}')).status).toBe(202);
    expect(await count('relayed')).toBe(2);
    expect(await count('received')).toBe(2);
  });

  test('an allowed key is asked for where ours is put in, not of tracers', async () => {
    const { url, count } = await open({
      allowedKeys: [KEY],
      relay: { target: { kind: 'base', url: 'http://127.0.0.1:9' }, agentUrl: undefined, apiKey: 'ours' },
    });
    expect((await send(`${url}/api/v1/metadata?api_key=theirs`, '{}')).status).toBe(403);
    expect((await request(`${url}/api/v1/query`)).statusCode).toBe(403);
    expect((await send(`${url}/api/v1/metadata`, '{}', { 'dd-api-key': KEY })).status).toBe(503);
    expect((await send(`${url}/telemetry/proxy/api/v2/apmtelemetry`, '{}')).status).toBe(202);
    expect(await count('received')).toBe(4);
    expect(await count('rejected')).toBe(2);
    expect(await count('relayed')).toBe(2);
  });

  test('an unreachable upstream is 503', async () => {
    const { url } = await open({
      relay: { target: { kind: 'base', url: 'http://127.0.0.1:9' }, agentUrl: undefined, apiKey: undefined },
    });
    expect((await send(`${url}/api/v1/metadata`, '{}')).status).toBe(503);
  });
});

describe('admin and drain', () => {
  test('health, readiness, metrics, status', async () => {
    const { url } = await open();
    const get = async (path: string) => {
      const answer = await request(url + path);
      return { status: answer.statusCode, text: await answer.body.text() };
    };
    expect(JSON.parse((await get('/health')).text)).toMatchObject({ status: 'ok', storage: 'connected' });
    expect((await get('/livez')).status).toBe(200);
    expect((await get('/readyz')).status).toBe(200);
    expect((await get('/metrics')).text).toContain('reductrai_requests_total');
    expect(JSON.parse((await get('/status')).text)).toEqual({ fine: true });
  });

  test('draining: not ready, still serving, connections asked to close', async () => {
    const { url, intake, accepted } = await open();
    const agent = new Agent();
    intake.beginDrain();
    expect((await request(`${url}/readyz`)).statusCode).toBe(503);
    expect((await request(`${url}/livez`)).statusCode).toBe(200);
    const answer = await request(`${url}/api/v2/logs`, {
      method: 'POST',
      body: '[{"message":"x"}]',
      dispatcher: agent,
    });
    expect(answer.statusCode).toBe(202);
    expect(answer.headers.connection).toBe('close');
    expect(accepted).toHaveLength(1);
    await agent.close();
  });

  test('a closed journal is 503', async () => {
    const { url, journal, budget } = await open();
    await journal.close();
    const answer = await send(`${url}/api/v2/logs`, '[{"message":"x"}]');
    expect(answer.status).toBe(503);
    expect(answer.headers['retry-after']).toBe('1');
    expect(budget.usedBytes).toBe(0);
  });
});
