/**
 * Compaction of the commit log: once enough records lie behind the latest checkpoint a new one is written; and what a checkpoint has held
 * for as long as a reader may take is deleted: records, but for the last of each journal, and the checkpoints before it. It can
 * end anywhere. Should two processes be at it, both do what is right: a checkpoint follows from the records alone.
 */
import {
  CHECKPOINT_SEGMENTS_MAX,
  type Checkpoint,
  checkpointKey,
  listCheckpoints,
  putCheckpoint,
} from '../../store/checkpoints.ts';
import { commitPrefix } from '../../store/commit-log.ts';
import { COMMIT_PREFIX, parseCommitKey } from '../../store/commit-records.ts';
import { HASHES_KEPT_MS } from '../../store/doubts.ts';
import { hashListTimes } from '../../store/hash-lists.ts';
import { type LiveSegments, readLiveSegments } from '../../store/live-segments.ts';
import type { ObjectStore } from '../../store/object-store.ts';

export interface CompactionOptions {
  store: ObjectStore;
  nowMs: number;
  /** Readers that began before must come to their end. */
  graceMs: number;
  recordsPerCheckpointMin: number;
  /** Whether the object of a replaced key is known to be deleted. */
  isGone: (key: string) => boolean;
}

const DELETED_AT_ONCE = 16;

/** Resolves to how many records were deleted. STORE_EXISTS: another process has just written the next checkpoint. */
export async function compactCommits(options: CompactionOptions): Promise<number> {
  const { store, nowMs, graceMs, recordsPerCheckpointMin } = options;
  const segments = await readLiveSegments(store);
  const { checkpoint, commitCount } = segments;
  const isDue = commitCount - (checkpoint?.recordCount ?? 0) >= recordsPerCheckpointMin;
  if (isDue && segments.live.size + segments.replaced.size <= CHECKPOINT_SEGMENTS_MAX) {
    await putCheckpoint(store, checkpointOf(segments, options));
  }
  // By its own stamp: one that was written by a clock ahead of ours is left for a later run.
  if (!checkpoint || nowMs - checkpoint.writtenAtMs < graceMs) return 0;
  for (const number of await listCheckpoints(store)) {
    if (number < checkpoint.number) await store.delete(checkpointKey(number));
  }
  return deleteHeld(store, checkpoint);
}

function checkpointOf(segments: LiveSegments, { nowMs, isGone }: CompactionOptions): Checkpoint {
  const { live, replaced, hashes, unseen, journals, commitCount, checkpoint } = segments;
  return {
    ...{ format: 1, number: (checkpoint?.number ?? 0) + 1, writtenAtMs: nowMs, recordCount: commitCount },
    journals: [...journals.values()],
    live: [...live.values()],
    replaced: [...replaced].filter(([key]) => unseen.has(key) || !isGone(key)).map(([key, atMs]) => ({ key, atMs })),
    hashes: [...hashes].filter((key) => nowMs - (hashListTimes(key)?.cutAtMs ?? 0) < HASHES_KEPT_MS),
    unseen: [...unseen],
  };
}

/** Numbering goes on from the last record of a journal, so that one stays. */
async function deleteHeld(store: ObjectStore, { journals }: Checkpoint): Promise<number> {
  const heldOf = new Map(journals.map((end) => [commitPrefix(end), end.number]));
  let deleted = 0;
  let batch: string[] = [];
  let before: { key: string; prefix: string; number: number } | undefined;
  for await (const { key } of store.list(COMMIT_PREFIX)) {
    const found = parseCommitKey(key);
    if (!found) continue;
    const prefix = commitPrefix(found.identity);
    if (before?.prefix === prefix && before.number <= (heldOf.get(prefix) ?? 0)) batch.push(before.key);
    before = { key, prefix, number: found.number };
    if (batch.length < DELETED_AT_ONCE) continue;
    await Promise.all(batch.map((held) => store.delete(held)));
    deleted += batch.length;
    batch = [];
  }
  await Promise.all(batch.map((held) => store.delete(held)));
  return deleted + batch.length;
}
