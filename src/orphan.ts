/**
 * A dead replica's journal, finished by this one: archive exactly once, forward at least once, then delete. By an archive and
 * forwarders of its own, whose counters are not this replica's, so that each journal's books stay balanced.
 */
import { ARCHIVE_CONSUMER, type Archive } from './archive/archive.ts';
import type { Clock } from './core/clock.ts';
import type { JournalIdentity } from './core/envelope.ts';
import { ProxyError } from './core/errors.ts';
import type { Sealer } from './core/sealer.ts';
import type { Forwarders } from './forwarders.ts';
import { adoptJournal } from './journal/adopted-journal.ts';
import type { Journal } from './journal/journal.ts';
import { fenceCommits } from './store/commit-records.ts';
import type { ObjectStore } from './store/object-store.ts';
import type { Log } from './telemetry/log.ts';
import { createMetrics, type Metrics } from './telemetry/metrics.ts';

const LOOK_EVERY_MS = 200;

export interface OrphanOptions {
  orphan: JournalIdentity;
  self: JournalIdentity;
  store: ObjectStore;
  sealer: Sealer;
  clock: Clock;
  log: Log;
  /** Undefined: nothing is archived. */
  createArchive(journal: Journal, metrics: Metrics): Archive | undefined;
  createForwarders(journal: Journal, metrics: Metrics): Forwarders;
  signal: AbortSignal;
}

/** Resolves to the number of envelopes it held; undefined where it was finished before. Throws ProxyError: try again later. */
export async function finishOrphan(options: OrphanOptions): Promise<number | undefined> {
  const { orphan, self, store, sealer, clock, log, signal } = options;
  const journal = await adoptJournal({
    store,
    identity: orphan,
    by: { ...self, atMs: clock.nowMs() },
    archivedTo: () => fenceCommits(store, orphan, self, clock.nowMs()),
    archiveConsumer: ARCHIVE_CONSUMER,
    sealer,
    log,
  });
  if (!journal) return undefined;
  const { start, end } = journal.usage();
  log.warn({ ...orphan, envelopes: end - start + 1 }, 'taking over the journal of a replica that is gone');
  const metrics = createMetrics();
  const archive = options.createArchive(journal, metrics);
  const forwarders = [...options.createForwarders(journal, metrics).values()];
  try {
    await archive?.start();
    for (const { forwarder } of forwarders) await forwarder.start();
    await Promise.race([archive?.flush(), untilAborted(signal)]);
    if (archive && archive.status().committedPosition < end) {
      throw new ProxyError('JOURNAL_FENCED', `${orphan.replica}-${orphan.epoch} is being finished by another replica`);
    }
    do {
      signal.throwIfAborted();
      await clock.sleep(LOOK_EVERY_MS, signal);
      await Promise.all(forwarders.map(({ forwarder }) => forwarder.refreshBooks()));
    } while (forwarders.some(({ forwarder }) => forwarder.status().pending > 0));
  } finally {
    await Promise.all(forwarders.map(({ forwarder }) => forwarder.stop()));
    await archive?.stop(false, 0);
    await Promise.all(forwarders.map(({ upstream }) => upstream.close()));
    if (signal.aborted) await journal.close();
  }
  await journal.finish();
  return Math.max(0, end - start + 1);
}

function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
