import { createMemoryJournal } from '../../src/journal/memory-journal.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { describeJournal, SUITE_BUDGET_BYTES } from '../contract/journal-suite.ts';
import { createTestClock, quietLog } from './journal-support.ts';

describeJournal('memory', async () => {
  const journal = createMemoryJournal({
    replica: 'replica-a',
    epoch: 1,
    clock: createTestClock(),
    metrics: createMetrics(),
    log: quietLog,
    budgetBytes: SUITE_BUDGET_BYTES,
  });
  return { journal, dispose: () => journal.close() };
});
