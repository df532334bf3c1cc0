/**
 * Three replicas that share nothing but a bucket, under load from many agents, of which half come through a balancer, and one misfortune
 * after the other, drawn from a seed. At the end, by the test's own ledger: each envelope that was acknowledged is in the archive exactly
 * once, wherever its sender came back with it, and at the vendor, and the store verifies. One exception is counted: what was answered to a
 * balancer that was killed before it had passed the answer on.
 */
import { join } from 'node:path';
import { request } from 'undici';
import { expect } from 'vitest';
import { seededRandom } from '../../src/core/random.ts';
import { startFakeVendor } from '../support/fake-vendor.ts';
import { expectFinished, FleetLoad, KEY } from '../support/fleet-load.ts';
import { runCli } from '../support/proxy-process.ts';
import { type HaproxyServer, startHaproxy } from '../support/servers/haproxy-server.ts';
import { startS3Server } from '../support/servers/s3-server.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { deck, type Misfortune, strike } from './misfortunes.ts';
import { openReplica, type Replica } from './replica.ts';

const REPLICAS = ['a', 'b', 'c'];
const LEASE_MS = 8_000;
const CLIENTS_EACH = 3;
/** Time for everything to come to rest at the end. */
const SETTLE_MS_MAX = 180_000;

export interface ChaosOptions {
  seed: number;
  seconds: number;
  /** Each replica in a network namespace of its own, so that its line to the store is really cut. False: a proxy before the store that is silent. */
  isPrivate: boolean;
}

/** Throws where the promises do not hold; tells what it did. */
export async function runChaos({ seed, seconds, isPrivate }: ChaosOptions): Promise<string> {
  const random = seededRandom(seed).next;
  const root = await temporaryFolder();
  const server = await startS3Server();
  const vendor = await startFakeVendor({ apiKeys: [KEY] });
  const bucket = await server.bucket();
  const storageUrl = (endpoint: string): string => `s3://${bucket}/kept?endpoint=${endpoint}`;
  const readerEnv = {
    S3_ACCESS_KEY: server.accessKeyId,
    S3_SECRET_KEY: server.secretAccessKey,
    DATA_DIR: join(root, 'reader'),
    STORAGE_URL: storageUrl(server.endpoint),
  };
  const direct = new FleetLoad({ clients: CLIENTS_EACH, name: 'direct' });
  const balanced = new FleetLoad({ clients: CLIENTS_EACH, name: 'balanced', statusesRetried: [502, 503, 504] });
  const loads = [direct, balanced];
  const replicas: Replica[] = [];
  let haproxy: HaproxyServer | undefined;
  const happened: Partial<Record<Misfortune, number>> = {};
  try {
    for (const [index, name] of REPLICAS.entries()) {
      const options = {
        name,
        index,
        seed,
        leaseMs: LEASE_MS,
        root,
        server,
        storageUrl,
        vendor,
        load: direct,
        isPrivate,
      };
      replicas.push(await openReplica(options));
    }
    for (const replica of replicas) replica.run();
    haproxy = await startHaproxy(replicas.map(({ address }) => address));
    balanced.urls.set('balancer', haproxy.url);
    for (const load of loads) load.start();
    for (const load of loads) {
      await expect.poll(() => load.acknowledged.size, { timeout: 60_000 }).toBeGreaterThan(25);
    }
    const scene = { random, replicas, haproxy, balanced, vendor, readerEnv, leaseMs: LEASE_MS };
    const misfortunes = deck(random);
    const endsAtMs = performance.now() + seconds * 1_000;
    while (performance.now() < endsAtMs) {
      const misfortune = misfortunes.next().value;
      happened[misfortune] = (happened[misfortune] ?? 0) + 1;
      await strike(misfortune, scene);
      await new Promise((resolve) => setTimeout(resolve, 500 + random() * 2_000));
    }
    for (const load of loads) await load.stop();
    expect(replicas.map(({ failure }) => failure)).toEqual(replicas.map(() => undefined));
    await settled(replicas);
    await expectFinished(readerEnv);
    for (const replica of replicas) expect(await replica.end(), replica.name).toEqual({ code: 0, signal: null });
    let retried = 0;
    for (const load of loads) retried += await load.expectKept(readerEnv, vendor);
    const verified = await runCli(['verify'], readerEnv);
    expect(verified.code, verified.stdout + verified.stderr).toBe(0);
    const sum = (values: number[]): number => values.reduce((total, value) => total + value, 0);
    const inSeconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
    return [
      `seed ${seed}, ${seconds} s: ${sum(loads.map((load) => load.acknowledged.size))} envelopes, none lost`,
      `${retried} sent more than once, ${balanced.doubled} kept more than once (answered to a balancer that was killed)`,
      `max unavailability seen by clients ${inSeconds(direct.unavailableMs)}, behind HAProxy ${inSeconds(balanced.unavailableMs)}`,
      `longest wait of one body ${inSeconds(Math.max(...loads.map((load) => load.longestWaitMs)))}`,
      `${sum(replicas.map(({ lives }) => lives))} lives, ${sum(replicas.map(({ takeovers }) => takeovers))} takeovers`,
      `small disks: ${replicas[0]!.disk.kind}, cut off by ${isPrivate ? 'a network namespace' : 'a black hole'}`,
      JSON.stringify(happened),
    ].join('; ');
  } finally {
    await haproxy?.close();
    await Promise.all(replicas.map((replica) => replica.discard()));
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
