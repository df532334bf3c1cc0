/**
 * Which spill objects there are: `spill/<upstream>/<replica>-<epoch>/<first>-<last>-<count>`. The name says how many envelopes an
 * object holds, so that a start need not read them all. What was found from a life before is compared with the position of that
 * life: envelopes behind it in the same journal are still there and come from there.
 */
import type { JournalIdentity, Position } from '../core/envelope.ts';

export interface SpillRecord {
  readonly key: string;
  /** `<replica>-<epoch>` of the positions. */
  readonly origin: string;
  readonly count: number;
  /** Envelopes of it that are not done. */
  remaining: number;
  /** Positions done in this life; undefined while none is. */
  done: Set<Position> | undefined;
  /** Positions above are not to be taken from here. */
  takeTo: Position;
  /** Learned when it is written or first read. */
  lane: string | undefined;
  /** Monotonic. */
  notBeforeMs: number;
  /** How often it was put back. */
  setBacks: number;
}

export interface SpillName {
  origin: string;
  epoch: number;
  first: Position;
  last: Position;
  count: number;
}

const pad = (position: Position): string => String(position).padStart(16, '0');

export function originOf({ replica, epoch }: JournalIdentity): string {
  return `${replica}-${epoch}`;
}

/**
 * Names sort by age within one journal life. `copy` is not 0 only when an object of the same name is still known: an envelope that
 * stepped aside in a life before, and again from the object it had stepped out of.
 */
export function spillKey(upstream: string, origin: string, positions: readonly Position[], copy: number): string {
  const first = positions[0] ?? 0;
  const name = `${pad(first)}-${pad(positions.at(-1) ?? first)}-${positions.length}`;
  return `spill/${upstream}/${origin}/${copy === 0 ? name : `${name}.${copy}`}`;
}

/** Objects of this replica, of whatever epoch; a listing may also give those of replicas whose id begins alike. */
export function spillPrefix(upstream: string, replica: string): string {
  return `spill/${upstream}/${replica}-`;
}

/** Undefined when the object is not of this replica. */
export function parseSpillKey(upstream: string, replica: string, key: string): SpillName | undefined {
  const prefix = spillPrefix(upstream, replica);
  const match = key.startsWith(prefix)
    ? /^(\d{1,15})\/(\d{16})-(\d{16})-(\d{1,9})(?:\.\d{1,3})?$/.exec(key.slice(prefix.length))
    : null;
  if (!match) return undefined;
  const epoch = Number(match[1]);
  return {
    origin: originOf({ replica, epoch }),
    epoch,
    first: Number(match[2]),
    last: Number(match[3]),
    count: Number(match[4]),
  };
}

export function createSpillRecord(key: string, origin: string, count: number, lane: string | undefined): SpillRecord {
  return {
    key,
    origin,
    count,
    remaining: count,
    done: undefined,
    takeTo: Number.MAX_SAFE_INTEGER,
    lane,
    notBeforeMs: 0,
    setBacks: 0,
  };
}
