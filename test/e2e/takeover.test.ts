/**
 * Promise 4 with `DURABILITY=store`: two replicas share nothing but the object store. One is killed and its disk deleted, one stands still
 * for longer than its lease and wakes up as a zombie; the other finishes what they had acknowledged. The test's own ledger is compared
 * with the archive (exactly once) and the vendor (at least once). Only an envelope that a client sent again because an answer was lost
 * may be there once per time it was sent: such a retry is not told across replicas yet.
 */

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../src/core/random.ts';
import { type FakeVendor, startFakeVendor } from '../support/fake-vendor.ts';
import { type ProxyProcess, runCli, startProxy } from '../support/proxy-process.ts';
import { findS3Server, startS3Server } from '../support/servers/s3-server.ts';
import { HOW_TO_INSTALL } from '../support/servers/server-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const KEY = '0123456789abcdef0123456789abcdef';
const CLIENTS = 6;
const LEASE_MS = 12_000;

/** Agents behind a balancer: each sends to whichever replica answers. */
class Load {
  readonly urls = new Map<string, string>();
  /** Id → how often it was sent. */
  readonly acknowledged = new Map<string, number>();
  readonly #agent = new Agent({ connections: CLIENTS, headersTimeout: 10_000, connectTimeout: 1_000 });
  #stopped = false;
  #clients: Promise<void>[] = [];

  start(): void {
    for (let client = 0; client < CLIENTS; client++) this.#clients.push(this.#run(client, seededRandom(client).next));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#clients);
    await this.#agent.destroy();
  }

  async #run(client: number, random: () => number): Promise<void> {
    for (let n = 0; !this.#stopped; n++) {
      const id = `${client}-${n}`;
      const body = JSON.stringify([{ message: `log ${id}`, service: 'takeover', id }]);
      const times = await this.#deliver(body, random);
      if (times > 0) this.acknowledged.set(id, times);
      await new Promise((resolve) => setTimeout(resolve, random() * 20));
    }
  }

  /** Resolves to how often the body may have been taken: only attempts that were refused for certain do not count. */
  async #deliver(body: string, random: () => number): Promise<number> {
    let taken = 0;
    for (let attempt = 0; attempt < 1_000; attempt++) {
      const urls = [...this.urls.values()];
      const url = urls[Math.floor(random() * urls.length)];
      if (url) {
        try {
          const answer = await request(`${url}/api/v2/logs`, {
            method: 'POST',
            body,
            headers: { 'content-type': 'application/json', 'dd-api-key': KEY },
            dispatcher: this.#agent,
          });
          await answer.body.dump();
          if (answer.statusCode === 202) return taken + 1;
          if (answer.statusCode !== 503) throw new Error(`unexpected status ${answer.statusCode}`);
        } catch (error) {
          if (String(error).includes('unexpected status')) throw error;
          if (!String(error).includes('ECONNREFUSED')) taken += 1;
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    return 0;
  }
}

async function metricOf({ url }: ProxyProcess, name: string): Promise<number> {
  const text = await (await request(`${url}/metrics`)).body.text();
  let sum = 0;
  for (const [, value] of text.matchAll(new RegExp(`^reductrai_${name}(?:\\{[^}]*\\})? (\\S+)`, 'gm')))
    sum += Number(value);
  return sum;
}

async function run(storeEnv: Record<string, string>, vendor: FakeVendor): Promise<void> {
  const root = await temporaryFolder();
  const load = new Load();
  const start = async (replica: string): Promise<ProxyProcess> => {
    const proxy = await startProxy({
      dataFolder: join(root, replica),
      env: {
        ...storeEnv,
        DURABILITY: 'store',
        REPLICA_ID: replica,
        FORWARD_TO: vendor.url,
        DATADOG_API_KEY: KEY,
        REDUCTRAI_JOURNAL_CHUNK_AFTER: '50ms',
        REDUCTRAI_JOURNAL_LEASE: `${LEASE_MS}ms`,
        REDUCTRAI_ARCHIVE_FLUSH_AFTER: '2s',
        REDUCTRAI_INTAKE_DECODE_WORKERS: '1',
      },
    });
    load.urls.set(replica, proxy.url);
    return proxy;
  };
  const some = async (count: number): Promise<void> => {
    const before = load.acknowledged.size;
    await expect.poll(() => load.acknowledged.size - before, { timeout: 60_000 }).toBeGreaterThan(count);
  };
  let a = await start('a');
  let b = await start('b');
  try {
    load.start();
    await some(100);

    // Killed, and its disk is gone.
    load.urls.delete('a');
    await a.kill('SIGKILL');
    await rm(join(root, 'a'), { recursive: true, force: true });
    await expect.poll(() => metricOf(b, 'takeovers_total'), { timeout: 60_000, interval: 250 }).toBeGreaterThan(0);
    await some(50);

    // A new life of the same replica, with another epoch.
    a = await start('a');
    await some(50);

    // Stopped for longer than its lease; then it wakes up, and must commit nothing.
    b.child.kill('SIGSTOP');
    await expect.poll(() => metricOf(a, 'takeovers_total'), { timeout: 60_000, interval: 250 }).toBeGreaterThan(0);
    b.child.kill('SIGCONT');
    expect(await b.exited).toEqual({ code: 1, signal: null });
    expect(b.lines.some((line) => line.includes('taken over') || line.includes('taken by'))).toBe(true);
    load.urls.delete('b');
    b = await start('b');
    await some(50);
    await load.stop();

    for (const proxy of [a, b]) {
      proxy.child.kill('SIGTERM');
      expect(await proxy.exited, proxy.lines.slice(-20).join('\n')).toEqual({ code: 0, signal: null });
    }
  } finally {
    await Promise.all([a.kill(), b.kill()]);
  }

  const archived = new Map<string, number>();
  const { stdout, stderr, code } = await runCli(['export', '--signal', 'logs'], {
    DATA_DIR: join(root, 'b'),
    ...storeEnv,
  });
  expect(code, stderr).toBe(0);
  for (const line of stdout.split('\n')) {
    if (line === '') continue;
    const { id } = JSON.parse(line) as { id: string };
    archived.set(id, (archived.get(id) ?? 0) + 1);
  }
  const wrong = [...load.acknowledged]
    .filter(([id, times]) => !((archived.get(id) ?? 0) >= 1 && (archived.get(id) ?? 0) <= times))
    .map(([id, times]) => `${id}: sent ${times}, archived ${archived.get(id) ?? 0}`);
  expect(wrong).toEqual([]);
  const retried = [...load.acknowledged.values()].filter((times) => times > 1).length;
  expect(retried).toBeLessThanOrEqual(6 * CLIENTS);
  const delivered = new Set(
    vendor.delivered().flatMap(({ body }) => [...body.toString().matchAll(/"id":"([^"]+)"/g)].map(([, id]) => id)),
  );
  expect([...load.acknowledged.keys()].filter((id) => !delivered.has(id))).toEqual([]);
  console.log(`${load.acknowledged.size} envelopes, ${retried} sent more than once`);
  const shown = await runCli(['ha', 'status', '--format', 'ndjson'], { DATA_DIR: join(root, 'b'), ...storeEnv });
  expect(shown.code, shown.stderr).toBe(0);
  const states = shown.stdout
    .split('\n')
    .flatMap((line) => (line ? [(JSON.parse(line) as { state: string }).state] : []));
  // Two replicas released their leases; of the lives before only fences are left.
  expect(states.sort()).toEqual(['finished', 'finished', 'released', 'released']);
  const verified = await runCli(['verify'], { DATA_DIR: join(root, 'b'), ...storeEnv });
  expect(verified.code, verified.stdout + verified.stderr).toBe(0);
}

describe('a replica that is gone is finished by another', () => {
  const hasS3 = findS3Server() !== undefined;
  // The same promises and the same code: where there is a bucket to be had, that one is enough for one run.
  if (!hasS3 || process.env.TAKEOVER === 'all') {
    test('in a shared folder', { timeout: 300_000, retry: 0 }, async () => {
      const vendor = await startFakeVendor({ apiKeys: [KEY] });
      try {
        await run({ STORAGE_URL: `file://${await temporaryFolder()}` }, vendor);
      } finally {
        await vendor.close();
      }
    });
  }

  test.skipIf(!hasS3)(
    `in a bucket${hasS3 ? '' : ` (no server: ${HOW_TO_INSTALL})`}`,
    { timeout: 300_000, retry: 0 },
    async () => {
      const server = await startS3Server();
      const vendor = await startFakeVendor({ apiKeys: [KEY] });
      try {
        const url = `s3://${await server.bucket()}/kept?endpoint=${server.endpoint}`;
        await run(
          { STORAGE_URL: url, S3_ACCESS_KEY: server.accessKeyId, S3_SECRET_KEY: server.secretAccessKey },
          vendor,
        );
      } finally {
        await vendor.close();
        await server.close();
      }
    },
  );
});
