/**
 * Reading and writing commit records (shape and keys: commit-log.ts). A record is JSON with one form only, so that equal
 * records are equal bytes. Numbers of one journal are dense: a gap is an error, since rows would be missed silently.
 */
import { z } from 'zod';
import { type JournalIdentity, type Position, SIGNALS } from '../core/envelope.ts';
import { isProxyError, messageOf, ProxyError } from '../core/errors.ts';
import {
  type CommitRecord,
  commitKey,
  commitPrefix,
  type DoubtfulEnvelope,
  type Rollup,
  type SegmentEntry,
  TIERS,
} from './commit-log.ts';
import type { ObjectReader, ObjectStore } from './object-store.ts';

const LAST_TRIES_MAX = 5;
/** Records fetched at once. */
const READ_AHEAD = 16;

export const COMMIT_PREFIX = 'commits/';
const KEY_FORM = /^commits\/([^/]+)\/(\d{10})\/(\d{12})\.json$/;

const count = z.number().int().nonnegative();
const perSignal = z.strictObject(Object.fromEntries(SIGNALS.map((signal) => [signal, count.optional()])));
export const entryShape = z.strictObject({
  key: z.string().min(1),
  tenant: z.string(),
  signal: z.enum(SIGNALS),
  tier: z.enum(TIERS),
  rowCount: count,
  sizeBytes: count,
  crc32: count.optional(),
  timeMinMs: z.number(),
  timeMaxMs: z.number(),
  receivedMaxMs: z.number().optional(),
  ranges: z.array(z.strictObject({ replica: z.string().min(1), epoch: count, first: count, last: count })).optional(),
  rollup: z.strictObject({ everyMs: count.min(1), of: z.string().min(1).optional() }).optional(),
  doubt: z
    .strictObject({
      bodyHash: z.string().min(1),
      receivedAtMs: z.number(),
      journal: z.string().min(1),
      position: count,
    })
    .optional(),
});
const recordShape = z.strictObject({
  format: z.literal(1),
  replica: z.string().min(1),
  epoch: count,
  number: count.min(1),
  first: count,
  last: count,
  envelopes: perSignal,
  rawBytes: perSignal,
  committedAtMs: z.number(),
  adds: z.array(entryShape),
  replaces: z.array(z.string().min(1)),
  hashes: z.string().min(1).optional(),
  fencedBy: z.string().min(1).optional(),
});

/** With its members in the one order. */
export function orderedEntry(entry: SegmentEntry): SegmentEntry {
  return {
    key: entry.key,
    tenant: entry.tenant,
    signal: entry.signal,
    tier: entry.tier,
    rowCount: entry.rowCount,
    sizeBytes: entry.sizeBytes,
    ...(entry.crc32 === undefined ? {} : { crc32: entry.crc32 }),
    timeMinMs: entry.timeMinMs,
    timeMaxMs: entry.timeMaxMs,
    ...(entry.receivedMaxMs === undefined ? {} : { receivedMaxMs: entry.receivedMaxMs }),
    ...(entry.ranges === undefined
      ? {}
      : { ranges: entry.ranges.map(({ replica, epoch, first, last }) => ({ replica, epoch, first, last })) }),
    ...(entry.rollup === undefined ? {} : { rollup: orderedRollup(entry.rollup) }),
    ...(entry.doubt === undefined ? {} : { doubt: orderedDoubt(entry.doubt) }),
  };
}

function orderedRollup({ everyMs, of }: Rollup): Rollup {
  return { everyMs, ...(of === undefined ? {} : { of }) };
}

function orderedDoubt({ bodyHash, receivedAtMs, journal, position }: DoubtfulEnvelope): DoubtfulEnvelope {
  return { bodyHash, receivedAtMs, journal, position };
}

export function encodeCommit(record: CommitRecord): Uint8Array {
  const ordered: CommitRecord = {
    format: 1,
    replica: record.replica,
    epoch: record.epoch,
    number: record.number,
    first: record.first,
    last: record.last,
    envelopes: inSignalOrder(record.envelopes),
    rawBytes: inSignalOrder(record.rawBytes),
    committedAtMs: record.committedAtMs,
    adds: record.adds.map(orderedEntry),
    replaces: record.replaces,
    ...(record.hashes === undefined ? {} : { hashes: record.hashes }),
    ...(record.fencedBy === undefined ? {} : { fencedBy: record.fencedBy }),
  };
  return new TextEncoder().encode(`${JSON.stringify(ordered)}\n`);
}

/** STORE_INVALID when the bytes are no commit record, or one that belongs to another key. */
export function decodeCommit(key: string, bytes: Uint8Array): CommitRecord {
  let record: CommitRecord;
  try {
    record = recordShape.parse(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))) as CommitRecord;
  } catch (error) {
    throw new ProxyError('STORE_INVALID', `commit record ${key}: ${messageOf(error)}`, { cause: error });
  }
  if (commitKey(record, record.number) !== key) {
    throw new ProxyError('STORE_INVALID', `commit record ${key} says it is ${commitKey(record, record.number)}`);
  }
  return record;
}

export interface CommitScope {
  /** Of this journal only. */
  identity?: JournalIdentity;
  /** Numbers up to this one of a journal are left out, and need not be there. */
  after?: (identity: JournalIdentity) => number;
}

/**
 * Records in order: of one journal, or of every journal one after another (by replica, then epoch). STORE_INVALID on a gap or a damaged
 * record, STORE_ABSENT when one goes that was listed.
 */
export async function* readCommits(
  reader: ObjectReader,
  { identity: only, after = () => 0 }: CommitScope = {},
): AsyncGenerator<CommitRecord> {
  let journal = '';
  let held = 0;
  let expected = 1;
  let keys: string[] = [];
  for await (const { key } of reader.list(only ? commitPrefix(only) : COMMIT_PREFIX)) {
    const found = parseCommitKey(key);
    if (!found) continue;
    const { identity, number } = found;
    const prefix = commitPrefix(identity);
    if (prefix !== journal) {
      journal = prefix;
      held = after(identity);
      expected = held + 1;
    }
    if (number <= held) continue;
    if (number !== expected) {
      throw new ProxyError('STORE_INVALID', `commit record ${expected} is missing before ${key}`);
    }
    expected++;
    keys.push(key);
    if (keys.length < READ_AHEAD) continue;
    yield* await readRecords(reader, keys);
    keys = [];
  }
  yield* await readRecords(reader, keys);
}

/** The latest record of a journal. */
export async function lastCommit(reader: ObjectReader, identity: JournalIdentity): Promise<CommitRecord | undefined> {
  for (let tries = 1; ; tries++) {
    let last: string | undefined;
    for await (const { key } of reader.list(commitPrefix(identity))) if (parseCommitKey(key)) last = key;
    if (last === undefined) return undefined;
    try {
      return decodeCommit(last, (await reader.get(last)).bytes);
    } catch (error) {
      // Another one followed since it was listed, and a checkpoint held it already.
      if (!isProxyError(error, 'STORE_ABSENT') || tries >= LAST_TRIES_MAX) throw error;
    }
  }
}

/**
 * Makes a record live, durable when it resolves; returns what is in the store. Repeating it after a lost answer or a crash
 * is fine (the stamp may differ then). STORE_EXISTS: another record has this number, so another writer is at work.
 */
export async function appendCommit(store: ObjectStore, record: CommitRecord): Promise<CommitRecord> {
  const key = commitKey(record, record.number);
  try {
    await store.put(key, encodeCommit(record), { condition: { kind: 'absent' } });
    return record;
  } catch (error) {
    if (!isProxyError(error, 'STORE_EXISTS')) throw error;
    const found = decodeCommit(key, (await store.get(key)).bytes);
    const ours = encodeCommit({ ...record, committedAtMs: found.committedAtMs });
    if (Buffer.compare(encodeCommit(found), ours) !== 0) throw error;
    return found;
  }
}

const FENCE_TRIES_MAX = 100;

/**
 * Ends the right of whoever committed for this journal until now: a record that adds nothing takes the next number, so that a commit
 * on its way finds it taken. Resolves to the last position that is archived. Repeating it by the same taker is fine.
 */
export async function fenceCommits(
  store: ObjectStore,
  identity: JournalIdentity,
  by: JournalIdentity,
  nowMs: number,
): Promise<Position> {
  const fencedBy = `${by.replica}/${by.epoch}`;
  for (let tries = 1; ; tries++) {
    const latest = await lastCommit(store, identity);
    if (latest?.fencedBy === fencedBy) return latest.last;
    const last = latest?.last ?? 0;
    const number = (latest?.number ?? 0) + 1;
    const empty = { envelopes: {}, rawBytes: {}, committedAtMs: nowMs, adds: [], replaces: [] };
    const fence: CommitRecord = { format: 1, ...identity, number, first: last + 1, last, ...empty, fencedBy };
    try {
      await appendCommit(store, fence);
      return last;
    } catch (error) {
      if (!isProxyError(error, 'STORE_EXISTS') || tries >= FENCE_TRIES_MAX) throw error;
    }
  }
}

/** Journals that have commit records, by replica, then epoch; of one replica when given. */
export async function listJournals(reader: ObjectReader, replica?: string): Promise<JournalIdentity[]> {
  const prefix = replica === undefined ? COMMIT_PREFIX : `${COMMIT_PREFIX}${replica}/`;
  const found: JournalIdentity[] = [];
  let startAfter = '';
  for (;;) {
    let jumped = false;
    for await (const { key } of reader.list(prefix, { startAfter })) {
      startAfter = key;
      const identity = parseCommitKey(key)?.identity;
      if (!identity) continue;
      found.push(identity);
      // ':' follows '9': past all records of this journal without looking at each.
      startAfter = `${commitPrefix(identity)}:`;
      jumped = true;
      break;
    }
    if (!jumped) return found;
  }
}

/** 0 when the replica never committed anything. */
export async function highestEpoch(reader: ObjectReader, replica: string): Promise<number> {
  return (await listJournals(reader, replica)).at(-1)?.epoch ?? 0;
}

/** Undefined when it is no name of a commit record. */
export function parseCommitKey(key: string): { identity: JournalIdentity; number: number } | undefined {
  const form = KEY_FORM.exec(key);
  return form ? { identity: { replica: form[1]!, epoch: Number(form[2]) }, number: Number(form[3]) } : undefined;
}

async function readRecords(reader: ObjectReader, keys: string[]): Promise<CommitRecord[]> {
  return Promise.all(keys.map(async (key) => decodeCommit(key, (await reader.get(key)).bytes)));
}

function inSignalOrder(values: CommitRecord['envelopes']): CommitRecord['envelopes'] {
  const ordered: CommitRecord['envelopes'] = {};
  for (const signal of SIGNALS) if (values[signal] !== undefined) ordered[signal] = values[signal];
  return ordered;
}
