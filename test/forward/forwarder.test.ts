/** Delivery over real HTTP: what reaches the vendor, when it misbehaves and when it does not. */
import { describe, expect, it } from 'vitest';
import type { VendorRequest } from '../support/fake-vendor.ts';
import { metricValue } from '../support/quiet.ts';
import {
  clock,
  envelopeOf,
  expectBalance,
  filedIn,
  KEY,
  keysOf,
  messagesOf,
  sealer,
  startHarness,
  until,
} from './forward-support.ts';

const texts = (count: number, prefix = 'm'): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}${index}`);
const says = (request: VendorRequest, text: string): boolean => Buffer.from(request.body).includes(`"${text}"`);

describe('a healthy vendor', () => {
  it('gets every envelope of its destination once, byte for byte, with the configured key', async () => {
    const harness = await startHarness();
    for (const text of texts(50)) {
      await harness.accept(envelopeOf(text, { headers: { 'dd-evp-origin': 'agent' } }));
      await harness.accept(envelopeOf(`not-${text}`, { destination: 'agent' }));
    }
    await until(() => expect(messagesOf(harness.vendor)).toHaveLength(50));
    expect(messagesOf(harness.vendor).sort()).toEqual(texts(50).sort());
    expect(harness.vendor.requests[0]).toMatchObject({ apiKey: KEY, headers: { 'dd-evp-origin': 'agent' } });
    expect(harness.vendor.violations).toEqual([]);
    await until(() => expect(harness.forwarder.status().committedPosition).toBe(100));
    await expectBalance(harness);
    expect(await metricValue(harness.metrics, 'reductrai_forward_delivered_total')).toBe(50);
  });

  it('never gets more at once than allowed, and no more is held than the read-ahead', async () => {
    const harness = await startHarness({
      forwarder: { concurrencyMax: 3, readAheadBytesMax: 2_000, readAheadEntriesMax: 10 },
    });
    let heldMax = 0;
    harness.vendor.script(() => {
      heldMax = Math.max(heldMax, harness.forwarder.status().heldBytes);
      return { delayMs: 2 };
    });
    for (const text of texts(150)) await harness.accept(envelopeOf(text + 'x'.repeat(300)));
    await until(() => expect(messagesOf(harness.vendor)).toHaveLength(150));
    expect(harness.vendor.runningPeak).toBeLessThanOrEqual(3);
    // One read may exceed the bound by one envelope.
    expect(heldMax).toBeLessThanOrEqual(2_000 + 400);
    await expectBalance(harness);
  });

  it("gets the caller's own key where none is configured; an envelope without any is a dead letter", async () => {
    const harness = await startHarness({ forwarder: { key: undefined } });
    await harness.accept(envelopeOf('own', { sealedKey: sealer.sealText('caller'), keyFingerprint: 'f' }));
    await harness.accept(envelopeOf('none'));
    await harness.accept(envelopeOf('foreign', { sealedKey: Buffer.alloc(60).toString('base64') }));
    await until(async () => expect(await filedIn(harness.store, 'dead-letters/datadog/')).toHaveLength(2));
    await until(() => expect(harness.vendor.requests.map(({ apiKey }) => apiKey)).toEqual(['caller']));
    const filed = await filedIn(harness.store, 'dead-letters/datadog/');
    expect(filed.map(({ note }) => note.givenUp)).toEqual(['no-key', 'key-unreadable']);
    await until(() => expect(harness.forwarder.status().pending).toBe(0));
    await expectBalance(harness);
  });
});

describe('a vendor in trouble', () => {
  it('down and up again: everything arrives, with one probe at a time meanwhile', async () => {
    const harness = await startHarness();
    await harness.vendor.down();
    for (const text of texts(30)) await harness.accept(envelopeOf(text));
    await until(() => expect(harness.forwarder.status().resting).toHaveLength(1));
    expect(await metricValue(harness.metrics, 'reductrai_forward_breaker_open')).toBe(1);
    expect(harness.forwarder.status().pending).toBe(30);
    await expectBalance(harness);
    const before = await metricValue(harness.metrics, 'reductrai_forward_attempts_total', { outcome: 'retry' });
    await until(async () =>
      expect(
        await metricValue(harness.metrics, 'reductrai_forward_attempts_total', { outcome: 'retry' }),
      ).toBeGreaterThan(before + 2),
    );
    expect(harness.forwarder.status().inFlight).toBeLessThanOrEqual(8);
    await harness.vendor.up();
    await until(() => expect(new Set(messagesOf(harness.vendor)).size).toBe(30));
    await until(() => expect(harness.forwarder.status().pending).toBe(0));
    expect(await metricValue(harness.metrics, 'reductrai_forward_breaker_open')).toBe(0);
    await expectBalance(harness);
  });

  it('failing with 500: one probe at a time while its breaker is open', async () => {
    const harness = await startHarness();
    harness.vendor.script(() => ({ status: 500 }));
    for (const text of texts(40)) await harness.accept(envelopeOf(text));
    await until(() => expect(harness.forwarder.status().resting).toHaveLength(1));
    await until(() => expect(harness.forwarder.status().inFlight).toBe(0));
    let running = 0;
    let probesPeak = 0;
    let probes = 0;
    harness.vendor.script(async () => {
      probes++;
      running++;
      // The fifth succeeds: what comes after it is no probe.
      const isProbe = probes <= 5;
      if (isProbe) probesPeak = Math.max(probesPeak, running);
      await clock.sleep(3);
      running--;
      return { status: isProbe && probes < 5 ? 500 : 202 };
    });
    await until(() => expect(probes).toBeGreaterThanOrEqual(5));
    expect(probesPeak).toBe(1);
    await until(() => expect(new Set(messagesOf(harness.vendor)).size).toBe(40));
    await expectBalance(harness);
  });

  it('slow or hanging: attempts end and are repeated', async () => {
    const harness = await startHarness({ timeoutMs: 100 });
    const hung = new Set<string>();
    harness.vendor.script((request) => {
      const body = Buffer.from(request.body).toString();
      if (hung.has(body)) return { delayMs: 5 };
      hung.add(body);
      return { hang: true };
    });
    for (const text of texts(6)) await harness.accept(envelopeOf(text));
    await until(() => expect(new Set(messagesOf(harness.vendor)).size).toBe(6));
    await until(() => expect(harness.forwarder.status().pending).toBe(0));
  });

  it('429 with Retry-After: nothing is sent before that time', async () => {
    const harness = await startHarness();
    let toldAtMs = 0;
    const after: number[] = [];
    harness.vendor.script(() => {
      if (toldAtMs > 0) {
        after.push(clock.monotonicMs() - toldAtMs);
        return undefined;
      }
      toldAtMs = clock.monotonicMs();
      return { status: 429, headers: { 'retry-after': '1' } };
    });
    await harness.accept(envelopeOf('first'));
    await until(() => expect(harness.forwarder.status().resting).toHaveLength(1));
    for (const text of texts(5)) await harness.accept(envelopeOf(text));
    await until(() => expect(messagesOf(harness.vendor)).toHaveLength(6));
    expect(Math.min(...after)).toBeGreaterThanOrEqual(995);
    await expectBalance(harness);
  });

  it('403 on the configured key: paused, nothing given up, all delivered once the key is good', async () => {
    const harness = await startHarness();
    harness.vendor.script(() => ({ status: 403 }));
    for (const text of texts(20)) await harness.accept(envelopeOf(text));
    await until(() => expect(harness.forwarder.status().isPaused).toBe(true));
    await until(() => expect(harness.vendor.requests.length).toBeGreaterThan(9));
    expect(await metricValue(harness.metrics, 'reductrai_forward_paused')).toBe(1);
    expect(await keysOf(harness.store, '')).toEqual([]);
    expect(harness.forwarder.status()).toMatchObject({ pending: 20, resting: [] });
    harness.vendor.script(undefined);
    await until(() => expect(new Set(messagesOf(harness.vendor)).size).toBe(20));
    await until(() => expect(harness.forwarder.status()).toMatchObject({ isPaused: false, pending: 0 }));
    expect(await metricValue(harness.metrics, 'reductrai_forward_paused')).toBe(0);
    await expectBalance(harness);
  });

  it("a caller's refused key holds up only its own envelopes", async () => {
    const harness = await startHarness({ vendor: { apiKeys: ['good'] }, forwarder: { key: undefined } });
    const withKey = (text: string, key: string) =>
      envelopeOf(text, { sealedKey: sealer.sealText(key), keyFingerprint: `print-${key}` });
    for (const text of texts(10)) {
      await harness.accept(withKey(`bad-${text}`, 'bad'));
      await harness.accept(withKey(text, 'good'));
    }
    await until(() => expect(messagesOf(harness.vendor).sort()).toEqual(texts(10).sort()));
    // The last answer may still be on its way back.
    await until(() =>
      expect(harness.forwarder.status()).toMatchObject({ isPaused: false, pausedKeys: 1, pending: 10 }),
    );
    expect(await metricValue(harness.metrics, 'reductrai_forward_paused')).toBe(0);
    await expectBalance(harness);
  });

  it('413: a dead letter at once, with status and reason; the others flow', async () => {
    const harness = await startHarness();
    harness.vendor.script((request) => (says(request, 'big') ? { status: 413, body: 'too big' } : undefined));
    await harness.accept(envelopeOf('big', { sealedBody: true }));
    for (const text of texts(5)) await harness.accept(envelopeOf(text));
    await until(() => expect(harness.forwarder.status()).toMatchObject({ pending: 0, committedPosition: 6 }));
    expect(messagesOf(harness.vendor).sort()).toEqual(texts(5).sort());
    const [letter] = await filedIn(harness.store, 'dead-letters/datadog/dt=');
    expect(letter).toMatchObject({ position: 1, note: { givenUp: 'refused', status: 413, attempts: 1 } });
    expect(letter!.note.reason).toContain('too big');
    expect(Buffer.from(letter!.body).toString()).toBe('[{"message":"big"}]');
    const [key] = await keysOf(harness.store, 'dead-letters/');
    expect(key).toMatch(/^dead-letters\/datadog\/dt=\d{4}-\d\d-\d\d\/r-1-0000000000000001$/);
    expect(Buffer.from((await harness.store.get(key!)).bytes).includes('big"}')).toBe(false);
    expect(await metricValue(harness.metrics, 'reductrai_forward_dead_letters_total', { reason: 'refused' })).toBe(1);
    await expectBalance(harness);
  });

  it('resets: repeated until they get through', async () => {
    const harness = await startHarness();
    harness.vendor.script((request) => (request.order % 3 === 0 ? undefined : { reset: true }));
    for (const text of texts(20)) await harness.accept(envelopeOf(text));
    await until(() => expect(new Set(messagesOf(harness.vendor)).size).toBe(20));
    await until(() => expect(harness.forwarder.status().pending).toBe(0));
    await expectBalance(harness);
  });

  it.each([500, 403])(
    'one poison envelope (%i) steps aside, the others flow, and it arrives in the end',
    async (status) => {
      const harness = await startHarness({ forwarder: { attemptsBeforeAside: 3 } });
      let isMended = false;
      harness.vendor.script((request) => (says(request, 'poison') && !isMended ? { status } : undefined));
      await harness.accept(envelopeOf('poison'));
      let sent = 0;
      await until(async () => {
        await harness.accept(envelopeOf(`m${sent++}`));
        expect(harness.forwarder.status().committedPosition).toBeGreaterThan(1);
      });
      const [filed] = await filedIn(harness.store, 'spill/datadog/r-1/');
      expect(filed).toMatchObject({ position: 1, note: { status } });
      expect(filed!.note.attempts).toBeGreaterThanOrEqual(4);
      await until(() => expect(messagesOf(harness.vendor)).toHaveLength(sent));
      await expectBalance(harness);
      isMended = true;
      await until(() => expect(messagesOf(harness.vendor)).toContain('poison'));
      await until(async () => expect(await keysOf(harness.store, 'spill/')).toEqual([]));
      expect(harness.forwarder.status().pending).toBe(0);
      await expectBalance(harness);
    },
  );

  it('too old: a dead letter with the last reason', async () => {
    const harness = await startHarness({ forwarder: { ageLimitMs: 60_000 } });
    await harness.accept(envelopeOf('old', { receivedAtMs: clock.nowMs() - 61_000 }));
    await harness.accept(envelopeOf('new'));
    await until(() => expect(harness.forwarder.status()).toMatchObject({ pending: 0, committedPosition: 2 }));
    expect(messagesOf(harness.vendor)).toEqual(['new']);
    expect(await filedIn(harness.store, 'dead-letters/')).toMatchObject([
      { note: { givenUp: 'too-old', attempts: 0 } },
    ]);
    await expectBalance(harness);
  });

  it('too old while its key stays refused: given up all the same', async () => {
    const harness = await startHarness({ forwarder: { ageLimitMs: 300 } });
    harness.vendor.script(() => ({ status: 403 }));
    await harness.accept(envelopeOf('a'));
    await harness.accept(envelopeOf('b'));
    await until(() => expect(harness.forwarder.status()).toMatchObject({ pending: 0, committedPosition: 2 }));
    const filed = await filedIn(harness.store, 'dead-letters/');
    expect(filed.map(({ note }) => note.givenUp)).toEqual(['too-old', 'too-old']);
    await expectBalance(harness);
  });
});

describe('stop and start', () => {
  it('delivers each envelope at least once, and knows what is pending', async () => {
    let harness = await startHarness();
    const sent: string[] = [];
    for (let life = 0; life < 4; life++) {
      harness.vendor.script((request) => (request.order % 2 === 0 ? { status: 503 } : { delayMs: 3 }));
      for (const text of texts(25, `life${life}-`)) {
        sent.push(text);
        await harness.accept(envelopeOf(text));
      }
      harness = await harness.restart();
      await expectBalance(harness);
    }
    harness.vendor.script(undefined);
    await until(() => expect([...new Set(messagesOf(harness.vendor))].sort()).toEqual(sent.sort()));
    await until(() => expect(harness.forwarder.status().pending).toBe(0));
    await expectBalance(harness);
  });

  it('drain waits for what is under way and commits it', async () => {
    const harness = await startHarness();
    harness.vendor.script(() => ({ delayMs: 100 }));
    for (const text of texts(4)) await harness.accept(envelopeOf(text));
    await until(() => expect(harness.forwarder.status().inFlight).toBe(4));
    await harness.forwarder.drain(10_000);
    expect(messagesOf(harness.vendor)).toHaveLength(4);
    expect(harness.forwarder.status()).toMatchObject({ committedPosition: 4, pending: 0, inFlight: 0 });
  });

  it('drain gives up at its deadline, and loses nothing', async () => {
    const harness = await startHarness();
    harness.vendor.script(() => ({ hang: true }));
    for (const text of texts(3)) await harness.accept(envelopeOf(text));
    await harness.vendor.waitFor(3);
    expect(harness.forwarder.status().inFlight).toBe(3);
    await harness.forwarder.drain(50);
    expect(harness.forwarder.status()).toMatchObject({ committedPosition: 0, inFlight: 0 });
    harness.vendor.script(undefined);
    const next = await harness.restart();
    await until(() => expect(messagesOf(next.vendor)).toHaveLength(3));
  });
});
