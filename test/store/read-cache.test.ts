import { existsSync, readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { nodeFileSystem } from '../../src/core/file-system.ts';
import { systemRandom } from '../../src/core/random.ts';
import { createMemoryStore } from '../../src/store/memory-store.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import { openReadCache } from '../../src/store/read-cache.ts';
import { storeSuite } from '../contract/store-suite.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const open = (store: ObjectStore, folder: string, bytesMax = 1000) =>
  openReadCache(store, {
    folder,
    bytesMax,
    isImmutable: (key) => key.startsWith('segments/'),
    fileSystem: nodeFileSystem,
    random: systemRandom,
  });

/** Counts what is really read from the store. */
function counted() {
  const base = createMemoryStore({ clock: systemClock });
  const counts = { gets: 0 };
  const store: ObjectStore = Object.assign(Object.create(base), {
    get: (key: string, range?: never) => {
      counts.gets += 1;
      return base.get(key, range);
    },
    head: base.head.bind(base),
    list: base.list.bind(base),
    put: base.put.bind(base),
    delete: base.delete.bind(base),
    close: async () => {},
  });
  return { store, counts };
}

storeSuite(
  'with a read cache',
  async () => ({
    store: await openReadCache(createMemoryStore({ clock: systemClock }), {
      folder: await temporaryFolder(),
      bytesMax: 1 << 20,
      // What the suite writes once.
      isImmutable: (key) => key.startsWith('race/') || key.startsWith('big'),
      fileSystem: nodeFileSystem,
      random: systemRandom,
    }),
  }),
  { listedObjects: 300 },
);

describe('read cache', () => {
  it('fetches an immutable object once, also for another life, and gives it as a file', async () => {
    const folder = await temporaryFolder();
    const { store, counts } = counted();
    await store.put('segments/a', Buffer.from('hello'));
    const cache = await open(store, folder);
    await cache.ready(['segments/a', 'segments/a']);
    expect(existsSync(cache.pathOf('segments/a'))).toBe(true);
    expect(Buffer.from((await cache.get('segments/a')).bytes).toString()).toBe('hello');
    expect(Buffer.from((await cache.get('segments/a', { offset: 1, length: 2 })).bytes).toString()).toBe('el');
    const next = await open(store, folder);
    await next.ready(['segments/a']);
    expect(counts.gets).toBe(1);
  });

  it('gives a part of an object without fetching the rest, and of the file where that is there', async () => {
    const folder = await temporaryFolder();
    const { store, counts } = counted();
    await store.put('segments/a', Buffer.from('hello'));
    const cache = await open(store, folder);
    const peeked = async () => Buffer.from(await cache.peek('segments/a', { offset: 1, length: 3 })).toString();
    expect(await peeked()).toBe('ell');
    expect(readdirSync(folder)).toEqual([]);
    await cache.ready(['segments/a']);
    expect(await peeked()).toBe('ell');
    expect(counts.gets).toBe(2);
    await expect(cache.peek('segments/none', { offset: 0, length: 1 })).rejects.toMatchObject({ code: 'STORE_ABSENT' });
  });

  it('stays within its bound: what was used longest ago goes, but nothing in use', async () => {
    const folder = await temporaryFolder();
    const { store, counts } = counted();
    const keys = Array.from({ length: 6 }, (_, n) => `segments/${n}`);
    for (const key of keys) await store.put(key, Buffer.alloc(300));
    const cache = await open(store, folder);
    await cache.ready(keys.slice(0, 5));
    expect(readdirSync(folder)).toHaveLength(5);
    await cache.release(keys.slice(0, 5));
    expect(readdirSync(folder)).toHaveLength(3);
    const [first, ...others] = keys.filter((key) => existsSync(cache.pathOf(key)));
    await cache.get(first!);
    await cache.get('segments/5');
    expect(existsSync(cache.pathOf(first!))).toBe(true);
    expect(others.filter((key) => existsSync(cache.pathOf(key)))).toHaveLength(1);
    expect(counts.gets).toBe(6);
  });

  it('leaves what may change alone', async () => {
    const folder = await temporaryFolder();
    const { store } = counted();
    const cache = await open(store, folder);
    await cache.put('lease', Buffer.from('1'));
    await cache.get('lease');
    await cache.put('lease', Buffer.from('2'));
    expect(Buffer.from((await cache.get('lease')).bytes).toString()).toBe('2');
    expect(readdirSync(folder)).toEqual([]);
  });

  it('fails as the store does, and keeps nothing half', async () => {
    const folder = await temporaryFolder();
    const cache = await open(counted().store, folder);
    await expect(cache.ready(['segments/none'])).rejects.toMatchObject({ code: 'STORE_ABSENT' });
    await expect(cache.get('segments/none')).rejects.toMatchObject({ code: 'STORE_ABSENT' });
    expect(readdirSync(folder)).toEqual([]);
  });
});
