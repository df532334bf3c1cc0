import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import type { JournalIdentity } from '../../src/core/envelope.ts';
import { type CommitRecord, commitKey } from '../../src/store/commit-log.ts';
import {
  appendCommit,
  decodeCommit,
  encodeCommit,
  fenceCommits,
  highestEpoch,
  listJournals,
  readCommits,
} from '../../src/store/commit-records.ts';
import { createMemoryStore } from '../../src/store/memory-store.ts';
import type { ObjectReader } from '../../src/store/object-store.ts';

function record(replica: string, epoch: number, number: number, changes: Partial<CommitRecord> = {}): CommitRecord {
  return {
    format: 1,
    replica,
    epoch,
    number,
    first: number * 10,
    last: number * 10 + 9,
    envelopes: { metrics: 6, logs: 4 },
    rawBytes: { metrics: 600, logs: 400 },
    committedAtMs: 1_767_225_600_000,
    adds: [
      {
        key: `t/metrics/tier=hot/dt=2026-01-01/hour=00/${replica}-${epoch}-${number * 10}-${number * 10 + 9}.parquet`,
        tenant: 't',
        signal: 'metrics',
        tier: 'hot',
        rowCount: 6,
        sizeBytes: 100,
        timeMinMs: -1,
        timeMaxMs: 1.5,
      },
    ],
    replaces: [],
    ...changes,
  };
}

const memory = () => createMemoryStore({ clock: systemClock });

async function numbersOf(reader: ObjectReader, identity?: JournalIdentity, after = 0): Promise<string[]> {
  const found: string[] = [];
  for await (const { replica, epoch, number } of readCommits(reader, {
    ...(identity ? { identity } : {}),
    after: () => after,
  })) {
    found.push(`${replica}/${epoch}/${number}`);
  }
  return found;
}

describe('commit records', () => {
  it('are one form of bytes whatever the order of members, and read back equal', () => {
    const one = record('r', 1, 1);
    const shuffled = Object.fromEntries(Object.entries(one).reverse()) as unknown as CommitRecord;
    shuffled.envelopes = { logs: 4, metrics: 6 };
    expect(Buffer.compare(encodeCommit(one), encodeCommit(shuffled))).toBe(0);
    expect(decodeCommit(commitKey(one, 1), encodeCommit(one))).toEqual(one);
    expect(commitKey(one, 1)).toBe('commits/r/0000000001/000000000001.json');
  });

  it('come back in order, of one journal or of all, from any number on', async () => {
    const store = memory();
    for (let number = 1; number <= 40; number++) await appendCommit(store, record('a', 1, number));
    for (const [replica, epoch] of [
      ['a', 2],
      ['a', 10],
      ['b', 1],
    ] as const) {
      for (let number = 1; number <= 3; number++) await appendCommit(store, record(replica, epoch, number));
    }
    const ofFirst = Array.from({ length: 40 }, (_, index) => `a/1/${index + 1}`);
    expect(await numbersOf(store, { replica: 'a', epoch: 1 })).toEqual(ofFirst);
    expect(await numbersOf(store, { replica: 'a', epoch: 1 }, 38)).toEqual(['a/1/39', 'a/1/40']);
    expect(await numbersOf(store, { replica: 'a', epoch: 1 }, 40)).toEqual([]);
    const rest = ['a/2', 'a/10', 'b/1'].flatMap((journal) => [1, 2, 3].map((number) => `${journal}/${number}`));
    expect(await numbersOf(store)).toEqual([...ofFirst, ...rest]);
    expect(await listJournals(store)).toEqual([
      { replica: 'a', epoch: 1 },
      { replica: 'a', epoch: 2 },
      { replica: 'a', epoch: 10 },
      { replica: 'b', epoch: 1 },
    ]);
    expect(await listJournals(store, 'b')).toEqual([{ replica: 'b', epoch: 1 }]);
    expect(await highestEpoch(store, 'a')).toBe(10);
    expect(await highestEpoch(store, 'none')).toBe(0);
    expect(await numbersOf(memory())).toEqual([]);
  });

  it('repeat without harm, but a number has one owner', async () => {
    const store = memory();
    const first = record('a', 1, 1);
    await appendCommit(store, first);
    const repeated = await appendCommit(store, { ...first, committedAtMs: first.committedAtMs + 5 });
    expect(repeated).toEqual(first);
    await expect(appendCommit(store, record('a', 1, 1, { last: 99 }))).rejects.toMatchObject({ code: 'STORE_EXISTS' });
    expect(await numbersOf(store)).toEqual(['a/1/1']);
  });

  it('refuse a gap', async () => {
    const store = memory();
    for (const number of [1, 2, 4]) await appendCommit(store, record('a', 1, number));
    await expect(numbersOf(store)).rejects.toThrow('commit record 3 is missing');
    await expect(numbersOf(store, { replica: 'a', epoch: 1 }, 2)).rejects.toThrow('commit record 3 is missing');
    expect(await numbersOf(store, { replica: 'a', epoch: 1 }, 3)).toEqual(['a/1/4']);
  });

  it('refuse damage, unknown formats and a record under the key of another', async () => {
    const good = record('a', 1, 1);
    const key = commitKey(good, 1);
    const text = new TextDecoder().decode(encodeCommit(good));
    for (const bad of [
      '',
      '{',
      '[]',
      text.replace('"format":1', '"format":2'),
      text.replace('"first":10', '"first":"10"'),
      text.replace('"replaces":[]', '"replaces":[],"extra":1'),
      text.replace('"number":1', '"number":2'),
      text.replace('"tier":"hot"', '"tier":"tepid"'),
    ]) {
      expect(() => decodeCommit(key, new TextEncoder().encode(bad)), bad).toThrow('STORE_INVALID');
    }
  });

  it('are fenced: whoever takes over gets the next number, and the one before none any more', async () => {
    const store = memory();
    const dead = { replica: 'a', epoch: 1 };
    expect(await fenceCommits(store, dead, { replica: 'b', epoch: 3 }, 5)).toBe(0);
    await expect(appendCommit(store, record('a', 1, 1))).rejects.toMatchObject({ code: 'STORE_EXISTS' });
    await appendCommit(store, record('a', 1, 2));
    const { last } = record('a', 1, 2);
    // By the same taker again: as it was. By the next: another fence.
    expect(await fenceCommits(store, dead, { replica: 'c', epoch: 1 }, 6)).toBe(last);
    expect(await fenceCommits(store, dead, { replica: 'c', epoch: 1 }, 7)).toBe(last);
    expect(await numbersOf(store)).toEqual(['a/1/1', 'a/1/2', 'a/1/3']);
  });

  it('a commit on its way that comes before the fence counts', async () => {
    const store = memory();
    const racing = Object.assign(Object.create(store), {
      list: store.list.bind(store),
      get: store.get.bind(store),
      put: async (...args: Parameters<typeof store.put>) => {
        if ((await numbersOf(store)).length === 0) await appendCommit(store, record('a', 1, 1));
        return store.put(...args);
      },
    });
    const { last } = record('a', 1, 1);
    expect(await fenceCommits(racing, { replica: 'a', epoch: 1 }, { replica: 'b', epoch: 1 }, 5)).toBe(last);
    expect(await numbersOf(store)).toEqual(['a/1/1', 'a/1/2']);
  });
});
