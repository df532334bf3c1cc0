/**
 * The archive: a consumer of the journal that turns envelopes into committed segments, in the order of positions.
 *
 * It pulls. What intake has just decoded is offered to it and taken when its position comes up; what is not at hand (after a
 * crash, or when memory was short) is read back from the journal and decoded again. So the journal is the only truth, memory is
 * bounded by `heldBytesMax`, and a slow store costs nothing but journal. What is held stays reserved in the in-flight budget until
 * it is stored.
 */

import { letGo } from '../core/buffers.ts';
import { ByteBudget } from '../core/byte-budget.ts';
import { batchBytes } from '../core/columns.ts';
import type { EnvelopeHead, JournalEntry, Position, Signal } from '../core/envelope.ts';
import { isProxyError, messageOf } from '../core/errors.ts';
import { MIB } from '../core/limits.ts';
import { letGoOfBatch, type TravellingBatch } from '../core/travelling-batch.ts';
import type { Journal, JournalConsumer } from '../journal/journal.ts';
import type { DecodeElsewhere } from '../record/decode-job.ts';
import { opaqueBatch } from '../record/opaque.ts';
import { commitPrefix, type DoubtfulEnvelope } from '../store/commit-log.ts';
import { HashCollector } from '../store/hash-lists.ts';
import { type Decoded, DecodedAhead } from './decoded-ahead.ts';
import type { Encoder } from './encoder.ts';
import { type Cut, type CutStats, type FlushDeps, storeCut, storeHashes, untilStored } from './flush.ts';

export interface ArchiveOptions extends FlushDeps {
  journal: Journal;
  decode: DecodeElsewhere;
  budget: ByteBudget;
  openEncoder: () => Encoder;
  /** A flush is due when any of these is reached. */
  flushAfterMs: number;
  flushRawBytesMax: number;
  flushRowsMax: number;
  /** Decoded batches held in memory, waiting or in the encoder. */
  heldBytesMax: number;
  /** Other replicas may get retries of what is archived here, and this one of theirs. */
  isShared: boolean;
  /** Of a replica that is gone: others may be at it as well, and be done with it first. */
  isAdopted: boolean;
  /** Another replica has taken the journal over: the archive has stopped. */
  onFenced?: () => void;
}

export interface OfferedEnvelope {
  position: Position;
  head: EnvelopeHead;
  batch: TravellingBatch;
  /** What the batch has reserved in the in-flight budget (`ByteBudget.rounded`); the archive releases it. */
  reservedBytes: number;
}

export interface ArchiveStatus {
  committedPosition: Position;
  nextCommit: number;
  pendingEnvelopes: number;
  heldBytes: number;
  lastFlushAtMs: number | undefined;
  lastFailure: string | undefined;
}

export const ARCHIVE_CONSUMER = 'archive';
const READ_ENTRIES_MAX = 256;
/** Enough large bodies for all that are decoded again at once. */
const READ_BYTES_MAX = 12 * MIB;
const RETRY_AFTER_MS = 500;
/** So often is an envelope refused for want of memory before it is decoded regardless. */
const BUSY_MAX = 20;

interface Note {
  nextCommit?: number;
  cut?: Cut;
}

/** What has gone to the encoder since the last cut. */
interface OpenCut {
  first: Position;
  openedAtMs: number;
  rows: number;
  heldBytes: number;
  rawBytesTotal: number;
  envelopes: Partial<Record<Signal, number>>;
  rawBytes: Partial<Record<Signal, number>>;
  hashes: HashCollector | undefined;
}

/** A cut that fills as fast is made at half the size: there is the more room for what comes in while it is stored. */
const FAST_FILL_MS = 1000;

/** What is beyond counts as heard: an archive is no place for a flood of tiny objects. */
const DOUBTS_MAX = 256;

export class Archive {
  readonly #options: ArchiveOptions;
  readonly #stopping = new AbortController();
  readonly #offered = new Map<Position, OfferedEnvelope>();
  #consumer: JournalConsumer | undefined;
  #encoder: Encoder | undefined;
  #running: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  /** Something changed since the loop last looked: it must look again before it sleeps. */
  #changed = false;
  /** A cut whose flush failed for good: the loop starts over from the journal with the same range. */
  #failed: Cut | undefined;
  #next: Position = 1;
  #open: OpenCut | undefined;
  /** A cut of the life before, to be repeated with the same range. */
  #repeat: Cut | undefined;
  #nextCommit = 1;
  #flushing: Promise<void> | undefined;
  #flushingBytes = 0;
  #offeredBytes = 0;
  #flushWanted = false;
  #roomWanted = false;
  /** Times in a row that decoding was refused for want of memory. */
  #busyCount = 0;
  #lastFlushAtMs: number | undefined;
  #lastFailure: string | undefined;
  #rawTotal = 0;
  #storedTotal = 0;

  constructor(options: ArchiveOptions) {
    this.#options = options;
  }

  /** Takes up where the last life ended. Waits for the store only when the commit number has to be looked up. */
  async start(): Promise<void> {
    const { journal, metrics } = this.#options;
    this.#consumer = await journal.consumer(ARCHIVE_CONSUMER, 'start');
    const { position } = this.#consumer.state;
    metrics.archiveRecovered.set(journal.backlog(position).entries);
    this.#running = this.#run().catch((error) => {
      if (this.#stopping.signal.aborted) return;
      if (this.#options.isAdopted && isProxyError(error)) {
        this.#lastFailure = messageOf(error);
        this.#options.log.warn({ reason: messageOf(error) }, 'an adopted journal cannot be read on');
        this.#stopping.abort();
        return;
      }
      if (isProxyError(error, 'STORE_ABSENT')) {
        // Who deletes chunks of ours has taken them over, and archived them.
        this.#options.log.error({ reason: messageOf(error) }, 'the journal was taken over: its chunks are gone');
        this.#stopping.abort();
        this.#options.onFenced?.();
        return;
      }
      // A bug: better to die and recover from the journal than to go on without an archive.
      this.#options.log.fatal({ err: error }, 'the archive failed');
      throw error;
    });
  }

  /** Hands over a durable envelope's batch. Never waits; a batch there is no room for is decoded again later. */
  offer(envelope: OfferedEnvelope): void {
    const { heldBytesMax } = this.#options;
    const held = this.#heldBytes();
    const isNew = envelope.position >= this.#next && !this.#offered.has(envelope.position);
    if (isNew && (held + envelope.reservedBytes <= heldBytesMax || held === 0)) {
      this.#offered.set(envelope.position, envelope);
      this.#offeredBytes += envelope.reservedBytes;
    } else {
      this.#drop(envelope);
    }
    this.#signal();
  }

  #drop({ batch, reservedBytes }: Decoded): void {
    letGoOfBatch(batch);
    this.#options.budget.release(reservedBytes);
  }

  /** Everything durable so far goes into committed segments; resolves when that is so. */
  async flush(): Promise<void> {
    const target = this.#options.journal.usage().end;
    while (!this.#stopping.signal.aborted && (this.#consumer?.state.position ?? 0) < target) {
      this.#flushWanted = true;
      this.#signal();
      await this.#options.clock.sleep(5);
    }
  }

  /** Flushes if `flush` and time allows, then stops. What is not committed stays in the journal. */
  async stop(flush: boolean, deadlineMs: number): Promise<void> {
    if (flush) {
      await Promise.race([this.flush(), this.#options.clock.sleep(deadlineMs, this.#stopping.signal).catch(() => {})]);
    }
    this.#stopping.abort();
    this.#signal();
    await this.#running?.catch(() => {});
    await this.#flushing?.catch(() => {});
    await this.#encoder?.close();
  }

  status(): ArchiveStatus {
    const position = this.#consumer?.state.position ?? 0;
    return {
      committedPosition: position,
      nextCommit: this.#nextCommit,
      pendingEnvelopes: this.#options.journal.backlog(position).entries,
      heldBytes: this.#heldBytes(),
      lastFlushAtMs: this.#lastFlushAtMs,
      lastFailure: this.#lastFailure,
    };
  }

  #heldBytes(): number {
    return this.#offeredBytes + this.#flushingBytes + (this.#open?.heldBytes ?? 0);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    await this.#recover();
    while (!signal.aborted) {
      if (this.#failed) await this.#startOver(this.#failed);
      if (this.#repeat && this.#next > this.#repeat.last) {
        const cut = this.#repeat;
        this.#repeat = undefined;
        await this.#beginFlush(cut);
        continue;
      }
      const fed = await this.#feed();
      if (this.#flushDue()) {
        await this.#beginFlush();
        continue;
      }
      if (!fed) await this.#sleepUntilWoken();
    }
  }

  async #recover(): Promise<void> {
    const { state } = this.#consumer!;
    const note = (state.note ?? {}) as Note;
    this.#next = state.position + 1;
    this.#nextCommit = note.nextCommit ?? (await this.#highestCommit()) + 1;
    this.#repeat = note.cut;
    if (note.cut) this.#nextCommit = note.cut.number;
    this.#encoder = this.#options.openEncoder();
  }

  async #highestCommit(): Promise<number> {
    const { store, journal } = this.#options;
    const prefix = commitPrefix(journal.identity);
    return untilStored(this.#options, this.#stopping.signal, async () => {
      let highest = 0;
      for await (const { key } of store.list(prefix)) {
        highest = Math.max(highest, Number.parseInt(key.slice(prefix.length), 10) || 0);
      }
      return highest;
    });
  }

  /** Moves what is next from memory or journal into the encoder. False: nothing to do, or no room. */
  async #feed(): Promise<boolean> {
    const { journal, heldBytesMax } = this.#options;
    const end = Math.min(journal.usage().end, this.#repeat?.last ?? Number.MAX_SAFE_INTEGER);
    if (this.#next > end) return false;
    const inEncoder = this.#flushingBytes + (this.#open?.heldBytes ?? 0);
    // A cut that is being repeated must be completed whatever it takes; its size was bounded when it was made.
    if (inEncoder >= heldBytesMax && !this.#repeat) return false;
    const offered = this.#take(this.#next);
    if (offered) {
      this.#add(offered.position, offered.head, offered);
      return true;
    }
    // A journal in the store may be as far away as the store.
    const limits = { entriesMax: READ_ENTRIES_MAX, bytesMax: READ_BYTES_MAX };
    const entries = await untilStored(this.#options, this.#stopping.signal, () => journal.read(this.#next, limits));
    if (entries.length === 0) {
      // Durable by number, but set aside as corrupt: nothing is left to archive up to the end.
      this.#next = end + 1;
      return true;
    }
    const again = new DecodedAhead(entries, end, {
      isAtHand: (position) => this.#offered.has(position),
      decode: (entry) => this.#decodeAgain(entry),
    });
    try {
      for (const entry of entries) {
        if (entry.position > end || this.#stopping.signal.aborted) break;
        const decoded = this.#take(entry.position) ?? (await again.next(entry));
        if (!decoded) return await this.#makeRoom();
        this.#add(entry.position, entry.head, decoded);
        if (this.#flushDue() && !this.#repeat) break;
      }
    } finally {
      // What is decoded and was not taken is at hand for the next time.
      for (const { position, head, batch, reservedBytes } of await again.rest()) {
        this.offer({ position, head, batch, reservedBytes });
      }
    }
    return true;
  }

  #take(position: Position): OfferedEnvelope | undefined {
    const offered = this.#offered.get(position);
    if (!offered) return undefined;
    this.#offered.delete(position);
    this.#offeredBytes -= offered.reservedBytes;
    return offered;
  }

  /** Undefined: memory is short. */
  async #decodeAgain(entry: JournalEntry): Promise<Decoded | undefined> {
    const { decode, budget, metrics, log, journal } = this.#options;
    const { head, position } = entry;
    metrics.archiveRedecoded.inc();
    const verdict = await decode({
      // The job's buffer is transferred: what others may read too is copied.
      body: entry.isOwn ? (entry.body as Uint8Array<ArrayBuffer>) : new Uint8Array(entry.body),
      contentEncoding: head.contentEncoding,
      protocol: head.protocol,
      contentType: head.contentType,
      path: head.path,
      receivedAtMs: head.receivedAtMs,
      keyFingerprint: head.keyFingerprint,
      isAgain: true,
      ...(this.#busyCount >= BUSY_MAX ? { isOverdue: true as const } : {}),
    });
    if (verdict.ok) {
      letGo(verdict.body);
      this.#busyCount = 0;
      return verdict;
    }
    if (verdict.kind === 'busy') return undefined;
    // It was accepted once (by an older version, perhaps): keep its bytes.
    log.warn({ position, reason: verdict.reason }, 'accepted envelope no longer decodes; kept opaque');
    const limits = { entriesMax: 1, bytesMax: 1 };
    const [again] = await untilStored(this.#options, this.#stopping.signal, () => journal.read(position, limits));
    const body = again?.position === position ? again.body : entry.body;
    const batch = opaqueBatch(head.signal, body, head.receivedAtMs, `body ${head.contentEncoding || 'identity'}`);
    const reservedBytes = ByteBudget.rounded(batchBytes(batch));
    if (budget.tryReserve(reservedBytes)) return { batch, reservedBytes };
    return { batch, reservedBytes: 0 };
  }

  /** Memory is short: lets go of what can be had again, then stores what is held. False: nothing to do but wait. */
  async #makeRoom(): Promise<boolean> {
    this.#busyCount += 1;
    for (const offered of this.#offered.values()) this.#drop(offered);
    this.#offered.clear();
    this.#offeredBytes = 0;
    if (this.#open && !this.#repeat) {
      this.#roomWanted = true;
      if (this.#flushing) return false;
      return true;
    }
    await this.#options.clock.sleep(RETRY_AFTER_MS, this.#stopping.signal);
    return true;
  }

  #add(position: Position, head: EnvelopeHead, { batch, reservedBytes }: Decoded): void {
    this.#open ??= {
      first: this.#next,
      openedAtMs: this.#options.clock.monotonicMs(),
      rows: 0,
      heldBytes: 0,
      rawBytesTotal: 0,
      envelopes: {},
      rawBytes: {},
      hashes: this.#options.isShared ? new HashCollector() : undefined,
    };
    const open = this.#open;
    open.rows += batch.rowCount;
    open.heldBytes += reservedBytes;
    open.rawBytesTotal += head.rawBytes;
    open.envelopes[head.signal] = (open.envelopes[head.signal] ?? 0) + 1;
    open.rawBytes[head.signal] = (open.rawBytes[head.signal] ?? 0) + head.rawBytes;
    open.hashes?.add(position, head);
    this.#encoder!.add({
      position,
      tenant: head.tenant,
      signal: head.signal,
      protocol: head.protocol,
      requestPath: head.path,
      receivedAtMs: head.receivedAtMs,
      batch,
    });
    this.#next = position + 1;
  }

  #flushDue(): boolean {
    const open = this.#open;
    if (!open || this.#flushing || this.#repeat || this.#failed) return false;
    const { clock, flushAfterMs, flushRawBytesMax, flushRowsMax, heldBytesMax, journal } = this.#options;
    if (this.#roomWanted || (this.#flushWanted && this.#next > journal.usage().end)) return true;
    const openMs = clock.monotonicMs() - open.openedAtMs;
    return (
      open.rawBytesTotal >= flushRawBytesMax ||
      open.rows >= flushRowsMax ||
      open.heldBytes >= heldBytesMax / (openMs < FAST_FILL_MS ? 4 : 2) ||
      openMs >= flushAfterMs
    );
  }

  /** Cuts, and lets the flush run beside further feeding. */
  async #beginFlush(repeat?: Cut): Promise<void> {
    const { clock, log } = this.#options;
    const consumer = this.#consumer!;
    const open = this.#open;
    this.#open = undefined;
    this.#flushWanted = false;
    this.#roomWanted = false;
    const cut: Cut = repeat ?? {
      first: consumer.state.position + 1,
      last: this.#next - 1,
      number: this.#nextCommit,
      cutAtMs: clock.nowMs(),
    };
    const stats: CutStats = { envelopes: open?.envelopes ?? {}, rawBytes: open?.rawBytes ?? {} };
    if (!repeat) await this.#commit(consumer.state.position, { nextCommit: cut.number, cut } satisfies Note);
    this.#flushingBytes = open?.heldBytes ?? 0;
    this.#flushing = this.#finishFlush(cut, stats, open?.hashes)
      .catch((error) => {
        if (this.#stopping.signal.aborted) return;
        if (!isProxyError(error)) throw error;
        if (error.code === 'JOURNAL_FENCED') {
          log.error({ err: error }, 'the journal was taken over: nothing more is committed');
          this.#stopping.abort();
          this.#options.onFenced?.();
          return;
        }
        // The worker is gone, or the store refuses this object for good: start over from the journal with the same cut.
        this.#lastFailure = messageOf(error);
        log.error({ err: error }, 'flush failed; repeating the cut');
        this.#failed = cut;
      })
      .finally(() => {
        this.#flushing = undefined;
        this.#options.budget.release(this.#flushingBytes);
        this.#flushingBytes = 0;
        this.#signal();
      });
    // A repeated cut comes alone, so that nothing else is in the encoder while it runs.
    if (repeat) await this.#flushing;
  }

  /** On a full disk it waits until there is room: without its position nothing would ever be deleted. */
  async #commit(position: Position, note: Note): Promise<void> {
    const { clock, log } = this.#options;
    for (;;) {
      try {
        return await this.#consumer!.commit(position, note);
      } catch (error) {
        if (!isProxyError(error, 'JOURNAL_FULL')) throw error;
        log.warn({ reason: messageOf(error), position }, 'the position could not be written; will try again');
      }
      await clock.sleep(RETRY_AFTER_MS, this.#stopping.signal);
    }
  }

  async #finishFlush(cut: Cut, stats: CutStats, hashes: HashCollector | undefined): Promise<void> {
    const { journal, clock, metrics } = this.#options;
    const { signal } = this.#stopping;
    const startedAtMs = clock.monotonicMs();
    cut.doubts ??= await this.#doubtsOf(cut);
    let hashList: string | undefined;
    if (hashes) {
      const doubtful = new Set(cut.doubts.map(({ position }) => position));
      const { replica } = journal.identity;
      cut.heard ??= journal.heardLate().map(({ epoch, position }) => [`${replica}-${epoch}`, position]);
      const bytes = hashes.encode(journal.identity, doubtful, cut.heard);
      const list = { bytes, receivedMinMs: cut.heard.length > 0 ? 0 : hashes.receivedMinMs };
      hashList = await storeHashes(this.#options, journal.identity, cut, list, signal);
    }
    const segments = this.#encoder!.build(cut.first, cut.last, cut.doubts);
    const record = await storeCut(this.#options, journal.identity, cut, stats, segments, hashList, signal);
    this.#nextCommit = cut.number + 1;
    await this.#commit(cut.last, { nextCommit: this.#nextCommit } satisfies Note);
    this.#lastFlushAtMs = clock.nowMs();
    this.#lastFailure = undefined;
    metrics.flushSeconds.observe((clock.monotonicMs() - startedAtMs) / 1000);
    for (const [signal, count] of Object.entries(stats.envelopes))
      metrics.archived.inc({ signal: signal as Signal }, count);
    for (const bytes of Object.values(stats.rawBytes)) this.#rawTotal += bytes;
    for (const entry of record.adds) {
      metrics.segments.inc({ signal: entry.signal });
      metrics.segmentRows.inc({ signal: entry.signal }, entry.rowCount);
      metrics.storageBytes.inc({ signal: entry.signal }, entry.sizeBytes);
      this.#storedTotal += entry.sizeBytes;
    }
    if (this.#storedTotal > 0) metrics.compressionRatio.set(this.#rawTotal / this.#storedTotal);
  }

  async #doubtsOf({ first, last }: Cut): Promise<DoubtfulEnvelope[]> {
    const { journal, isShared, log } = this.#options;
    if (!isShared) return [];
    const { replica, epoch } = journal.identity;
    const found = await journal.doubtful(first, last);
    if (found.length > DOUBTS_MAX) log.warn({ count: found.length }, 'too many answers were not heard to tell retries');
    return found.slice(0, DOUBTS_MAX).map(({ position, bodyHash, receivedAtMs }) => ({
      bodyHash,
      receivedAtMs,
      journal: `${replica}-${epoch}`,
      position,
    }));
  }

  async #startOver(cut: Cut): Promise<void> {
    await this.#options.clock.sleep(RETRY_AFTER_MS, this.#stopping.signal);
    await this.#encoder?.close();
    this.#encoder = this.#options.openEncoder();
    this.#failed = undefined;
    // What the lost encoder held is decoded again.
    this.#options.budget.release(this.#open?.heldBytes ?? 0);
    this.#open = undefined;
    this.#repeat = cut;
    this.#next = cut.first;
  }

  #signal(): void {
    this.#changed = true;
    this.#wake?.();
  }

  async #sleepUntilWoken(): Promise<void> {
    const { clock, flushAfterMs } = this.#options;
    const open = this.#open;
    const dueInMs = open ? Math.max(1, open.openedAtMs + flushAfterMs - clock.monotonicMs()) : undefined;
    if (!this.#changed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        // While a flush runs nothing can be cut; its end wakes us.
        const cancel = dueInMs !== undefined && !this.#flushing ? clock.after(dueInMs, resolve) : undefined;
        if (cancel)
          this.#wake = () => {
            cancel();
            resolve();
          };
      });
      this.#wake = undefined;
    }
    this.#changed = false;
  }
}
