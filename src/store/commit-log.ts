/**
 * The commit log: what is live. A commit record is an object `commits/<replica>/<epoch>/<n>.json`, created only if absent, with
 * dense numbers from 1; it lists the segments it adds and, for merges, those it replaces. What is in no record is not there.
 */
import type { JournalIdentity, Position, Signal } from '../core/envelope.ts';

export const TIERS = ['hot', 'warm', 'cold'] as const;
export type Tier = (typeof TIERS)[number];

/** Positions of one journal, both ends included. */
export interface JournalRange extends JournalIdentity {
  first: Position;
  last: Position;
}

export interface Rollup {
  /** Length of the windows. */
  everyMs: number;
  /** Key of the segment that has the same rows as they were sent; absent where that is not kept. */
  of?: string;
}

/** The one envelope of a segment whose answer may not have been heard (doubts.ts). */
export interface DoubtfulEnvelope {
  bodyHash: string;
  receivedAtMs: number;
  /** `replica-epoch`, and its position there. */
  journal: string;
  position: Position;
}

export interface SegmentEntry {
  /** Key of the object in the store. */
  key: string;
  tenant: string;
  signal: Signal;
  tier: Tier;
  rowCount: number;
  sizeBytes: number;
  /** CRC-32 of the object; absent in the earliest records. */
  crc32?: number;
  /** Smallest and largest `time` of its rows, ms since the epoch. */
  timeMinMs: number;
  timeMaxMs: number;
  /** Merged segments only: when the latest of its rows was received, at most; age counts from here. */
  receivedMaxMs?: number;
  /** Merged segments only: where its rows come from. Of others the key tells. */
  ranges?: JournalRange[];
  /** Metric roll-ups instead of rows as they were sent. */
  rollup?: Rollup;
  doubt?: DoubtfulEnvelope;
}

/** `…/<replica>-<epoch>-<first>-<last>[-late][-doubt-<position>][-by-<writer>].parquet`, as archive/partition.ts names what a flush writes. */
const FLUSHED_NAME = /\/([a-z0-9-]+)-(\d+)-(\d+)-(\d+)(?:-late)?(?:-doubt-\d+)?(?:-by-[^/]+)?\.parquet$/;

/** Where the rows of a segment come from; empty when it does not tell. */
export function rangesOf(entry: SegmentEntry): readonly JournalRange[] {
  if (entry.ranges) return entry.ranges;
  const name = FLUSHED_NAME.exec(entry.key);
  if (!name) return [];
  const [, replica, epoch, first, last] = name;
  return [{ replica: replica!, epoch: Number(epoch), first: Number(first), last: Number(last) }];
}

export interface CommitRecord {
  format: 1;
  replica: string;
  epoch: number;
  number: number;
  /** Journal range it covers, both inclusive. */
  first: Position;
  last: Position;
  /** Envelopes in that range per signal, and their bytes once decompressed: for books and ratios. */
  envelopes: Partial<Record<Signal, number>>;
  rawBytes: Partial<Record<Signal, number>>;
  committedAtMs: number;
  adds: SegmentEntry[];
  replaces: string[];
  /** Key of the list of its hashes (hash-lists.ts), in a fleet. */
  hashes?: string;
  /** `<replica>/<epoch>` that takes this journal over: from here on only it commits. Such a record adds nothing. */
  fencedBy?: string;
}

export function commitKey(identity: JournalIdentity, number: number): string {
  return `${commitPrefix(identity)}${String(number).padStart(12, '0')}.json`;
}

export function commitPrefix(identity: JournalIdentity): string {
  return `commits/${identity.replica}/${String(identity.epoch).padStart(10, '0')}/`;
}
