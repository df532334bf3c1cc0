/**
 * Upkeep, one run of it: merges, expiry, deletion, as planned (plan.ts), under one lease over all replicas. What it changes goes live by
 * commit records of its own journal, `_upkeep/<epoch>`: an epoch per holder of the lease, and epochs before it fenced, so that a holder
 * that was taken for gone commits nothing more. It can end at any moment: what has no record is not there, and is removed later.
 */
import type { Codec } from '../../codec/codec.ts';
import type { Clock } from '../../core/clock.ts';
import type { JournalIdentity } from '../../core/envelope.ts';
import { isProxyError, messageOf, ProxyError } from '../../core/errors.ts';
import { latestCheckpoint } from '../../store/checkpoints.ts';
import type { CommitRecord, SegmentEntry } from '../../store/commit-log.ts';
import { appendCommit, fenceCommits, readCommits } from '../../store/commit-records.ts';
import { HASHES_KEPT_MS } from '../../store/doubts.ts';
import { HASHES_PREFIX, hashListTimes } from '../../store/hash-lists.ts';
import { type HeldLease, type LeaseDeps, LeaseWatch, leaseKey, readLease, tryLease } from '../../store/leases.ts';
import { type LiveSegments, readLiveSegments } from '../../store/live-segments.ts';
import type { ObjectReader, ObjectStore } from '../../store/object-store.ts';
import { isSegmentKey } from '../../store/segment-keys.ts';
import type { Log } from '../../telemetry/log.ts';
import { mergedKey } from '../partition.ts';
import { compactCommits } from './compaction.ts';
import { type MergeBounds, mergeSegments } from './merging.ts';
import { keptMs, planUpkeep, type UpkeepPlan, type UpkeepRules } from './plan.ts';
import { refreshSegmentLists } from './segment-lists.ts';

/** No replica can be called so. */
export const UPKEEP_JOURNAL = '_upkeep';
export const UPKEEP_LEASE = 'work/upkeep';
const EXPIRED_PER_RECORD_MAX = 1000;
const DELETED_AT_ONCE = 16;
/** Ages are told by clocks: one that is further from the store's than this deletes nothing. */
const SKEW_MS_MAX = 3_600_000;
const MERGED_KEY = /\/_merged-(\d+)-\d+\.parquet$/;

export interface UpkeepOptions {
  store: ObjectStore;
  codec: Codec;
  clock: Clock;
  log: Log;
  /** Who does it, for people. */
  replica: string;
  leaseMs: number;
  rules: UpkeepRules;
  bounds: MergeBounds;
  /** What no query sees any more is deleted so much later: readers that began before must come to their end. */
  graceMs: number;
  /** A checkpoint is written once so many commit records lie behind the latest one. */
  recordsPerCheckpointMin: number;
  /** Lists of live segments are kept for other engines (segment-lists.ts), with these URLs of keys. */
  listedUrlOf?: (key: string) => string;
  onProgress?: (summary: UpkeepSummary) => void;
  signal?: AbortSignal;
}

export interface UpkeepSummary {
  /** `busy`: another process is at it. `lost`: it was taken for gone, and ended. */
  state: 'done' | 'busy' | 'lost' | 'stopped';
  merges: number;
  mergedSegments: number;
  mergedBytes: number;
  writtenSegments: number;
  writtenBytes: number;
  expiredSegments: number;
  expiredBytes: number;
  /** Of envelopes that their senders had sent to two replicas. */
  doubledSegments: number;
  deletedObjects: number;
  deletedBytes: number;
  /** Commit records that a checkpoint holds. */
  deletedRecords: number;
  /** Of live segments, written anew. */
  writtenLists: number;
  /** Partitions left as they are because an input is damaged, absent or archived away. */
  skipped: string[];
}

export async function runUpkeep(options: UpkeepOptions): Promise<UpkeepSummary> {
  const summary: UpkeepSummary = {
    ...{ state: 'done', merges: 0, mergedSegments: 0, mergedBytes: 0, writtenSegments: 0, writtenBytes: 0 },
    ...{
      expiredSegments: 0,
      expiredBytes: 0,
      doubledSegments: 0,
      deletedObjects: 0,
      deletedBytes: 0,
      deletedRecords: 0,
      writtenLists: 0,
      skipped: [],
    },
  };
  const lease = await takeLease(options);
  if (!lease) return { ...summary, state: 'busy' };
  lease.held.keep(() => {});
  const work = new Upkeep(options, lease.held, summary);
  try {
    await work.checkClock();
    if (!lease.wasReleased) await work.fenceEarlier();
    await work.run();
  } catch (error) {
    // Another holder's record or fence has our number.
    if (!isProxyError(error, 'STORE_EXISTS')) throw error;
    summary.state = 'lost';
  } finally {
    await lease.held.release();
  }
  return summary;
}

/** What a run would do now. Errors as of `readLiveSegments`. */
export async function planNow(
  store: ObjectReader,
  rules: UpkeepRules,
  nowMs: number,
): Promise<UpkeepPlan & { segments: LiveSegments }> {
  const segments = await readLiveSegments(store);
  return { ...planUpkeep(segments.live.values(), rules, nowMs, segments.leftOut), segments };
}

/** Waits for a holder that may be gone for as long as a lease lasts; undefined when it shows that it is not. */
async function takeLease(options: UpkeepOptions): Promise<{ held: HeldLease; wasReleased: boolean } | undefined> {
  const { store, clock, log, leaseMs, replica, signal } = options;
  const deps: LeaseDeps = { store, clock, log, leaseMs };
  const watch = new LeaseWatch(clock, leaseMs);
  const key = leaseKey(UPKEEP_LEASE);
  let version: string | undefined;
  for (;;) {
    const found = await readLease(store, key);
    const held = await tryLease(deps, UPKEEP_LEASE, (before) => ({ replica, epoch: (before?.epoch ?? 0) + 1 }), watch);
    if (held) return { held, wasReleased: !found || found.record.state === 'released' };
    if (version !== undefined && version !== found?.version) return undefined;
    version = found?.version;
    await clock.sleep(leaseMs / 4, signal).catch(() => {});
    if (signal?.aborted) return undefined;
  }
}

class Upkeep {
  readonly #options: UpkeepOptions;
  readonly #lease: HeldLease;
  readonly #summary: UpkeepSummary;
  readonly #identity: JournalIdentity;
  readonly #added = new Set<string>();
  readonly #gone = new Set<string>();
  #number = 0;
  /** What was replaced after this may be read by whoever has a list of before. */
  #listedBeforeMs = Number.POSITIVE_INFINITY;

  constructor(options: UpkeepOptions, lease: HeldLease, summary: UpkeepSummary) {
    this.#options = options;
    this.#lease = lease;
    this.#summary = summary;
    this.#identity = { replica: UPKEEP_JOURNAL, epoch: lease.identity.epoch };
  }

  /** STORE_INVALID where this clock is not the store's, which has just stamped the lease. */
  async checkClock(): Promise<void> {
    const { store, clock } = this.#options;
    const stamped = await store.head(leaseKey(UPKEEP_LEASE));
    const skewMs = stamped ? clock.nowMs() - stamped.modifiedAtMs : 0;
    if (Math.abs(skewMs) <= SKEW_MS_MAX) return;
    const hours = (skewMs / 3_600_000).toFixed(1);
    throw new ProxyError(
      'STORE_INVALID',
      `this clock is ${hours} h ahead of the store's: nothing is moved or deleted by it`,
    );
  }

  /** Every epoch back to one that committed: its holder had done the same with those before it. */
  async fenceEarlier(): Promise<void> {
    const { store, clock } = this.#options;
    const checkpoint = await latestCheckpoint(store);
    for (let epoch = this.#identity.epoch - 1; epoch > 0; epoch--) {
      const earlier = { replica: UPKEEP_JOURNAL, epoch };
      // What a checkpoint holds of it was put there by a holder that had done the same.
      const isHeld = (checkpoint?.journals ?? []).some(
        ({ replica, epoch: held }) => replica === UPKEEP_JOURNAL && held === epoch,
      );
      await fenceCommits(store, earlier, this.#identity, clock.nowMs());
      if (isHeld) return;
      for await (const { fencedBy } of readCommits(store, { identity: earlier })) {
        if (fencedBy === undefined) return;
      }
    }
  }

  async run(): Promise<void> {
    const { store, rules, clock, graceMs, recordsPerCheckpointMin } = this.#options;
    const plan = await planNow(store, rules, clock.nowMs());
    for (let i = 0; i < plan.doubled.length; i += EXPIRED_PER_RECORD_MAX) {
      if (this.#mayNotGoOn()) return;
      const entries = plan.doubled.slice(i, i + EXPIRED_PER_RECORD_MAX);
      await this.#commit([], entries);
      this.#summary.doubledSegments += entries.length;
    }
    if (this.#mayNotGoOn()) return;
    await this.#deleteHashes();
    for (const job of plan.merges) {
      if (this.#mayNotGoOn()) return;
      await this.#merge(job);
    }
    let expired: SegmentEntry[] = [];
    for (const entry of plan.expired) {
      if (this.#mayNotGoOn()) return;
      if (!(await this.#isAsOldAsItSays(entry))) continue;
      expired.push(entry);
      if (expired.length < EXPIRED_PER_RECORD_MAX) continue;
      await this.#expire(expired);
      expired = [];
    }
    if (expired.length > 0) await this.#expire(expired);
    if (this.#mayNotGoOn()) return;
    await this.#refreshLists(plan.segments);
    const left = await this.#delete(plan.segments);
    if (this.#mayNotGoOn()) return;
    const isGone = (key: string): boolean => plan.segments.replaced.has(key) && !left.has(key);
    const bounds = { graceMs, recordsPerCheckpointMin };
    this.#summary.deletedRecords = await compactCommits({ store, nowMs: clock.nowMs(), isGone, ...bounds });
  }

  #mayNotGoOn(): boolean {
    if (this.#lease.isLost) this.#summary.state = 'lost';
    else if (this.#options.signal?.aborted) this.#summary.state = 'stopped';
    return this.#summary.state !== 'done';
  }

  async #merge(job: UpkeepPlan['merges'][number]): Promise<void> {
    const { store, codec, bounds, log } = this.#options;
    const summary = this.#summary;
    const { epoch } = this.#identity;
    try {
      for await (const { inputs, outputs } of mergeSegments(job, store, codec, bounds)) {
        if (this.#mayNotGoOn()) return;
        const { tenant, signal, to: tier, day, hour } = job;
        const rest = job.storageClass === undefined ? {} : { storageClass: job.storageClass };
        const adds: SegmentEntry[] = [];
        for (const { bytes, entry, isCompanion } of outputs) {
          const { rollup } = entry;
          const named = { tenant, signal, tier, day, hour, epoch, number: this.#number + 1, everyMs: rollup?.everyMs };
          const key = mergedKey(named);
          await store.put(key, bytes, { condition: { kind: 'absent' }, ...rest });
          adds.push({ key, ...entry, ...(rollup && isCompanion ? { rollup: { ...rollup, of: adds[0]!.key } } : {}) });
        }
        const merged = new Set(inputs.map(({ key }) => key));
        const gone = [...inputs, ...job.companions.filter(({ rollup }) => merged.has(rollup!.of!))];
        await this.#commit(adds, gone);
        summary.writtenSegments += adds.length;
        summary.writtenBytes += sum(adds);
        summary.mergedSegments += gone.length;
        summary.mergedBytes += sum(gone);
      }
      summary.merges += 1;
      this.#options.onProgress?.(summary);
    } catch (error) {
      const isInput = isProxyError(error) && INPUT_FAILURES.has(error.code);
      if (!isInput) throw error;
      const partition = `${job.tenant}/${job.signal}/tier=${job.from}/dt=${job.day}${job.hour ? `/hour=${job.hour}` : ''}`;
      log.error(
        { code: error.code, partition, reason: messageOf(error) },
        'a partition cannot be merged; it stays as it is',
      );
      summary.skipped.push(partition);
    }
  }

  /** The age of what a flush wrote is told by the clock of its replica, which may have been wrong; the store stamped it, too. */
  async #isAsOldAsItSays(entry: SegmentEntry): Promise<boolean> {
    const { store, rules, clock, log } = this.#options;
    if (entry.ranges) return true;
    const stamped = await store.head(entry.key);
    if (!stamped || clock.nowMs() - stamped.modifiedAtMs >= keptMs(entry, rules)) return true;
    log.warn({ key: entry.key }, 'a segment says it is older than it is; it stays');
    return false;
  }

  async #expire(entries: readonly SegmentEntry[]): Promise<void> {
    await this.#commit([], entries);
    this.#summary.expiredSegments += entries.length;
    this.#summary.expiredBytes += sum(entries);
    this.#options.onProgress?.(this.#summary);
  }

  /** The oldest come first. */
  async #deleteHashes(): Promise<void> {
    const { store, clock } = this.#options;
    for await (const { key } of store.list(HASHES_PREFIX)) {
      const times = hashListTimes(key);
      if (!times) continue;
      if (clock.nowMs() - times.cutAtMs < HASHES_KEPT_MS || this.#mayNotGoOn()) return;
      await store.delete(key);
    }
  }

  async #commit(adds: SegmentEntry[], replaces: readonly SegmentEntry[]): Promise<void> {
    const { store, clock } = this.#options;
    const record: CommitRecord = {
      ...{ format: 1, ...this.#identity, number: this.#number + 1, first: 1, last: 0 },
      ...{ envelopes: {}, rawBytes: {}, committedAtMs: clock.nowMs(), adds, replaces: replaces.map(({ key }) => key) },
    };
    await appendCommit(store, record);
    this.#number += 1;
    for (const { key } of adds) this.#added.add(key);
    for (const { key } of replaces) this.#gone.add(key);
  }

  async #refreshLists({ live, leftOut }: LiveSegments): Promise<void> {
    const { store, clock, listedUrlOf } = this.#options;
    if (!listedUrlOf) return;
    const keys = [...live.keys(), ...this.#added].filter((key) => !leftOut.has(key) && !this.#gone.has(key));
    const { written, earlierAtMs } = await refreshSegmentLists(store, keys, listedUrlOf, clock.nowMs());
    this.#summary.writtenLists = written;
    this.#listedBeforeMs = earlierAtMs ?? Number.NEGATIVE_INFINITY;
  }

  /**
   * What has been replaced for longer than the grace period, and outputs of earlier runs that never went live. Resolves to the keys of
   * those segments that are there and not live.
   */
  async #delete({ live, replaced }: LiveSegments): Promise<Set<string>> {
    const { store, clock, graceMs } = this.#options;
    const nowMs = clock.nowMs();
    const left = new Set<string>();
    let batch: { key: string; sizeBytes: number }[] = [];
    const flush = async (): Promise<void> => {
      await Promise.all(batch.map(({ key }) => store.delete(key)));
      for (const { key } of batch) left.delete(key);
      this.#summary.deletedObjects += batch.length;
      this.#summary.deletedBytes += sum(batch);
      batch = [];
    };
    for await (const { key, sizeBytes, modifiedAtMs } of store.list('')) {
      if (!isSegmentKey(key) || live.has(key)) continue;
      left.add(key);
      const replacedAtMs = replaced.get(key);
      // Of an epoch that can commit no more.
      const isLeftOver = Number(MERGED_KEY.exec(key)?.[1] ?? Number.POSITIVE_INFINITY) < this.#identity.epoch;
      const sinceMs = replacedAtMs ?? (isLeftOver ? modifiedAtMs : undefined);
      if (sinceMs === undefined || nowMs - sinceMs < graceMs || sinceMs > this.#listedBeforeMs) continue;
      batch.push({ key, sizeBytes });
      if (batch.length < DELETED_AT_ONCE) continue;
      if (this.#mayNotGoOn()) return left;
      await flush();
    }
    await flush();
    return left;
  }
}

const INPUT_FAILURES: ReadonlySet<string> = new Set([
  'STORE_CORRUPT',
  'STORE_ABSENT',
  'STORE_INVALID',
  'SEGMENT_UNREADABLE',
]);

function sum(entries: readonly { sizeBytes: number }[]): number {
  return entries.reduce((total, { sizeBytes }) => total + sizeBytes, 0);
}
