/**
 * A folder in which a document's commands find what they expect: the repository's files, `bin/reductrai` and `reductrai` as they ship, `data/`. By set-up:
 *
 *   checkout   nothing was kept yet, and nothing runs
 *   proxy      a replica listens on what the documents call localhost:8080, and keeps its data in `data/`
 *   replica    the same with DURABILITY=store
 *   store      a replica has kept traffic of today, and of 60 days ago, which upkeep has moved to the cold tier; nothing runs
 */
import { spawn } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { request } from 'undici';
import { traffic } from '../../../src/cli/demo/traffic.ts';
import { outputOf } from '../../support/child-output.ts';
import { BUNDLE, metricOf, PROJECT, type ProxyProcess, runCli, startProxy } from '../../support/proxy-process.ts';

const NODE_FOLDER = join(PROJECT, 'node_modules', 'node', 'bin');
const DAY_MS = 86_400_000;
/** Of the commands of one block. */
const BLOCK_MS_MAX = 120_000;
const OLD_DAYS = 60;
const REQUESTS = 160;
const ARCHIVED_WITHIN_MS = 60_000;

/** Nothing happens by itself at two in the morning. */
const ENV = { AUTO_CLEANUP_ENABLED: 'false' };
/** With lists for other engines, and without what would be deleted an hour later. */
const STORE_ENV = { ...ENV, STORAGE_LISTS: 'true', REDUCTRAI_CLEANUP_GRACE: '0ms' };

export const SETUPS = ['checkout', 'proxy', 'replica', 'store'] as const;

export interface Ran {
  code: number;
  /** Both streams. */
  output: string;
  stdout: string;
}

export interface Checkout {
  folder: string;
  /** Runs commands with bash; stops at the first that fails, as a person would. */
  run(commands: string, env?: Record<string, string>): Promise<Ran>;
  /** SQL with its relative paths and its example days made those of this folder. */
  here(text: string): string;
  /** Until what was acknowledged is in segments, where a replica runs. */
  settled(): Promise<void>;
  close(): Promise<void>;
}

export async function openCheckout(setup: string, store?: string): Promise<Checkout> {
  if (!SETUPS.some((name) => name === setup)) throw new Error(`there is no set-up ${JSON.stringify(setup)}`);
  const folder = await mkdtemp(join(tmpdir(), 'reductrai-docs-'));
  for (const name of await readdir(PROJECT)) {
    if (!/^(\.|bin$|data$)/.test(name)) await symlink(join(PROJECT, name), join(folder, name));
  }
  await symlink(join(BUNDLE, 'bin'), join(folder, 'bin'));
  await mkdir(join(folder, '.path'));
  await symlink(join(BUNDLE, 'bin', 'reductrai'), join(folder, '.path', 'reductrai'));
  if (setup === 'store') {
    if (store === undefined) throw new Error('BUG: no store was made');
    await cp(store, join(folder, 'data'), { recursive: true });
  }
  let proxy: ProxyProcess | undefined;
  if (setup === 'proxy' || setup === 'replica') {
    proxy = await startProxy({
      dataFolder: join(folder, 'data'),
      env: {
        ...ENV,
        REPLICA_ID: 'proxy-0',
        REDUCTRAI_ARCHIVE_FLUSH_AFTER: '100ms',
        ...(setup === 'replica' ? { DURABILITY: 'store' } : {}),
      },
    });
  }
  const here = (text: string): string => {
    const today = new Date().toISOString().slice(0, 10);
    return text.replaceAll("'data/", `'${folder}/data/`).replace(/dt=20\d\d-\d\d-\d\d/g, `dt=${today}`);
  };
  return {
    folder,
    here,
    run: async (commands, env = {}) => {
      const text = proxy ? commands.replaceAll('localhost:8080', new URL(proxy.url).host) : commands;
      return runBash(text, folder, { ...(setup === 'store' ? STORE_ENV : ENV), ...env });
    },
    settled: async () => {
      const until = Date.now() + ARCHIVED_WITHIN_MS;
      while (proxy && (await metricOf(proxy, 'envelopes_archive_pending')) > 0) {
        if (Date.now() > until) throw new Error('what was sent was not archived');
        await sleep(50);
      }
    },
    close: async () => {
      await proxy?.kill('SIGTERM');
      await rm(folder, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

async function runBash(commands: string, folder: string, env: Record<string, string>): Promise<Ran> {
  const child = spawn('bash', ['-euo', 'pipefail', '-c', commands], {
    cwd: folder,
    detached: true,
    env: {
      PATH: [join(folder, '.path'), NODE_FOLDER, process.env.PATH ?? ''].join(delimiter),
      HOME: folder,
      NODE_COMPILE_CACHE: join(PROJECT, 'node_modules', '.cache', 'compile'),
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const late = setTimeout(() => process.kill(-child.pid!, 'SIGKILL'), BLOCK_MS_MAX);
  const ended = await outputOf(child);
  clearTimeout(late);
  return ended;
}

/** Load averages with two digits, as they are read off /proc: decimals, which the packed layout keeps as such. */
function decimals(startMs: number): object {
  const points = (host: number) =>
    Array.from({ length: 2000 }, (_, i) => ({
      timestamp: Math.floor(startMs / 1000) - 2000 + i,
      value: ((i * 37 + host * 11) % 997) / 100,
    }));
  const series = [1, 2, 3, 4].map((host) => ({
    metric: 'system.load.1',
    type: 3,
    resources: [{ type: 'host', name: `web-${host}` }],
    points: points(host),
  }));
  return { series };
}

/** Logs that name a time some seconds before their own, which the packed layout keeps as the difference. */
function startedEarlier(startMs: number): object[] {
  const seconds = Math.floor(startMs / 1000) - 900;
  return Array.from({ length: 900 }, (_, i) => {
    const began = new Date((seconds + i - ((i * 7) % 5)) * 1000).toISOString().slice(0, 19);
    const message = `job ${1000 + i} of queue q${i % 3} for user u${(i * 31) % 997} began at ${began} and ended`;
    return { timestamp: (seconds + i) * 1000, service: 'jobs', message };
  });
}

/** What `store` begins with: made once, and copied. The folder belongs to the caller. */
export async function makeStore(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'reductrai-docs-store-'));
  const data = join(folder, 'data');
  const clockFile = join(folder, 'clock');
  for (const days of [OLD_DAYS, 0]) {
    await writeFile(clockFile, String(-days * DAY_MS));
    const proxy = await startProxy({ dataFolder: data, env: STORE_ENV, clockFile });
    // Not in the hour that has just begun: a flush of today then lies in today's folder.
    const startMs = Date.now() - days * DAY_MS - REQUESTS * 10;
    for (const one of traffic(1 + days, { startMs, requests: REQUESTS, stepMs: 10 })) {
      const { path, method, headers, body } = one;
      const answer = await request(`${proxy.url}${path}`, { method, headers, body });
      await answer.body.dump();
      if (answer.statusCode >= 300) throw new Error(`${path}: ${answer.statusCode}`);
    }
    for (const [path, body] of [
      ['/api/v2/series', decimals(startMs)],
      ['/api/v2/logs', startedEarlier(startMs)],
    ] as const) {
      const answer = await request(`${proxy.url}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      await answer.body.dump();
      if (answer.statusCode !== 202) throw new Error(`${path}: ${answer.statusCode}`);
    }
    await proxy.kill('SIGTERM');
  }
  const { code, stdout, stderr } = await runCli(['tier', 'run'], { DATA_DIR: data, ...STORE_ENV });
  if (code !== 0) throw new Error(`tier run ended with ${code}:\n${stdout}${stderr}`);
  return data;
}
