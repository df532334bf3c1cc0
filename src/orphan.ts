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

export interface FinishOptions {
  clock: Clock;
  log: Log;
  /** Undefined: nothing is archived. */
  createArchive(journal: Journal, metrics: Metrics): Archive | undefined;
  createForwarders(journal: Journal, metrics: Metrics): Forwarders;
  signal: AbortSignal;
}

export interface OrphanOptions extends FinishOptions {
  orphan: JournalIdentity;
  self: JournalIdentity;
  store: ObjectStore;
  sealer: Sealer;
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
  try {
    await finishConsumers(journal, options);
  } finally {
    if (signal.aborted) await journal.close();
  }
  await journal.finish();
  return Math.max(0, end - start + 1);
}

/** Archives and delivers all that an adopted journal holds. Throws ProxyError when others are at it, or the signal's reason. */
export async function finishConsumers(
  journal: Journal,
  { createArchive, createForwarders, clock, signal }: FinishOptions,
): Promise<void> {
  const { identity } = journal;
  const { end } = journal.usage();
  const metrics = createMetrics();
  const archive = createArchive(journal, metrics);
  const forwarders = [...createForwarders(journal, metrics).values()];
  try {
    await archive?.start();
    for (const { forwarder } of forwarders) await forwarder.start();
    await Promise.race([archive?.flush(), untilAborted(signal)]);
    if (archive && archive.status().committedPosition < end) {
      throw new ProxyError(
        'JOURNAL_FENCED',
        `${identity.replica}-${identity.epoch} is being finished by another replica`,
      );
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
  }
}

export interface LeftOptions extends FinishOptions {
  journal: Journal;
  self: JournalIdentity;
  store: ObjectStore;
}

/**
 * The same for a journal on a shared volume. Who wrote it may only have stood still: a fence among its commits keeps it from committing
 * what is archived here. Resolves to the number of envelopes that something was left to do for. The journal is closed in any case.
 */
export async function finishLeftJournal(options: LeftOptions): Promise<number> {
  const { journal, log } = options;
  try {
    const pending = await pendingOf(journal);
    if (pending > 0)
      log.warn({ ...journal.identity, envelopes: pending }, 'taking over the journal of a replica that is gone');
    await fenceArchive(options);
    await finishConsumers(journal, options);
    const left = await pendingOf(journal);
    // Of an upstream that we know nothing of, or an archive where we keep none.
    if (left > 0) throw new ProxyError('JOURNAL_OWNED', `${left} envelopes wait for a consumer that is not known here`);
    return pending;
  } finally {
    await journal.close();
  }
}

/** Of the consumer that is furthest behind. */
async function pendingOf(journal: Journal): Promise<number> {
  let pending = 0;
  for (const name of journal.consumers()) {
    const { position } = (await journal.consumer(name, 'start')).state;
    pending = Math.max(pending, journal.backlog(position).entries);
  }
  return pending;
}

/** Whoever archived for this journal until now commits nothing more; what it had committed is passed. */
export async function fenceArchive({
  journal,
  self,
  store,
  clock,
}: Pick<LeftOptions, 'journal' | 'self' | 'store' | 'clock'>): Promise<void> {
  if (!journal.consumers().includes(ARCHIVE_CONSUMER)) return;
  const consumer = await journal.consumer(ARCHIVE_CONSUMER, 'start');
  if (journal.backlog(consumer.state.position).entries === 0) return;
  const archivedTo = await fenceCommits(store, journal.identity, self, clock.nowMs());
  // Without a note: its cut is void, and its next number is looked up.
  await consumer.commit(Math.max(consumer.state.position, archivedTo));
}

function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
