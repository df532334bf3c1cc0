/** Three real replicas over one store, each at an address that it keeps, for the balancers to be put in front of. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { request } from 'undici';
import { expect } from 'vitest';
import type { Books } from '../../../src/books.ts';
import { type ProxyProcess, runCli, startProxy } from '../../support/proxy-process.ts';
import { keptPort } from '../../support/servers/server-process.ts';

export const REPLICAS = ['r1', 'r2', 'r3'];

export interface Fleet {
  /** Those that run now, or ran last. */
  replicas: ProxyProcess[];
  /** `host:port` of each. */
  addresses: string[];
  /** For commands that read the store. */
  env: Record<string, string>;
  /** Again, over what it had. */
  start(index: number): Promise<void>;
  /** Told to stop, as an orchestrator does; it must end by itself. */
  stop(index: number): Promise<void>;
  /** All that was accepted is archived; resolves with the books of each. */
  settled(): Promise<Books[]>;
  close(): Promise<void>;
}

/** `settings` of all replicas; without a STORAGE_URL among them the store is a folder. */
export async function startFleet(settings: Readonly<Record<string, string>> = {}): Promise<Fleet> {
  const root = await mkdtemp(join(tmpdir(), 'reductrai-fleet-'));
  const store = { STORAGE_URL: join(root, 'kept'), ...settings };
  const ports: number[] = [];
  while (ports.length < REPLICAS.length) {
    const port = await keptPort();
    if (!ports.includes(port)) ports.push(port);
  }
  const begin = (index: number): Promise<ProxyProcess> =>
    startProxy({
      dataFolder: join(root, REPLICAS[index]!),
      env: {
        REDUCTRAI_ARCHIVE_FLUSH_AFTER: '1s',
        REDUCTRAI_INTAKE_DECODE_WORKERS: '1',
        ...store,
        REPLICA_ID: REPLICAS[index]!,
        REDUCTRAI_PORT: String(ports[index]),
      },
    });
  const replicas = await Promise.all(REPLICAS.map((_, index) => begin(index)));
  return {
    replicas,
    addresses: ports.map((port) => `127.0.0.1:${port}`),
    env: { DATA_DIR: join(root, 'reader'), ...store },
    start: async (index) => {
      replicas[index] = await begin(index);
    },
    stop: async (index) => {
      const proxy = replicas[index]!;
      proxy.child.kill('SIGTERM');
      expect(await proxy.exited, proxy.lines.slice(-20).join('\n')).toEqual({ code: 0, signal: null });
    },
    settled: async () => {
      await expect
        .poll(async () => (await Promise.all(replicas.map(booksOf))).map(({ archive }) => archive?.pending), {
          timeout: 60_000,
          interval: 250,
        })
        .toEqual(replicas.map(() => 0));
      return Promise.all(replicas.map(booksOf));
    },
    close: async () => {
      await Promise.all(replicas.map((proxy) => proxy.kill()));
      await rm(root, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

async function booksOf({ url }: ProxyProcess): Promise<Books> {
  const answer = await request(`${url}/status`);
  return ((await answer.body.json()) as { books: Books }).books;
}

/** Requests that each replica has answered with 202; one that is dead has none. */
export function acknowledged({ replicas }: Fleet): Promise<number[]> {
  return Promise.all(
    replicas.map(async ({ url }) => {
      try {
        const text = await (await request(`${url}/metrics`)).body.text();
        const counts = text.matchAll(/^reductrai_requests_total\{[^}]*status="202"\} (\d+)/gm);
        return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
      } catch (error) {
        if (!/ECONNREFUSED|ECONNRESET|other side closed/.test(String(error))) throw error;
        return 0;
      }
    }),
  );
}

/** What a query over all that is archived says. */
export async function queried<Row>(fleet: Fleet, sql: string): Promise<Row[]> {
  const { code, stdout, stderr } = await runCli(['query', sql], fleet.env);
  expect(code, stderr).toBe(0);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}
