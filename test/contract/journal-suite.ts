/** The conformance suite of the Journal seam: every implementation runs it. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isProxyError } from '../../src/core/errors.ts';
import { seededRandom } from '../../src/core/random.ts';
import type { Journal } from '../../src/journal/journal.ts';
import { envelopeOf, NOW_MS } from '../journal/journal-support.ts';

export interface JournalUnderTest {
  journal: Journal;
  dispose(): Promise<void>;
}

export const SUITE_BUDGET_BYTES = 256 * 1024;
const EVERYTHING = { entriesMax: 10_000, bytesMax: 1 << 30 };

/** `open` gives a new, empty journal with a budget of SUITE_BUDGET_BYTES. */
export function describeJournal(name: string, open: () => Promise<JournalUnderTest>): void {
  describe(`journal: ${name}`, () => {
    let under: JournalUnderTest;
    let journal: Journal;
    const never = new AbortController().signal;

    beforeEach(async () => {
      under = await open();
      journal = under.journal;
    });
    afterEach(() => under.dispose());

    const append = async (body: string | Uint8Array): Promise<number> => {
      const result = await journal.append(envelopeOf(body));
      if (!result.ok) throw new Error(`refused: ${result.reason}`);
      return result.position;
    };

    it('starts empty', async () => {
      expect(journal.usage()).toMatchObject({ start: 1, end: 0, writable: true, oldestReceivedAtMs: undefined });
      expect(await journal.read(1, EVERYTHING)).toEqual([]);
      expect(journal.backlog(0)).toEqual({ entries: 0, bytes: 0, oldestReceivedAtMs: undefined });
      expect(journal.consumers()).toEqual([]);
      expect(journal.unconfirmedAtOpen()).toEqual([]);
    });

    it('gives dense positions in order to concurrent appends and reads them back equal', async () => {
      const random = seededRandom(5);
      const sent = Array.from({ length: 150 }, (_, index) =>
        envelopeOf(random.bytes(index % 50 === 0 ? 2000 : index % 7), NOW_MS + index, { requestId: `r${index}` }),
      );
      const results = await Promise.all(sent.map((envelope) => journal.append(envelope)));
      expect(results).toEqual(sent.map((_, index) => ({ ok: true, position: index + 1 })));
      const read = await journal.read(1, EVERYTHING);
      expect(read.map(({ position }) => position)).toEqual(sent.map((_, index) => index + 1));
      expect(read.map(({ head }) => head)).toEqual(sent.map(({ head }) => head));
      for (const [index, entry] of read.entries()) expect(Buffer.from(sent[index]!.body).equals(entry.body)).toBe(true);
    });

    it('reads from a position within its limits, at least one entry', async () => {
      for (let index = 0; index < 10; index += 1) await append('x'.repeat(1000));
      expect((await journal.read(4, { entriesMax: 3, bytesMax: 1 << 20 })).map((entry) => entry.position)).toEqual([
        4, 5, 6,
      ]);
      expect((await journal.read(9, { entriesMax: 5, bytesMax: 1 })).map((entry) => entry.position)).toEqual([9]);
      expect((await journal.read(1, { entriesMax: 100, bytesMax: 6000 })).length).toBeLessThan(6);
      expect(await journal.read(11, EVERYTHING)).toEqual([]);
    });

    it('opens bodies that rest sealed', async () => {
      const envelope = envelopeOf('{"api_key":"secret"}', NOW_MS, { sealedBody: true });
      await journal.append(envelope);
      const [entry] = await journal.read(1, EVERYTHING);
      expect(entry?.head.sealedBody).toBe(true);
      expect(Buffer.from(entry!.body).toString()).toBe('{"api_key":"secret"}');
    });

    it('wakes those who wait for a position', async () => {
      const waiting = journal.waitFor(2, never);
      await append('one');
      await append('two');
      expect(await waiting).toBe(true);
      expect(await journal.waitFor(1, never)).toBe(true);
      const abort = new AbortController();
      const aborted = journal.waitFor(3, abort.signal);
      abort.abort();
      expect(await aborted).toBe(false);
      expect(await journal.waitFor(3, abort.signal)).toBe(false);
      const atClose = journal.waitFor(3, never);
      await journal.close();
      expect(await atClose).toBe(false);
    });

    it('keeps consumers apart, and their positions only go on', async () => {
      for (let index = 0; index < 6; index += 1) await append(`body ${index}`);
      const slow = await journal.consumer('archive', 'start');
      const late = await journal.consumer('forward:datadog/main', 'end');
      expect(slow.state).toEqual({ position: 0, note: undefined });
      expect(late.state).toEqual({ position: 6, note: undefined });
      await slow.commit(3, { cut: [1, 2] });
      expect(slow.state).toEqual({ position: 3, note: { cut: [1, 2] } });
      await slow.commit(3);
      expect(slow.state).toEqual({ position: 3, note: undefined });
      await expect(slow.commit(2)).rejects.toThrow('BUG');
      await expect(slow.commit(7)).rejects.toThrow('BUG');
      expect(slow.state.position).toBe(3);
      expect(journal.consumers()).toEqual(['archive', 'forward:datadog/main']);
      expect(await journal.consumer('archive', 'end')).toBe(slow);
      expect((await journal.read(4, EVERYTHING)).map((entry) => entry.position)).toEqual([4, 5, 6]);
      await journal.retire('forward:datadog/main');
      await journal.retire('never there');
      expect(journal.consumers()).toEqual(['archive']);
      await expect(late.commit(6)).rejects.toThrow('BUG');
    });

    it('tells a backlog', async () => {
      for (let index = 0; index < 5; index += 1) {
        await journal.append(envelopeOf('z'.repeat(500), NOW_MS + index));
      }
      const whole = journal.backlog(0);
      const part = journal.backlog(3);
      expect(whole).toMatchObject({ entries: 5, oldestReceivedAtMs: NOW_MS });
      expect(part).toMatchObject({ entries: 2, oldestReceivedAtMs: NOW_MS + 3 });
      expect(whole.bytes).toBeGreaterThan(2500);
      expect(part.bytes).toBeGreaterThan(1000);
      expect(part.bytes).toBeLessThan(whole.bytes);
      expect(journal.backlog(5)).toEqual({ entries: 0, bytes: 0, oldestReceivedAtMs: undefined });
    });

    it('refuses over its budget, and takes again once every consumer has passed', async () => {
      const first = await journal.consumer('first', 'start');
      const second = await journal.consumer('second', 'start');
      const fill = async (): Promise<number> => {
        for (let count = 0; ; count += 1) {
          const result = await journal.append(envelopeOf('b'.repeat(3000)));
          if (result.ok) continue;
          expect(result.reason).toBe('full');
          return count;
        }
      };
      expect(await fill()).toBeGreaterThan(40);
      expect(journal.usage().bytes).toBeLessThanOrEqual(SUITE_BUDGET_BYTES);
      const { end } = journal.usage();
      await first.commit(end);
      expect(await journal.append(envelopeOf('b'.repeat(3000)))).toEqual({ ok: false, reason: 'full' });
      await second.commit(end);
      await expect.poll(() => journal.usage().bytes).toBeLessThan(SUITE_BUDGET_BYTES / 4);
      expect(await append('again')).toBe(end + 1);
      expect(journal.usage().start).toBeGreaterThan(1);
      expect(await fill()).toBeGreaterThan(20);
    });

    it('frees nothing while there is no consumer, and what a retired one held', async () => {
      for (let index = 0; index < 50; index += 1) await append('c'.repeat(3000));
      expect(journal.usage().start).toBe(1);
      const stays = await journal.consumer('stays', 'start');
      await journal.consumer('goes', 'start');
      await stays.commit(50);
      expect(journal.usage().start).toBe(1);
      await journal.retire('goes');
      await expect.poll(() => journal.usage().bytes).toBeLessThan(SUITE_BUDGET_BYTES / 4);
    });

    it('finishes what runs and refuses the rest when it closes', async () => {
      const running = Promise.all([journal.append(envelopeOf('1')), journal.append(envelopeOf('2'))]);
      const closing = journal.close();
      expect(await journal.append(envelopeOf('3'))).toEqual({ ok: false, reason: 'closed' });
      expect(await running).toEqual([
        { ok: true, position: 1 },
        { ok: true, position: 2 },
      ]);
      await closing;
      await journal.close();
      expect(journal.usage().writable).toBe(false);
      await expect(journal.read(1, EVERYTHING)).rejects.toSatisfy((error) => isProxyError(error, 'JOURNAL_CLOSED'));
      await expect(journal.consumer('late', 'start')).rejects.toSatisfy((error) =>
        isProxyError(error, 'JOURNAL_CLOSED'),
      );
    });
  });
}
