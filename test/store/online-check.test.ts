import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { ProxyError } from '../../src/core/errors.ts';
import { systemRandom } from '../../src/core/random.ts';
import { createMemoryStore } from '../../src/store/memory-store.ts';
import type { ObjectInfo, ObjectStore, PutOptions } from '../../src/store/object-store.ts';
import { checkConditions, checkStore } from '../../src/store/online-check.ts';

const memory = () => createMemoryStore({ clock: systemClock });

function without(base: ObjectStore, change: Partial<ObjectStore>): ObjectStore {
  const bound = {
    get: base.get.bind(base),
    head: base.head.bind(base),
    list: base.list.bind(base),
    put: base.put.bind(base),
    delete: base.delete.bind(base),
  };
  return Object.assign(Object.create(base), bound, change);
}

const denied = async (): Promise<never> => {
  throw new ProxyError('STORE_DENIED', 'AccessDenied');
};

const failedOf = async (store: ObjectStore, kind: 's3' | 'gcs' | 'azure' | 'local' = 's3') =>
  (await checkStore(store, kind, systemRandom)).filter(({ outcome }) => outcome === 'failed');

describe('checking a store online', () => {
  it('finds a good one fine, and leaves nothing behind', async () => {
    const store = memory();
    const steps = await checkStore(store, 's3', systemRandom);
    expect(steps.map(({ outcome }) => outcome)).toEqual(Array(7).fill('ok'));
    for await (const { key } of store.list('')) expect.unreachable(key);
  });

  it.each([
    ['put', 'create an object', /s3:PutObject/],
    ['get', 'read it back', /s3:GetObject/],
    ['delete', 'delete it', /s3:DeleteObject/],
  ] as const)('names the permission that %s needs', async (method, step, permission) => {
    const [failed] = await failedOf(without(memory(), { [method]: denied }));
    expect(failed).toMatchObject({ step, reason: expect.stringMatching(permission) });
  });

  it('names the permission that listing needs', async () => {
    const list = async function* (): AsyncGenerator<never> {
      yield await denied();
    };
    expect(await failedOf(without(memory(), { list }), 'gcs')).toEqual([
      { step: 'list it', outcome: 'failed', reason: expect.stringContaining('storage.objects.list') },
    ]);
  });

  it('tells at start whether conditions are honoured, and leaves nothing behind', async () => {
    const base = memory();
    await checkConditions(base, systemRandom);
    const put: ObjectStore['put'] = (key, body, { condition: _, ...rest }: PutOptions = {}) =>
      base.put(key, body, rest);
    await expect(checkConditions(without(base, { put }), systemRandom)).rejects.toMatchObject({
      code: 'STORE_INVALID',
      message: expect.stringMatching(/does not honour conditional writes/),
    });
    await expect(checkConditions(without(base, { put: denied }), systemRandom)).rejects.toMatchObject({
      code: 'STORE_DENIED',
    });
    for await (const { key } of base.list('')) expect.unreachable(key);
  });

  it('sees a server that lists folder by folder, and leaves nothing behind', async () => {
    const base = memory();
    const list: ObjectStore['list'] = async function* (prefix, options) {
      const found: ObjectInfo[] = [];
      for await (const info of base.list(prefix, options)) found.push(info);
      yield* found.sort((a, b) => (a.key.replaceAll('/', '\0') < b.key.replaceAll('/', '\0') ? -1 : 1));
    };
    const [failed] = await failedOf(without(base, { list }));
    expect(failed).toMatchObject({
      step: 'list in the order of keys',
      reason: expect.stringMatching(/folder by folder.*byte order/),
    });
    for await (const { key } of base.list('')) expect.unreachable(key);
  });

  it('sees a server that ignores conditions', async () => {
    const base = memory();
    const put: ObjectStore['put'] = (key, body, { condition: _, ...rest }: PutOptions = {}) =>
      base.put(key, body, rest);
    const failed = await failedOf(without(base, { put }));
    expect(failed.map(({ step }) => step)).toEqual(['refuse to create it twice', 'replace it while unchanged']);
    expect(failed[0]!.reason).toMatch(/does not honour conditional writes.*If-None-Match/);
  });
});
