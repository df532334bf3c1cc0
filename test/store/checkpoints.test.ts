import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import {
  type Checkpoint,
  checkpointKey,
  decodeCheckpoint,
  latestCheckpoint,
  putCheckpoint,
} from '../../src/store/checkpoints.ts';
import { type CommitRecord, commitKey, type SegmentEntry } from '../../src/store/commit-log.ts';
import { appendCommit, fenceCommits, highestEpoch } from '../../src/store/commit-records.ts';
import { readLiveSegments } from '../../src/store/live-segments.ts';
import { createMemoryStore } from '../../src/store/memory-store.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import { createManualClock } from '../support/manual-clock.ts';

const memory = (): ObjectStore => createMemoryStore({ clock: createManualClock() });

const entryOf = (key: string): SegmentEntry => ({
  ...{
    key,
    tenant: 't',
    signal: 'logs',
    tier: 'hot',
    rowCount: 1,
    sizeBytes: 10,
    crc32: 5,
    timeMinMs: 1,
    timeMaxMs: 2,
  },
});

function record(replica: string, number: number, adds: string[], replaces: string[] = []): CommitRecord {
  return {
    ...{ format: 1, replica, epoch: 1, number, first: number, last: number, envelopes: {}, rawBytes: {} },
    ...{ committedAtMs: number, adds: adds.map(entryOf), replaces },
  };
}

const checkpoint = (changes: Partial<Checkpoint> = {}): Checkpoint => ({
  ...{ format: 1, number: 1, writtenAtMs: 9, recordCount: 2, unseen: [] },
  journals: [{ replica: 'a', epoch: 1, number: 2, last: 2 }],
  live: [{ committedAtMs: 1, entry: entryOf('one') }],
  replaced: [{ key: 'two', atMs: 2 }],
  ...changes,
});

const keysOf = async (store: ObjectStore): Promise<string[]> => [...(await readLiveSegments(store)).live.keys()].sort();

describe('checkpoints', () => {
  it('come back equal, the highest of them', async () => {
    const store = memory();
    expect(await latestCheckpoint(store)).toBeUndefined();
    await putCheckpoint(store, checkpoint());
    await putCheckpoint(store, checkpoint({ number: 2 }));
    expect(await latestCheckpoint(store)).toEqual(checkpoint({ number: 2 }));
    await expect(putCheckpoint(store, checkpoint({ number: 2 }))).rejects.toMatchObject({ code: 'STORE_EXISTS' });
  });

  it('refuse damage, unknown formats and the key of another', () => {
    const text = JSON.stringify(checkpoint());
    const key = checkpointKey(1);
    expect(decodeCheckpoint(key, gzipSync(text))).toEqual(checkpoint());
    expect(() => decodeCheckpoint(key, Buffer.from(text))).toThrow('STORE_INVALID');
    expect(() => decodeCheckpoint(checkpointKey(2), gzipSync(text))).toThrow('says it is');
    for (const [from, to] of [
      ['"format":1', '"format":2'],
      ['"unseen":[]', '"unseen":[],"extra":1'],
      ['"number":2', '"number":0'],
    ] as const) {
      expect(() => decodeCheckpoint(key, gzipSync(text.replace(from, to))), to).toThrow('STORE_INVALID');
    }
  });

  it('stand for the records they hold, which may be there or not', async () => {
    const store = memory();
    await appendCommit(store, record('a', 1, ['one', 'two']));
    await appendCommit(store, record('a', 2, ['merged'], ['two']));
    await putCheckpoint(
      store,
      checkpoint({ live: ['one', 'merged'].map((key) => ({ committedAtMs: 1, entry: entryOf(key) })) }),
    );
    await appendCommit(store, record('a', 3, ['three'], ['one']));
    await appendCommit(store, record('b', 1, ['four']));
    const whole = await readLiveSegments(store);
    expect([...whole.live.keys()].sort()).toEqual(['four', 'merged', 'three']);
    expect(whole.commitCount).toBe(4);
    await store.delete(commitKey({ replica: 'a', epoch: 1 }, 1));
    await store.delete(commitKey({ replica: 'a', epoch: 1 }, 2));
    expect(await readLiveSegments(store)).toEqual(whole);
    // What is behind it and missing is a loss.
    await appendCommit(store, record('a', 4, ['five']));
    await store.delete(commitKey({ replica: 'a', epoch: 1 }, 3));
    await expect(readLiveSegments(store)).rejects.toThrow('commit record 3 is missing');
  });

  it('what was replaced before its record was read never comes to life', async () => {
    const store = memory();
    await appendCommit(store, record('b', 1, ['merged'], ['late']));
    const { unseen } = await readLiveSegments(store);
    expect([...unseen]).toEqual(['late']);
    await putCheckpoint(store, {
      ...checkpoint({ recordCount: 1, journals: [{ replica: 'b', epoch: 1, number: 1, last: 0 }] }),
      live: [{ committedAtMs: 1, entry: entryOf('merged') }],
      replaced: [{ key: 'late', atMs: 1 }],
      unseen: ['late'],
    });
    await appendCommit(store, record('a', 1, ['late']));
    expect(await keysOf(store)).toEqual(['merged']);
    expect((await readLiveSegments(store)).unseen.size).toBe(0);
  });

  it('a reader that is overtaken begins again with the next one', async () => {
    const store = memory();
    for (const number of [1, 2, 3]) await appendCommit(store, record('a', number, [`s${number}`]));
    await putCheckpoint(store, {
      ...checkpoint({ recordCount: 1, journals: [{ replica: 'a', epoch: 1, number: 1, last: 1 }], replaced: [] }),
      live: [{ committedAtMs: 1, entry: entryOf('s1') }],
    });
    for (const at of ['list', 'get'] as const) {
      let isOvertaken = false;
      const overtake = async (): Promise<void> => {
        if (isOvertaken) return;
        isOvertaken = true;
        await putCheckpoint(store, {
          ...checkpoint({ number: at === 'list' ? 2 : 3, recordCount: 2, replaced: [] }),
          live: ['s1', 's2'].map((key) => ({ committedAtMs: 1, entry: entryOf(key) })),
        });
        await store.delete(commitKey({ replica: 'a', epoch: 1 }, 2));
      };
      const racing: ObjectStore = Object.assign(Object.create(store), {
        list: async function* (prefix: string) {
          if (prefix === 'commits/' && at === 'list') await overtake();
          yield* store.list(prefix);
        },
        get: async (key: string) => {
          if (key.startsWith('commits/') && at === 'get') await overtake();
          return store.get(key);
        },
        head: store.head.bind(store),
      });
      expect(await keysOf(racing)).toEqual(['s1', 's2', 's3']);
      expect(isOvertaken).toBe(true);
      if (at === 'list') {
        // As before it, for the other turn.
        await store.delete(checkpointKey(2));
        await appendCommit(store, record('a', 2, ['s2']));
      }
    }
  });

  it('a journal whose records are held goes on from its last one', async () => {
    const store = memory();
    for (const number of [1, 2, 3]) await appendCommit(store, record('a', number, [`s${number}`]));
    for (const number of [1, 2]) await store.delete(commitKey({ replica: 'a', epoch: 1 }, number));
    expect(await highestEpoch(store, 'a')).toBe(1);
    expect(await fenceCommits(store, { replica: 'a', epoch: 1 }, { replica: 'b', epoch: 1 }, 5)).toBe(3);
    await expect(appendCommit(store, record('a', 4, ['late']))).rejects.toMatchObject({ code: 'STORE_EXISTS' });
  });
});
