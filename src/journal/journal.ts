/**
 * The Journal seam: the replica's durable, append-only record of envelopes. Consumers read it in order and commit positions;
 * what every consumer has passed is deleted.
 *
 * An implementation must hold: `append` resolves with a position only when the envelope is as durable as the mode says;
 * positions are dense and in the order of durability; `read` never yields an envelope that is not durable; a committed
 * position never moves back; after a crash everything acknowledged is still there, once.
 */
import type { Envelope, JournalEntry, JournalIdentity, Position } from '../core/envelope.ts';

/** `full`: over the size budget; `closed`: draining, or the lane failed (a failed sync is never retried). Both mean 503. */
export type AppendResult = { ok: true; position: Position } | { ok: false; reason: 'full' | 'closed' };

export interface ReadLimits {
  entriesMax: number;
  /** At least one entry is returned whatever its size. */
  bytesMax: number;
}

/** A consumer's durable state: all entries up to and including `position` are done. `note` is its own (JSON). */
export interface ConsumerState {
  position: Position;
  note: unknown;
}

export interface JournalConsumer {
  readonly name: string;
  readonly state: ConsumerState;
  /** Durable when it resolves. `position` must not be smaller than the one before. */
  commit(position: Position, note?: unknown): Promise<void>;
}

/** An envelope whose answer is not known to have reached its sender. */
export interface UnconfirmedEnvelope {
  position: Position;
  /** Of an earlier life, in whose journal it lies; absent: in this one. */
  epoch?: number;
  bodyHash: string;
  requestId?: string;
  receivedAtMs: number;
}

/** Of a life of the journal's own replica. */
export interface HeardEnvelope {
  epoch: number;
  position: Position;
}

export interface JournalUsage {
  bytes: number;
  budgetBytes: number;
  files: number;
  /** Last durable position; 0 when the journal never held anything. */
  end: Position;
  /** First position still held; end + 1 when empty. */
  start: Position;
  oldestReceivedAtMs: number | undefined;
  quarantinedFrames: number;
  /** False after a failed write or sync. */
  writable: boolean;
}

export interface Journal {
  readonly identity: JournalIdentity;
  /** The body is the journal's from here on: it may let go of the buffer. */
  append(envelope: Envelope): Promise<AppendResult>;
  /** Durable entries from `from` on, in order, bodies opened if they rest sealed; [] at the end. Quarantined ones are missing. */
  read(from: Position, limits: ReadLimits): Promise<JournalEntry[]>;
  /** Resolves true once `position` is durable; false when the signal aborts or the journal closes first. */
  waitFor(position: Position, signal: AbortSignal): Promise<boolean>;
  /** Opens a consumer; a new one starts before the first entry still held (`from: 'start'`) or after the last (`'end'`). */
  consumer(name: string, from: 'start' | 'end'): Promise<JournalConsumer>;
  /** Names with a durable position. */
  consumers(): string[];
  /** Removes a consumer's position: it no longer holds anything. */
  retire(name: string): Promise<void>;
  /**
   * The answer for this position left in time. Survives SIGKILL (a plain write, or with the next chunk), not a power cut. `epoch`: of
   * an earlier life, as `unconfirmedAtOpen` told.
   */
  confirm(position: Position, epoch?: number): void;
  /** At open: what the previous process accepted but did not confirm, within the retry window. */
  unconfirmedAtOpen(): UnconfirmedEnvelope[];
  /**
   * Of these durable positions, those whose answer is not known to have been heard; answers that are being sent are waited for, a
   * moment. `[]` where nothing of it outlives the process.
   */
  doubtful(first: Position, last: Position): Promise<UnconfirmedEnvelope[]>;
  /** Whose answer was heard after all, or a retry's at the door, since it was told as doubtful; each is told once. */
  heardLate(): HeardEnvelope[];
  /** Bytes between a consumer's position and the end: its backlog. */
  backlog(position: Position): { entries: number; bytes: number; oldestReceivedAtMs: number | undefined };
  usage(): JournalUsage;
  /**
   * Refuses new appends, finishes running ones, closes files. `isOwing`: what consumers have passed may still have to be looked after
   * (spill), so a journal that others can see must stay visible.
   */
  close(isOwing?: boolean): Promise<void>;
}
