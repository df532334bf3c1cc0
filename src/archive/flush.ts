/**
 * One flush: cut → segments → commit record → position. The cut is durable before the first PUT, so that a repeat after a crash
 * makes the same objects under the same names; the position moves only after the commit record exists.
 *
 * Crash points: before the cut is journalled nothing has happened; until the commit record exists, what was PUT is in no record
 * and so not there; after it, only the position is behind, and the repeat finds its own record.
 */
import type { Clock } from '../core/clock.ts';
import type { JournalIdentity, Position, Signal } from '../core/envelope.ts';
import { isProxyError, messageOf, ProxyError } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import { type CommitRecord, commitKey, type DoubtfulEnvelope, type SegmentEntry } from '../store/commit-log.ts';
import { type HeardPlace, hashListKey } from '../store/hash-lists.ts';
import type { ObjectStore } from '../store/object-store.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { BuiltSegment } from './segment-builder.ts';

/** The archive consumer's note: what is under way. */
export interface Cut {
  first: Position;
  last: Position;
  /** Number its commit record will have. */
  number: number;
  cutAtMs: number;
  /** Known once it was asked for; a repeat makes the same segments of them. */
  doubts?: DoubtfulEnvelope[];
  /** Of earlier flushes, or of earlier lives: no more in doubt. */
  heard?: HeardPlace[];
}

export interface CutStats {
  envelopes: Partial<Record<Signal, number>>;
  rawBytes: Partial<Record<Signal, number>>;
}

export interface FlushDeps {
  store: ObjectStore;
  clock: Clock;
  random: Random;
  metrics: Metrics;
  log: Log;
}

const BACKOFF_FIRST_MS = 250;
const BACKOFF_MS_MAX = 15_000;

/** Repeats `attempt` until it succeeds, fails for good, or `signal` aborts. A store that is away is waited for. */
export async function untilStored<T>(deps: FlushDeps, signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries++) {
    signal.throwIfAborted();
    try {
      const value = await attempt();
      deps.metrics.storageConnected.set(1);
      return value;
    } catch (error) {
      if (signal.aborted || !isProxyError(error)) throw error;
      // Denied is no reason to give up either: rights come back, and the journal holds the data meanwhile.
      if (!error.retryable && error.code !== 'STORE_DENIED') throw error;
      deps.metrics.storageConnected.set(0);
      deps.metrics.flushFailures.inc();
      const waitMs =
        Math.min(BACKOFF_MS_MAX, BACKOFF_FIRST_MS * 2 ** Math.min(tries, 10)) * (0.5 + deps.random.next() / 2);
      deps.log.warn(
        { code: error.code, reason: messageOf(error), waitMs: Math.round(waitMs) },
        'store failed; will try again',
      );
      await deps.clock.sleep(waitMs, signal);
    }
  }
}

/** Create-only; an object of that name can only be our own earlier attempt, and no record refers to it yet. */
async function putSegment(store: ObjectStore, segment: BuiltSegment): Promise<void> {
  try {
    await store.put(segment.entry.key, segment.bytes, { condition: { kind: 'absent' } });
  } catch (error) {
    if (!isProxyError(error, 'STORE_EXISTS')) throw error;
    const found = await store.get(segment.entry.key);
    if (Buffer.compare(found.bytes, segment.bytes) !== 0) await store.put(segment.entry.key, segment.bytes);
  }
}

/** Writes the record, or finds that an earlier attempt of ours did. */
async function putCommit(store: ObjectStore, key: string, record: CommitRecord): Promise<CommitRecord> {
  try {
    await store.put(key, Buffer.from(JSON.stringify(record)), { condition: { kind: 'absent' } });
    return record;
  } catch (error) {
    if (!isProxyError(error, 'STORE_EXISTS')) throw error;
    const found = JSON.parse(Buffer.from((await store.get(key)).bytes).toString('utf8')) as CommitRecord;
    // A fence takes the number of the next commit, so whoever took over never has one of ours.
    if (found.first === record.first && found.last === record.last && found.fencedBy === undefined) return found;
    throw new ProxyError('JOURNAL_FENCED', `commit ${key} is there already, by ${found.fencedBy ?? 'another writer'}`);
  }
}

/** For others to recognise by what in their doubts came back to us. Before the record, which names it: whoever sees that finds this. */
export async function storeHashes(
  deps: FlushDeps,
  identity: JournalIdentity,
  cut: Cut,
  { bytes, receivedMinMs }: { bytes: Uint8Array; receivedMinMs: number },
  signal: AbortSignal,
): Promise<string> {
  const key = hashListKey(identity, cut.number, { cutAtMs: cut.cutAtMs, receivedMinMs });
  await untilStored(deps, signal, () => deps.store.put(key, bytes));
  return key;
}

/** Stores the cut's segments and its commit record; resolves to the record that is live. */
export async function storeCut(
  deps: FlushDeps,
  identity: { replica: string; epoch: number },
  cut: Cut,
  stats: CutStats,
  segments: AsyncIterable<BuiltSegment>,
  hashes: string | undefined,
  signal: AbortSignal,
): Promise<CommitRecord> {
  const { store } = deps;
  const key = commitKey(identity, cut.number);
  const adds: SegmentEntry[] = [];
  for await (const segment of segments) {
    await untilStored(deps, signal, () => putSegment(store, segment));
    adds.push(segment.entry);
  }
  const record: CommitRecord = {
    format: 1,
    ...identity,
    number: cut.number,
    first: cut.first,
    last: cut.last,
    envelopes: stats.envelopes,
    rawBytes: stats.rawBytes,
    committedAtMs: cut.cutAtMs,
    adds,
    replaces: [],
    ...(hashes === undefined ? {} : { hashes }),
  };
  return untilStored(deps, signal, () => putCommit(store, key, record));
}
