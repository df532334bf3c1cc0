import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { ProxyError } from '../../src/core/errors.ts';
import { seededRandom } from '../../src/core/random.ts';
import { copyStore } from '../../src/store/copy.ts';
import { createMemoryStore } from '../../src/store/memory-store.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import { createManualClock } from '../support/manual-clock.ts';

const options = { concurrentMax: 4, checkPresent: false };

async function filled(): Promise<{ store: ObjectStore; contents: Map<string, Uint8Array> }> {
  const store = createMemoryStore({ clock: systemClock });
  const random = seededRandom(5);
  const contents = new Map<string, Uint8Array>();
  for (let n = 0; n < 60; n++) {
    const key =
      n === 1
        ? 'checkpoints/000000000001.json.gz'
        : n % 10 === 0
          ? `commits/r/0000000001/${String(n).padStart(12, '0')}.json`
          : `default/logs/${n}`;
    // Two of several pieces: fresh memory is what takes time.
    contents.set(key, random.bytes(n === 7 ? 9_000_000 : n === 35 ? 4_500_000 : Math.floor(random.next() * 5000)));
    await store.put(key, contents.get(key)!);
  }
  return { store, contents };
}

async function expectCopied(to: ObjectStore, contents: Map<string, Uint8Array>): Promise<void> {
  const keys: string[] = [];
  for await (const { key } of to.list('')) keys.push(key);
  expect(keys).toEqual([...contents.keys()].sort());
  for (const [key, bytes] of contents) expect(Buffer.compare((await to.get(key)).bytes, bytes), key).toBe(0);
}

describe('copying a store', () => {
  it('copies everything, and again nothing', async () => {
    const { store, contents } = await filled();
    const to = createMemoryStore({ clock: systemClock });
    expect(await copyStore(store, to, options)).toMatchObject({ objects: 60, copied: 60, present: 0 });
    await expectCopied(to, contents);
    expect(await copyStore(store, to, { ...options, checkPresent: true })).toMatchObject({ copied: 0, present: 60 });
  });

  it('goes on after an interruption, commit records always last', async () => {
    const { store, contents } = await filled();
    const to = createMemoryStore({ clock: systemClock });
    for (let allowed = 5; ; allowed += 11) {
      let left = allowed;
      const failing: ObjectStore = Object.assign(Object.create(to), {
        head: to.head.bind(to),
        get: to.get.bind(to),
        put: async (...args: Parameters<ObjectStore['put']>) => {
          if (left-- <= 0) throw new ProxyError('STORE_UNAVAILABLE', 'planned');
          return to.put(...args);
        },
      });
      try {
        await copyStore(store, failing, options);
        break;
      } catch (error) {
        expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE' });
      }
      const there: string[] = [];
      for await (const { key } of to.list('')) there.push(key);
      // A checkpoint names segments, and records it holds may be there no more.
      const isLate = (key: string): boolean => /^(commits|checkpoints)\//.test(key);
      if (there.some(isLate)) expect(there.filter((key) => !isLate(key))).toHaveLength(53);
      if (there.some((key) => key.startsWith('commits/'))) {
        expect(there.filter((key) => !key.startsWith('commits/'))).toHaveLength(54);
      }
    }
    await expectCopied(to, contents);
  });

  it('never overwrites another object', async () => {
    const { store } = await filled();
    const to = createMemoryStore({ clock: systemClock });
    await to.put('default/logs/3', Buffer.from('something else'));
    await expect(copyStore(store, to, options)).rejects.toMatchObject({ code: 'STORE_EXISTS' });
    expect(Buffer.from((await to.get('default/logs/3')).bytes).toString()).toBe('something else');
    const same = (await store.get('default/logs/4')).bytes.slice();
    same[0]! ^= 1;
    const second = createMemoryStore({ clock: systemClock });
    await second.put('default/logs/4', same);
    await expect(copyStore(store, second, { ...options, checkPresent: true })).rejects.toThrow(/another object/);
  });

  it('tells a copy that reads back differently', async () => {
    const { store } = await filled();
    const to = createMemoryStore({ clock: systemClock });
    const lying: ObjectStore = Object.assign(Object.create(to), {
      head: to.head.bind(to),
      put: to.put.bind(to),
      get: async (...args: Parameters<ObjectStore['get']>) => {
        const got = await to.get(...args);
        got.bytes[0]! ^= 1;
        return got;
      },
    });
    await expect(copyStore(store, lying, options)).rejects.toThrow(/another object/);
  });

  it('of a store in use has what was there when it began, and is whole', async () => {
    const store = createMemoryStore({ clock: systemClock });
    const put = (key: string) => store.put(key, Buffer.from(key));
    for (const key of ['default/logs/1', 'default/logs/9', 'journal/r/0000000001/1', 'journal/r/0000000001/2'])
      await put(key);
    await put('commits/r/0000000001/000000000001.json');
    const to = createMemoryStore({ clock: systemClock });
    // Once the listing has passed, a flush commits another segment; a chunk and a merged segment are deleted before they are read.
    const busy: ObjectStore = Object.assign(Object.create(store), {
      head: store.head.bind(store),
      list: store.list.bind(store),
      get: async (...args: Parameters<ObjectStore['get']>) => {
        if (args[0].endsWith('/2') || args[0].endsWith('/9')) await store.delete(args[0]);
        if (args[0] === 'default/logs/1') {
          await put('default/logs/0');
          await put('commits/r/0000000001/000000000002.json');
        }
        return store.get(...args);
      },
    });
    expect(await copyStore(busy, to, { ...options, concurrentMax: 1 })).toMatchObject({ copied: 3, gone: 2 });
    const keys: string[] = [];
    for await (const { key } of to.list('')) keys.push(key);
    expect(keys).toEqual(['commits/r/0000000001/000000000001.json', 'default/logs/1', 'journal/r/0000000001/1']);
    await copyStore(busy, to, options);
    expect(await to.head('commits/r/0000000001/000000000002.json')).toBeDefined();
    expect(await to.head('default/logs/0')).toBeDefined();
  });

  it('a commit record that is deleted meanwhile is no gap that nobody hears of', async () => {
    const store = createMemoryStore({ clock: systemClock });
    const key = 'commits/r/0000000001/000000000001.json';
    for (const one of ['default/logs/1', key]) await store.put(one, Buffer.from(one));
    const compacting: ObjectStore = Object.assign(Object.create(store), {
      head: store.head.bind(store),
      list: store.list.bind(store),
      get: async (...args: Parameters<ObjectStore['get']>) => {
        await store.delete(key);
        return store.get(...args);
      },
    });
    const to = createMemoryStore({ clock: systemClock });
    await expect(copyStore(compacting, to, options)).rejects.toMatchObject({ code: 'STORE_ABSENT' });
  });

  it('brings leases up to date, and leaves lists and later leases', async () => {
    const clock = createManualClock();
    const [store, to] = [createMemoryStore({ clock }), createMemoryStore({ clock })];
    const textAt = async (key: string) => Buffer.from((await to.get(key)).bytes).toString();
    for (const key of ['leases/a.json', 'leases/b.json', 'lists/index.json']) await store.put(key, Buffer.from('9'));
    expect(await copyStore(store, to, options)).toMatchObject({ copied: 2 });
    await clock.advance(1000);
    await store.put('leases/a.json', Buffer.from('10'));
    await to.put('leases/b.json', Buffer.from('11'));
    await store.put('lists/index.json', Buffer.from('other'));
    expect(await copyStore(store, to, { ...options, checkPresent: true })).toMatchObject({ copied: 1, present: 1 });
    expect([await textAt('leases/a.json'), await textAt('leases/b.json')]).toEqual(['10', '11']);
    expect(await to.head('lists/index.json')).toBeUndefined();
  });
});
