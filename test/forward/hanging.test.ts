/** A vendor that takes requests and never answers: what is under way must not hold the journal. */
import { describe, expect, it } from 'vitest';
import { envelopeOf, expectBalance, keysOf, messagesOf, startHarness, until } from './forward-support.ts';

const KIB = 1024;
const filler = 'x'.repeat(1000);

describe('a vendor that hangs', () => {
  it('never fills the journal, though no attempt ends', async () => {
    const harness = await startHarness({
      journalBudgetBytes: 128 * KIB,
      // Far beyond the test: only recalling can free the positions.
      timeoutMs: 600_000,
      forwarder: {
        backlogBytesMax: 32 * KIB,
        spillObjectBytesMax: 16 * KIB,
        readAheadBytesMax: 16 * KIB,
        recallAfterMs: 20,
      },
    });
    harness.vendor.script(() => ({ hang: true }));
    const texts = Array.from({ length: 300 }, (_, index) => `m${index}-${filler}`);
    for (const text of texts) await until(() => harness.accept(envelopeOf(text)));
    // Attempts are recalled beyond 70 % of the budget; below that they may hang on.
    await until(() => expect(harness.forwarder.status().backlogBytes).toBeLessThanOrEqual(96 * KIB));
    // Those that move to spill just now are counted again once their object is there.
    await until(() => expect(harness.forwarder.status().pending).toBe(300));
    expect((await keysOf(harness.store, 'spill/')).length).toBeGreaterThan(5);
    await expectBalance(harness);
    harness.vendor.script(undefined);
    // What hangs from spill stays so until its timeout, longer than this test: a new life sends it again.
    const next = await harness.restart();
    await until(() => expect([...new Set(messagesOf(next.vendor))].sort()).toEqual(texts.sort()));
    await until(() => expect(next.forwarder.status().pending).toBe(0));
    await expectBalance(next);
  });
});
