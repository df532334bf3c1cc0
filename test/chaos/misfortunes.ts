/** What happens to the fleet of the chaos run, one thing after the other; each is over when its strike resolves. */
import { writeFile } from 'node:fs/promises';
import { expect } from 'vitest';
import type { FakeVendor } from '../support/fake-vendor.ts';
import type { FleetLoad } from '../support/fleet-load.ts';
import { runCli } from '../support/proxy-process.ts';
import type { HaproxyServer } from '../support/servers/haproxy-server.ts';
import type { Replica } from './replica.ts';

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
  'balancer killed',
  'balancer reloaded',
  'disk full',
] as const;
export type Misfortune = (typeof MISFORTUNES)[number];

const REFUSALS = [429, 500, 503];

export interface Scene {
  random: () => number;
  replicas: readonly Replica[];
  haproxy: HaproxyServer;
  /** The agents behind it. */
  balanced: FleetLoad;
  vendor: FakeVendor;
  readerEnv: Record<string, string>;
  leaseMs: number;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const pick = <T>(list: readonly T[], random: () => number): T => list[Math.floor(random() * list.length)]!;

/** In an order drawn anew each time all have been: none is left out for long. */
export function* deck(random: () => number): Generator<Misfortune, never> {
  for (;;) {
    const left: Misfortune[] = [...MISFORTUNES];
    while (left.length > 0) yield left.splice(Math.floor(random() * left.length), 1)[0]!;
  }
}

export async function strike(misfortune: Misfortune, scene: Scene): Promise<void> {
  const { random, replicas, haproxy, balanced, vendor, readerEnv, leaseMs } = scene;
  const replica = pick(replicas, random);
  const child = replica.proxy?.child;
  const someMs = 2_000 + random() * 4_000;
  switch (misfortune) {
    case 'killed':
      child?.kill('SIGKILL');
      return;
    case 'killed with its disk':
      child?.kill('SIGKILL');
      await replica.proxy?.exited;
      return replica.disk.clear();
    case 'restarted':
      child?.kill('SIGTERM');
      return;
    case 'stood still for a moment':
    case 'stood still beyond its lease':
      child?.kill('SIGSTOP');
      await pause(misfortune === 'stood still for a moment' ? someMs / 2 : leaseMs * 1.5 + someMs);
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
      replica.cutOff(true);
      await pause(leaseMs * 1.5 + someMs);
      return replica.cutOff(false);
    case 'clock jumped':
      // To either side of the others', by up to four minutes.
      await writeFile(replica.clockFile, String(Math.round((random() - 0.5) * 480_000)));
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
    case 'vendor refusing': {
      // Not drawn from the seed: how many there are to refuse differs each time.
      let refused = 0;
      vendor.script(() => ({ status: REFUSALS[refused++ % REFUSALS.length]! }));
      await pause(someMs);
      vendor.script(undefined);
      return;
    }
    case 'balancer killed':
      balanced.isBalancerKilled = true;
      await haproxy.kill();
      await pause(someMs / 4);
      await haproxy.start();
      balanced.isBalancerKilled = false;
      return;
    case 'balancer reloaded':
      return haproxy.reload();
    case 'disk full':
      // With journals in the store a replica needs nothing of its disk, not even to start.
      replica.disk.fill();
      if (random() < 0.5) child?.kill('SIGKILL');
      await pause(someMs);
      return replica.disk.free();
  }
}
