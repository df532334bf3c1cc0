/**
 * What the earlier lives of a replica had acknowledged when they ended without knowing that the answer was heard: their senders may come
 * back with it. Read before the next life listens, since senders come back at once; another replica may be finishing them meanwhile.
 */
import type { JournalIdentity, Position } from '../core/envelope.ts';
import { isProxyError } from '../core/errors.ts';
import { type ChunkStore, chunkPrefix, decodeChunk } from './chunk.ts';
import type { UnconfirmedEnvelope } from './journal.ts';

/** What is older was confirmed by these, or is so doubtful that no sender waits for it any more. */
const CHUNKS_READ_MAX = 16;

/** Only heads are looked at. */
const UNOPENED = { open: (sealed: Uint8Array) => sealed };

/** Of the lives of one replica. Received at `sinceMs` (wall clock) or later. */
export async function unheardOf(
  store: ChunkStore,
  lives: readonly JournalIdentity[],
  sinceMs: number,
): Promise<UnconfirmedEnvelope[]> {
  const unheard = new Map<number, Map<Position, UnconfirmedEnvelope>>();
  // A later life tells what it heard of an earlier one.
  for (const life of lives.toSorted((one, other) => one.epoch - other.epoch)) {
    const own = new Map<Position, UnconfirmedEnvelope>();
    unheard.set(life.epoch, own);
    for (const key of await lastKeysOf(store, life)) {
      const chunk = decodeChunk(await bytesOf(store, key), UNOPENED);
      for (const { position, head } of chunk?.entries ?? []) {
        const { bodyHash, requestId, receivedAtMs } = head;
        if (receivedAtMs < sinceMs) continue;
        own.set(position, { position, epoch: life.epoch, bodyHash, receivedAtMs, ...(requestId ? { requestId } : {}) });
      }
      for (const [first, last, epoch = life.epoch] of chunk?.heard ?? []) {
        const among = unheard.get(epoch);
        for (let position = first; among && position <= last; position++) among.delete(position);
      }
    }
  }
  return [...unheard.values()].flatMap((of) => [...of.values()]);
}

async function lastKeysOf(store: ChunkStore, life: JournalIdentity): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(chunkPrefix(life))) {
    keys.push(key);
    if (keys.length > CHUNKS_READ_MAX) keys.shift();
  }
  return keys;
}

async function bytesOf(store: ChunkStore, key: string): Promise<Uint8Array> {
  try {
    return (await store.get(key)).bytes;
  } catch (error) {
    // Somebody has just finished it.
    if (isProxyError(error, 'STORE_ABSENT')) return new Uint8Array(0);
    throw error;
  }
}
