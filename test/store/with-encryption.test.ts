import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { seededRandom, systemRandom } from '../../src/core/random.ts';
import { createMemoryStore } from '../../src/store/memory-store.ts';
import type { ByteSource, ObjectStore } from '../../src/store/object-store.ts';
import { withEncryption } from '../../src/store/with-encryption.ts';
import { storeSuite } from '../contract/store-suite.ts';

const KEY = Buffer.alloc(32, 7);
const clock = systemClock;
const over = (base: ObjectStore, key: Uint8Array = KEY) => withEncryption(base, { key, random: systemRandom });

storeSuite('with encryption', async () => ({ store: over(createMemoryStore({ clock })) }), { listedObjects: 300 });

describe('encryption', () => {
  const sizes = [0, 1, 31, 32, 65_535, 65_536, 65_537, 200_000];

  it('gives back every size whole, in ranges, and told its own size', async () => {
    const base = createMemoryStore({ clock });
    const store = over(base);
    const random = seededRandom(1);
    for (const size of sizes) {
      const bytes = random.bytes(size);
      const put = await store.put(`k${size}`, bytes);
      expect(put.sizeBytes).toBe(size);
      expect((await store.head(`k${size}`))?.sizeBytes).toBe(size);
      expect(Buffer.compare((await store.get(`k${size}`)).bytes, bytes)).toBe(0);
      for (let round = 0; round < 20; round++) {
        const offset = Math.floor(random.next() * (size + 1));
        const length = Math.floor(random.next() * (size - offset + 1));
        const part = await store.get(`k${size}`, { offset, length });
        expect(Buffer.compare(part.bytes, bytes.subarray(offset, offset + length))).toBe(0);
      }
    }
    for await (const { key, sizeBytes } of store.list('')) expect(`k${sizeBytes}`).toBe(key);
  });

  it('writes a source in pieces to the same bytes whatever pieces are asked for', async () => {
    const bytes = seededRandom(2).bytes(300_000);
    const source: ByteSource = { sizeBytes: bytes.byteLength, read: async (at, n) => bytes.subarray(at, at + n) };
    const pieces: Uint8Array[] = [];
    const base = createMemoryStore({ clock });
    const inPieces: ObjectStore = Object.assign(Object.create(base), {
      put: async (key: string, body: ByteSource) => {
        for (let at = 0; at < body.sizeBytes; at += 7777) {
          pieces.push((await body.read(at, Math.min(7777, body.sizeBytes - at))).slice());
        }
        const whole = await body.read(0, body.sizeBytes);
        expect(Buffer.compare(Buffer.concat(pieces), whole)).toBe(0);
        return base.put(key, whole);
      },
      get: base.get.bind(base),
      head: base.head.bind(base),
    });
    const store = over(inPieces);
    await store.put('big', source);
    expect(Buffer.compare((await store.get('big')).bytes, bytes)).toBe(0);
  });

  it('shows nothing of the content, and never the same bytes twice', async () => {
    const base = createMemoryStore({ clock });
    const store = over(base);
    const text = Buffer.from('a secret that must not be seen '.repeat(100));
    await store.put('a', text);
    await store.put('b', text);
    const [a, b] = [(await base.get('a')).bytes, (await base.get('b')).bytes];
    expect(Buffer.from(a).includes('secret')).toBe(false);
    expect(Buffer.compare(a, b)).not.toBe(0);
  });

  it('refuses what was altered, cut, moved to another object, or sealed with another key', async () => {
    const base = createMemoryStore({ clock });
    const store = over(base);
    await store.put('k', seededRandom(3).bytes(150_000));
    const sealed = (await base.get('k')).bytes;
    const random = seededRandom(4);
    for (let round = 0; round < 50; round++) {
      const altered = sealed.slice();
      const at = Math.floor(random.next() * altered.byteLength);
      altered[at]! ^= 1 << Math.floor(random.next() * 8);
      await base.put('k', altered);
      await expect(store.get('k')).rejects.toThrow(/STORE_(CORRUPT|INVALID)/);
    }
    for (const cut of [32 + 65_552, sealed.byteLength - 1, 40]) {
      await base.put('k', sealed.subarray(0, cut));
      await expect(store.get('k')).rejects.toThrow(/STORE_(CORRUPT|INVALID)/);
    }
    await base.put('k', sealed);
    await expect(over(base, Buffer.alloc(32, 8)).get('k')).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
    await base.put('plain', Buffer.from('x'.repeat(100)));
    await expect(store.get('plain')).rejects.toMatchObject({ code: 'STORE_INVALID' });
  });
});
