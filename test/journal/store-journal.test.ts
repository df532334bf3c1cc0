import { systemClock } from '../../src/core/clock.ts';
import { seededRandom } from '../../src/core/random.ts';
import { createSealer } from '../../src/core/sealer.ts';
import type { StoreJournalOptions } from '../../src/journal/journal-options.ts';
import { openStoreJournal } from '../../src/journal/store-journal.ts';
import { createMemoryStore } from '../../src/store/memory-store.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { describeJournal, SUITE_BUDGET_BYTES } from '../contract/journal-suite.ts';
import { quietLog } from './journal-support.ts';

const random = seededRandom(1);

function optionsFor(more: Partial<StoreJournalOptions> = {}): StoreJournalOptions {
  return {
    store: createMemoryStore({ clock: systemClock }),
    identity: { replica: 'replica-a', epoch: 1 },
    sealer: createSealer([new Uint8Array(32).fill(7)], random),
    clock: systemClock,
    random,
    metrics: createMetrics(),
    log: quietLog,
    budgetBytes: SUITE_BUDGET_BYTES,
    chunkAfterMs: 2,
    chunkBytesMax: 64 * 1024,
    patienceMs: 10_000,
    recentBytesMax: 16 * 1024,
    onFenced: () => {},
    ...more,
  };
}

describeJournal('store', async () => {
  const journal = await openStoreJournal(optionsFor());
  return { journal, dispose: () => journal.close() };
});
