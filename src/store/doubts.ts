/**
 * Envelopes in doubt: acknowledged, but nobody knows whether the answer was heard (the process died, the sender had hung up). Their
 * sender may have come back to another replica, and then they are there twice. So each rests in segments of its own, and is left out
 * from the moment that the other is committed: an equal body, confirmed or in doubt itself, that another journal received later and
 * within the window. One excuses one: equal bodies that were sent on purpose stay.
 */
import type { SegmentEntry } from './commit-log.ts';
import { hashListTimes, readHashLists, shortHash } from './hash-lists.ts';
import type { ObjectReader } from './object-store.ts';

/** The longest that a sender's retry is waited for, and what clocks of replicas may differ. */
export const DOUBT_WINDOW_MS = 15 * 60_000;
export const DOUBT_SKEW_MS = 10 * 60_000;
/** By then every retry of it has been archived: flushes and takeovers included. */
export const DOUBT_SETTLED_MS = DOUBT_WINDOW_MS + 2 * 60 * 60_000;
/** No doubt that is not settled looks for hashes this old. */
export const HASHES_KEPT_MS = DOUBT_SETTLED_MS + 60 * 60_000;

/** Of bodies that are sent all the time there are many. */
const CANDIDATES_MAX = 64;

interface Received {
  receivedAtMs: number;
  journal: string;
}

/** One envelope in doubt. */
interface Doubt extends Received {
  /** Its rows of several hours lie in several segments. */
  keys: string[];
}

/** Keys of live segments that are left out. `hashLists`: those that commit records name. Nothing is read where nothing is in doubt. */
export async function doubtsLeftOut(
  reader: ObjectReader,
  entries: Iterable<SegmentEntry>,
  hashLists: Iterable<string>,
): Promise<Set<string>> {
  const byHash = new Map<string, Map<string, Doubt>>();
  let [oldestMs, youngestMs] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const { key, doubt } of entries) {
    if (!doubt) continue;
    const hash = shortHash(doubt.bodyHash);
    const doubts = byHash.get(hash) ?? new Map<string, Doubt>();
    byHash.set(hash, doubts);
    const id = `${doubt.journal}/${doubt.position}`;
    const one = doubts.get(id) ?? { ...doubt, keys: [] };
    one.keys.push(key);
    doubts.set(id, one);
    oldestMs = Math.min(oldestMs, doubt.receivedAtMs);
    youngestMs = Math.max(youngestMs, doubt.receivedAtMs);
  }
  if (byHash.size === 0) return new Set();
  const confirmed = new Map<string, Received[]>();
  const heard = new Set<string>();
  // Cut after the first retry can have come, begun before the last one can.
  const keys = [...hashLists].filter((key) => {
    const times = hashListTimes(key);
    const isBefore = times && times.cutAtMs < oldestMs - DOUBT_SKEW_MS;
    const isAfter = times && times.receivedMinMs > youngestMs + DOUBT_WINDOW_MS + DOUBT_SKEW_MS;
    return times && !isBefore && !isAfter;
  });
  for await (const { journal, envelopes, heard: places } of readHashLists(reader, keys, new Set(byHash.keys()))) {
    for (const [of, position] of places) heard.add(`${of}/${position}`);
    for (const { bodyHash, receivedAtMs } of envelopes) {
      const list = confirmed.get(bodyHash) ?? [];
      confirmed.set(bodyHash, list);
      list.push({ receivedAtMs, journal });
    }
  }
  const leftOut = new Set<string>();
  for (const [hash, doubts] of byHash) {
    const sure = confirmed.get(hash) ?? [];
    const inDoubt: Doubt[] = [];
    for (const [id, doubt] of doubts) {
      if (heard.has(id)) sure.push({ receivedAtMs: doubt.receivedAtMs, journal: doubt.journal });
      else inDoubt.push(doubt);
    }
    for (const key of leftOutOf(inDoubt, sure)) leftOut.add(key);
  }
  return leftOut;
}

/**
 * Each in doubt is followed by another equal one, and none follows two. Of such a chain the confirmed end stays, or else the first: the
 * others are the same envelope. Clocks differ, so the order of times is no proof: as many find a follower as can.
 */
function leftOutOf(doubts: readonly Doubt[], confirmed: readonly Received[]): string[] {
  const inOrder = (a: Received, b: Received): number =>
    a.receivedAtMs - b.receivedAtMs || (a.journal < b.journal ? -1 : a.journal > b.journal ? 1 : 0);
  const sorted = [...doubts].sort(inOrder);
  const all: (Doubt | Received)[] = [...sorted, ...confirmed].sort(inOrder);
  const candidates = new Map(
    sorted.map((doubt) => {
      const found = all.filter((one) => isRetry(doubt, one) && !('keys' in one && inOrder(one, doubt) <= 0));
      // What came later is likelier, the next most of all.
      const later = found.filter((one) => inOrder(doubt, one) < 0);
      const earlier = found.filter((one) => inOrder(doubt, one) >= 0).reverse();
      return [doubt, [...later, ...earlier].slice(0, CANDIDATES_MAX)];
    }),
  );
  const followed = new Map<Doubt | Received, Doubt>();
  const find = (doubt: Doubt, seen: Set<Doubt | Received>): boolean => {
    for (const one of candidates.get(doubt)!) {
      if (seen.has(one)) continue;
      seen.add(one);
      const before = followed.get(one);
      if (before && !find(before, seen)) continue;
      followed.set(one, doubt);
      return true;
    }
    return false;
  };
  for (const doubt of sorted) find(doubt, new Set());
  const next = new Map([...followed].map(([one, doubt]) => [doubt, one]));
  const leftOut: string[] = [];
  for (const first of sorted) {
    if (followed.has(first)) continue;
    const chain: Doubt[] = [];
    let end: Doubt | Received | undefined = first;
    for (; end && 'keys' in end; end = next.get(end)) chain.push(end);
    for (const { keys } of end ? chain : chain.slice(1)) leftOut.push(...keys);
  }
  return leftOut;
}

/** Whether `later` may be what the sender came back with. */
function isRetry(doubt: Received, later: Received): boolean {
  const afterMs = later.receivedAtMs - doubt.receivedAtMs;
  return later.journal !== doubt.journal && afterMs >= -DOUBT_SKEW_MS && afterMs <= DOUBT_WINDOW_MS + DOUBT_SKEW_MS;
}
