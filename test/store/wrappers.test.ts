import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { type ErrorCode, ProxyError } from '../../src/core/errors.ts';
import { nodeFileSystem } from '../../src/core/file-system.ts';
import { seededRandom, systemRandom } from '../../src/core/random.ts';
import { createMemoryStore } from '../../src/store/memory-store.ts';
import type { ObjectInfo, ObjectStore } from '../../src/store/object-store.ts';
import { openStore } from '../../src/store/open.ts';
import { withLimit } from '../../src/store/with-limit.ts';
import { withStoreMetrics } from '../../src/store/with-metrics.ts';
import { withPrefix } from '../../src/store/with-prefix.ts';
import { withRetry } from '../../src/store/with-retry.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { createManualClock } from '../support/manual-clock.ts';
import { metricValue } from '../support/quiet.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A memory store whose next operations fail, before or after they took effect. */
function failing(plan: { code: ErrorCode; afterEffect?: boolean }[]): ObjectStore & { calls: number } {
  const inner = createMemoryStore({ clock: systemClock });
  const act = async <T>(effect: () => Promise<T>): Promise<T> => {
    store.calls++;
    const failure = plan.shift();
    if (failure && !failure.afterEffect) throw new ProxyError(failure.code, 'planned');
    const result = await effect();
    if (failure) throw new ProxyError(failure.code, 'planned');
    return result;
  };
  const store = {
    calls: 0,
    url: 'memory:',
    get: (key, range) => act(() => inner.get(key, range)),
    head: (key) => act(() => inner.head(key)),
    put: (key, bytes, options) => act(() => inner.put(key, bytes, options)),
    delete: (key) => act(() => inner.delete(key)),
    close: () => inner.close(),
    async *list(prefix, options) {
      for await (const info of inner.list(prefix, options)) {
        await act(async () => undefined);
        yield info;
      }
    },
  } as ObjectStore & { calls: number };
  return store;
}

const retrying = (store: ObjectStore, attemptsMax = 4) =>
  withRetry(store, { clock: systemClock, random: seededRandom(1), attemptsMax, firstDelayMs: 1, delayMaxMs: 2 });

describe('retries', () => {
  it('gives up at once when the store has used up its budget of retries', async () => {
    const store = failing(Array.from({ length: 100 }, () => ({ code: 'STORE_UNAVAILABLE' as const })));
    const clock = systemClock;
    const options = { clock, random: seededRandom(1), attemptsMax: 5, firstDelayMs: 1, delayMaxMs: 2, budgetMax: 6 };
    const patient = withRetry(store, options);
    for (let n = 0; n < 4; n++) await expect(patient.head('k')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    // Four first attempts and six retries.
    expect(store.calls).toBe(10);
  });

  it('waits longer for a store that asks to slow down', async () => {
    const waits: Record<string, number> = {};
    for (const code of ['STORE_UNAVAILABLE', 'STORE_THROTTLED'] as const) {
      const sleep = async (ms: number): Promise<void> => {
        waits[code] = (waits[code] ?? 0) + ms;
      };
      const clock = { ...systemClock, sleep };
      const random = { ...seededRandom(1), next: () => 0.5 };
      const store = failing([{ code }]);
      await withRetry(store, { clock, random, attemptsMax: 2, firstDelayMs: 10, delayMaxMs: 1000 }).head('k');
    }
    expect(waits).toEqual({ STORE_UNAVAILABLE: 5, STORE_THROTTLED: 40 });
  });

  it('repeats what failed in passing, up to a bound', async () => {
    const store = failing([{ code: 'STORE_UNAVAILABLE' }, { code: 'STORE_THROTTLED' }, { code: 'STORE_CONFLICT' }]);
    await retrying(store).put('k', bytesOf('x'));
    expect(store.calls).toBe(4);
    const hopeless = failing(Array.from({ length: 10 }, () => ({ code: 'STORE_UNAVAILABLE' as const })));
    await expect(retrying(hopeless).get('k')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(hopeless.calls).toBe(4);
  });

  it('does not repeat what will not change', async () => {
    for (const code of ['STORE_DENIED', 'STORE_INVALID', 'STORE_EXISTS', 'STORE_ABSENT'] as const) {
      const store = failing([{ code }]);
      await expect(retrying(store).head('k')).rejects.toMatchObject({ code });
      expect(store.calls).toBe(1);
    }
  });

  it('settles a conditional put whose answer was lost', async () => {
    const store = failing([{ code: 'STORE_UNAVAILABLE', afterEffect: true }]);
    const info = await retrying(store).put('k', bytesOf('mine'), { condition: { kind: 'absent' } });
    expect(info).toEqual(await store.head('k'));
  });

  it('is not fooled by the object of another, nor when nothing was lost', async () => {
    const store = failing([]);
    await store.put('k', bytesOf('same'));
    const first = retrying(store).put('k', bytesOf('same'), { condition: { kind: 'absent' } });
    await expect(first).rejects.toMatchObject({ code: 'STORE_EXISTS' });
    const lost = failing([{ code: 'STORE_UNAVAILABLE' }]);
    const attempt = retrying(lost).put('k', bytesOf('mine'), { condition: { kind: 'unchanged', version: 'old' } });
    await expect(attempt).rejects.toMatchObject({ code: 'STORE_EXISTS' });
  });

  it('goes on with a listing where it broke', async () => {
    const plan: { code: ErrorCode }[] = [];
    const store = failing(plan);
    for (let index = 0; index < 10; index++) await store.put(`k${index}`, bytesOf('x'));
    const keys: string[] = [];
    for await (const { key } of retrying(store, 2).list('k')) {
      keys.push(key);
      plan.push({ code: 'STORE_UNAVAILABLE' });
    }
    expect(keys).toEqual(Array.from({ length: 10 }, (_, index) => `k${index}`));
  });

  it('waits longer each time, with jitter, within the bound', async () => {
    const clock = createManualClock();
    const store = failing(Array.from({ length: 6 }, () => ({ code: 'STORE_UNAVAILABLE' as const })));
    const half = { next: () => 0.5, bytes: systemRandom.bytes };
    const options = { clock, random: half, attemptsMax: 7, firstDelayMs: 100, delayMaxMs: 1000 };
    const done = withRetry(store, options).head('k');
    const waits: number[] = [];
    for (let round = 0; round < 6; round++) {
      await clock.advance(0);
      waits.push(clock.nextAtMs! - clock.monotonicMs());
      await clock.advance(waits.at(-1)!);
    }
    await done;
    expect(waits).toEqual([50, 100, 200, 400, 500, 500]);
  });
});

describe('limit', () => {
  it('lets so many run, queues so many, and refuses the rest', async () => {
    let running = 0;
    let peak = 0;
    const releases: (() => void)[] = [];
    const inner = {
      head: async () => {
        peak = Math.max(peak, ++running);
        await new Promise<void>((resolve) => releases.push(resolve));
        running--;
        return undefined;
      },
    } as unknown as ObjectStore;
    const store = withLimit(inner, { concurrentMax: 3, waitingMax: 4 });
    const calls = Array.from({ length: 10 }, () => store.head('k').then(String, (error: ProxyError) => error.code));
    let settled = 0;
    for (const call of calls) void call.then(() => settled++);
    while (settled < 10) {
      await new Promise((resolve) => setImmediate(resolve));
      releases.shift()?.();
    }
    expect(peak).toBe(3);
    const outcomes = await Promise.all(calls);
    expect(outcomes.filter((outcome) => outcome === 'STORE_THROTTLED')).toHaveLength(3);
    expect(outcomes.filter((outcome) => outcome === 'undefined')).toHaveLength(7);
  });

  it('gives the place back after a failure and after a listing that was left', async () => {
    const store = withLimit(createMemoryStore({ clock: systemClock }), { concurrentMax: 1, waitingMax: 0 });
    await expect(store.get('none')).rejects.toThrow('STORE_ABSENT');
    for (const key of ['a', 'b', 'c']) await store.put(key, bytesOf('x'));
    for await (const _ of store.list('')) break;
    for await (const { key } of store.list('')) await store.delete(key);
    expect(await store.head('a')).toBeUndefined();
  });
});

describe('metrics', () => {
  it('counts operations and failures, and says whether the store answers', async () => {
    const metrics = createMetrics();
    const store = withStoreMetrics(failing([{ code: 'STORE_UNAVAILABLE' }]), metrics, systemClock);
    await expect(store.put('k', bytesOf('x'))).rejects.toThrow();
    expect(await metricValue(metrics, 'reductrai_storage_connected')).toBe(0);
    await store.put('k', bytesOf('x'));
    await expect(store.get('none')).rejects.toThrow('STORE_ABSENT');
    for await (const _ of store.list(''));
    expect(await metricValue(metrics, 'reductrai_storage_connected')).toBe(1);
    const failures = { operation: 'put', code: 'STORE_UNAVAILABLE' };
    expect(await metricValue(metrics, 'reductrai_store_failures_total', failures)).toBe(1);
    expect(await metricValue(metrics, 'reductrai_store_failures_total', { operation: 'get' })).toBe(0);
    const text = await metrics.registry.metrics();
    expect(text).toContain('reductrai_store_operation_seconds_count{operation="put"} 2');
    expect(text).toContain('reductrai_store_operation_seconds_count{operation="list"} 1');
  });
});

describe('prefix', () => {
  it('keeps neighbours apart', async () => {
    const base = createMemoryStore({ clock: systemClock });
    const one = withPrefix(base, 'one');
    const two = withPrefix(base, 'two');
    await one.put('k', bytesOf('1'));
    await two.put('k', bytesOf('2'));
    const found: ObjectInfo[] = [];
    for await (const info of base.list('')) found.push(info);
    expect(found.map((info) => info.key)).toEqual(['one/k', 'two/k']);
    await expect(one.get('../two/k')).rejects.toThrow('STORE_INVALID');
    expect(one.url).toBe('memory:/one');
    expect(() => withPrefix(base, '../x')).toThrow('STORE_INVALID');
  });
});

describe('openStore', () => {
  const dependencies = () => ({
    fileSystem: nodeFileSystem,
    clock: systemClock,
    random: systemRandom,
    metrics: createMetrics(),
  });

  it('opens paths, file URLs and memory, and gives local tools the path of an object', async () => {
    const root = await temporaryFolder();
    const byPath = await openStore(
      { target: { kind: 'local', root: `${root}/new/deep`, prefix: 'p' } },
      dependencies(),
    );
    await byPath.store.put('a/b', bytesOf('x'));
    expect(byPath.pathOf?.('a/b')).toBe(`${root}/new/deep/p/a/b`);
    expect(() => byPath.pathOf?.('../../x')).toThrow('STORE_INVALID');
    const byUrl = await openStore({ target: `file://${root}/new/deep` }, dependencies());
    expect((await byUrl.store.get('p/a/b')).bytes.byteLength).toBe(1);
    const memory = await openStore({ target: 'memory:' }, dependencies());
    await memory.store.put('k', bytesOf('x'));
    expect(memory.pathOf).toBeUndefined();
  });

  it('refuses URLs it has no store for', async () => {
    await expect(openStore({ target: 'ftp://host/x' }, dependencies())).rejects.toMatchObject({
      code: 'STORE_INVALID',
    });
  });
});
