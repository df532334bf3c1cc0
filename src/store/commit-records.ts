/**
 * Reading and writing commit records (shape and keys: commit-log.ts). A record is JSON with one form only, so that equal
 * records are equal bytes. Numbers of one journal are dense: a gap is an error, since rows would be missed silently.
 */
import { z } from 'zod';
import { type JournalIdentity, type Position, SIGNALS } from '../core/envelope.ts';
import { isProxyError, messageOf, ProxyError } from '../core/errors.ts';
import { type CommitRecord, commitKey, commitPrefix } from './commit-log.ts';
import type { ObjectReader, ObjectStore } from './object-store.ts';

/** Records fetched at once. */
const READ_AHEAD = 16;

const KEY_FORM = /^commits\/([^/]+)\/(\d{10})\/(\d{12})\.json$/;

const count = z.number().int().nonnegative();
const perSignal = z.strictObject(Object.fromEntries(SIGNALS.map((signal) => [signal, count.optional()])));
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
  adds: z.array(
    z.strictObject({
      key: z.string().min(1),
      tenant: z.string(),
      signal: z.enum(SIGNALS),
      tier: z.enum(['hot', 'warm', 'cold']),
      rowCount: count,
      sizeBytes: count,
      crc32: count.optional(),
      timeMinMs: z.number(),
      timeMaxMs: z.number(),
    }),
  ),
  replaces: z.array(z.string().min(1)),
  fencedBy: z.string().min(1).optional(),
});

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
    adds: record.adds.map((entry) => ({
      key: entry.key,
      tenant: entry.tenant,
      signal: entry.signal,
      tier: entry.tier,
      rowCount: entry.rowCount,
      sizeBytes: entry.sizeBytes,
      ...(entry.crc32 === undefined ? {} : { crc32: entry.crc32 }),
      timeMinMs: entry.timeMinMs,
      timeMaxMs: entry.timeMaxMs,
    })),
    replaces: record.replaces,
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

/**
 * All records in order: of one journal, or of every journal one after another (by replica, then epoch). Goes on after
 * `afterNumber` when given with an identity. STORE_INVALID on a gap or a damaged record.
 */
export async function* readCommits(
  reader: ObjectReader,
  identity?: JournalIdentity,
  afterNumber = 0,
): AsyncGenerator<CommitRecord> {
  const prefix = identity ? commitPrefix(identity) : 'commits/';
  const from = identity && afterNumber > 0 ? { startAfter: commitKey(identity, afterNumber) } : {};
  let journal = identity ? prefix : '';
  let expected = afterNumber + 1;
  let keys: string[] = [];
  for await (const { key } of reader.list(prefix, from)) {
    const form = KEY_FORM.exec(key);
    if (!form) continue;
    const ownJournal = key.slice(0, key.lastIndexOf('/') + 1);
    if (ownJournal !== journal) {
      journal = ownJournal;
      expected = 1;
    }
    if (Number(form[3]) !== expected) {
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
    let latest: CommitRecord | undefined;
    for await (const record of readCommits(store, identity)) latest = record;
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
  const prefix = replica === undefined ? 'commits/' : `commits/${replica}/`;
  const found: JournalIdentity[] = [];
  let startAfter = '';
  for (;;) {
    let jumped = false;
    for await (const { key } of reader.list(prefix, { startAfter })) {
      startAfter = key;
      const form = KEY_FORM.exec(key);
      if (!form) continue;
      const identity = { replica: form[1]!, epoch: Number(form[2]) };
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

async function readRecords(reader: ObjectReader, keys: string[]): Promise<CommitRecord[]> {
  return Promise.all(keys.map(async (key) => decodeCommit(key, (await reader.get(key)).bytes)));
}

function inSignalOrder(values: CommitRecord['envelopes']): CommitRecord['envelopes'] {
  const ordered: CommitRecord['envelopes'] = {};
  for (const signal of SIGNALS) if (values[signal] !== undefined) ordered[signal] = values[signal];
  return ordered;
}
