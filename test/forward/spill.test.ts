/** Waiting in the store: beyond the share of the journal, across restarts, with a store that comes and goes. */
import { describe, expect, it } from 'vitest';
import { ProxyError } from '../../src/core/errors.ts';
import { encodeParcels } from '../../src/forward/parcel-file.ts';
import { createMemoryStore } from '../../src/store/memory-store.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import { metricValue } from '../support/quiet.ts';
import {
  clock,
  envelopeOf,
  expectBalance,
  filedIn,
  type Harness,
  keysOf,
  messagesOf,
  sealer,
  startHarness,
  until,
} from './forward-support.ts';

const KIB = 1024;
const SMALL = { backlogBytesMax: 32 * KIB, spillObjectBytesMax: 16 * KIB, readAheadBytesMax: 16 * KIB };
const filler = 'x'.repeat(1000);

/** Accepts `count` envelopes; the journal must take them all. */
async function acceptMany(harness: Harness, count: number, prefix = 'm'): Promise<string[]> {
  const texts = Array.from({ length: count }, (_, index) => `${prefix}${index}-${filler}`);
  for (const text of texts) {
    await until(() => harness.accept(envelopeOf(text)));
  }
  return texts;
}

/** A store that can be taken away. */
function faultyStore(): { store: ObjectStore; setAway: (away: boolean) => void } {
  const inner = createMemoryStore({ clock });
  let isAway = false;
  const check = (): void => {
    if (isAway) throw new ProxyError('STORE_UNAVAILABLE', 'away');
  };
  const store: ObjectStore = {
    url: inner.url,
    get: async (...given) => {
      check();
      return inner.get(...given);
    },
    head: (...given) => inner.head(...given),
    async *list(...given) {
      check();
      yield* inner.list(...given);
    },
    put: async (...given) => {
      check();
      return inner.put(...given);
    },
    delete: async (...given) => {
      check();
      return inner.delete(...given);
    },
    close: () => inner.close(),
  };
  return {
    store,
    setAway: (away) => {
      isAway = away;
    },
  };
}

describe('a backlog beyond the share of the journal', () => {
  it('moves to spill objects: the journal never fills, and all arrives once the vendor is back', async () => {
    const harness = await startHarness({ journalBudgetBytes: 128 * KIB, forwarder: SMALL });
    await harness.vendor.down();
    const texts = await acceptMany(harness, 300);
    await until(() => expect(harness.forwarder.status().backlogBytes).toBeLessThanOrEqual(SMALL.backlogBytesMax));
    const keys = await keysOf(harness.store, 'spill/');
    expect(keys.length).toBeGreaterThan(5);
    expect(keys.every((key) => /^spill\/datadog\/r-1\/\d{16}-\d{16}-\d+$/.test(key))).toBe(true);
    for (const key of keys) expect((await harness.store.head(key))!.sizeBytes).toBeLessThan(20 * KIB);
    expect(harness.forwarder.status().pending).toBe(300);
    await expectBalance(harness);
    await harness.vendor.up();
    await until(() => expect([...new Set(messagesOf(harness.vendor))].sort()).toEqual(texts.sort()));
    await until(() => expect(harness.forwarder.status()).toMatchObject({ pending: 0, spill: { objects: 0 } }));
    await until(async () => expect(await keysOf(harness.store, '')).toEqual([]));
    expect(await metricValue(harness.metrics, 'reductrai_forward_spilled_total')).toBeGreaterThan(100);
    await expectBalance(harness);
  });

  it('is found again after restarts', async () => {
    let harness = await startHarness({ journalBudgetBytes: 128 * KIB, forwarder: SMALL });
    await harness.vendor.down();
    const texts = await acceptMany(harness, 200);
    for (let life = 0; life < 3; life++) {
      harness = await harness.restart();
      expect(await metricValue(harness.metrics, 'reductrai_forward_recovered')).toBe(200 + life * 10);
      texts.push(...(await acceptMany(harness, 10, `life${life}-`)));
      await expectBalance(harness);
      expect(harness.forwarder.status().pending).toBe(210 + life * 10);
    }
    await harness.vendor.up();
    await until(() => expect([...new Set(messagesOf(harness.vendor))].sort()).toEqual(texts.sort()));
    await until(() => expect(harness.forwarder.status().pending).toBe(0));
    await expectBalance(harness);
  });

  it('an object whose envelopes are still in the journal is not delivered twice', async () => {
    const harness = await startHarness();
    harness.vendor.script(() => ({ status: 503 }));
    for (const text of ['a', 'b', 'c']) await harness.accept(envelopeOf(text));
    await harness.forwarder.stop();
    // As after a crash between writing the objects and moving the position.
    const note = { attempts: 1, reason: 'x', atMs: 1 };
    const filed = (await harness.journal.read(1, { entriesMax: 9, bytesMax: 1e6 })).map((entry) => ({
      ...entry,
      note,
    }));
    await harness.store.put('spill/datadog/r-1/0000000000000001-0000000000000003-3', encodeParcels(filed, sealer));
    harness.vendor.script(undefined);
    const next = await harness.restart();
    expect(await metricValue(next.metrics, 'reductrai_forward_recovered')).toBe(3);
    await until(() => expect(next.forwarder.status().pending).toBe(0));
    expect(messagesOf(next.vendor).sort()).toEqual(['a', 'b', 'c']);
    await expectBalance(next);
  });

  it('of an object across the position only what lies below comes from it', async () => {
    const harness = await startHarness();
    for (const text of ['a', 'b']) await harness.accept(envelopeOf(text));
    await until(() => expect(harness.forwarder.status().committedPosition).toBe(2));
    await harness.forwarder.stop();
    const note = { attempts: 0, reason: '', atMs: 1 };
    await harness.accept(envelopeOf('c'));
    const filed = [
      { position: 1, ...envelopeOf('a again'), note },
      { position: 3, ...envelopeOf('c from spill'), note },
    ];
    await harness.store.put('spill/datadog/r-1/0000000000000001-0000000000000003-2', encodeParcels(filed, sealer));
    const next = await harness.restart();
    expect(await metricValue(next.metrics, 'reductrai_forward_recovered')).toBe(2);
    await until(() => expect(next.forwarder.status().pending).toBe(0));
    expect(messagesOf(next.vendor).sort()).toEqual(['a', 'a again', 'b', 'c']);
    await expectBalance(next);
  });

  it('objects of an earlier epoch are delivered; those of other replicas are left alone', async () => {
    const { store } = faultyStore();
    const note = { attempts: 0, reason: '', atMs: 1 };
    const bytes = (text: string) => encodeParcels([{ position: 7, ...envelopeOf(text), note }], sealer);
    await store.put('spill/datadog/r-0/0000000000000007-0000000000000007-1', bytes('earlier'));
    await store.put('spill/datadog/r-2-1/0000000000000007-0000000000000007-1', bytes('other'));
    const harness = await startHarness({ store });
    await until(() => expect(messagesOf(harness.vendor)).toEqual(['earlier']));
    await until(async () =>
      expect(await keysOf(store, '')).toEqual(['spill/datadog/r-2-1/0000000000000007-0000000000000007-1']),
    );
  });

  it('an object that cannot be read is put away whole, and counted', async () => {
    const { store } = faultyStore();
    await store.put('spill/datadog/r-0/0000000000000001-0000000000000009-5', Buffer.from('damaged'));
    const harness = await startHarness({ store });
    const kept = 'dead-letters/datadog/unreadable/r-0-0000000000000001-0000000000000009-5';
    await until(async () => expect(await keysOf(store, '')).toEqual([kept]));
    expect(Buffer.from((await store.get(kept)).bytes).toString()).toBe('damaged');
    await until(() => expect(harness.forwarder.status().pending).toBe(0));
    await expectBalance(harness);
  });

  it('drains with at most half of the attempts, so that new data flows', async () => {
    const harness = await startHarness({
      journalBudgetBytes: 256 * KIB,
      forwarder: { ...SMALL, concurrencyMax: 4 },
    });
    await harness.vendor.down();
    await acceptMany(harness, 150, 'old');
    await until(() => expect(harness.forwarder.status().backlogBytes).toBeLessThanOrEqual(SMALL.backlogBytesMax));
    const spilled = new Set((await filedIn(harness.store, 'spill/')).map(({ body }) => Buffer.from(body).toString()));
    let running = 0;
    let peak = 0;
    harness.vendor.script(async (request) => {
      const isSpilled = spilled.has(Buffer.from(request.body).toString());
      if (isSpilled) peak = Math.max(peak, ++running);
      await clock.sleep(2);
      if (isSpilled) running--;
      return undefined;
    });
    await harness.vendor.up();
    await until(() => expect(harness.forwarder.status().pending).toBe(0));
    expect(peak).toBeGreaterThan(0);
    expect(peak).toBeLessThanOrEqual(2);
  });
});

describe('a store that is away', () => {
  it('does not stop the sending; what was spilled before comes when it is back', async () => {
    const { store, setAway } = faultyStore();
    const note = { attempts: 0, reason: '', atMs: 1 };
    await store.put(
      'spill/datadog/r-0/0000000000000007-0000000000000007-1',
      encodeParcels([{ position: 7, ...envelopeOf('earlier'), note }], sealer),
    );
    setAway(true);
    const harness = await startHarness({ store });
    await harness.accept(envelopeOf('now'));
    await until(() => expect(messagesOf(harness.vendor)).toEqual(['now']));
    setAway(false);
    await until(() => expect(messagesOf(harness.vendor)).toEqual(['now', 'earlier']));
    await until(() => expect(harness.forwarder.status().pending).toBe(0));
    await expectBalance(harness);
  });

  it('holds the position of what should be a dead letter, until it is durable', async () => {
    const { store, setAway } = faultyStore();
    const harness = await startHarness({ store });
    setAway(true);
    harness.vendor.script(({ body }) => (Buffer.from(body).includes('bad') ? { status: 400 } : undefined));
    for (let index = 0; index < 12; index++) await harness.accept(envelopeOf(`bad${index}`));
    for (let index = 0; index < 12; index++) await harness.accept(envelopeOf(`good${index}`));
    await until(() => expect(messagesOf(harness.vendor)).toHaveLength(12));
    // The vendor has its answers sent before the forwarder has read them.
    await until(() => expect(harness.forwarder.status()).toMatchObject({ committedPosition: 0, pending: 12 }));
    await expectBalance(harness);
    setAway(false);
    await until(() => expect(harness.forwarder.status()).toMatchObject({ committedPosition: 24, pending: 0 }));
    expect(await filedIn(harness.store, 'dead-letters/')).toHaveLength(12);
    await expectBalance(harness);
  });

  it('stops within its time all the same', async () => {
    const { store, setAway } = faultyStore();
    const harness = await startHarness({ store, forwarder: SMALL });
    await harness.vendor.down();
    setAway(true);
    await acceptMany(harness, 60);
    await until(() => expect(harness.forwarder.status().resting).toHaveLength(1));
    await harness.forwarder.stop();
    setAway(false);
    await harness.vendor.up();
    const next = await harness.restart();
    await until(() => expect(new Set(messagesOf(next.vendor)).size).toBe(60));
    await until(() => expect(next.forwarder.status().pending).toBe(0));
    await expectBalance(next);
  });
});

describe('one way of many', () => {
  it("a refused caller's key does not stand in the way, however much there is of it", async () => {
    const harness = await startHarness({
      vendor: { apiKeys: ['good'] },
      forwarder: { key: undefined, readAheadEntriesMax: 10, spillObjectBytesMax: 16 * KIB },
    });
    const withKey = (text: string, key: string) =>
      envelopeOf(text, { sealedKey: sealer.sealText(key), keyFingerprint: `print-${key}` });
    await harness.accept(withKey('first', 'good'));
    for (let index = 0; index < 100; index++) await harness.accept(withKey(`bad${index}`, 'bad'));
    await harness.accept(withKey('last', 'good'));
    await until(() => expect(messagesOf(harness.vendor)).toEqual(['first', 'last']));
    await until(() => expect(harness.forwarder.status()).toMatchObject({ pending: 100, pausedKeys: 1 }));
    await expectBalance(harness);
  });

  it('a resting host does not stand in the way of another', async () => {
    const base = await startHarness({ forwarder: { readAheadEntriesMax: 10, spillObjectBytesMax: 16 * KIB } });
    base.vendor.script(({ path }) => (path === '/api/v2/logs' ? { status: 503 } : undefined));
    const { createDatadogUpstream } = await import('../../src/upstream/datadog-upstream.ts');
    const plain = createDatadogUpstream({
      target: { kind: 'base', url: base.vendor.url },
      clock,
      connectionsMax: 4,
      timeoutMs: 5_000,
    });
    const harness = await base.restart({ upstream: { ...plain, laneOf: ({ path }) => path } });
    const other = (text: string) => envelopeOf(text, { path: '/v1/input' });
    await harness.accept(other('first'));
    for (let index = 0; index < 100; index++) await harness.accept(envelopeOf(`log${index}`));
    await harness.accept(other('last'));
    await until(() => expect(messagesOf(harness.vendor)).toEqual(['first', 'last']));
    await until(() => expect(harness.forwarder.status()).toMatchObject({ pending: 100, resting: ['/api/v2/logs'] }));
    await expectBalance(harness);
    harness.vendor.script(undefined);
    await until(() => expect(new Set(messagesOf(harness.vendor)).size).toBe(102));
    await until(() => expect(harness.forwarder.status().pending).toBe(0));
    await expectBalance(harness);
    await harness.forwarder.stop();
    await plain.close();
  });
});
