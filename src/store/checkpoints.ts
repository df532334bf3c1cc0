/**
 * Checkpoints of the commit log: what the records up to some number of each journal say, in one object, so that readers need not read
 * every record since the beginning. It follows from those records alone: any checkpoint stays right for ever, a later one holds
 * all that an earlier one does, and the records that it holds can go. Upkeep writes them, `checkpoints/<n>.json.gz`, dense from 1.
 */
import { gunzipSync, gzipSync } from 'node:zlib';
import { z } from 'zod';
import type { JournalIdentity, Position } from '../core/envelope.ts';
import { isProxyError, messageOf, ProxyError } from '../core/errors.ts';
import { MIB } from '../core/limits.ts';
import type { SegmentEntry } from './commit-log.ts';
import { entryShape, orderedEntry } from './commit-records.ts';
import type { ObjectReader, ObjectStore } from './object-store.ts';

export const CHECKPOINT_PREFIX = 'checkpoints/';

/** Until where a journal's records have been read. */
export interface JournalEnd extends JournalIdentity {
  /** Of its latest record. */
  number: number;
  /** Its last position that is archived. */
  last: Position;
}

export interface Checkpoint {
  format: 1;
  number: number;
  writtenAtMs: number;
  /** How many records it holds, over all time. */
  recordCount: number;
  /** Records 1 to `number` of each are held. */
  journals: JournalEnd[];
  live: { committedAtMs: number; entry: SegmentEntry }[];
  /** Keys that are live no more, and since when; those of objects that are gone are left out. */
  replaced: { key: string; atMs: number }[];
  /** Lists of hashes that records held here name, as far as they still matter. */
  hashes?: string[];
  /** Those of `replaced` that no record held here adds: one that does comes later, and must not bring them to life. */
  unseen: string[];
}

const KEY_FORM = /^checkpoints\/(\d{12})\.json\.gz$/;
/** Some 400 MB of text: what one string can hold. With more, records are left as they are. */
export const CHECKPOINT_SEGMENTS_MAX = 1_000_000;
const DECODED_BYTES_MAX = 512 * MIB;
const FIND_TRIES_MAX = 5;

const count = z.number().int().nonnegative();
const shape = z.strictObject({
  format: z.literal(1),
  number: count.min(1),
  writtenAtMs: z.number(),
  recordCount: count,
  journals: z.array(z.strictObject({ replica: z.string().min(1), epoch: count, number: count.min(1), last: count })),
  live: z.array(z.strictObject({ committedAtMs: z.number(), entry: entryShape })),
  replaced: z.array(z.strictObject({ key: z.string().min(1), atMs: z.number() })),
  hashes: z.array(z.string().min(1)).optional(),
  unseen: z.array(z.string().min(1)),
});

export function checkpointKey(number: number): string {
  return `${CHECKPOINT_PREFIX}${String(number).padStart(12, '0')}.json.gz`;
}

/** Numbers of those that are there, ascending. */
export async function listCheckpoints(reader: ObjectReader): Promise<number[]> {
  const numbers: number[] = [];
  for await (const { key } of reader.list(CHECKPOINT_PREFIX)) {
    const form = KEY_FORM.exec(key);
    if (form) numbers.push(Number(form[1]));
  }
  return numbers;
}

/** Undefined when there is none. STORE_INVALID when it is damaged. */
export async function latestCheckpoint(reader: ObjectReader): Promise<Checkpoint | undefined> {
  for (let tries = 1; ; tries++) {
    const number = (await listCheckpoints(reader)).at(-1);
    if (number === undefined) return undefined;
    try {
      return decodeCheckpoint(checkpointKey(number), (await reader.get(checkpointKey(number))).bytes);
    } catch (error) {
      // Removed since it was listed: there is a later one.
      if (!isProxyError(error, 'STORE_ABSENT') || tries >= FIND_TRIES_MAX) throw error;
    }
  }
}

/** STORE_EXISTS when this number is taken. */
export async function putCheckpoint(store: ObjectStore, checkpoint: Checkpoint): Promise<void> {
  const { live, ...rest } = checkpoint;
  const ordered = {
    ...rest,
    live: live.map(({ committedAtMs, entry }) => ({ committedAtMs, entry: orderedEntry(entry) })),
  };
  const bytes = gzipSync(`${JSON.stringify(ordered)}\n`);
  await store.put(checkpointKey(checkpoint.number), bytes, { condition: { kind: 'absent' } });
}

/** STORE_INVALID when the bytes are no checkpoint, or that of another number. */
export function decodeCheckpoint(key: string, bytes: Uint8Array): Checkpoint {
  let checkpoint: Checkpoint;
  try {
    const text = gunzipSync(bytes, { maxOutputLength: DECODED_BYTES_MAX }).toString('utf8');
    checkpoint = shape.parse(JSON.parse(text)) as Checkpoint;
  } catch (error) {
    throw new ProxyError('STORE_INVALID', `checkpoint ${key}: ${messageOf(error)}`, { cause: error });
  }
  if (checkpointKey(checkpoint.number) !== key) {
    throw new ProxyError('STORE_INVALID', `checkpoint ${key} says it is ${checkpointKey(checkpoint.number)}`);
  }
  return checkpoint;
}
