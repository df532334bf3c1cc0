/**
 * A parcel is one envelope on its way to one upstream, with what has happened to it so far. Whoever brought it (the journal or a
 * spill object) is told once when it is done: delivered, durable in the dead letters, or durable in a spill object of its own.
 */
import type { EnvelopeHead, Position } from '../core/envelope.ts';

export interface Parcel {
  readonly position: Position;
  /** Journal life the position belongs to: `<replica>-<epoch>`. */
  readonly origin: string;
  readonly head: EnvelopeHead;
  /** Opened, as received. */
  readonly body: Uint8Array;
  readonly lane: string;
  readonly source: ParcelSource;
  /** Failed ones. */
  attempts: number;
  /** Failures while others of its lane or key got through. */
  soloFailures: number;
  /** Monotonic. */
  notBeforeMs: number;
  /** Successes of lane and key at its last failure; undefined before the first. */
  laneSuccesses: number | undefined;
  keySuccesses: number | undefined;
  lastReason: string;
  lastStatus: number | undefined;
}

export interface ParcelSource {
  readonly kind: 'journal' | 'spill';
  /** It has an object of its own already: no need to write another. */
  readonly isAlone: boolean;
  /** It was set back before: one more failure of its own sets it back again. */
  readonly isRetried: boolean;
  done(parcel: Parcel): void;
  /** It failed on its own account too often. Only where `isAlone`: it is tried again later, from its object. */
  setBack(parcel: Parcel): void;
}

export type GivenUpReason = 'refused' | 'too-old' | 'no-key' | 'key-unreadable' | 'spill-unreadable';

/** What is kept with an envelope in spill objects and dead letters. */
export interface ParcelNote {
  attempts: number;
  /** Last failure in words; '' before any. */
  reason: string;
  status?: number;
  /** Dead letters only. */
  givenUp?: GivenUpReason;
  /** Wall clock of writing, milliseconds. */
  atMs: number;
}

export function createParcel(
  entry: { position: Position; head: EnvelopeHead; body: Uint8Array },
  origin: string,
  lane: string,
  source: ParcelSource,
): Parcel {
  return {
    position: entry.position,
    head: entry.head,
    body: entry.body,
    origin,
    lane,
    source,
    attempts: 0,
    soloFailures: 0,
    notBeforeMs: 0,
    laneSuccesses: undefined,
    keySuccesses: undefined,
    lastReason: '',
    lastStatus: undefined,
  };
}
