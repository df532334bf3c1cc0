/**
 * The journal on disk: appends go in groups, one write and one fdatasync each, and are answered after that. A failed write or
 * sync closes the lane until the next start: what the disk then holds is not known, and a repeated sync may lie. The one
 * exception is a full disk found at the write: the torn frames are cut off again, synced, and the appends answered `full`.
 * Files go once every consumer has passed them; the newest stays, for its name keeps the positions. Without consumers
 * nothing is deleted.
 */
import { join } from 'node:path';
import { letGo } from '../core/buffers.ts';
import type { Envelope, JournalEntry, JournalIdentity, Position } from '../core/envelope.ts';
import { isProxyError, messageOf, ProxyError } from '../core/errors.ts';
import { AppendQueue } from './append-queue.ts';
import { isNoSpace, unlinkIfThere, writeCheckedFile } from './checked-file.ts';
import type { Confirmations } from './confirmations.ts';
import type { ConsumerHost, ConsumerStore } from './consumer-store.ts';
import type { DiskDoubts } from './disk-doubts.ts';
import { forgetAdoption } from './folder-taking.ts';
import {
  decodeFrame,
  type EncodedFrame,
  encodeFrame,
  FILE_HEADER_BYTES,
  LARGE_BODY_BYTES,
  largeBodyCrc,
  stampFrame,
} from './frame.ts';
import type {
  AppendResult,
  HeardEnvelope,
  Journal,
  JournalConsumer,
  JournalUsage,
  ReadLimits,
  UnconfirmedEnvelope,
} from './journal.ts';
import { type FrameRun, isMediumError, type JournalFile } from './journal-file.ts';
import { type DiskJournalOptions, type JournalSizes, sizesOf } from './journal-options.ts';
import type { Ownership } from './owner.ts';
import type { OwnerBeat } from './owner-beat.ts';
import { PositionWaiters } from './position-waiters.ts';
import { RecentEntries } from './recent-entries.ts';
import { createJournalFile, type KnownIdentity, Quarantine } from './recovery.ts';
import type { Reserve } from './reserve.ts';
import { type UnconfirmedSet, unconfirmedOf } from './unconfirmed-set.ts';

export const UNCONFIRMED_FILE = 'unconfirmed.json';

/** What recovery found and opened. */
export interface DiskJournalParts {
  identity: KnownIdentity;
  ownership: Ownership;
  /** Of a folder that others may share. */
  beat: OwnerBeat | undefined;
  /** In order. The last may be the active one. */
  files: JournalFile[];
  active: JournalFile | undefined;
  next: Position;
  doubts: DiskDoubts;
  quarantinedFrames: number;
  confirmations: Confirmations;
  unconfirmed: UnconfirmedSet;
  unconfirmedAtOpen: UnconfirmedEnvelope[];
  /** Whether the file of remembered envelopes holds any. */
  remembered: boolean;
  reserve: Reserve;
  /** Made with a host that is this journal. */
  consumers: (host: ConsumerHost) => ConsumerStore;
}

/** Without a frame it asks for a new file. */
interface WaitingFrame {
  bytes: number;
  frame: EncodedFrame | undefined;
  envelope: Envelope | undefined;
  askedAtMs: number;
  settle: (result: AppendResult) => void;
}

export class DiskJournal implements Journal {
  readonly identity: JournalIdentity;
  readonly consumerStore: ConsumerStore;
  readonly #options: DiskJournalOptions;
  readonly #sizes: JournalSizes;
  readonly #parts: DiskJournalParts;
  readonly #files: JournalFile[];
  readonly #queue: AppendQueue<WaitingFrame>;
  readonly #waiters = new PositionWaiters();
  readonly #recent: RecentEntries;
  readonly #quarantine: Quarantine;
  readonly #doubts: DiskDoubts;
  #active: JournalFile | undefined;
  #next: Position;
  #heldBytes = 0;
  #quarantinedFrames: number;
  #remembered: boolean;
  #failed = false;
  #closing = false;
  #closed: Promise<void> | undefined;
  #isClosed = false;
  #trimming: Promise<void> | undefined;
  #trimAgain = false;
  #appendedSinceRotation = false;

  constructor(options: DiskJournalOptions, parts: DiskJournalParts) {
    this.#options = options;
    this.#sizes = sizesOf(options);
    this.#parts = parts;
    this.identity = { replica: parts.identity.replica, epoch: parts.identity.epoch };
    this.#files = parts.files;
    this.#active = parts.active;
    this.#next = parts.next;
    this.#quarantinedFrames = parts.quarantinedFrames;
    this.#remembered = parts.remembered;
    for (const file of parts.files) this.#heldBytes += file.sizeBytes;
    this.#recent = new RecentEntries(this.#sizes.recentBytesMax);
    this.#quarantine = new Quarantine(options);
    this.#queue = new AppendQueue(
      this.#sizes.groupBytesMax,
      (group) => this.#commitGroup(group),
      () => this.#onIdle(),
    );
    this.consumerStore = parts.consumers({
      start: () => this.#start,
      end: () => this.#next - 1,
      assertOpen: () => this.#assertOpen(),
      withReserve: (write) => this.#writePosition(write),
      moved: () => this.#consumersMoved(),
    });
    this.#doubts = parts.doubts;
    options.metrics.journalBudgetBytes.set(this.#sizes.budgetBytes);
    this.#publishSize();
  }

  // ── Append ──

  append(envelope: Envelope): Promise<AppendResult> {
    const { metrics, sealer, clock } = this.#options;
    if (this.#closing || this.#failed) return Promise.resolve(this.#refusal('closed'));
    const frame = envelope.head.sealedBody
      ? encodeFrame(envelope.head, sealer.seal(envelope.body))
      : encodeFrame(envelope.head, envelope.body, envelope.bodyCrc);
    if (this.#heldBytes + this.#queue.bytes + frame.totalBytes > this.#sizes.budgetBytes) {
      return Promise.resolve(this.#refusal('full'));
    }
    const askedAtMs = clock.monotonicMs();
    return new Promise((resolve) => {
      const settle = (result: AppendResult) => {
        if (result.ok) metrics.journalAppendSeconds.observe((clock.monotonicMs() - askedAtMs) / 1000);
        resolve(result);
      };
      this.#queue.add({ bytes: frame.totalBytes, frame, envelope, askedAtMs, settle });
    });
  }

  async #commitGroup(group: WaitingFrame[]): Promise<() => void> {
    let refused: 'full' | 'closed' | undefined = 'closed';
    if (!this.#failed) {
      try {
        refused = await this.#writeGroup(group);
      } catch (error) {
        this.#fail(error);
      }
    }
    const reason = refused;
    if (!reason) return () => this.#accept(group);
    return () => {
      for (const waiting of group) waiting.settle(waiting.frame ? this.#refusal(reason) : CLOSED);
    };
  }

  /** Durable when it resolves without a reason. Throws when the lane has to close. */
  async #writeGroup(group: WaitingFrame[]): Promise<'full' | undefined> {
    const { clock, metrics, log } = this.#options;
    let bytes = 0;
    for (const waiting of group) bytes += waiting.bytes;
    let active: JournalFile;
    try {
      active = await this.#fileFor(bytes);
    } catch (error) {
      if (!isNoSpace(error)) throw error;
      log.warn({ err: error }, 'the disk is full: no new journal file');
      return 'full';
    }
    if (bytes === 0) return undefined;
    const handle = await active.writer();
    const chunks: Uint8Array[] = [];
    let position = this.#next;
    for (const { frame } of group) {
      if (!frame) continue;
      stampFrame(frame, this.#parts.identity.mark, position);
      chunks.push(frame.front);
      if (frame.rest) chunks.push(frame.rest);
      position += 1;
    }
    try {
      await handle.write(chunks, active.sizeBytes);
    } catch (error) {
      if (!isNoSpace(error)) throw error;
      await handle.truncate(active.sizeBytes);
      await handle.sync();
      log.warn({ err: error }, 'the disk is full');
      return 'full';
    }
    const syncFromMs = clock.monotonicMs();
    await handle.sync();
    metrics.journalSyncSeconds.observe((clock.monotonicMs() - syncFromMs) / 1000);
    await this.#assureOwned();
    metrics.journalGroupSize.inc();
    return undefined;
  }

  /** A successor finds what was on disk before this look, and nothing behind it is acknowledged. */
  async #assureOwned(): Promise<void> {
    const { beat } = this.#parts;
    if (!beat || (await beat.assure())) return;
    throw new ProxyError('JOURNAL_OWNED', `${this.#options.folder} was taken by another process`);
  }

  #accept(group: WaitingFrame[]): void {
    const active = this.#active;
    const nowMs = this.#options.clock.nowMs();
    for (const { frame, envelope, settle } of group) {
      if (!frame || !envelope || !active) {
        settle(CLOSED);
        continue;
      }
      const position = this.#next;
      const { head } = envelope;
      active.add(position, active.sizeBytes, frame.totalBytes, head.receivedAtMs);
      active.sizeBytes += frame.totalBytes;
      this.#heldBytes += frame.totalBytes;
      this.#next = position + 1;
      this.#appendedSinceRotation = true;
      // A small body lies in the frame already; what the caller passed may pin a larger buffer.
      const embedded = !frame.rest && !head.sealedBody;
      const body = embedded ? frame.front.subarray(frame.totalBytes - envelope.body.byteLength) : envelope.body;
      if (body.byteLength < LARGE_BODY_BYTES) this.#recent.add({ position, head, body });
      else letGo(body);
      const unconfirmed = unconfirmedOf(position, head);
      this.#parts.unconfirmed.add(unconfirmed, nowMs);
      this.#doubts.add(unconfirmed);
      settle({ ok: true, position });
    }
    this.#publishSize();
    this.#waiters.reach(this.#next - 1);
  }

  /** The file that takes the next `bytes`; 0 asks for a new one if the active one is consumed. Durable with its entry. */
  async #fileFor(bytes: number): Promise<JournalFile> {
    const active = this.#active;
    const { fileSystem, folder } = this.#options;
    if (active) {
      const isDone = bytes === 0 ? this.#isConsumed(active) : active.sizeBytes + bytes > this.#sizes.fileBytesMax;
      if (active.entries === 0 || !isDone) return active;
    }
    if (!(await this.#parts.ownership.holds())) {
      throw new ProxyError('JOURNAL_OWNED', `${folder} was taken by another process`);
    }
    const { mark, epoch } = this.#parts.identity;
    const first = this.#next;
    let file: JournalFile;
    try {
      file = await createJournalFile(fileSystem, folder, { mark, epoch, first }, 'create');
    } catch (error) {
      // Nothing of it was answered: away with it, so that its name is free.
      if (isNoSpace(error)) await unlinkIfThere(fileSystem, `${join(folder, String(first).padStart(16, '0'))}.journal`);
      throw error;
    }
    this.#files.push(file);
    this.#active = file;
    this.#heldBytes += FILE_HEADER_BYTES;
    this.#appendedSinceRotation = false;
    await active?.seal();
    await this.#parts.confirmations.rotate(first);
    this.#trimSoon();
    return file;
  }

  #fail(error: unknown): void {
    this.#failed = true;
    this.#options.log.error({ err: error }, 'the journal cannot be written: its lane is closed until the next start');
  }

  #refusal(reason: 'full' | 'closed'): AppendResult {
    this.#options.metrics.journalRefused.inc({ reason });
    return { ok: false, reason };
  }

  // ── Read ──

  async read(from: Position, limits: ReadLimits): Promise<JournalEntry[]> {
    this.#assertOpen();
    const entries: JournalEntry[] = [];
    let bytes = 0;
    let position = from;
    while (entries.length < limits.entriesMax) {
      const file = this.#fileAt(position);
      if (!file) break;
      const first = file.next(position);
      if (first === undefined) {
        position = file.last + 1;
        continue;
      }
      if (entries.length > 0 && bytes + file.lengthOf(first) > limits.bytesMax) break;
      const recent = this.#recent.get(first);
      if (recent) {
        entries.push(recent);
        bytes += file.lengthOf(first);
        position = first + 1;
        continue;
      }
      const run = await this.#readRun(file, first, {
        entriesMax: limits.entriesMax - entries.length,
        bytesMax: limits.bytesMax - bytes,
      });
      if (!run) {
        position = this.#files.includes(file) ? first + 1 : file.last + 1;
        continue;
      }
      let at = 0;
      for (position = run.first; position < run.first + run.count; position += 1) {
        const bodyCrc = await largeBodyCrc(run.bytes, at, this.#parts.identity.mark);
        const frame = decodeFrame(run.bytes, at, this.#parts.identity.mark, bodyCrc);
        at += file.lengthOf(position);
        if (frame?.position !== position) {
          await this.#dropFrame(file, position);
          continue;
        }
        try {
          const body = frame.head.sealedBody ? this.#options.sealer.open(frame.body) : frame.body;
          // So large a frame is read alone.
          const isOwn = bodyCrc !== undefined && body === frame.body;
          entries.push({ position, head: frame.head, body, ...(isOwn ? { isOwn } : {}) });
        } catch (error) {
          // What comes before it is of use; the next read then fails and says why.
          if (isProxyError(error, 'SEAL_KEY_MISSING') && entries.length > 0) return entries;
          throw error;
        }
        bytes += frame.totalBytes;
      }
    }
    return entries;
  }

  /** Undefined when the first frame cannot be read (it is dropped), or its file is gone meanwhile. */
  async #readRun(file: JournalFile, first: Position, limits: ReadLimits): Promise<FrameRun | undefined> {
    try {
      return await file.readRun(first, limits);
    } catch (error) {
      if (!this.#files.includes(file)) return undefined;
      if (!isMediumError(error)) throw error;
      if (limits.entriesMax > 1) return this.#readRun(file, first, { ...limits, entriesMax: 1 });
      await this.#dropFrame(file, first);
      return undefined;
    }
  }

  async #dropFrame(file: JournalFile, position: Position): Promise<void> {
    if (!file.has(position)) return;
    const from = file.offsetOf(position);
    file.drop(position);
    this.#quarantinedFrames += 1;
    this.#options.metrics.journalQuarantined.inc();
    this.#options.log.error({ path: file.path, position }, 'a journal frame is damaged and was set aside');
    await this.#quarantine.takePiece(file, from, from + file.lengthOf(position));
  }

  /** The first file that ends at `position` or later. */
  #fileAt(position: Position): JournalFile | undefined {
    let low = 0;
    let high = this.#files.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#files[middle]?.last ?? 0) < position) low = middle + 1;
      else high = middle;
    }
    return this.#files[low];
  }

  waitFor(position: Position, signal: AbortSignal): Promise<boolean> {
    return this.#waiters.wait(position, this.#next - 1, signal);
  }

  // ── Consumers and what they have passed ──

  consumer(name: string, from: 'start' | 'end'): Promise<JournalConsumer> {
    return this.consumerStore.open(name, from);
  }

  consumers(): string[] {
    return this.consumerStore.names();
  }

  retire(name: string): Promise<void> {
    return this.consumerStore.retire(name);
  }

  #consumersMoved(): void {
    this.#trimSoon();
    this.#askForNewFile();
  }

  #onIdle(): void {
    if (this.#appendedSinceRotation) this.#askForNewFile();
  }

  /** A consumed file can only be deleted once it is not the newest. */
  #askForNewFile(): void {
    if (this.#queue.busy || this.#closing || this.#failed || !this.#active || !this.#isConsumed(this.#active)) return;
    // One try per group: a disk without room for a header must not be asked for ever.
    this.#appendedSinceRotation = false;
    this.#queue.add({ bytes: 0, frame: undefined, envelope: undefined, askedAtMs: 0, settle: () => undefined });
  }

  #isConsumed(file: JournalFile): boolean {
    const passed = this.consumerStore.passed();
    return file.sizeBytes >= this.#sizes.consumedFileBytes && passed !== undefined && passed >= file.last;
  }

  trim(): Promise<void> {
    this.#trimSoon();
    return this.#trimming ?? Promise.resolve();
  }

  #trimSoon(): void {
    if (this.#trimming) {
      this.#trimAgain = true;
      return;
    }
    if (this.#closing || !this.#hasPassedFiles()) return;
    this.#trimming = this.#trimAll().finally(() => {
      this.#trimming = undefined;
    });
  }

  #hasPassedFiles(): boolean {
    const oldest = this.#files[0];
    const passed = this.consumerStore.passed();
    return oldest !== undefined && this.#files.length > 1 && passed !== undefined && oldest.last <= passed;
  }

  async #trimAll(): Promise<void> {
    try {
      do {
        this.#trimAgain = false;
        await this.#trimOnce();
      } while (this.#trimAgain);
      await this.#parts.reserve.fill();
    } catch (error) {
      this.#options.log.error({ err: error }, 'passed journal files could not be deleted; they go at the next start');
    }
  }

  async #trimOnce(): Promise<void> {
    const { fileSystem, folder } = this.#options;
    const doomed: JournalFile[] = [];
    while (this.#hasPassedFiles()) doomed.push(...this.#files.splice(0, 1));
    if (doomed.length === 0) return;
    try {
      await this.#remember();
    } catch (error) {
      this.#files.unshift(...doomed);
      throw error;
    }
    for (const file of doomed) {
      await unlinkIfThere(fileSystem, file.path);
      this.#heldBytes -= file.sizeBytes;
      await file.abandon();
    }
    await this.#parts.confirmations.trim(this.#start);
    await fileSystem.syncDirectory(folder);
    this.#publishSize();
  }

  /** Keeps what a sender may still come back with, though the file it lies in goes. */
  async #remember(): Promise<void> {
    const { fileSystem, folder, clock } = this.#options;
    const envelopes = this.#parts.unconfirmed.list(clock.nowMs(), this.#start);
    if (envelopes.length === 0 && !this.#remembered) return;
    await this.#parts.reserve.run(() => writeCheckedFile(fileSystem, join(folder, UNCONFIRMED_FILE), envelopes));
    this.#remembered = envelopes.length > 0;
  }

  /** A full disk passes: whoever wrote waits and writes again. Throws ProxyError JOURNAL_FULL then. */
  async #writePosition(write: () => Promise<void>): Promise<void> {
    try {
      await this.#parts.reserve.run(write);
    } catch (error) {
      if (!isNoSpace(error)) throw error;
      throw new ProxyError('JOURNAL_FULL', `the disk is full: ${messageOf(error)}`, { cause: error });
    }
  }

  // ── Confirmations ──

  confirm(position: Position): void {
    if (this.#isClosed) return;
    this.#parts.unconfirmed.confirm(position);
    this.#parts.confirmations.confirm(position);
    this.#doubts.confirmed(position);
  }

  doubtful(first: Position, last: Position): Promise<UnconfirmedEnvelope[]> {
    return this.#doubts.tell(first, last);
  }

  heardLate(): HeardEnvelope[] {
    return this.#doubts.heardLate();
  }

  unconfirmedAtOpen(): UnconfirmedEnvelope[] {
    return this.#parts.unconfirmedAtOpen;
  }

  // ── State ──

  backlog(position: Position): { entries: number; bytes: number; oldestReceivedAtMs: number | undefined } {
    let entries = 0;
    let bytes = 0;
    let oldestReceivedAtMs: number | undefined;
    for (const file of this.#files) {
      if (file.last <= position) continue;
      const first = file.next(position + 1);
      if (first === undefined) continue;
      entries += file.entriesAfter(position);
      bytes += file.sizeBytes - file.offsetOf(first);
      oldestReceivedAtMs ??= file.receivedAtMsOf(first);
    }
    return { entries, bytes, oldestReceivedAtMs };
  }

  usage(): JournalUsage {
    return {
      bytes: this.#heldBytes + this.#queue.bytes,
      budgetBytes: this.#sizes.budgetBytes,
      files: this.#files.length,
      end: this.#next - 1,
      start: this.#start,
      oldestReceivedAtMs: this.#oldestReceivedAtMs(),
      quarantinedFrames: this.#quarantinedFrames,
      writable: !this.#failed && !this.#closing,
    };
  }

  get #start(): Position {
    for (const file of this.#files) {
      const first = file.next(file.first);
      if (first !== undefined) return first;
    }
    return this.#next;
  }

  #oldestReceivedAtMs(): number | undefined {
    for (const file of this.#files) {
      const first = file.next(file.first);
      if (first !== undefined) return file.receivedAtMsOf(first);
    }
    return undefined;
  }

  #publishSize(): void {
    const { metrics, clock } = this.#options;
    metrics.journalBytes.set(this.#heldBytes);
    const oldest = this.#oldestReceivedAtMs();
    metrics.journalOldestSeconds.set(oldest === undefined ? 0 : Math.max(0, (clock.nowMs() - oldest) / 1000));
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new ProxyError('JOURNAL_CLOSED', 'the journal was closed');
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#closing = true;
    await this.#queue.idle();
    await this.consumerStore.idle();
    await this.#trimming;
    this.#isClosed = true;
    this.#doubts.close();
    this.#waiters.close();
    this.#recent.clear();
    await this.#parts.confirmations.close();
    for (const file of this.#files) await file.abandon();
    await this.#parts.beat?.stop();
    const { sharing, fileSystem, folder } = this.#options;
    if (sharing?.adoption && (await this.#parts.ownership.holds())) await forgetAdoption(fileSystem, folder);
    await this.#parts.ownership.release();
  }
}

/** Answers requests for a new file, which nobody waits for. */
const CLOSED: AppendResult = { ok: false, reason: 'closed' };
