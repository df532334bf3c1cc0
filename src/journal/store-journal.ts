/**
 * The journal in the shared object store, for `DURABILITY=store`: acknowledged once the chunk that holds an envelope is an object there,
 * so that losing this replica and its disk loses nothing. Consumers are fed from memory; what memory does not hold any more is read
 * back from its chunk. Their positions rest nowhere: what the archive has stored its commit records tell, and what a destination may
 * not have yet is sent again. A chunk is deleted once every consumer has passed it, strictly in order of sequence, and the newest one
 * stays as long as the journal is not finished: whoever takes over finds where the sequence stands.
 */
import type { Envelope, JournalEntry, JournalIdentity, Position } from '../core/envelope.ts';
import { messageOf, ProxyError } from '../core/errors.ts';
import { type ChunkStore, chunkKey, decodeChunk, encodeChunk, putChunk } from './chunk.ts';
import { ChunkIndex, type IndexedChunk } from './chunk-index.ts';
import { ChunkWriter } from './chunk-writer.ts';
import { encodeFrame } from './frame.ts';
import type {
  AppendResult,
  HeardEnvelope,
  Journal,
  JournalConsumer,
  JournalUsage,
  ReadLimits,
  UnconfirmedEnvelope,
} from './journal.ts';
import type { StoreJournalOptions } from './journal-options.ts';
import { MemoryConsumers } from './memory-consumers.ts';
import { PositionWaiters } from './position-waiters.ts';
import { RecentEntries } from './recent-entries.ts';

const FIRST_SEQUENCE = 1;
/** What an entry weighs besides its body: its head, roughly. */
const HEAD_BYTES = 1024;
const DELETE_AGAIN_AFTER_MS = 5_000;
/** So long is an answer waited for that is being sent while its envelope is archived. */
const ANSWERS_WITHIN_MS = 1_000;
const ANSWERS_LOOK_EVERY_MS = 50;
const HEARD_LATE_MAX = 4096;
/** How long closing waits for the store before what is not durable is refused. */
const CLOSE_WITHIN_MS = 5_000;

/** A new life: nothing of another epoch is looked at. STORE_EXISTS when the epoch is not ours alone. */
export async function openStoreJournal(options: StoreJournalOptions): Promise<Journal> {
  const mark = Buffer.from(options.random.bytes(4)).readUInt32LE(0);
  const { store, identity } = options;
  const empty = encodeChunk({ mark, epoch: identity.epoch, first: 1 }, []);
  await putChunk(store, chunkKey(identity, FIRST_SEQUENCE), empty);
  const opening = { sequence: FIRST_SEQUENCE, first: 1, last: 0, sizeBytes: empty.byteLength };
  return new StoreJournal(options, mark, { ...opening, frameBytes: [], receivedAtMs: [] });
}

class StoreJournal implements Journal {
  readonly identity: JournalIdentity;
  readonly #options: StoreJournalOptions;
  readonly #store: ChunkStore;
  readonly #mark: number;
  readonly #writer: ChunkWriter;
  readonly #index = new ChunkIndex();
  readonly #recent: RecentEntries;
  readonly #consumers = new MemoryConsumers({
    end: () => this.#end,
    assertOpen: () => this.#assertReadable(),
    onMoved: () => this.#free(),
  });
  readonly #waiters = new PositionWaiters();
  /** The chunk that was read back last: consumers read one after another. */
  #loaded: { sequence: number; entries: JournalEntry[] } | undefined;
  /** Not known to have been heard, of what is not archived yet. */
  readonly #unheard = new Map<Position, UnconfirmedEnvelope>();
  readonly #heardLate: HeardEnvelope[] = [];
  /** Up to here it was asked what is doubtful. */
  #askedTo: Position = 0;
  #end: Position = 0;
  /** All before it are passed by every consumer. */
  #start: Position = 1;
  #quarantinedFrames = 0;
  #state: 'open' | 'failed' | 'closing' | 'closed' = 'open';
  #deleting: Promise<void> | undefined;
  #closing: Promise<void> | undefined;
  readonly #stopping = new AbortController();

  constructor(options: StoreJournalOptions, mark: number, opening: IndexedChunk) {
    const { store, identity, clock, random, log, chunkAfterMs, chunkBytesMax } = options;
    this.#options = options;
    this.#store = store;
    this.#mark = mark;
    this.identity = identity;
    this.#recent = new RecentEntries(options.recentBytesMax);
    this.#index.add(opening);
    options.metrics.journalBudgetBytes.set(options.budgetBytes);
    this.#writer = new ChunkWriter(
      {
        store,
        identity,
        mark,
        clock,
        random,
        log,
        chunkAfterMs,
        chunkBytesMax,
        onDurable: (chunk, entries) => this.#durable(chunk, entries),
        onFailed: (error) => this.#fail(error),
      },
      opening.sequence + 1,
    );
  }

  append(envelope: Envelope): Promise<AppendResult> {
    const { metrics, sealer, clock, budgetBytes, patienceMs } = this.#options;
    const { head, body } = envelope;
    const frame = head.sealedBody ? encodeFrame(head, sealer.seal(body)) : encodeFrame(head, body, envelope.bodyCrc);
    const isFull = this.#bytes() + frame.totalBytes > budgetBytes || this.#writer.failingForMs > patienceMs;
    const reason = this.#state !== 'open' ? 'closed' : isFull ? 'full' : undefined;
    if (reason) {
      metrics.journalRefused.inc({ reason });
      return Promise.resolve({ ok: false, reason });
    }
    const askedAtMs = clock.monotonicMs();
    return new Promise((resolve) => {
      this.#writer.add({
        frame,
        entry: { position: 0, head, body },
        settle: (position) => {
          if (position === undefined) return resolve({ ok: false, reason: 'closed' });
          metrics.journalAppendSeconds.observe((clock.monotonicMs() - askedAtMs) / 1000);
          resolve({ ok: true, position });
        },
      });
      metrics.journalBytes.set(this.#bytes());
    });
  }

  #bytes(): number {
    return this.#index.bytes + this.#writer.bytes;
  }

  #durable(chunk: IndexedChunk, entries: JournalEntry[]): void {
    this.#options.metrics.journalGroupSize.inc();
    this.#index.add(chunk);
    for (const entry of entries) {
      this.#recent.add(entry);
      const { position, head } = entry;
      const { bodyHash, receivedAtMs } = head;
      this.#unheard.set(position, { position, bodyHash, receivedAtMs });
    }
    this.#end = chunk.last;
    this.#waiters.reach(this.#end);
    // The one before may have waited for a newer one.
    this.#free();
  }

  #fail(error: ProxyError): void {
    if (this.#state !== 'open') return;
    this.#state = 'failed';
    const isFenced = error.code === 'STORE_EXISTS';
    this.#options.log.error(
      { reason: messageOf(error), ...this.identity },
      isFenced ? 'another replica has taken this journal over: nothing more is accepted' : 'the journal failed',
    );
    if (isFenced) this.#options.onFenced();
  }

  async read(from: Position, limits: ReadLimits): Promise<JournalEntry[]> {
    this.#assertReadable();
    const found: JournalEntry[] = [];
    let bytes = 0;
    for (let position = Math.max(from, this.#start); position <= this.#end; position += 1) {
      if (found.length >= limits.entriesMax) break;
      const entry = this.#recent.get(position) ?? (await this.#readBack(position));
      if (!entry) continue;
      bytes += entry.body.byteLength + HEAD_BYTES;
      if (found.length > 0 && bytes > limits.bytesMax) break;
      found.push(entry);
    }
    return found;
  }

  /** Undefined: its frame is damaged. */
  async #readBack(position: Position): Promise<JournalEntry | undefined> {
    const chunk = this.#index.find(position);
    if (!chunk || chunk.first > position) return undefined;
    if (this.#loaded?.sequence !== chunk.sequence) {
      const { bytes } = await this.#store.get(chunkKey(this.identity, chunk.sequence));
      const decoded = decodeChunk(bytes, this.#options.sealer);
      if (!decoded || decoded.mark !== this.#mark) {
        throw new ProxyError('JOURNAL_CORRUPT', `chunk ${chunk.sequence} is not what was put`);
      }
      const missing = chunk.last - chunk.first + 1 - decoded.entries.length;
      if (missing > 0) {
        this.#quarantinedFrames += missing;
        this.#options.log.error({ sequence: chunk.sequence, missing }, 'a journal chunk is damaged');
      }
      this.#loaded = { sequence: chunk.sequence, entries: decoded.entries };
    }
    return this.#loaded!.entries[position - chunk.first];
  }

  waitFor(position: Position, signal: AbortSignal): Promise<boolean> {
    return this.#waiters.wait(position, this.#end, signal);
  }

  async consumer(name: string, from: 'start' | 'end'): Promise<JournalConsumer> {
    return this.#consumers.open(name, () => (from === 'start' ? this.#start - 1 : this.#end));
  }

  consumers(): string[] {
    return this.#consumers.names();
  }

  async retire(name: string): Promise<void> {
    this.#consumers.retire(name);
  }

  #free(): void {
    this.#start = Math.max(this.#start, (this.#consumers.passed() ?? 0) + 1);
    for (const position of this.#unheard.keys()) {
      if (position >= this.#start) break;
      this.#unheard.delete(position);
    }
    this.#options.metrics.journalBytes.set(this.#bytes());
    this.#deleting ??= this.#deletePassed().finally(() => {
      this.#deleting = undefined;
    });
  }

  /** One after the other: a gap would be taken for the end. */
  async #deletePassed(): Promise<void> {
    const { clock, log, metrics } = this.#options;
    for (;;) {
      const { oldest } = this.#index;
      if (!oldest || this.#index.count < 2 || oldest.last >= this.#start || this.#stopping.signal.aborted) return;
      try {
        await this.#store.delete(chunkKey(this.identity, oldest.sequence));
        this.#index.dropOldest();
        metrics.journalBytes.set(this.#bytes());
      } catch (error) {
        log.warn({ reason: messageOf(error), sequence: oldest.sequence }, 'a passed chunk could not be deleted yet');
        await clock.sleep(DELETE_AGAIN_AFTER_MS, this.#stopping.signal).catch(() => {});
      }
    }
  }

  confirm(position: Position, epoch?: number): void {
    this.#writer.confirm(position, epoch);
    const wasWaiting = epoch === undefined && this.#unheard.delete(position);
    // It may have been archived as doubtful: others must not take what comes later for its retry.
    if (wasWaiting || (epoch === undefined && position > this.#askedTo)) return;
    this.#heardLate.push({ epoch: epoch ?? this.identity.epoch, position });
    if (this.#heardLate.length > HEARD_LATE_MAX) this.#heardLate.shift();
  }

  heardLate(): HeardEnvelope[] {
    return this.#heardLate.splice(0);
  }

  async doubtful(first: Position, last: Position): Promise<UnconfirmedEnvelope[]> {
    const { clock } = this.#options;
    const within = (): UnconfirmedEnvelope[] =>
      [...this.#unheard.values()].filter(({ position }) => position >= first && position <= last);
    for (let waitedMs = 0; waitedMs < ANSWERS_WITHIN_MS && within().length > 0; waitedMs += ANSWERS_LOOK_EVERY_MS) {
      await clock.sleep(ANSWERS_LOOK_EVERY_MS, this.#stopping.signal).catch(() => {});
      if (this.#stopping.signal.aborted) break;
    }
    const found = within();
    this.#askedTo = Math.max(this.#askedTo, last);
    // What is archived as doubtful stays so, whatever is heard later.
    for (const position of this.#unheard.keys()) if (position <= last) this.#unheard.delete(position);
    return found;
  }

  unconfirmedAtOpen(): UnconfirmedEnvelope[] {
    return this.#options.unheard;
  }

  backlog(position: Position): { entries: number; bytes: number; oldestReceivedAtMs: number | undefined } {
    return this.#index.backlog(Math.max(position, this.#start - 1));
  }

  usage(): JournalUsage {
    return {
      bytes: this.#bytes(),
      budgetBytes: this.#options.budgetBytes,
      files: this.#index.count,
      end: this.#end,
      start: this.#start,
      oldestReceivedAtMs: this.#index.backlog(this.#start - 1).oldestReceivedAtMs,
      quarantinedFrames: this.#quarantinedFrames,
      writable: this.#state === 'open' && this.#writer.failingForMs <= this.#options.patienceMs,
    };
  }

  #assertReadable(): void {
    if (this.#state === 'closing' || this.#state === 'closed') {
      throw new ProxyError('JOURNAL_CLOSED', 'the journal was closed');
    }
  }

  close(isOwing = false): Promise<void> {
    this.#closing ??= this.#close(isOwing);
    return this.#closing;
  }

  async #close(isOwing: boolean): Promise<void> {
    const isSound = this.#state === 'open' && !isOwing;
    this.#state = 'closing';
    const { clock } = this.#options;
    const cancelling = new AbortController();
    const late = clock.sleep(CLOSE_WITHIN_MS, cancelling.signal).catch(() => {});
    await Promise.race([this.#writer.flush(), late]);
    this.#writer.stop();
    this.#waiters.close();
    await Promise.race([this.#deleting, late]);
    this.#stopping.abort();
    await this.#deleting;
    // Finished: nobody has to take anything over.
    if (isSound && this.#consumers.passed() === this.#end) await Promise.race([this.#deleteAll(), late]);
    cancelling.abort();
    this.#recent.clear();
    this.#state = 'closed';
  }

  async #deleteAll(): Promise<void> {
    for (let { oldest } = this.#index; oldest; { oldest } = this.#index) {
      try {
        await this.#store.delete(chunkKey(this.identity, oldest.sequence));
      } catch (error) {
        this.#options.log.warn(
          { reason: messageOf(error) },
          'the last chunk could not be deleted: another replica will look at it',
        );
        return;
      }
      this.#index.dropOldest();
    }
  }
}
