import { systemClock } from '../../src/core/clock.ts';
import type { StoreJournalOptions } from '../../src/journal/journal-options.ts';
import { openStoreJournal } from '../../src/journal/store-journal.ts';
import { createMemoryStore } from '../../src/store/memory-store.ts';
import { describeJournal, SUITE_BUDGET_BYTES } from '../contract/journal-suite.ts';
import { storeJournalOptions } from './journal-support.ts';

function optionsFor(more: Partial<StoreJournalOptions> = {}): StoreJournalOptions {
  return storeJournalOptions({
    store: createMemoryStore({ clock: systemClock }),
    identity: { replica: 'replica-a', epoch: 1 },
    budgetBytes: SUITE_BUDGET_BYTES,
    chunkAfterMs: 2,
    recentBytesMax: 16 * 1024,
    ...more,
  });
}

describeJournal('store', async () => {
  const journal = await openStoreJournal(optionsFor());
  return { journal, dispose: () => journal.close() };
});
