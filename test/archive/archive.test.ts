/** The archive over a journal that cannot be read for a while, or any more: regressions of what test/simulation found. */
import { expect, test } from 'vitest';
import { Archive, type ArchiveOptions } from '../../src/archive/archive.ts';
import { ByteBudget } from '../../src/core/byte-budget.ts';
import { systemClock } from '../../src/core/clock.ts';
import { type ErrorCode, ProxyError } from '../../src/core/errors.ts';
import { MIB } from '../../src/core/limits.ts';
import { systemRandom } from '../../src/core/random.ts';
import type { Journal } from '../../src/journal/journal.ts';
import { createMemoryStore } from '../../src/store/memory-store.ts';
import { quietWitness } from '../support/quiet.ts';

/** One position; reading it fails as planned, and then there is nothing sound to read. */
function journalFailing(plan: ErrorCode[]): Journal & { reads: number } {
  const state = { position: 0, note: undefined as unknown };
  const journal = {
    identity: { replica: 'r-1', epoch: 1 },
    reads: 0,
    usage: () => ({ end: 1, start: 1 }),
    backlog: () => ({ entries: 0, bytes: 0, oldestReceivedAtMs: undefined }),
    consumer: async () => ({
      name: 'archive',
      state,
      commit: async (position: number, note: unknown) => {
        state.position = position;
        state.note = note;
      },
    }),
    doubtful: async () => [],
    heardLate: () => [],
    read: async () => {
      journal.reads += 1;
      const code = plan.shift();
      if (code) throw new ProxyError(code, 'planned');
      return [];
    },
  };
  return journal as unknown as Journal & { reads: number };
}

async function started(journal: Journal, more: Partial<ArchiveOptions> = {}): Promise<Archive> {
  const archive = new Archive({
    ...{ store: createMemoryStore({ clock: systemClock }), journal, budget: ByteBudget.create(MIB), isShared: true },
    ...{ isAdopted: false, clock: systemClock, random: systemRandom, ...quietWitness() },
    decode: () => expect.unreachable(),
    openEncoder: () => ({ add: () => {}, build: async function* () {}, close: async () => {} }),
    ...{ flushAfterMs: 10, flushRawBytesMax: MIB, flushRowsMax: 10, heldBytesMax: MIB },
    ...more,
  });
  await archive.start();
  return archive;
}

test('a journal in a store that is away is waited for', async () => {
  const journal = journalFailing(['STORE_UNAVAILABLE', 'STORE_THROTTLED']);
  const archive = await started(journal);
  await expect.poll(() => journal.reads, { timeout: 10_000 }).toBeGreaterThan(2);
  await archive.stop(false, 0);
});

test('an adopted journal that another has finished meanwhile ends the work, not the process', async () => {
  const archive = await started(journalFailing(['STORE_ABSENT']), { isAdopted: true });
  await archive.flush();
  expect(archive.status()).toMatchObject({ committedPosition: 0, lastFailure: 'STORE_ABSENT: planned' });
  await archive.stop(false, 0);
});

test('chunks of our own that are gone mean that another has taken over', async () => {
  const fenced = Promise.withResolvers<void>();
  const archive = await started(journalFailing(['STORE_ABSENT']), { onFenced: () => fenced.resolve() });
  await fenced.promise;
  await archive.stop(false, 0);
});
