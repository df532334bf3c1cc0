/**
 * The commit log: what is live. A commit record is an object `commits/<replica>/<epoch>/<n>.json`, created only if absent, with
 * dense numbers from 1; it lists the segments it adds and, for merges, those it replaces. What is in no record is not there.
 */
import type { JournalIdentity, Position, Signal } from '../core/envelope.ts';

export interface SegmentEntry {
  /** Key of the object in the store. */
  key: string;
  tenant: string;
  signal: Signal;
  tier: 'hot' | 'warm' | 'cold';
  rowCount: number;
  sizeBytes: number;
  /** CRC-32 of the object; absent in the earliest records. */
  crc32?: number;
  /** Smallest and largest `time` of its rows, ms since the epoch. */
  timeMinMs: number;
  timeMaxMs: number;
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
  /** `<replica>/<epoch>` that takes this journal over: from here on only it commits. Such a record adds nothing. */
  fencedBy?: string;
}

export function commitKey(identity: JournalIdentity, number: number): string {
  return `${commitPrefix(identity)}${String(number).padStart(12, '0')}.json`;
}

export function commitPrefix(identity: JournalIdentity): string {
  return `commits/${identity.replica}/${String(identity.epoch).padStart(10, '0')}/`;
}
