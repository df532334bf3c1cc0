import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import type { JournalIdentity } from '../../src/core/envelope.ts';
import { ProxyError } from '../../src/core/errors.ts';
import { seededRandom } from '../../src/core/random.ts';
import { createSealer } from '../../src/core/sealer.ts';
import { adoptJournal, listChunkJournals } from '../../src/journal/adopted-journal.ts';
import { type ChunkStore, chunkKey, chunkPrefix } from '../../src/journal/chunk.ts';
import type { Journal } from '../../src/journal/journal.ts';
import { openStoreJournal } from '../../src/journal/store-journal.ts';
import { createMemoryStore } from '../../src/store/memory-store.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import { envelopeOf, quietLog, storeJournalOptions } from './journal-support.ts';

const EVERYTHING = { entriesMax: 10_000, bytesMax: 1 << 30 };
const random = seededRandom(3);
const sealer = createSealer([new Uint8Array(32).fill(7)], random);
const DEAD: JournalIdentity = { replica: 'replica-a', epoch: 4 };

interface Life {
  journal: Journal;
  isFenced: () => boolean;
}

async function live(store: ChunkStore, chunkBytesMax = 64 * 1024): Promise<Life> {
  let fenced = false;
  const onFenced = (): void => {
    fenced = true;
  };
  const journal = await openStoreJournal(
    storeJournalOptions({ store, identity: DEAD, sealer, chunkBytesMax, onFenced }),
  );
  return { journal, isFenced: () => fenced };
}

const adopt = (store: ChunkStore, archivedTo = 0) =>
  adoptJournal({
    store,
    identity: DEAD,
    by: { replica: 'replica-b', epoch: 1, atMs: 0 },
    archivedTo: async () => archivedTo,
    archiveConsumer: 'archive',
    sealer,
    log: quietLog,
  });

const bodies = async (journal: Journal, from = 1): Promise<string[]> =>
  (await journal.read(from, EVERYTHING)).map(({ body }) => Buffer.from(body).toString());

async function keys(store: ObjectStore): Promise<string[]> {
  const found: string[] = [];
  for await (const { key } of store.list(chunkPrefix(DEAD))) found.push(key);
  return found;
}

describe('answers that nobody is known to have heard', () => {
  it('are told of a journal that goes on, and of one that is taken over', async () => {
    const store = createMemoryStore({ clock: systemClock });
    const { journal } = await live(store);
    for (let n = 1; n <= 6; n++) await journal.append(envelopeOf(`body ${n}`));
    for (const position of [1, 2, 4]) journal.confirm(position);
    const positions = async (of: Journal, first: number, last: number): Promise<number[]> =>
      (await of.doubtful(first, last)).map(({ position }) => position);
    const started = performance.now();
    expect(await positions(journal, 1, 3)).toEqual([3]);
    // One of them is heard of after all, and one of an earlier life; one that nobody has asked for yet is none.
    for (const position of [3, 5]) journal.confirm(position);
    journal.confirm(9, 2);
    expect(journal.heardLate()).toEqual([
      { epoch: 4, position: 3 },
      { epoch: 2, position: 9 },
    ]);
    expect(journal.heardLate()).toEqual([]);
    // Those that are under way are waited for, but not for long.
    expect(performance.now() - started).toBeLessThan(10_000);
    // The next chunk says what was heard.
    await journal.append(envelopeOf('body 7'));
    const adopted = (await adopt(store))!;
    expect(await positions(adopted, 1, 7)).toEqual([6, 7]);
    expect(adopted.heardLate()).toEqual([{ epoch: 2, position: 9 }]);
    expect((await adopted.doubtful(6, 6))[0]).toMatchObject({ bodyHash: envelopeOf('body 6').head.bodyHash });
    await journal.close();
  });
});

describe('a journal that is taken over', () => {
  it('holds all that was acknowledged, and nothing can be acknowledged there any more', async () => {
    const store = createMemoryStore({ clock: systemClock });
    const { journal, isFenced } = await live(store);
    for (let n = 0; n < 5; n++) expect(await journal.append(envelopeOf(`body ${n}`))).toMatchObject({ ok: true });
    expect(await listChunkJournals(store)).toEqual([DEAD]);
    const adopted = (await adopt(store, 2))!;
    expect(await bodies(adopted)).toEqual(['body 0', 'body 1', 'body 2', 'body 3', 'body 4']);
    expect((await adopted.consumer('archive', 'start')).state.position).toBe(2);
    expect((await adopted.consumer('forward-datadog', 'start')).state.position).toBe(0);
    expect(await adopted.append(envelopeOf('no'))).toEqual({ ok: false, reason: 'closed' });
    // The zombie: what it puts now meets the fence.
    expect(await journal.append(envelopeOf('late'))).toEqual({ ok: false, reason: 'closed' });
    expect(isFenced()).toBe(true);
    expect(journal.usage().writable).toBe(false);
    expect(await bodies(adopted)).toHaveLength(5);
    await expect(adopted.finish()).rejects.toThrow('BUG');
  });

  it('is gone but for its fence once it is finished', async () => {
    const store = createMemoryStore({ clock: systemClock });
    const { journal } = await live(store);
    await journal.append(envelopeOf('one'));
    const adopted = (await adopt(store))!;
    await (await adopted.consumer('archive', 'start')).commit(1);
    await adopted.finish();
    expect(await keys(store)).toHaveLength(1);
    expect(await adopt(store)).toBeUndefined();
    expect(await journal.append(envelopeOf('late'))).toEqual({ ok: false, reason: 'closed' });
  });

  it('goes on behind a chunk that its owner deleted while it was being taken over', async () => {
    const store = createMemoryStore({ clock: systemClock });
    const { journal, isFenced } = await live(store);
    for (let n = 0; n < 4; n++) expect(await journal.append(envelopeOf(`body ${n}`))).toMatchObject({ ok: true });
    const [first] = await keys(store);
    // Its deletion was on the way when it died: the listing still shows it, and then it is gone.
    const racing: ChunkStore = {
      ...{ put: store.put.bind(store), list: store.list.bind(store), delete: store.delete.bind(store) },
      get: async (key: string) => {
        if (key === first) await store.delete(key);
        return store.get(key);
      },
    };
    const adopted = (await adopt(racing, 1))!;
    expect(await bodies(adopted)).toEqual(['body 1', 'body 2', 'body 3']);
    expect((await adopted.consumer('archive', 'start')).state.position).toBe(1);
    expect(await journal.append(envelopeOf('late'))).toEqual({ ok: false, reason: 'closed' });
    expect(isFenced()).toBe(true);
  });

  it('ends at the first gap: what lies behind was never acknowledged', async () => {
    const store = createMemoryStore({ clock: systemClock });
    // The third chunk's put hangs while later ones succeed.
    let hold = true;
    const slow: ChunkStore = {
      ...store,
      get: store.get.bind(store),
      list: store.list.bind(store),
      delete: store.delete.bind(store),
      put: async (key, bytes, options) => {
        while (hold && key === chunkKey(DEAD, 3)) await systemClock.sleep(1);
        return store.put(key, bytes, options);
      },
    };
    const { journal, isFenced } = await live(slow);
    expect(await journal.append(envelopeOf('acknowledged'))).toMatchObject({ ok: true });
    const answers: unknown[] = [];
    for (const body of ['in the gap', 'behind it']) {
      void journal.append(envelopeOf(body)).then((answer) => answers.push(answer));
      await systemClock.sleep(20);
    }
    expect(await keys(store)).toEqual([2, 4].map((sequence) => chunkKey(DEAD, sequence)));
    expect(answers).toEqual([]);
    const adopted = (await adopt(store))!;
    expect(await bodies(adopted)).toEqual(['acknowledged']);
    hold = false;
    await expect
      .poll(() => answers)
      .toEqual([
        { ok: false, reason: 'closed' },
        { ok: false, reason: 'closed' },
      ]);
    expect(isFenced()).toBe(true);
  });

  it('takes what was on its way and came first', async () => {
    const store = createMemoryStore({ clock: systemClock });
    const { journal } = await live(store);
    await journal.append(envelopeOf('one'));
    // The fence comes second: the chunk lands between the look and the fence.
    let once = true;
    const racing: ChunkStore = {
      ...store,
      list: store.list.bind(store),
      delete: store.delete.bind(store),
      get: store.get.bind(store),
      put: async (key, bytes, options) => {
        if (once) {
          once = false;
          await journal.append(envelopeOf('two'));
        }
        return store.put(key, bytes, options);
      },
    };
    expect(await bodies((await adopt(racing))!)).toEqual(['one', 'two']);
  });

  it('that died while it was being finished, or was finished twice at once, is taken over again', async () => {
    const store = createMemoryStore({ clock: systemClock });
    const { journal } = await live(store, 400);
    for (let n = 0; n < 6; n++) await journal.append(envelopeOf(`body ${n}`));
    const first = (await adopt(store))!;
    const second = (await adopt(store))!;
    expect(await bodies(second)).toEqual(await bodies(first));
    await (await second.consumer('archive', 'start')).commit(6);
    // It got as far as deleting some.
    await store.delete((await keys(store))[0]!);
    await store.delete((await keys(store))[0]!);
    const third = (await adopt(store, 6))!;
    expect((await bodies(third)).at(-1)).toBe('body 5');
    expect((await third.consumer('archive', 'start')).state.position).toBe(6);
    await third.finish();
    expect(await adopt(store)).toBeUndefined();
  });
});

describe('chunks', () => {
  it('of a lost answer are ours; a store that fails is waited for, in order', async () => {
    const store = createMemoryStore({ clock: systemClock });
    let failures = 6;
    const flaky: ChunkStore = {
      ...store,
      get: store.get.bind(store),
      list: store.list.bind(store),
      delete: store.delete.bind(store),
      put: async (key, bytes, options) => {
        const made = failures % 2 === 0 ? await store.put(key, bytes, options) : undefined;
        if (failures-- > 0) throw new ProxyError('STORE_UNAVAILABLE', 'planned');
        return made ?? store.put(key, bytes, options);
      },
    };
    failures = 0;
    const { journal, isFenced } = await live(flaky);
    failures = 6;
    const answers = await Promise.all(['a', 'b', 'c'].map((body) => journal.append(envelopeOf(body))));
    expect(answers).toEqual([1, 2, 3].map((position) => ({ ok: true, position })));
    expect(isFenced()).toBe(false);
    expect(await bodies(journal)).toEqual(['a', 'b', 'c']);
  });

  it('go once every consumer has passed them, the newest stays; all go when the journal ends with nothing owed', async () => {
    const store = createMemoryStore({ clock: systemClock });
    const { journal } = await live(store);
    const consumer = await journal.consumer('archive', 'start');
    for (let n = 0; n < 4; n++) await journal.append(envelopeOf(`body ${n}`));
    expect(await keys(store)).toHaveLength(4);
    await consumer.commit(4);
    await expect.poll(() => keys(store)).toHaveLength(1);
    await journal.close();
    expect(await keys(store)).toEqual([]);
  });

  it('stay when something is owed', async () => {
    const store = createMemoryStore({ clock: systemClock });
    const { journal } = await live(store);
    const consumer = await journal.consumer('archive', 'start');
    await journal.append(envelopeOf('one'));
    await consumer.commit(1);
    await journal.close(true);
    expect(await keys(store)).toHaveLength(1);
    expect(await adopt(store, 1)).toBeDefined();
  });

  it('are read back when memory does not hold them any more, opened where they rest sealed', async () => {
    const store = createMemoryStore({ clock: systemClock });
    const { journal } = await live(store);
    await journal.append(envelopeOf('secret', undefined, { sealedBody: true }));
    const big = 'x'.repeat(1500 * 1024);
    await journal.append(envelopeOf(big));
    await journal.append(envelopeOf(big));
    expect((await bodies(journal))[0]).toBe('secret');
    expect(Buffer.from((await store.get(chunkKey(DEAD, 2))).bytes).includes('secret')).toBe(false);
  });
});
