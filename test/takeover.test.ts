/** The watch over the fleet: whose journals are taken over, and what is tidied up when. */
import { expect, test } from 'vitest';
import type { JournalIdentity } from '../src/core/envelope.ts';
import { ProxyError } from '../src/core/errors.ts';
import { chunkKey, encodeChunk, encodeFence } from '../src/journal/chunk.ts';
import { claimLease, type LeaseDeps, leaseKey } from '../src/store/leases.ts';
import { createMemoryStore } from '../src/store/memory-store.ts';
import type { ObjectStore } from '../src/store/object-store.ts';
import { Takeover } from '../src/takeover.ts';
import { createMetrics } from '../src/telemetry/metrics.ts';
import { quietLog } from './journal/journal-support.ts';
import { createManualClock, type ManualClock } from './support/manual-clock.ts';

const LEASE_MS = 15_000;
const HOUR_MS = 3_600_000;
const SELF = { replica: 'me', epoch: 1 };

interface Bench {
  clock: ManualClock;
  store: ObjectStore;
  deps: LeaseDeps;
  finished: string[];
  takeover: Takeover;
  keys(): Promise<string[]>;
  /** The watch looks every 5 s. */
  pass(ms: number): Promise<void>;
}

function bench(fail?: () => boolean): Bench {
  const clock = createManualClock();
  const store = createMemoryStore({ clock });
  const finished: string[] = [];
  const takeover = new Takeover({
    store,
    self: SELF,
    leaseMs: LEASE_MS,
    clock,
    metrics: createMetrics(),
    log: quietLog,
    finish: async (orphan) => {
      if (fail?.()) throw new ProxyError('STORE_UNAVAILABLE', 'not now');
      finished.push(`${orphan.replica}-${orphan.epoch}`);
      // As adoption leaves it: chunks gone, the fence behind them there.
      await store.put(chunkKey(orphan, 2), encodeFence({ ...SELF, atMs: 0 }));
      await store.delete(chunkKey(orphan, 1));
      return 1;
    },
  });
  return {
    clock,
    store,
    deps: { store, clock, log: quietLog, leaseMs: LEASE_MS },
    finished,
    takeover,
    keys: async () => {
      const keys: string[] = [];
      for await (const { key } of store.list('')) keys.push(key);
      return keys;
    },
    pass: async (ms) => {
      for (let passed = 0; passed < ms; passed += 5_000) await clock.advance(5_000);
    },
  };
}

async function journalOf({ store }: Bench, identity: JournalIdentity): Promise<void> {
  await store.put(chunkKey(identity, 1), encodeChunk({ mark: 1, epoch: identity.epoch, first: 1 }, []));
}

test('journals whose lease lapsed, was released, or is a later life’s are taken over; those of the living are not', async () => {
  const at = bench();
  const living = await claimLease(at.deps, 'living', 0);
  living.keep(() => expect.unreachable());
  await claimLease(at.deps, 'lapsed', 0);
  await (await claimLease(at.deps, 'released', 0)).release();
  const reborn = await claimLease(at.deps, 'reborn', 1);
  reborn.keep(() => expect.unreachable());
  for (const replica of ['living', 'lapsed', 'released', 'nobody']) await journalOf(at, { replica, epoch: 1 });
  await journalOf(at, { replica: 'reborn', epoch: 1 });
  await journalOf(at, { replica: 'reborn', epoch: 2 });
  at.takeover.start();
  await at.pass(1000);
  expect(at.finished.sort()).toEqual(['reborn-1', 'released-1']);
  await at.pass(LEASE_MS * 2);
  expect(at.finished.sort()).toEqual(['lapsed-1', 'nobody-1', 'reborn-1', 'released-1']);
  await Promise.all([at.takeover.stop(), living.release(), reborn.release()]);
});

test('a takeover that fails is tried again, and the lease on the work is given back', async () => {
  let failures = 3;
  const at = bench(() => failures-- > 0);
  await (await claimLease(at.deps, 'gone', 0)).release();
  await journalOf(at, { replica: 'gone', epoch: 1 });
  at.takeover.start();
  await at.pass(60_000);
  expect(at.finished).toEqual(['gone-1']);
  expect((await at.keys()).filter((key) => key.startsWith('leases/work/'))).toEqual([]);
  await at.takeover.stop();
});

test('what nobody needs any more goes after an hour: leases of the gone, fences of what was finished', async () => {
  const at = bench();
  const living = await claimLease(at.deps, 'living', 0);
  living.keep(() => expect.unreachable());
  await (await claimLease(at.deps, 'released', 0)).release();
  await (await claimLease(at.deps, 'died', 0)).release();
  await journalOf(at, { replica: 'died', epoch: 1 });
  at.takeover.start();
  await at.pass(HOUR_MS - 60_000);
  const fence = chunkKey({ replica: 'died', epoch: 1 }, 2);
  expect(await at.keys()).toEqual([fence, ...['died', 'living', 'released'].map(leaseKey)].sort());
  await at.pass(120_000);
  expect(await at.keys()).toEqual([leaseKey('living')]);
  expect(at.finished).toEqual(['died-1']);
  await Promise.all([at.takeover.stop(), living.release()]);
});

test('a replica whose journal was once seen before its lease is not taken for gone when that happens again', async () => {
  const at = bench();
  const identity = { replica: 'late', epoch: 1 };
  await journalOf(at, identity);
  at.takeover.start();
  await at.pass(5_000);
  const lease = await claimLease(at.deps, 'late', 0);
  lease.keep(() => {});
  await at.pass(LEASE_MS * 4);
  // For a moment no observer sees the lease: the time without one begins anew.
  await at.store.delete(leaseKey('late'));
  await at.pass(10_000);
  await lease.release();
  expect(at.finished).toEqual([]);
  await at.takeover.stop();
});
