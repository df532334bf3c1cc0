/**
 * Puts chunks: what comes in within `chunkAfterMs` (or until `chunkBytesMax`) becomes one object. A few PUTs may run at once, but are
 * acknowledged in the order of their sequence: a chunk counts only when all before it are durable, so that whoever takes over may stop
 * at the first gap. A store that is away is waited for; an object that is not ours under our next name means that we are fenced.
 */
import type { Clock } from '../core/clock.ts';
import type { JournalEntry, JournalIdentity, Position } from '../core/envelope.ts';
import { isProxyError, messageOf, type ProxyError } from '../core/errors.ts';
import { MIB } from '../core/limits.ts';
import type { Random } from '../core/random.ts';
import type { Log } from '../telemetry/log.ts';
import { type ChunkStore, chunkKey, encodeChunk, type PositionRange, putChunk } from './chunk.ts';
import type { IndexedChunk } from './chunk-index.ts';
import type { EncodedFrame } from './frame.ts';

export interface ChunkWriterOptions {
  store: ChunkStore;
  identity: JournalIdentity;
  mark: number;
  clock: Clock;
  random: Random;
  log: Log;
  chunkAfterMs: number;
  chunkBytesMax: number;
  /** In order of sequence. */
  onDurable(chunk: IndexedChunk, entries: JournalEntry[]): void;
  /** The lane is closed for good. */
  onFailed(error: ProxyError): void;
}

export interface WaitingChunkEntry {
  frame: EncodedFrame;
  /** Its position is set when it is put into a chunk. */
  entry: JournalEntry;
  settle(position: Position | undefined): void;
}

interface RunningChunk {
  chunk: IndexedChunk;
  members: WaitingChunkEntry[];
  isDurable: boolean;
}

const PUTS_AT_ONCE = 4;
/** A chunk on its way is a copy of its bodies, which the in-flight budget does not know: beyond this, one at a time. */
const RUNNING_BYTES_MAX = 16 * MIB;
const ENTRIES_MAX = 4096;
/** Beyond it the oldest are forgotten: their senders' equal bodies may count as retries after a crash. */
const HEARD_RANGES_MAX = 4096;
const BACKOFF_FIRST_MS = 100;
const BACKOFF_MS_MAX = 5_000;

export class ChunkWriter {
  readonly #options: ChunkWriterOptions;
  readonly #stopping = new AbortController();
  #waiting: WaitingChunkEntry[] = [];
  #waitingBytes = 0;
  #running: RunningChunk[] = [];
  #runningBytes = 0;
  #nextSequence: number;
  #nextPosition: Position = 1;
  /** Since the last chunk. */
  #heard: PositionRange[] = [];
  #cancelTimer: (() => void) | undefined;
  /** Members of the next chunk must go although it is neither full nor due. */
  #isFlushing = false;
  #failed: ProxyError | undefined;
  #failingSinceMs: number | undefined;
  #idle: (() => void)[] = [];

  constructor(options: ChunkWriterOptions, nextSequence: number) {
    this.#options = options;
    this.#nextSequence = nextSequence;
  }

  /** Waiting or on their way. */
  get bytes(): number {
    return this.#waitingBytes + this.#runningBytes;
  }

  /** How long the store has refused or not answered, ms; 0 while it works. */
  get failingForMs(): number {
    return this.#failingSinceMs === undefined ? 0 : this.#options.clock.monotonicMs() - this.#failingSinceMs;
  }

  add(member: WaitingChunkEntry): void {
    this.#waiting.push(member);
    this.#waitingBytes += member.frame.totalBytes;
    if (this.#waitingBytes >= this.#options.chunkBytesMax || this.#waiting.length >= ENTRIES_MAX) this.#cut();
    else this.#cancelTimer ??= this.#options.clock.after(this.#options.chunkAfterMs, () => this.#due());
  }

  /** The answer for this position was heard: the next chunk says so. `epoch`: of an earlier life. */
  confirm(position: Position, epoch?: number): void {
    const last = this.#heard.at(-1);
    if (epoch !== undefined) this.#heard.push([position, position, epoch]);
    else if (last?.length === 2 && position === last[1] + 1) this.#heard[this.#heard.length - 1] = [last[0], position];
    else this.#heard.push([position, position]);
    if (this.#heard.length > HEARD_RANGES_MAX) this.#heard.shift();
  }

  /** Resolves when nothing waits any more: all is durable, or given up. */
  async flush(): Promise<void> {
    this.#isFlushing = true;
    this.#cut();
    while (this.#waiting.length > 0 || this.#running.length > 0) {
      await new Promise<void>((resolve) => this.#idle.push(resolve));
    }
    this.#isFlushing = false;
  }

  /** What is not durable now is refused. */
  stop(): void {
    this.#stopping.abort();
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#refuseAll();
  }

  #due(): void {
    this.#cancelTimer = undefined;
    this.#cut();
  }

  #cut(): void {
    while (this.#waiting.length > 0 && this.#hasRoom() && !this.#stopping.signal.aborted) {
      if (this.#running.length > 0 && !this.#isFlushing && !this.#isFull() && this.#cancelTimer) return;
      this.#cancelTimer?.();
      this.#cancelTimer = undefined;
      this.#begin(this.#nextMembers());
    }
  }

  #hasRoom(): boolean {
    if (this.#running.length === 0) return true;
    return this.#running.length < PUTS_AT_ONCE && this.#runningBytes < RUNNING_BYTES_MAX;
  }

  #isFull(): boolean {
    return this.#waitingBytes >= this.#options.chunkBytesMax || this.#waiting.length >= ENTRIES_MAX;
  }

  #nextMembers(): WaitingChunkEntry[] {
    let bytes = 0;
    let count = 0;
    for (const { frame } of this.#waiting) {
      if (count > 0 && (bytes + frame.totalBytes > this.#options.chunkBytesMax || count >= ENTRIES_MAX)) break;
      bytes += frame.totalBytes;
      count += 1;
    }
    this.#waitingBytes -= bytes;
    this.#runningBytes += bytes;
    return this.#waiting.splice(0, count);
  }

  #begin(members: WaitingChunkEntry[]): void {
    const { identity, mark } = this.#options;
    const first = this.#nextPosition;
    this.#nextPosition += members.length;
    for (const [index, { entry }] of members.entries()) entry.position = first + index;
    const frames = members.map(({ frame }) => frame);
    const bytes = encodeChunk({ mark, epoch: identity.epoch, first }, frames, this.#heard);
    this.#heard = [];
    const chunk: IndexedChunk = {
      sequence: this.#nextSequence++,
      first,
      last: this.#nextPosition - 1,
      sizeBytes: bytes.byteLength,
      frameBytes: frames.map(({ totalBytes }) => totalBytes),
      receivedAtMs: members.map(({ entry }) => entry.head.receivedAtMs),
    };
    const running: RunningChunk = { chunk, members, isDurable: false };
    this.#running.push(running);
    void this.#put(running, bytes);
  }

  async #put(running: RunningChunk, bytes: Uint8Array): Promise<void> {
    const { store, identity, clock, random, log } = this.#options;
    const key = chunkKey(identity, running.chunk.sequence);
    const { signal } = this.#stopping;
    for (let tries = 0; !signal.aborted; tries++) {
      try {
        await putChunk(store, key, bytes);
        this.#failingSinceMs = undefined;
        running.isDurable = true;
        this.#settle();
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (!isProxyError(error)) throw error;
        if (!error.retryable && error.code !== 'STORE_DENIED') {
          this.#fail(error);
          return;
        }
        this.#failingSinceMs ??= clock.monotonicMs();
        const waitMs =
          Math.min(BACKOFF_MS_MAX, BACKOFF_FIRST_MS * 2 ** Math.min(tries, 10)) * (0.5 + random.next() / 2);
        log.warn(
          { code: error.code, reason: messageOf(error), key },
          'a journal chunk could not be stored; will try again',
        );
        await clock.sleep(waitMs, signal).catch(() => {});
      }
    }
  }

  #settle(): void {
    while (this.#running[0]?.isDurable && !this.#failed) {
      const { chunk, members } = this.#running.shift()!;
      for (const { frame } of members) this.#runningBytes -= frame.totalBytes;
      this.#options.onDurable(
        chunk,
        members.map(({ entry }) => entry),
      );
      for (const { entry, settle } of members) settle(entry.position);
    }
    if (this.#isFull() || this.#isFlushing || !this.#cancelTimer) this.#cut();
    this.#tellIdle();
  }

  #fail(error: ProxyError): void {
    if (this.#failed) return;
    this.#failed = error;
    this.#options.onFailed(error);
    this.stop();
  }

  #refuseAll(): void {
    const refused = [...this.#running.flatMap(({ members }) => members), ...this.#waiting];
    this.#running = [];
    this.#waiting = [];
    this.#runningBytes = 0;
    this.#waitingBytes = 0;
    for (const { settle } of refused) settle(undefined);
    this.#tellIdle();
  }

  #tellIdle(): void {
    if (this.#running.length > 0 || this.#waiting.length > 0) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}
