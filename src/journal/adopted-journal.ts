/**
 * What a dead replica's journal in the store still holds, to be finished by another. First of all a fence is put where its next chunk
 * would stand: the dead one, should it wake up, meets foreign bytes there and knows that it is over. What lies behind the first gap was
 * never acknowledged, and is left alone. Nothing is appended here; the chunks go once all is done, the fence later (`forgetJournal`).
 */
import type { JournalEntry, JournalIdentity, Position } from '../core/envelope.ts';
import { isProxyError, ProxyError } from '../core/errors.ts';
import type { Sealer } from '../core/sealer.ts';
import type { Log } from '../telemetry/log.ts';
import {
  type ChunkStore,
  chunkKey,
  chunkPrefix,
  decodeChunk,
  decodeFence,
  encodeFence,
  type Fence,
  parseChunkKey,
} from './chunk.ts';
import { ChunkIndex } from './chunk-index.ts';
import type {
  AppendResult,
  HeardEnvelope,
  Journal,
  JournalConsumer,
  JournalUsage,
  ReadLimits,
  UnconfirmedEnvelope,
} from './journal.ts';
import { MemoryConsumers } from './memory-consumers.ts';

export interface AdoptedJournalOptions {
  store: ChunkStore;
  /** Of the dead. */
  identity: JournalIdentity;
  by: Fence;
  /** Asked once the fence is there: all up to here is in commit records. */
  archivedTo: () => Promise<Position>;
  archiveConsumer: string;
  sealer: Sealer;
  log: Log;
}

export interface AdoptedJournal extends Journal {
  /** Deletes what was adopted. Only once every consumer is done. */
  finish(): Promise<void>;
}

/** A journal of more chunks is not looked through: the listing goes on behind it. */
const CHUNKS_LISTED_MAX = 500;
const HEARD_LATE_MAX = 4096;

/** Journals that have objects in the store, by replica, then epoch. Mostly one request. */
export async function listChunkJournals(store: Pick<ChunkStore, 'list'>): Promise<JournalIdentity[]> {
  const found: JournalIdentity[] = [];
  for (let startAfter: string | undefined = ''; startAfter !== undefined; ) {
    startAfter = await listOnce(store, startAfter, found);
  }
  return found;
}

/** Undefined: that was all. Else where to go on. */
async function listOnce(
  store: Pick<ChunkStore, 'list'>,
  startAfter: string,
  found: JournalIdentity[],
): Promise<string | undefined> {
  let count = 0;
  for await (const { key } of store.list('journal/', { startAfter })) {
    const next = parseChunkKey(key);
    if (!next) continue;
    const last = found.at(-1);
    if (last?.replica !== next.replica || last.epoch !== next.epoch) {
      found.push({ replica: next.replica, epoch: next.epoch });
      count = 0;
    }
    count += 1;
    // ':' follows '9': past all chunks of this journal.
    if (count > CHUNKS_LISTED_MAX) return `${chunkPrefix(next)}:`;
  }
  return undefined;
}

/**
 * Deletes the fence of a journal that was finished long ago, and what stands behind it, which was never acknowledged. Whoever may still
 * come back from that life finds no fence then: what it writes is taken over once more, and its commits meet the fence among commits.
 */
export async function forgetJournal(store: ChunkStore, identity: JournalIdentity): Promise<void> {
  const keys: string[] = [];
  for await (const { key } of store.list(chunkPrefix(identity))) keys.push(key);
  // The fence goes last: without it the rest would look like a journal.
  for (const key of keys.reverse()) await store.delete(key);
}

/** Undefined: it was finished before. */
export async function adoptJournal(options: AdoptedJournalOptions): Promise<AdoptedJournal | undefined> {
  const { store, identity, sealer } = options;
  let sequence = 0;
  for await (const { key } of store.list(chunkPrefix(identity))) {
    sequence = parseChunkKey(key)?.sequence ?? 0;
    if (sequence > 0) break;
  }
  if (sequence === 0) return undefined;
  const index = new ChunkIndex();
  const unheard = new Map<Position, UnconfirmedEnvelope>();
  const heardLate: HeardEnvelope[] = [];
  let quarantined = 0;
  for (; ; sequence++) {
    const bytes = await chunkOrFence(options, sequence);
    if (!bytes) {
      const behind = await acknowledgedBehind(options, sequence);
      if (behind === undefined) break;
      sequence = behind - 1;
      continue;
    }
    const chunk = decodeChunk(bytes, sealer);
    if (!chunk) throw new ProxyError('JOURNAL_CORRUPT', `${chunkKey(identity, sequence)} is neither chunk nor fence`);
    if (chunk.damagedBytes > 0) {
      quarantined += 1;
      options.log.error({ ...identity, sequence, bytes: chunk.damagedBytes }, 'an adopted chunk is damaged');
    }
    index.add({
      sequence,
      first: chunk.first,
      last: chunk.first + chunk.entries.length - 1,
      sizeBytes: bytes.byteLength,
      frameBytes: chunk.frameBytes,
      receivedAtMs: chunk.entries.map(({ head }) => head.receivedAtMs),
    });
    for (const { position, head } of chunk.entries) {
      unheard.set(position, { position, bodyHash: head.bodyHash, receivedAtMs: head.receivedAtMs });
    }
    for (const [from, to, epoch = identity.epoch] of chunk.heard) {
      for (let position = from; position <= to; position++) {
        if (epoch !== identity.epoch || !unheard.delete(position)) heardLate.push({ epoch, position });
      }
    }
    heardLate.splice(0, heardLate.length - HEARD_LATE_MAX);
  }
  if (index.count === 0) return undefined;
  return new Adopted(options, await options.archivedTo(), index, quarantined, [...unheard.values()], heardLate);
}

/** The chunk; undefined: here it ends, by a fence of ours or of an adopter before us. */
async function chunkOrFence(
  { store, identity, by }: AdoptedJournalOptions,
  sequence: number,
): Promise<Uint8Array | undefined> {
  const key = chunkKey(identity, sequence);
  for (;;) {
    try {
      const { bytes } = await store.get(key);
      return decodeFence(bytes) ? undefined : bytes;
    } catch (error) {
      if (!isProxyError(error, 'STORE_ABSENT')) throw error;
    }
    try {
      await store.put(key, encodeFence(by), { condition: { kind: 'absent' } });
      return undefined;
    } catch (error) {
      // What was on its way came first: it counts.
      if (!isProxyError(error, 'STORE_EXISTS')) throw error;
    }
  }
}

/**
 * Where the journal goes on behind a fence, if it does. What follows a number that was never written was never acknowledged; but the
 * number may be one that its owner has deleted a moment ago, all of it archived, and what follows is as good as any: its first
 * position tells.
 */
async function acknowledgedBehind(options: AdoptedJournalOptions, fenced: number): Promise<number | undefined> {
  const { store, identity, sealer } = options;
  for await (const { key } of store.list(chunkPrefix(identity), { startAfter: chunkKey(identity, fenced) })) {
    const sequence = parseChunkKey(key)?.sequence;
    if (sequence === undefined) continue;
    let bytes: Uint8Array;
    try {
      ({ bytes } = await store.get(key));
    } catch (error) {
      // Deleted as well.
      if (isProxyError(error, 'STORE_ABSENT')) continue;
      throw error;
    }
    if (decodeFence(bytes)) continue;
    const chunk = decodeChunk(bytes, sealer);
    if (!chunk) throw new ProxyError('JOURNAL_CORRUPT', `${key} is neither chunk nor fence`);
    return chunk.first - 1 <= (await options.archivedTo()) ? sequence : undefined;
  }
  return undefined;
}

class Adopted implements AdoptedJournal {
  readonly identity: JournalIdentity;
  readonly #options: AdoptedJournalOptions;
  readonly #index: ChunkIndex;
  readonly #consumers = new MemoryConsumers({
    end: () => this.#end,
    assertOpen: () => this.#assertOpen(),
    // The chunks go all at once, at the end.
    onMoved: () => {},
  });
  readonly #start: Position;
  readonly #end: Position;
  readonly #quarantined: number;
  readonly #archivedTo: Position;
  readonly #unheard: readonly UnconfirmedEnvelope[];
  readonly #heardLate: HeardEnvelope[];
  #loaded: { sequence: number; entries: JournalEntry[] } | undefined;
  #isClosed = false;

  constructor(
    options: AdoptedJournalOptions,
    archivedTo: Position,
    index: ChunkIndex,
    quarantined: number,
    unheard: readonly UnconfirmedEnvelope[],
    heardLate: HeardEnvelope[],
  ) {
    this.#options = options;
    this.identity = options.identity;
    this.#index = index;
    this.#quarantined = quarantined;
    this.#unheard = unheard;
    this.#heardLate = heardLate;
    this.#start = index.oldest!.first;
    this.#archivedTo = archivedTo;
    this.#end = Math.max(archivedTo, index.end);
  }

  append(): Promise<AppendResult> {
    return Promise.resolve({ ok: false, reason: 'closed' });
  }

  async read(from: Position, limits: ReadLimits): Promise<JournalEntry[]> {
    this.#assertOpen();
    const found: JournalEntry[] = [];
    let bytes = 0;
    for (let position = Math.max(from, this.#start); position <= this.#end && found.length < limits.entriesMax; ) {
      const chunk = this.#index.find(position);
      if (!chunk) break;
      position = Math.max(position, chunk.first);
      if (this.#loaded?.sequence !== chunk.sequence) {
        const got = await this.#options.store.get(chunkKey(this.identity, chunk.sequence));
        this.#loaded = {
          sequence: chunk.sequence,
          entries: decodeChunk(got.bytes, this.#options.sealer)?.entries ?? [],
        };
      }
      const entry = this.#loaded.entries[position - chunk.first];
      if (!entry) throw new ProxyError('JOURNAL_CORRUPT', `${chunkKey(this.identity, chunk.sequence)} has changed`);
      bytes += chunk.frameBytes[position - chunk.first]!;
      if (found.length > 0 && bytes > limits.bytesMax) break;
      found.push(entry);
      position += 1;
    }
    return found;
  }

  async waitFor(position: Position, signal: AbortSignal): Promise<boolean> {
    if (position <= this.#end) return true;
    // Nothing more will come.
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      else signal.addEventListener('abort', () => resolve(), { once: true });
    });
    return false;
  }

  async consumer(name: string, from: 'start' | 'end'): Promise<JournalConsumer> {
    const begin = this.#start - 1;
    const archived = name === this.#options.archiveConsumer ? Math.max(this.#archivedTo, begin) : begin;
    return this.#consumers.open(name, () => (from === 'end' ? this.#end : archived));
  }

  consumers(): string[] {
    return this.#consumers.names();
  }

  async retire(name: string): Promise<void> {
    this.#consumers.retire(name);
  }

  confirm(): void {}

  /** The last answers before the end were told nowhere. */
  async doubtful(first: Position, last: Position): Promise<UnconfirmedEnvelope[]> {
    return this.#unheard.filter(({ position }) => position >= first && position <= last);
  }

  /** What its owner had heard of, and told nobody but its chunks. */
  heardLate(): HeardEnvelope[] {
    return this.#heardLate.splice(0);
  }

  unconfirmedAtOpen(): [] {
    return [];
  }

  backlog(position: Position): { entries: number; bytes: number; oldestReceivedAtMs: number | undefined } {
    return this.#index.backlog(position);
  }

  usage(): JournalUsage {
    return {
      bytes: this.#index.bytes,
      budgetBytes: this.#index.bytes,
      files: this.#index.count,
      end: this.#end,
      start: this.#start,
      oldestReceivedAtMs: this.#index.backlog(this.#start - 1).oldestReceivedAtMs,
      quarantinedFrames: this.#quarantined,
      writable: false,
    };
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new ProxyError('JOURNAL_CLOSED', 'the journal was closed');
  }

  async close(): Promise<void> {
    this.#isClosed = true;
  }

  async finish(): Promise<void> {
    if ((this.#consumers.passed() ?? this.#end) < this.#end) {
      throw new Error('BUG: an adopted journal is finished before its consumers are');
    }
    await this.close();
    // In order: whoever comes next must find the rest without a gap.
    for (let { oldest } = this.#index; oldest; { oldest } = this.#index) {
      await this.#options.store.delete(chunkKey(this.identity, oldest.sequence));
      this.#index.dropOldest();
    }
  }
}
