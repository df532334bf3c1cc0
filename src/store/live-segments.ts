/**
 * What is live: all segments that commit records add, less all that they replace. Only this decides what a query sees; a file that no
 * record names is not there. It begins with the latest checkpoint and goes on with the records behind it, one journal after
 * another, so a merge that happens meanwhile shows either its inputs or its output.
 */
import type { JournalIdentity } from '../core/envelope.ts';
import { isProxyError } from '../core/errors.ts';
import { type Checkpoint, type JournalEnd, latestCheckpoint, listCheckpoints } from './checkpoints.ts';
import { commitPrefix, type SegmentEntry } from './commit-log.ts';
import { readCommits } from './commit-records.ts';
import { doubtsLeftOut } from './doubts.ts';
import type { ObjectReader } from './object-store.ts';

export interface LiveSegment {
  entry: SegmentEntry;
  /** When the record that added it was written. */
  committedAtMs: number;
}

export interface LiveSegments {
  /** By key. */
  live: Map<string, LiveSegment>;
  /** Those of `live` that no query sees: their envelope is there a second time (doubts.ts). */
  leftOut: Set<string>;
  /** Keys of lists of hashes. Of flushes that never became live there may be others. */
  hashes: Set<string>;
  /** Keys that records replaced, and when: no query sees them any more. */
  replaced: Map<string, number>;
  /** Replaced keys that no record added until now. */
  unseen: Set<string>;
  /** Until where each journal was read, by `commitPrefix`. */
  journals: Map<string, JournalEnd>;
  /** Records over all time, those in the checkpoint too. */
  commitCount: number;
  checkpoint: Checkpoint | undefined;
}

const TRIES_MAX = 5;

/** STORE_INVALID when a commit record or the checkpoint is damaged or missing. */
export async function readLiveSegments(reader: ObjectReader): Promise<LiveSegments> {
  for (let tries = 1; ; tries++) {
    const checkpoint = await latestCheckpoint(reader);
    try {
      return await readBehind(reader, checkpoint);
    } catch (error) {
      // A record that a later checkpoint holds may have gone meanwhile.
      const mayBeGone = isProxyError(error, 'STORE_INVALID') || isProxyError(error, 'STORE_ABSENT');
      if (!mayBeGone || tries >= TRIES_MAX) throw error;
      if ((await listCheckpoints(reader)).at(-1) === checkpoint?.number) throw error;
    }
  }
}

async function readBehind(reader: ObjectReader, checkpoint: Checkpoint | undefined): Promise<LiveSegments> {
  const live = new Map(checkpoint?.live.map((segment) => [segment.entry.key, segment]));
  const replaced = new Map(checkpoint?.replaced.map(({ key, atMs }) => [key, atMs]));
  const unseen = new Set(checkpoint?.unseen);
  const held = new Map(checkpoint?.journals.map((end) => [commitPrefix(end), end]));
  const journals = new Map(held);
  const hashes = new Set(checkpoint?.hashes);
  const replacedNow: string[] = [];
  let commitCount = checkpoint?.recordCount ?? 0;
  const after = (identity: JournalIdentity): number => held.get(commitPrefix(identity))?.number ?? 0;
  for await (const record of readCommits(reader, { after })) {
    const { replica, epoch, number, committedAtMs } = record;
    const prefix = commitPrefix(record);
    commitCount += 1;
    if (record.hashes !== undefined) hashes.add(record.hashes);
    for (const entry of record.adds) live.set(entry.key, { entry, committedAtMs });
    for (const key of record.replaces) {
      if (!replaced.has(key)) replacedNow.push(key);
      replaced.set(key, committedAtMs);
    }
    // A merge covers no positions of its own.
    const last = record.replaces.length > 0 ? (journals.get(prefix)?.last ?? 0) : record.last;
    journals.set(prefix, { replica, epoch, number, last });
  }
  for (const key of replacedNow) if (!live.has(key)) unseen.add(key);
  for (const key of unseen) if (live.has(key)) unseen.delete(key);
  for (const key of replaced.keys()) live.delete(key);
  const entries = [...live.values()].map(({ entry }) => entry);
  const leftOut = await doubtsLeftOut(reader, entries, hashes);
  return { live, leftOut, hashes, replaced, unseen, journals, commitCount, checkpoint };
}
