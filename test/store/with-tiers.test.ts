import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { seededRandom } from '../../src/core/random.ts';
import { createMemoryStore } from '../../src/store/memory-store.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import { mayHoldSegments, tierOfKey } from '../../src/store/segment-keys.ts';
import { claimTierStores } from '../../src/store/tier-claim.ts';
import { withTiers } from '../../src/store/with-tiers.ts';

const memory = (): ObjectStore => createMemoryStore({ clock: systemClock });
const tiered = (main: ObjectStore, cold: ObjectStore): ObjectStore =>
  withTiers(main, { stores: new Map([['cold', cold]]), tierOf: tierOfKey, mayHoldTiers: mayHoldSegments });
const HOT = 'default/logs/tier=hot/dt=2026-01-01/hour=00/a.parquet';
const COLD = 'default/logs/tier=cold/dt=2026-01-01/_merged-1-000000000001.parquet';
const COMMIT = 'commits/r-1/0000000001/000000000001.json';

async function keysOf(store: ObjectStore, prefix = ''): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(prefix)) keys.push(key);
  return keys;
}

async function textOf(store: ObjectStore, key: string): Promise<string> {
  return Buffer.from((await store.get(key)).bytes).toString();
}

describe('tiers in stores of their own', () => {
  it('writes the segments of such a tier there, and everything else to the main store', async () => {
    const [main, cold] = [memory(), memory()];
    const store = tiered(main, cold);
    for (const key of [COMMIT, HOT, COLD]) await store.put(key, Buffer.from(key));
    expect(await keysOf(cold)).toEqual([COLD]);
    expect(await keysOf(main)).toEqual([COMMIT, HOT]);
    expect(await keysOf(store)).toEqual([COMMIT, COLD, HOT]);
    expect(await keysOf(store, 'default/logs/')).toEqual([COLD, HOT]);
    expect(store.url).toBe('memory: (cold: memory:)');
  });

  it('finds, lists once and deletes what lay in the main store before', async () => {
    const [main, cold] = [memory(), memory()];
    await main.put(COLD, Buffer.from('before'));
    const store = tiered(main, cold);
    expect(await textOf(store, COLD)).toBe('before');
    expect((await store.head(COLD))?.sizeBytes).toBe(6);
    await store.put(COLD, Buffer.from('now'));
    expect(await textOf(store, COLD)).toBe('now');
    expect(await keysOf(store)).toEqual([COLD]);
    await store.delete(COLD);
    expect([await keysOf(main), await keysOf(cold)]).toEqual([[], []]);
    expect(await store.head(COLD)).toBeUndefined();
    await expect(store.get(COLD)).rejects.toMatchObject({ code: 'STORE_ABSENT' });
  });

  it("a failure of the tier's store is none of the main one's", async () => {
    const denied = { ...memory(), get: () => Promise.reject(new Error('denied')) } as unknown as ObjectStore;
    const main = memory();
    await main.put(COLD, Buffer.from('before'));
    await expect(tiered(main, denied).get(COLD)).rejects.toThrow('denied');
  });

  it("does not ask a tier's store for what it cannot have", async () => {
    const silent = { url: 'memory:', list: () => expect.unreachable() } as unknown as ObjectStore;
    const main = memory();
    await main.put(COMMIT, Buffer.from('x'));
    expect(await keysOf(tiered(main, silent), 'commits/r-1/')).toEqual([COMMIT]);
    for (const prefix of ['', 'default', 'default/', 'default/lo', 'default/logs/tier=']) {
      expect(mayHoldSegments(prefix), prefix).toBe(true);
    }
    for (const prefix of ['commits/', 'journal/r-1/', 'leases/x', 'default/log/', 'checkpoints/']) {
      expect(mayHoldSegments(prefix), prefix).toBe(prefix === 'commits/' || prefix === 'checkpoints/');
    }
  });

  it('shows nothing of such a store but segments of its tier', async () => {
    const [main, cold] = [memory(), memory()];
    await cold.put('tier-of.json', Buffer.from('x'));
    await cold.put(HOT, Buffer.from('x'));
    await cold.put(COLD, Buffer.from('x'));
    expect(await keysOf(tiered(main, cold))).toEqual([COLD]);
  });
});

describe('the claim on a store of tiers', () => {
  const random = seededRandom(7);

  it('is made once and holds for the same main store', async () => {
    const [main, warm, cold] = [memory(), memory(), memory()];
    await claimTierStores(main, [warm, cold], random);
    await claimTierStores(main, [warm, cold], random);
    await Promise.all([claimTierStores(main, [cold], random), claimTierStores(main, [cold], random)]);
    expect(await keysOf(main)).toEqual(['store.json']);
    expect(await keysOf(cold)).toEqual(['tier-of.json']);
  });

  it('refuses one that belongs to another', async () => {
    const cold = memory();
    await claimTierStores(memory(), [cold], random);
    await expect(claimTierStores(memory(), [cold], random)).rejects.toMatchObject({ code: 'STORE_INVALID' });
  });

  it('of two main stores at once one has it', async () => {
    const cold = memory();
    const claims = Array.from({ length: 8 }, () => claimTierStores(memory(), [cold], random));
    const settled = await Promise.allSettled(claims);
    expect(settled.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });

  it('tells a damaged one', async () => {
    const cold = memory();
    await cold.put('tier-of.json', Buffer.from('{'));
    await expect(claimTierStores(memory(), [cold], random)).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
  });
});
