/**
 * What a dead replica's journal in the store still holds, to be finished by another. First of all a fence is put where its next chunk
 * would stand: the dead one, should it wake up, meets foreign bytes there and knows that it is over. What lies behind the first gap was
 * never acknowledged, and is left alone. Nothing is appended here; the chunks go once all is done, the fence stays.
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
import type { AppendResult, Journal, JournalConsumer, JournalUsage, ReadLimits } from './journal.ts';
import { MemoryConsumer } from './memory-consumer.ts';

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

/** Journals that have objects in the store, by replica, then epoch. */
export async function listChunkJournals(store: Pick<ChunkStore, 'list'>): Promise<JournalIdentity[]> {
  const found: JournalIdentity[] = [];
  for (let startAfter = ''; ; ) {
    let next: JournalIdentity | undefined;
    for await (const { key } of store.list('journal/', { startAfter })) {
      startAfter = key;
      next = parseChunkKey(key);
      if (next) break;
    }
    if (!next) return found;
    found.push({ replica: next.replica, epoch: next.epoch });
    // ':' follows '9': past all chunks of this journal without looking at each.
    startAfter = `${chunkPrefix(next)}:`;
  }
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
  let quarantined = 0;
  for (; ; sequence++) {
    const bytes = await chunkOrFence(options, sequence);
    if (!bytes) break;
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
  }
  if (index.count === 0) return undefined;
  return new Adopted(options, await options.archivedTo(), index, quarantined);
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

class Adopted implements AdoptedJournal {
  readonly identity: JournalIdentity;
  readonly #options: AdoptedJournalOptions;
  readonly #index: ChunkIndex;
  readonly #consumers = new Map<string, MemoryConsumer>();
  readonly #start: Position;
  readonly #end: Position;
  readonly #quarantined: number;
  readonly #archivedTo: Position;
  #loaded: { sequence: number; entries: JournalEntry[] } | undefined;
  #isClosed = false;

  constructor(options: AdoptedJournalOptions, archivedTo: Position, index: ChunkIndex, quarantined: number) {
    this.#options = options;
    this.identity = options.identity;
    this.#index = index;
    this.#quarantined = quarantined;
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
    const known = this.#consumers.get(name);
    if (known) return known;
    const { archiveConsumer } = this.#options;
    const begin = this.#start - 1;
    const position = from === 'end' ? this.#end : name === archiveConsumer ? Math.max(this.#archivedTo, begin) : begin;
    const consumer = new MemoryConsumer(name, position, (next) => {
      this.#assertOpen();
      if (!Number.isSafeInteger(next) || next > this.#end) {
        throw new Error(`BUG: consumer ${name} commits ${next}, the journal ends at ${this.#end}`);
      }
      return () => {};
    });
    this.#consumers.set(name, consumer);
    return consumer;
  }

  consumers(): string[] {
    return [...this.#consumers.keys()].sort();
  }

  async retire(name: string): Promise<void> {
    this.#consumers.delete(name);
  }

  confirm(): void {}

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
    for (const { name, state } of this.#consumers.values()) {
      if (state.position < this.#end) throw new Error(`BUG: consumer ${name} is not done with an adopted journal`);
    }
    await this.close();
    // In order: whoever comes next must find the rest without a gap.
    for (let { oldest } = this.#index; oldest; { oldest } = this.#index) {
      await this.#options.store.delete(chunkKey(this.identity, oldest.sequence));
      this.#index.dropOldest();
    }
  }
}
