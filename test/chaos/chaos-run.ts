/**
 * Three replicas that share nothing but a bucket, under load from many agents, and one misfortune after the other, drawn from a seed.
 * At the end, by the test's own ledger: each envelope that was acknowledged is in the archive exactly once, wherever its
 * sender came back with it, and at the vendor, and the store verifies.
 */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { request } from 'undici';
import { expect } from 'vitest';
import { seededRandom } from '../../src/core/random.ts';
import { startFakeVendor } from '../support/fake-vendor.ts';
import { type Fault, type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { expectFinished, FleetLoad, KEY, replicaEnv } from '../support/fleet-load.ts';
import { type ProxyProcess, runCli, startProxy } from '../support/proxy-process.ts';
import { startS3Server } from '../support/servers/s3-server.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const REPLICAS = ['a', 'b', 'c'];
const LEASE_MS = 8_000;
const SLOW_DOWN =
  '<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>';
/** The store was away, or this machine slow. */
const EXPECTED_AT_START = /STORE_|did not listen/;
/** Fenced by another replica, or with a store that stayed away for too long. */
const EXPECTED_AT_END = /taken over|taken by|drain deadline passed/;
/** Time for everything to come to rest at the end. */
const SETTLE_MS_MAX = 180_000;

const MISFORTUNES = [
  'killed',
  'killed with its disk',
  'restarted',
  'stood still for a moment',
  'stood still beyond its lease',
  'store away for one',
  'store away for all',
  'store failing now and then',
  'vendor down',
  'vendor refusing',
  'cut off from the store beyond its lease',
  'clock jumped',
  'upkeep',
] as const;
export type Misfortune = (typeof MISFORTUNES)[number];

export interface ChaosOptions {
  seed: number;
  seconds: number;
}

type Start = (name: string, store: FaultProxy) => Promise<ProxyProcess>;

/** A replica that is started again whenever it ends, as an orchestrator does. */
class Replica {
  readonly name: string;
  readonly store: FaultProxy;
  readonly #start: Start;
  readonly #load: FleetLoad;
  proxy: ProxyProcess | undefined;
  #isWanted = true;
  #running: Promise<void> = Promise.resolve();
  lives = 0;
  takeovers = 0;
  /** It ended, or did not start, as no misfortune explains. */
  failure: unknown;

  constructor(name: string, store: FaultProxy, load: FleetLoad, start: Start) {
    this.name = name;
    this.store = store;
    this.#load = load;
    this.#start = start;
  }

  run(): void {
    this.#running = this.#keepRunning();
  }

  async #keepRunning(): Promise<void> {
    while (this.#isWanted) {
      try {
        this.proxy = await this.#start(this.name, this.store);
      } catch (error) {
        if (!EXPECTED_AT_START.test(String(error))) return this.#fail(error);
        // An orchestrator tries again.
        await new Promise((resolve) => setTimeout(resolve, 1_000));
        continue;
      }
      this.lives += 1;
      this.#load.urls.set(this.name, this.proxy.url);
      const { code } = await this.proxy.exited;
      this.#load.urls.delete(this.name);
      const isExpected = code === 0 || code === null || this.proxy.lines.some((line) => EXPECTED_AT_END.test(line));
      if (!isExpected) return this.#fail(new Error(this.proxy.lines.slice(-20).join('\n')));
      this.takeovers += this.proxy.lines.filter((line) => line.includes('that was taken over is finished')).length;
    }
  }

  #fail(error: unknown): void {
    this.failure ??= error;
  }

  /** Ends for good. Resolves to how the process ended. */
  async end(): Promise<unknown> {
    this.#isWanted = false;
    this.proxy?.child.kill('SIGTERM');
    await this.#running;
    return this.proxy?.exited;
  }

  async discard(): Promise<void> {
    this.#isWanted = false;
    this.proxy?.child.kill('SIGCONT');
    this.proxy?.child.kill('SIGKILL');
    await this.#running;
  }
}

/** Throws where the promises do not hold; tells what it did. */
export async function runChaos({ seed, seconds }: ChaosOptions): Promise<string> {
  const random = seededRandom(seed).next;
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const root = await temporaryFolder();
  const server = await startS3Server();
  const vendor = await startFakeVendor({ apiKeys: [KEY] });
  const bucket = await server.bucket();
  const credentials = { S3_ACCESS_KEY: server.accessKeyId, S3_SECRET_KEY: server.secretAccessKey };
  const readerEnv = {
    ...credentials,
    DATA_DIR: join(root, 'reader'),
    STORAGE_URL: `s3://${bucket}/kept?endpoint=${server.endpoint}`,
  };
  const load = new FleetLoad();
  const start: Start = (name, store) =>
    startProxy({
      dataFolder: join(root, name),
      clockFile: join(root, `${name}.clock`),
      env: {
        ...replicaEnv(name, vendor, { ...credentials, STORAGE_URL: `s3://${bucket}/kept?endpoint=${store.url}` }),
        REDUCTRAI_JOURNAL_LEASE: `${LEASE_MS}ms`,
      },
    });
  const replicas: Replica[] = [];
  for (const [index, name] of REPLICAS.entries()) {
    const faults: readonly Fault[] = ['503', '500', 'reset-before', 'reset-after', 'late'];
    const store = await startFaultProxy({
      target: server.endpoint,
      seed: seed * 10 + index,
      share: 0,
      faults,
      slowDown: SLOW_DOWN,
    });
    replicas.push(new Replica(name, store, load, start));
  }
  const happened: Partial<Record<Misfortune, number>> = {};
  const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

  const strike = async (misfortune: Misfortune): Promise<void> => {
    const replica = pick(replicas);
    const child = replica.proxy?.child;
    const someMs = 2_000 + random() * 4_000;
    switch (misfortune) {
      case 'killed':
        child?.kill('SIGKILL');
        return;
      case 'killed with its disk':
        child?.kill('SIGKILL');
        await replica.proxy?.exited;
        return rm(join(root, replica.name), { recursive: true, force: true });
      case 'restarted':
        child?.kill('SIGTERM');
        return;
      case 'stood still for a moment':
      case 'stood still beyond its lease':
        child?.kill('SIGSTOP');
        await pause(misfortune === 'stood still for a moment' ? someMs / 2 : LEASE_MS * 1.5 + someMs);
        child?.kill('SIGCONT');
        return;
      case 'store away for one':
      case 'store away for all':
      case 'store failing now and then': {
        const struck = misfortune === 'store away for one' ? [replica] : replicas;
        for (const { store } of struck) store.setShare(misfortune === 'store failing now and then' ? 0.2 : 1);
        await pause(someMs);
        for (const { store } of struck) store.setShare(0);
        return;
      }
      case 'cut off from the store beyond its lease':
        // Clients still reach it.
        replica.store.setSilent(true);
        await pause(LEASE_MS * 1.5 + someMs);
        return replica.store.setSilent(false);
      case 'clock jumped':
        // To either side of the others', by up to four minutes.
        await writeFile(join(root, `${replica.name}.clock`), String(Math.round((random() - 0.5) * 480_000)));
        child?.kill('SIGUSR2');
        return;
      case 'upkeep': {
        const run = await runCli(['tier', 'run'], { ...readerEnv, REDUCTRAI_CLEANUP_COMPACT_AFTER: '0ms' });
        expect(run.code, run.stdout + run.stderr).toBe(0);
        return;
      }
      case 'vendor down':
        await vendor.down();
        await pause(someMs);
        return vendor.up();
      case 'vendor refusing':
        vendor.script(() => ({ status: pick([429, 500, 503]) }));
        await pause(someMs);
        vendor.script(undefined);
    }
  };

  try {
    for (const replica of replicas) replica.run();
    load.start();
    await expect.poll(() => load.acknowledged.size, { timeout: 60_000 }).toBeGreaterThan(50);
    const endsAtMs = performance.now() + seconds * 1_000;
    while (performance.now() < endsAtMs) {
      const misfortune = pick(MISFORTUNES);
      happened[misfortune] = (happened[misfortune] ?? 0) + 1;
      await strike(misfortune);
      await pause(500 + random() * 2_000);
    }
    await load.stop();
    expect(replicas.map(({ failure }) => failure)).toEqual(replicas.map(() => undefined));
    await settled(replicas);
    await expectFinished(readerEnv);
    for (const replica of replicas) expect(await replica.end(), replica.name).toEqual({ code: 0, signal: null });
    const retried = await load.expectKept(readerEnv, vendor);
    const verified = await runCli(['verify'], readerEnv);
    expect(verified.code, verified.stdout + verified.stderr).toBe(0);
    const lives = replicas.reduce((sum, replica) => sum + replica.lives, 0);
    const takeovers = replicas.reduce((sum, replica) => sum + replica.takeovers, 0);
    return `seed ${seed}, ${seconds} s: ${load.acknowledged.size} envelopes, none lost; ${retried} sent more than once, longest wait of a client ${(load.longestWaitMs / 1000).toFixed(1)} s; ${lives} lives, ${takeovers} takeovers; ${JSON.stringify(happened)}`;
  } finally {
    await Promise.all(replicas.map((replica) => replica.discard()));
    await Promise.all(replicas.map(({ store }) => store.close()));
    await vendor.close();
    await server.close();
  }
}

/** All run, and nothing is owed. */
async function settled(replicas: readonly Replica[]): Promise<void> {
  const owed = async ({ proxy }: Replica): Promise<string> => {
    if (!proxy || proxy.child.exitCode !== null) return 'not running';
    const { body } = await request(`${proxy.url}/status`);
    const { books, archive } = (await body.json()) as {
      books: { forward: { datadog: { pending: number } } };
      archive: { pendingEnvelopes: number };
    };
    return `vendor ${books.forward.datadog.pending}, archive ${archive.pendingEnvelopes}`;
  };
  await expect
    .poll(() => Promise.all(replicas.map((replica) => owed(replica).catch(String))), {
      timeout: SETTLE_MS_MAX,
      interval: 500,
    })
    .toEqual(replicas.map(() => 'vendor 0, archive 0'));
}
