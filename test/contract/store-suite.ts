/**
 * What every ObjectStore must hold, whatever it stands on. An implementation joins by handing in a factory; the second store
 * it may give is another client of the same objects, as another replica would be.
 */
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { isProxyError } from '../../src/core/errors.ts';
import { compareKeys } from '../../src/store/keys.ts';
import type { ListOptions, ObjectInfo, ObjectStore, PutCondition } from '../../src/store/object-store.ts';

export interface StoreUnderTest {
  store: ObjectStore;
  /** A second client of the same objects; default: the same one. */
  other?: ObjectStore;
}

export interface StoreSuiteOptions {
  /** Objects in the listing test; default 2,600, more than two pages of any bucket. */
  listedObjects?: number;
  /** Longest key; default 900. A prefix counts. */
  keyBytesMax?: number;
  /** Keys with characters beyond the BMP come in the order of UTF-16, not of bytes (Azure). */
  isUtf16Order?: true;
}

const absent: PutCondition = { kind: 'absent' };
const unchanged = (version: string): PutCondition => ({ kind: 'unchanged', version });
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

async function listAll(store: ObjectStore, prefix: string, options?: ListOptions): Promise<ObjectInfo[]> {
  const found: ObjectInfo[] = [];
  for await (const info of store.list(prefix, options)) found.push(info);
  return found;
}

async function keysOf(store: ObjectStore, prefix: string, options?: ListOptions): Promise<string[]> {
  return (await listAll(store, prefix, options)).map((info) => info.key);
}

async function codeOf(action: Promise<unknown>): Promise<string> {
  try {
    await action;
    return 'none';
  } catch (error) {
    if (isProxyError(error)) return error.code;
    throw error;
  }
}

/** Runs at most 16 at once: enough to race, gentle on sockets and handles. */
async function inBatches<T>(items: T[], act: (item: T) => Promise<unknown>): Promise<void> {
  for (let start = 0; start < items.length; start += 16) await Promise.all(items.slice(start, start + 16).map(act));
}

export function storeSuite(name: string, open: () => Promise<StoreUnderTest>, options: StoreSuiteOptions = {}): void {
  const opened = async (): Promise<{ store: ObjectStore; other: ObjectStore }> => {
    const { store, other } = await open();
    return { store, other: other ?? store };
  };

  describe(`object store: ${name}`, () => {
    it('gives back what was put, to every client', async () => {
      const { store, other } = await opened();
      const put = await store.put('a/b/c.parquet', bytesOf('hello'));
      expect(put).toMatchObject({ key: 'a/b/c.parquet', sizeBytes: 5 });
      const got = await other.get('a/b/c.parquet');
      expect(textOf(got.bytes)).toBe('hello');
      // When it was written is known to the server better than to the writer.
      const known = { ...put, modifiedAtMs: expect.any(Number) };
      expect(got.info).toMatchObject(known);
      expect(await other.head('a/b/c.parquet')).toMatchObject(known);
      expect(await listAll(other, '')).toEqual([known]);
    });

    it('keeps its own copy of the bytes', async () => {
      const { store } = await opened();
      const bytes = bytesOf('before');
      await store.put('k', bytes);
      bytes.fill(0x78);
      const got = await store.get('k');
      expect(textOf(got.bytes)).toBe('before');
      got.bytes.fill(0x78);
      expect(textOf((await store.get('k')).bytes)).toBe('before');
    });

    it('says that an absent object is absent', async () => {
      const { store } = await opened();
      expect(await store.head('none')).toBeUndefined();
      expect(await store.head('none/at/all')).toBeUndefined();
      expect(await codeOf(store.get('none'))).toBe('STORE_ABSENT');
      expect(await codeOf(store.get('none', { offset: 0, length: 1 }))).toBe('STORE_ABSENT');
      expect(await keysOf(store, 'none')).toEqual([]);
      expect(await codeOf(store.put('none', bytesOf('x'), { condition: unchanged('v1') }))).toBe('STORE_EXISTS');
      expect(await store.head('none')).toBeUndefined();
    });

    it('does not take a folder for an object', async () => {
      const { store } = await opened();
      await store.put('folder/object', bytesOf('x'));
      expect(await store.head('folder')).toBeUndefined();
      expect(await codeOf(store.get('folder'))).toBe('STORE_ABSENT');
      await store.delete('folder');
      expect(await keysOf(store, '')).toEqual(['folder/object']);
    });

    it('overwrites with a plain put, and the version changes although the size does not', async () => {
      const { store, other } = await opened();
      const versions = new Set<string>();
      for (let round = 0; round < 10; round++) {
        versions.add((await store.put('k', bytesOf(`value ${round}`))).version);
        expect(textOf((await other.get('k')).bytes)).toBe(`value ${round}`);
        expect((await other.head('k'))!.version).toBe([...versions].at(-1));
      }
      expect(versions.size).toBe(10);
      expect(await keysOf(store, '')).toEqual(['k']);
    });

    it('creates only if absent', async () => {
      const { store, other } = await opened();
      await store.put('k', bytesOf('first'), { condition: absent });
      expect(await codeOf(other.put('k', bytesOf('second'), { condition: absent }))).toBe('STORE_EXISTS');
      expect(await codeOf(store.put('k', bytesOf('first'), { condition: absent }))).toBe('STORE_EXISTS');
      expect(textOf((await store.get('k')).bytes)).toBe('first');
    });

    it('has exactly one winner among 32 creators', async () => {
      const { store, other } = await opened();
      for (let round = 0; round < 5; round++) {
        const key = `race/${round}`;
        const outcomes = await Promise.all(
          Array.from({ length: 32 }, async (_, writer) => {
            const target = writer % 2 === 0 ? store : other;
            return codeOf(target.put(key, bytesOf(`writer ${writer}`), { condition: absent }));
          }),
        );
        const winners = outcomes.flatMap((code, writer) => (code === 'none' ? [writer] : []));
        expect(winners).toHaveLength(1);
        expect(outcomes.filter((code) => code === 'STORE_EXISTS')).toHaveLength(31);
        expect(textOf((await other.get(key)).bytes)).toBe(`writer ${winners[0]}`);
      }
    });

    it('replaces only what is unchanged', async () => {
      const { store, other } = await opened();
      const first = await store.put('lease', bytesOf('one'), { condition: absent });
      const second = await other.put('lease', bytesOf('two'), { condition: unchanged(first.version) });
      expect(second.version).not.toBe(first.version);
      expect(await codeOf(store.put('lease', bytesOf('three'), { condition: unchanged(first.version) }))).toBe(
        'STORE_EXISTS',
      );
      expect(textOf((await store.get('lease')).bytes)).toBe('two');
      expect((await store.head('lease'))!.version).toBe(second.version);
      await store.put('lease', bytesOf('three'), { condition: unchanged(second.version) });
      expect(textOf((await other.get('lease')).bytes)).toBe('three');
      expect(await codeOf(store.put('lease', bytesOf('x'), { condition: absent }))).toBe('STORE_EXISTS');
      expect(await keysOf(store, '')).toEqual(['lease']);
    });

    it('has exactly one winner among 32 replacers', async () => {
      const { store, other } = await opened();
      let version = (await store.put('lease', bytesOf('0'), { condition: absent })).version;
      for (let round = 0; round < 5; round++) {
        const outcomes = await Promise.all(
          Array.from({ length: 32 }, (_, writer) =>
            codeOf(
              (writer % 2 === 0 ? store : other).put('lease', bytesOf(`${round}/${writer}`), {
                condition: unchanged(version),
              }),
            ),
          ),
        );
        const winners = outcomes.flatMap((code, writer) => (code === 'none' ? [writer] : []));
        expect(winners).toHaveLength(1);
        const got = await store.get('lease');
        expect(textOf(got.bytes)).toBe(`${round}/${winners[0]}`);
        version = got.info.version;
      }
    });

    it('counts right when many clients increment by replacing', async () => {
      const { store, other } = await opened();
      await store.put('count', bytesOf('0'), { condition: absent });
      const increment = async (client: ObjectStore): Promise<void> => {
        for (;;) {
          const { info, bytes } = await client.get('count');
          const next = bytesOf(String(Number(textOf(bytes)) + 1));
          const code = await codeOf(client.put('count', next, { condition: unchanged(info.version) }));
          if (code === 'none') return;
          if (code !== 'STORE_EXISTS' && code !== 'STORE_CONFLICT') throw new Error(code);
        }
      };
      await Promise.all(
        Array.from({ length: 8 }, async (_, client) => {
          for (let round = 0; round < 5; round++) await increment(client % 2 === 0 ? store : other);
        }),
      );
      expect(textOf((await store.get('count')).bytes)).toBe('40');
    });

    it('takes a plain put, a deletion and a new creation after replacements', async () => {
      const { store, other } = await opened();
      const first = await store.put('k', bytesOf('1'));
      const second = await store.put('k', bytesOf('2'), { condition: unchanged(first.version) });
      const third = await other.put('k', bytesOf('3'));
      expect(new Set([first.version, second.version, third.version]).size).toBe(3);
      expect(textOf((await store.get('k')).bytes)).toBe('3');
      await store.delete('k');
      expect(await other.head('k')).toBeUndefined();
      expect(await codeOf(other.get('k'))).toBe('STORE_ABSENT');
      expect(await keysOf(other, '')).toEqual([]);
      expect(await codeOf(store.put('k', bytesOf('x'), { condition: unchanged(third.version) }))).toBe('STORE_EXISTS');
      const fourth = await other.put('k', bytesOf('4'), { condition: absent });
      expect([first, second, third].map((info) => info.version)).not.toContain(fourth.version);
      expect(textOf((await store.get('k')).bytes)).toBe('4');
      expect(await listAll(store, 'k')).toEqual([{ ...fourth, modifiedAtMs: expect.any(Number) }]);
    });

    it('lets deletion and creation race without losing sight of either', async () => {
      const { store, other } = await opened();
      for (let round = 0; round < 10; round++) {
        const key = `churn/${round}`;
        const first = await store.put(key, bytesOf('first'), { condition: absent });
        const [, created, replaced] = await Promise.all([
          codeOf(store.delete(key)),
          codeOf(other.put(key, bytesOf('created'), { condition: absent })),
          codeOf(other.put(key, bytesOf('replaced'), { condition: unchanged(first.version) })),
        ]);
        const now = await store.head(key);
        if (created !== 'none' && replaced !== 'none') expect(now).toBeUndefined();
        if (now) {
          const content = textOf((await other.get(key)).bytes);
          expect(content).toBe(created === 'none' ? 'created' : 'replaced');
          expect(await keysOf(other, key)).toEqual([key]);
        }
      }
    });

    it('deletes, also what is not there', async () => {
      const { store, other } = await opened();
      await store.put('a/k', bytesOf('x'));
      await other.delete('a/k');
      await store.delete('a/k');
      await store.delete('never/was');
      expect(await store.head('a/k')).toBeUndefined();
      await store.put('a/k', bytesOf('again'), { condition: absent });
      expect(textOf((await other.get('a/k')).bytes)).toBe('again');
    });

    it('reads ranges exactly, and refuses those that do not lie inside', async () => {
      const { store } = await opened();
      const bytes = randomBytes(100_000);
      await store.put('k', bytes);
      for (const [offset, length] of [
        [0, 1],
        [0, 100_000],
        [99_999, 1],
        [50_000, 25_000],
        [4, 8],
      ] as const) {
        const got = await store.get('k', { offset, length });
        expect(Buffer.compare(got.bytes, bytes.subarray(offset, offset + length))).toBe(0);
        expect(got.info.sizeBytes).toBe(100_000);
      }
      for (const [offset, length] of [
        [99_999, 2],
        [100_001, 1],
        [0, 100_001],
        [-1, 1],
        [1, -1],
        [0.5, 1],
      ] as const) {
        expect(await codeOf(store.get('k', { offset, length }))).toBe('STORE_INVALID');
      }
    });

    it('keeps an empty object', async () => {
      const { store, other } = await opened();
      const info = await store.put('empty', new Uint8Array(0), { condition: absent });
      expect(info.sizeBytes).toBe(0);
      expect((await other.get('empty')).bytes.byteLength).toBe(0);
      expect(await keysOf(other, '')).toEqual(['empty']);
      const next = await other.put('empty', bytesOf('x'), { condition: unchanged(info.version) });
      expect(next.version).not.toBe(info.version);
    });

    it('keeps 8 MiB whole', async () => {
      const { store, other } = await opened();
      const bytes = randomBytes(8 * 1024 * 1024);
      await store.put('large', bytes);
      expect(Buffer.compare((await other.get('large')).bytes, bytes)).toBe(0);
    });

    it('never shows half an object while it is written', async () => {
      const { store, other } = await opened();
      const size = 512 * 1024;
      const whole = (fill: number): Uint8Array => new Uint8Array(size).fill(fill);
      await store.put('k', whole(0));
      let writing = true;
      const read = async (): Promise<number> => {
        let reads = 0;
        while (writing || reads < 5) {
          const { bytes } = await other.get('k');
          expect(bytes.byteLength).toBe(size);
          expect(bytes.every((byte) => byte === bytes[0])).toBe(true);
          for (const info of await listAll(other, '')) expect(info.sizeBytes).toBe(size);
          reads++;
        }
        return reads;
      };
      const write = async (): Promise<void> => {
        for (let round = 1; round <= 10; round++) {
          await store.put('k', whole(round));
          await store.put(`new/${round}`, whole(round), { condition: absent });
        }
        writing = false;
      };
      const [reads] = await Promise.all([read(), write()]);
      expect(reads).toBeGreaterThan(0);
      expect((await other.get('k')).bytes[0]).toBe(10);
    });

    it('lists in byte order of the whole keys, with folders between files', async () => {
      const { store, other } = await opened();
      const keys = [
        'a',
        'a-b',
        'a.b',
        'b/a',
        'b/a-/x',
        'b/a.txt',
        'b/aa/x',
        'b-/z',
        'b0',
        'é',
        'ｆ',
        '😀',
        'Z',
        'a b',
        'a%2F',
      ];
      for (const key of keys) await store.put(key, bytesOf(key));
      const byBytes = [...keys].sort((left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right)));
      expect([...keys].sort(compareKeys)).toEqual(byBytes);
      const inOrder = (expected: string[]) => (options.isUtf16Order ? [...expected].sort() : expected);
      expect(await keysOf(other, '')).toEqual(inOrder(byBytes));
      for (const startAfter of [...keys, '', 'a/', 'b', 'b/', 'b/a-', 'b/b', 'zz']) {
        const expected = byBytes.filter((key) => Buffer.compare(Buffer.from(key), Buffer.from(startAfter)) > 0);
        expect(await keysOf(other, '', { startAfter })).toEqual(inOrder(expected));
      }
    });

    it('lists by prefix, which need not end at a folder', async () => {
      const { store } = await opened();
      for (const key of ['seg/2026-01/a', 'seg/2026-02/b', 'seg/2027-01/c', 'segment', 'other/x']) {
        await store.put(key, bytesOf(key));
      }
      expect(await keysOf(store, 'seg/2026')).toEqual(['seg/2026-01/a', 'seg/2026-02/b']);
      expect(await keysOf(store, 'seg/')).toEqual(['seg/2026-01/a', 'seg/2026-02/b', 'seg/2027-01/c']);
      expect(await keysOf(store, 'seg')).toHaveLength(4);
      expect(await keysOf(store, 'seg/2026-01/a')).toEqual(['seg/2026-01/a']);
      expect(await keysOf(store, 'seg/2026-01/a/')).toEqual([]);
      expect(await keysOf(store, 'seg/2026', { startAfter: 'seg/2026-01/a' })).toEqual(['seg/2026-02/b']);
      expect(await keysOf(store, 'seg/', { startAfter: 'zzz' })).toEqual([]);
      expect(await keysOf(store, 'seg/', { startAfter: 'a' })).toHaveLength(3);
    });

    it('lists thousands of objects, resumed at any point', async () => {
      const { store, other } = await opened();
      const count = options.listedObjects ?? 2600;
      const keys = Array.from(
        { length: count },
        (_, index) => `list/${String(index % 7)}/${String(index).padStart(6, '0')}`,
      );
      await inBatches(keys, (key) => store.put(key, bytesOf(key), { condition: absent }));
      const sorted = [...keys].sort();
      expect(await keysOf(other, 'list/')).toEqual(sorted);
      const paged: string[] = [];
      for (;;) {
        const page: string[] = [];
        const startAfter = paged.at(-1);
        for await (const info of other.list('list/', startAfter === undefined ? {} : { startAfter })) {
          page.push(info.key);
          if (page.length === 613) break;
        }
        if (page.length === 0) break;
        paged.push(...page);
      }
      expect(paged).toEqual(sorted);
    });

    it('keeps unicode and long keys', async () => {
      const { store, other } = await opened();
      const long = Array.from({ length: 8 }, (_, index) => String(index).repeat(99)).join('/');
      const keys = [
        'tenant ü/日志/😀=1.parquet',
        'dt=2026-01-01/hour=00/x',
        'quote\'"$&;|`(){}[]*?#~+,@!^',
        'e\u0301',
        '\u00e9',
        long,
      ];
      for (const key of keys) await store.put(key, bytesOf(key), { condition: absent });
      for (const key of keys) expect(textOf((await other.get(key)).bytes)).toBe(key);
      expect(await keysOf(other, '')).toEqual([...keys].sort(compareKeys));
      const part = 'p'.repeat(240);
      const edge = `${part}/${part}/${part}/${'q'.repeat((options.keyBytesMax ?? 900) - 3 * 241)}`;
      await store.put(edge, bytesOf('edge'));
      await store.put(edge, bytesOf('edge2'), { condition: unchanged((await other.head(edge))!.version) });
      expect(textOf((await other.get(edge)).bytes)).toBe('edge2');
    });

    it('refuses keys that are not valid, above all those that lead out', async () => {
      const { store } = await opened();
      const refused = [
        '',
        '/',
        '/etc/passwd',
        '..',
        '../x',
        'a/../../x',
        'a/..',
        './a',
        'a/./b',
        'a//b',
        'a/',
        '..\\x',
        'a\0b',
        'a\nb',
        '\ud800',
        'k'.repeat(901),
        'p'.repeat(241),
        '.tmp/x',
        'k.v%',
        'k.v%/0000000002',
      ];
      for (const key of refused) {
        expect(await codeOf(store.put(key, bytesOf('x'))), `put ${JSON.stringify(key)}`).toBe('STORE_INVALID');
        expect(await codeOf(store.get(key)), `get ${JSON.stringify(key)}`).toBe('STORE_INVALID');
        expect(await codeOf(store.head(key)), `head ${JSON.stringify(key)}`).toBe('STORE_INVALID');
        expect(await codeOf(store.delete(key)), `delete ${JSON.stringify(key)}`).toBe('STORE_INVALID');
      }
      for (const prefix of ['..', '../', '/', '//', 'a/../', '.tmp/']) expect(await keysOf(store, prefix)).toEqual([]);
      expect(await keysOf(store, '')).toEqual([]);
    });

    it('can be left in the middle of a listing', async () => {
      const { store } = await opened();
      for (let index = 0; index < 20; index++) await store.put(`k/${index}`, bytesOf('x'));
      for (let round = 0; round < 20; round++) {
        for await (const info of store.list('k/')) if (info.key === 'k/1') break;
      }
      expect(await keysOf(store, 'k/')).toHaveLength(20);
    });

    it('lists while objects come and go', async () => {
      const { store, other } = await opened();
      const stable = Array.from({ length: 50 }, (_, index) => `k/${String(index).padStart(3, '0')}-stays`);
      for (const key of stable) await store.put(key, bytesOf('x'));
      const seen: string[] = [];
      for await (const info of other.list('k/')) {
        if (info.key.endsWith('stays')) seen.push(info.key);
        await store.put(`k/${String(seen.length % 50).padStart(3, '0')}-goes`, bytesOf('y'));
        await store.delete(`k/${String((seen.length + 1) % 50).padStart(3, '0')}-goes`);
      }
      expect(seen).toEqual(stable);
    });

    it('names itself without secrets', async () => {
      const { store } = await opened();
      expect(store.url).toMatch(/^[a-z0-9]+:/);
    });
  });
}
