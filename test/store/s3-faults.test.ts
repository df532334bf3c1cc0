/** A real S3 server behind a proxy that misbehaves: nothing is lost, doubled or half visible, whatever the answers were. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { isProxyError } from '../../src/core/errors.ts';
import { seededRandom, systemRandom } from '../../src/core/random.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import { openS3Store } from '../../src/store/s3-store.ts';
import { withRetry } from '../../src/store/with-retry.ts';
import { FAULTS, type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { findS3Server, type S3Server, startS3Server } from '../support/servers/s3-server.ts';
import { HOW_TO_INSTALL } from '../support/servers/server-process.ts';

const MIB = 1024 * 1024;
const clock = systemClock;
const isThere = findS3Server() !== undefined;
const SLOW_DOWN =
  '<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>';

describe.skipIf(!isThere)(`S3 with faults${isThere ? '' : ` (no server: ${HOW_TO_INSTALL})`}`, () => {
  let server: S3Server;
  let proxy: FaultProxy;
  beforeAll(async () => {
    server = await startS3Server();
    proxy = await startFaultProxy({ target: server.endpoint, seed: 11, share: 0.25, slowDown: SLOW_DOWN });
  });
  afterAll(async () => {
    await proxy?.close();
    await server?.close();
  });

  /** One client through the proxy, one past it that sees what is really there. */
  const opened = async (): Promise<{ store: ObjectStore; truth: ObjectStore }> => {
    const settings = {
      bucket: await server.bucket(),
      pathStyle: true,
      accessKeyId: server.accessKeyId,
      secretAccessKey: server.secretAccessKey,
      partBytes: 5 * MIB,
      requestTimeoutMs: 5000,
    };
    const base = await openS3Store({ ...settings, endpoint: proxy.url }, { clock });
    return {
      store: withRetry(base, { clock, random: systemRandom, attemptsMax: 20, firstDelayMs: 1, delayMaxMs: 20 }),
      truth: await openS3Store({ ...settings, endpoint: server.endpoint }, { clock }),
    };
  };

  it('every write that was acknowledged is there, whole, and no other', async () => {
    const { store, truth } = await opened();
    const random = seededRandom(5);
    const written = new Map<string, Uint8Array>();
    for (let n = 0; n < 150; n++) {
      const bytes = random.bytes(Math.floor(random.next() * 20_000));
      await store.put(`k/${n}`, bytes, { condition: { kind: 'absent' } });
      written.set(`k/${n}`, bytes);
    }
    const keys: string[] = [];
    for await (const { key } of truth.list('')) keys.push(key);
    expect(keys).toEqual([...written.keys()].sort());
    for (const [key, bytes] of written) {
      expect(Buffer.compare((await truth.get(key)).bytes, bytes), key).toBe(0);
      expect(Buffer.compare((await store.get(key)).bytes, bytes), key).toBe(0);
    }
    const listed: string[] = [];
    for await (const { key } of store.list('k/')) listed.push(key);
    expect(listed).toEqual(keys);
    for (const key of keys.slice(0, 50)) await store.delete(key);
    for await (const { key } of truth.list('')) expect(keys.indexOf(key)).toBeGreaterThanOrEqual(50);
  });

  it('one winner among creators, and it knows', async () => {
    const { store, truth } = await opened();
    for (let round = 0; round < 12; round++) {
      const key = `race/${round}`;
      const outcomes = await Promise.all(
        Array.from({ length: 8 }, async (_, writer) => {
          try {
            await store.put(key, Buffer.from(`writer ${writer}`), { condition: { kind: 'absent' } });
            return 'won';
          } catch (error) {
            return isProxyError(error) ? error.code : String(error);
          }
        }),
      );
      expect(outcomes.filter((outcome) => outcome === 'won')).toHaveLength(1);
      const winner = Buffer.from((await truth.get(key)).bytes).toString();
      expect(winner).toBe(`writer ${outcomes.indexOf('won')}`);
    }
  });

  it('a count that is replaced under conditions never loses or doubles a step', async () => {
    const { store, truth } = await opened();
    await store.put('count', Buffer.from('0 start'), { condition: { kind: 'absent' } });
    let done = 0;
    for (let n = 0; n < 40; n++) {
      const { info, bytes } = await store.get('count');
      const next = Number.parseInt(Buffer.from(bytes).toString(), 10) + 1;
      await store.put('count', Buffer.from(`${next} step ${n}`), {
        condition: { kind: 'unchanged', version: info.version },
      });
      done += 1;
    }
    expect(Number.parseInt(Buffer.from((await truth.get('count')).bytes).toString(), 10)).toBe(done);
  });

  it('large bodies in parts arrive whole, or are not visible', async () => {
    const { store, truth } = await opened();
    for (let n = 0; n < 3; n++) {
      const bytes = seededRandom(n).bytes(11 * MIB);
      try {
        await store.put(`big/${n}`, bytes, { condition: { kind: 'absent' } });
        expect(Buffer.compare((await truth.get(`big/${n}`)).bytes, bytes)).toBe(0);
      } catch (error) {
        expect(isProxyError(error)).toBe(true);
        const found = await truth.head(`big/${n}`);
        if (found) expect(Buffer.compare((await truth.get(`big/${n}`)).bytes, bytes)).toBe(0);
      }
    }
  });

  it('met every kind of fault', () => {
    for (const fault of FAULTS) expect(proxy.counts[fault], fault).toBeGreaterThan(0);
    expect(proxy.passed).toBeGreaterThan(100);
  });
});
