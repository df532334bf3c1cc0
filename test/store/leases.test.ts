import { describe, expect, it } from 'vitest';
import { ProxyError } from '../../src/core/errors.ts';
import {
  claimLease,
  type LeaseDeps,
  LeaseWatch,
  leaseKey,
  markTaken,
  readLease,
  tryLease,
} from '../../src/store/leases.ts';
import { createMemoryStore } from '../../src/store/memory-store.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import { quietLog } from '../journal/journal-support.ts';
import { createManualClock, type ManualClock } from '../support/manual-clock.ts';

const LEASE_MS = 15_000;

function fleet(store?: ObjectStore): { deps: LeaseDeps; clock: ManualClock; store: ObjectStore } {
  const clock = createManualClock();
  const shared = store ?? createMemoryStore({ clock });
  return { deps: { store: shared, clock, log: quietLog, leaseMs: LEASE_MS }, clock, store: shared };
}

describe('leases', () => {
  it('each start takes the next epoch, never one that was used', async () => {
    const { deps } = fleet();
    expect((await claimLease(deps, 'a', 0)).identity).toEqual({ replica: 'a', epoch: 1 });
    expect((await claimLease(deps, 'a', 0)).identity).toEqual({ replica: 'a', epoch: 2 });
    expect((await claimLease(deps, 'a', 7)).identity).toEqual({ replica: 'a', epoch: 8 });
    const many = await Promise.all(Array.from({ length: 8 }, () => claimLease(deps, 'b', 0)));
    expect(new Set(many.map(({ identity }) => identity.epoch)).size).toBe(8);
  });

  it('are renewed, and lapse by the clock of who looks', async () => {
    const { deps, clock, store } = fleet();
    const lease = await claimLease(deps, 'a', 0);
    const watch = new LeaseWatch(clock, LEASE_MS);
    const look = async () => (await watch.observe(store)).map(({ hasLapsed }) => hasLapsed);
    let isLost = false;
    lease.keep(() => {
      isLost = true;
    });
    for (let round = 0; round < 10; round++) {
      expect(await look()).toEqual([false]);
      await clock.advance(LEASE_MS / 3);
    }
    // The observer's clock jumps; time does not pass.
    clock.jumpTo(clock.nowMs() + 10 * LEASE_MS);
    expect(await look()).toEqual([false]);
    await lease.release();
    expect((await readLease(store, leaseKey('a')))?.record).toMatchObject({ state: 'released', epoch: 1 });
    expect(isLost).toBe(false);
    expect(await look()).toEqual([false]);
    await clock.advance(LEASE_MS + 1);
    expect(await look()).toEqual([true]);
  });

  it('are lost to the next life of the same replica, and to whoever takes over', async () => {
    for (const take of ['claim', 'mark'] as const) {
      const { deps, clock, store } = fleet();
      const lease = await claimLease(deps, 'a', 0);
      let isLost = false;
      lease.keep(() => {
        isLost = true;
      });
      if (take === 'claim') await claimLease(deps, 'a', 0);
      else await markTaken(deps, (await new LeaseWatch(clock, LEASE_MS).observe(store))[0]!);
      await clock.advance(LEASE_MS / 3);
      expect(isLost).toBe(true);
      expect(lease.isLost).toBe(true);
      await lease.release();
      expect((await readLease(store, leaseKey('a')))?.record.state).toBe(take === 'claim' ? 'held' : 'taken');
    }
  });

  it('a renewal whose answer was lost is no loss; a store that is away is waited for', async () => {
    const clock = createManualClock();
    const memory = createMemoryStore({ clock });
    let failing = 0;
    const flaky: ObjectStore = Object.assign(Object.create(memory), {
      get: memory.get.bind(memory),
      list: memory.list.bind(memory),
      put: async (...args: Parameters<ObjectStore['put']>) => {
        const made = await memory.put(...args);
        if (failing-- > 0) throw new ProxyError('STORE_UNAVAILABLE', 'the answer was lost');
        return made;
      },
    });
    const { deps } = fleet(flaky);
    const lease = await claimLease({ ...deps, clock }, 'a', 0);
    lease.keep(() => expect.unreachable());
    failing = 2;
    for (let round = 0; round < 6; round++) await clock.advance(LEASE_MS / 3);
    expect(lease.isLost).toBe(false);
    expect((await readLease(memory, leaseKey('a')))!.record.beat).toBeGreaterThan(4);
    await lease.release();
  });

  it('survive being tidied up by mistake, but not a long sleep', async () => {
    for (const sleeps of [false, true]) {
      const { deps, clock, store } = fleet();
      const lease = await claimLease(deps, 'a', 0);
      let isLost = false;
      if (sleeps) await clock.advance(10 * LEASE_MS);
      lease.keep(() => {
        isLost = true;
      });
      await store.delete(leaseKey('a'));
      for (let round = 0; round < 3; round++) await clock.advance(LEASE_MS / 3);
      expect(isLost).toBe(sleeps);
      expect((await readLease(store, leaseKey('a')))?.record.state).toBe(sleeps ? undefined : 'held');
      await lease.release();
    }
  });

  it('on work go to one, and to another once the holder is gone', async () => {
    const { deps, clock } = fleet();
    const watches = [new LeaseWatch(clock, LEASE_MS), new LeaseWatch(clock, LEASE_MS)];
    const attempt = (who: number) => tryLease(deps, 'work/x', { replica: `r${who}`, epoch: 1 }, watches[who]!);
    const first = (await Promise.all([attempt(0), attempt(1)])).filter((lease) => lease !== undefined);
    expect(first).toHaveLength(1);
    const other = first[0]!.identity.replica === 'r0' ? 1 : 0;
    expect(await attempt(other)).toBeUndefined();
    await clock.advance(LEASE_MS + 1);
    expect((await attempt(other))?.identity.replica).toBe(`r${other}`);
  });
});
