/** Which envelopes in doubt are there a second time. Truth: the promise, case by case. */
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import type { SegmentEntry } from '../../src/store/commit-log.ts';
import { DOUBT_SKEW_MS, DOUBT_WINDOW_MS, doubtsLeftOut } from '../../src/store/doubts.ts';
import {
  decodeHashList,
  HashCollector,
  type HeardPlace,
  hashListKey,
  hashListTimes,
  readHashLists,
} from '../../src/store/hash-lists.ts';
import { createMemoryStore } from '../../src/store/memory-store.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';

const NOW_MS = 1_790_000_000_000;
const HASH = 'ab'.repeat(32);
const OTHER = 'cd'.repeat(32);

const timesOf = (cutMs: number, receivedMs: number) => ({
  cutAtMs: NOW_MS + cutMs,
  receivedMinMs: NOW_MS + receivedMs,
});

interface Sent {
  journal: string;
  atMs: number;
  hash?: string;
  position?: number;
}

function doubtOf({ journal, atMs, hash = HASH, position = 1 }: Sent): SegmentEntry {
  return {
    ...{ key: `${journal}/${position}`, tenant: 't', signal: 'logs', tier: 'hot', rowCount: 1, sizeBytes: 1 },
    ...{ timeMinMs: 0, timeMaxMs: 0, doubt: { bodyHash: hash, receivedAtMs: NOW_MS + atMs, journal, position } },
  };
}

/** Resolves to the keys of the lists. */
async function confirm(store: ObjectStore, sent: readonly Sent[]): Promise<string[]> {
  const keys: string[] = [];
  for (const [number, { journal, atMs, hash = HASH }] of sent.entries()) {
    const [replica, epoch] = journal.split('-') as [string, string];
    const identity = { replica, epoch: Number(epoch) };
    const hashes = new HashCollector();
    hashes.add(1, { bodyHash: hash, receivedAtMs: NOW_MS + atMs });
    const key = hashListKey(identity, number, timesOf(atMs + 1, atMs));
    await store.put(key, hashes.encode(identity, new Set()));
    keys.push(key);
  }
  return keys;
}

async function leftOut(
  doubts: readonly Sent[],
  confirmed: readonly Sent[],
  heard: HeardPlace[] = [],
): Promise<string[]> {
  const store = createMemoryStore({ clock: systemClock });
  const lists = await confirm(store, confirmed);
  if (heard.length > 0) {
    const identity = { replica: 'a', epoch: 2 };
    lists.push(hashListKey(identity, 9, { cutAtMs: NOW_MS + 60_000, receivedMinMs: 0 }));
    await store.put(lists.at(-1)!, new HashCollector().encode(identity, new Set(), heard));
  }
  const forwards = await doubtsLeftOut(store, doubts.map(doubtOf), lists);
  // Whatever order the records come in.
  expect(await doubtsLeftOut(store, doubts.map(doubtOf).reverse(), lists.reverse())).toEqual(forwards);
  return [...forwards].sort();
}

const a = (atMs: number, position = 1): Sent => ({ journal: 'a-1', atMs, position });
const b = (atMs: number, position = 1): Sent => ({ journal: 'b-1', atMs, position });
const c = (atMs: number, position = 1): Sent => ({ journal: 'c-1', atMs, position });

describe('an envelope in doubt', () => {
  it('stays where nobody came back with it', async () => {
    expect(await leftOut([a(0)], [])).toEqual([]);
    expect(await leftOut([a(0)], [{ ...b(5_000), hash: OTHER }])).toEqual([]);
  });

  it('is left out once another replica has it for sure', async () => {
    expect(await leftOut([a(0)], [b(5_000)])).toEqual(['a-1/1']);
    // Clocks differ a little.
    expect(await leftOut([a(0)], [b(-DOUBT_SKEW_MS + 1_000)])).toEqual(['a-1/1']);
  });

  it('stays where the other came long before or after, or to the same journal: it told them apart itself', async () => {
    expect(await leftOut([a(0)], [b(-DOUBT_SKEW_MS - 1)])).toEqual([]);
    expect(await leftOut([a(0)], [b(DOUBT_WINDOW_MS + DOUBT_SKEW_MS + 1)])).toEqual([]);
    expect(await leftOut([a(0)], [a(5_000)])).toEqual([]);
  });

  it('one excuses one: equal bodies sent on purpose stay', async () => {
    expect(await leftOut([a(0, 1), a(10, 2), a(20, 3)], [b(5_000)])).toEqual(['a-1/1']);
    expect(await leftOut([a(0, 1), a(10, 2)], [b(5_000), c(6_000), c(7_000)])).toEqual(['a-1/1', 'a-1/2']);
  });

  it('of several in doubt one stays, and none once one is confirmed', async () => {
    expect(await leftOut([a(0), b(5_000)], [])).toEqual(['b-1/1']);
    expect(await leftOut([a(0), b(5_000), c(9_000)], [])).toHaveLength(2);
    expect(await leftOut([a(0), b(5_000)], [c(9_000)])).toHaveLength(1 + 1);
  });

  it('is in doubt no more once its answer, or a retry at its own replica, was heard', async () => {
    expect(await leftOut([a(0)], [b(5_000)], [['a-1', 1]])).toEqual([]);
    expect(await leftOut([a(0), a(10, 2)], [b(5_000)], [['a-1', 1]])).toEqual(['a-1/2']);
    // It is the confirmed end of another's chain.
    expect(await leftOut([b(0), a(5_000)], [], [['a-1', 1]])).toEqual(['b-1/1']);
  });

  it('whatever the clocks of the replicas say', async () => {
    const minutes = (n: number): number => n * 60_000;
    for (const [first, second, third] of [
      [0, 1, 2],
      [0, 2, 1],
      [1, 0, 2],
      [1, 2, 0],
      [2, 0, 1],
      [2, 1, 0],
    ] as const) {
      const doubts = [a(minutes(first)), b(minutes(second))];
      expect(await leftOut(doubts, [c(minutes(third))])).toEqual(['a-1/1', 'b-1/1']);
    }
  });

  it('goes with all segments that its rows lie in', async () => {
    const store = createMemoryStore({ clock: systemClock });
    const lists = await confirm(store, [b(5_000)]);
    const entries = ['x', 'y'].map((key) => ({ ...doubtOf(a(0)), key }));
    expect([...(await doubtsLeftOut(store, entries, lists))].sort()).toEqual(['x', 'y']);
  });

  it('costs nothing where there is none', async () => {
    const silent = { get: () => expect.unreachable() } as unknown as ObjectStore;
    expect(await doubtsLeftOut(silent, [{ ...doubtOf(a(0)), doubt: undefined } as never], ['x'])).toEqual(new Set());
    // Nor what was cut before it came.
    const by = { replica: 'b', epoch: 1 };
    const old = hashListKey(by, 1, timesOf(-DOUBT_SKEW_MS - 1, -DOUBT_SKEW_MS - 2));
    // Nor what came when nobody could come back with it any more.
    const late = DOUBT_WINDOW_MS + DOUBT_SKEW_MS + 1;
    const young = hashListKey(by, 2, timesOf(late + 1, late));
    expect(await doubtsLeftOut(silent, [doubtOf(a(0))], [old, young])).toEqual(new Set());
  });
});

describe('lists of hashes', () => {
  const identity = { replica: 'r-1', epoch: 3 };

  it('hold what they were given but for what is left away', () => {
    const hashes = new HashCollector();
    const hashOf = (n: number): string => n.toString(16).padStart(64, '0').split('').reverse().join('');
    for (let n = 1; n <= 1000; n++) hashes.add(n, { bodyHash: hashOf(n), receivedAtMs: NOW_MS + n * 7.5 });
    const bytes = hashes.encode(identity, new Set([5, 1000]));
    const wanted = new Set([4, 5, 6, 1000, 2000].map((n) => hashOf(n).slice(0, 32)));
    expect(decodeHashList('k', bytes, wanted)).toEqual({
      journal: 'r-1-3',
      heard: [],
      envelopes: [4, 6].map((n) => ({ bodyHash: hashOf(n).slice(0, 32), receivedAtMs: Math.trunc(NOW_MS + n * 7.5) })),
    });
    expect(bytes.byteLength).toBeLessThan(998 * 20 + 200);
    expect(decodeHashList('k', new HashCollector().encode(identity, new Set()), wanted).envelopes).toEqual([]);
  });

  it('are refused when they are damaged', () => {
    const bytes = new HashCollector().encode(identity, new Set());
    for (const damaged of [bytes.subarray(0, 10), Buffer.concat([bytes, Buffer.from('x')]), Buffer.from('{}\n')]) {
      expect(() => decodeHashList('hashes/x', damaged, new Set())).toThrow('STORE_CORRUPT');
    }
  });

  it('are read where they are, and told by when they were cut', async () => {
    const store = createMemoryStore({ clock: systemClock });
    const keys = await confirm(store, [a(0), b(1_000)]);
    const found: string[] = [];
    for await (const { journal } of readHashLists(store, ['hashes/gone', ...keys], new Set([HASH.slice(0, 32)]))) {
      found.push(journal);
    }
    expect(found).toEqual(['a-1', 'b-1']);
    expect(hashListTimes(hashListKey(identity, 1, timesOf(5, 2)))).toEqual(timesOf(5, 2));
    expect(hashListTimes('hashes/other')).toBeUndefined();
  });
});
