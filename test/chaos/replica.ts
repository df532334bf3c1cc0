/**
 * One replica of the chaos run: started again whenever it ends, as an orchestrator does, at the same address, on a small disk of its own, with a
 * line to the store that can be disturbed or cut while its clients still reach it.
 */
import { join } from 'node:path';
import type { FakeVendor } from '../support/fake-vendor.ts';
import { type Fault, type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { type FleetLoad, replicaEnv } from '../support/fleet-load.ts';
import { openPrivateNetwork, type PrivateNetwork, type Relay, startRelay } from '../support/private-network.ts';
import { type ProxyProcess, startProxy } from '../support/proxy-process.ts';
import type { S3Server } from '../support/servers/s3-server.ts';
import { keptPort } from '../support/servers/server-process.ts';
import { openSmallDisk, type SmallDisk } from '../support/small-disk.ts';

const DISK_BYTES = 4 * 1024 * 1024;
const FAULTS: readonly Fault[] = ['503', '500', 'reset-before', 'reset-after', 'late'];
const SLOW_DOWN =
  '<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>';
/** The store was away, or this machine slow. */
const EXPECTED_AT_START = /STORE_|did not listen/;
/** Fenced by another replica, or with a store that stayed away for too long. */
const EXPECTED_AT_END = /taken over|taken by|drain deadline passed/;

export interface ReplicaOptions {
  name: string;
  index: number;
  seed: number;
  leaseMs: number;
  /** Where the clocks' files lie. */
  root: string;
  server: S3Server;
  storageUrl: (endpoint: string) => string;
  vendor: FakeVendor;
  /** Of clients that no balancer stands before. */
  load: FleetLoad;
  /** In a network namespace of its own. */
  isPrivate: boolean;
}

/** What a replica stands on. */
interface Ground {
  host: string;
  port: number;
  store: FaultProxy;
  disk: SmallDisk;
  network: PrivateNetwork | undefined;
  relay: Relay | undefined;
}

export async function openReplica(options: ReplicaOptions): Promise<Replica> {
  const { server, seed, index, isPrivate, vendor } = options;
  const network = isPrivate ? await openPrivateNetwork(index) : undefined;
  const store = await startFaultProxy({
    target: server.endpoint,
    ...(network ? { host: network.storeHost } : {}),
    seed: seed * 10 + index,
    share: 0,
    faults: FAULTS,
    slowDown: SLOW_DOWN,
  });
  return new Replica(options, {
    host: network?.address ?? '127.0.0.1',
    port: await keptPort(),
    store,
    disk: await openSmallDisk(DISK_BYTES),
    network,
    relay: network && (await startRelay(network.clientsHost, vendor.port)),
  });
}

export class Replica {
  readonly name: string;
  readonly clockFile: string;
  readonly #options: ReplicaOptions;
  readonly #ground: Ground;
  proxy: ProxyProcess | undefined;
  #isWanted = true;
  #running: Promise<void> = Promise.resolve();
  lives = 0;
  takeovers = 0;
  /** It ended, or did not start, as no misfortune explains. */
  failure: unknown;

  constructor(options: ReplicaOptions, ground: Ground) {
    this.name = options.name;
    this.clockFile = join(options.root, `${options.name}.clock`);
    this.#options = options;
    this.#ground = ground;
  }

  get address(): string {
    return `${this.#ground.host}:${this.#ground.port}`;
  }

  get store(): FaultProxy {
    return this.#ground.store;
  }

  get disk(): SmallDisk {
    return this.#ground.disk;
  }

  run(): void {
    this.#running = this.#keepRunning();
  }

  /** From the store only: clients still reach it. */
  cutOff(isCut: boolean): void {
    const { network, store } = this.#ground;
    if (network) network.cutStore(isCut);
    else store.setSilent(isCut);
  }

  #start(): Promise<ProxyProcess> {
    const { name, server, vendor, storageUrl, leaseMs } = this.#options;
    const { host, port, store, disk, network, relay } = this.#ground;
    const storeEnv = {
      S3_ACCESS_KEY: server.accessKeyId,
      S3_SECRET_KEY: server.secretAccessKey,
      STORAGE_URL: storageUrl(store.url),
    };
    return startProxy({
      disk,
      clockFile: this.clockFile,
      ...(network ? { prefix: network.prefix } : {}),
      env: {
        ...replicaEnv(name, vendor, storeEnv),
        REDUCTRAI_HOST: host,
        REDUCTRAI_PORT: String(port),
        REDUCTRAI_JOURNAL_LEASE: `${leaseMs}ms`,
        ...(network && relay ? { FORWARD_TO: `http://${network.clientsHost}:${relay.port}` } : {}),
      },
    });
  }

  async #keepRunning(): Promise<void> {
    const { load } = this.#options;
    while (this.#isWanted) {
      try {
        this.proxy = await this.#start();
      } catch (error) {
        if (!EXPECTED_AT_START.test(String(error))) return this.#fail(error);
        // An orchestrator tries again.
        await new Promise((resolve) => setTimeout(resolve, 1_000));
        continue;
      }
      this.lives += 1;
      load.urls.set(this.name, this.proxy.url);
      const { code } = await this.proxy.exited;
      load.urls.delete(this.name);
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
    const { store, disk, network, relay } = this.#ground;
    this.#isWanted = false;
    this.proxy?.child.kill('SIGCONT');
    this.proxy?.child.kill('SIGKILL');
    await this.#running;
    await store.close();
    await relay?.close();
    await disk.close();
    await network?.close();
  }
}
