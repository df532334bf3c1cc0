/**
 * Envelopes that are given up on, each an object of its own with the reason:
 * `dead-letters/<upstream>/dt=YYYY-MM-DD/<replica>-<epoch>-<position>`. Durable before the position moves.
 */
import type { Sealer } from '../core/sealer.ts';
import type { GivenUpReason, Parcel } from './parcel.ts';
import { encodeParcels } from './parcel-file.ts';
import { type PatienceDeps, putOnce } from './store-patience.ts';

export interface DeadLetterDeps extends PatienceDeps {
  upstream: { name: string };
  sealer: Sealer;
}

export function deadLetterKey(upstream: string, parcel: Pick<Parcel, 'origin' | 'position' | 'head'>): string {
  // The day of receipt: it does not change when the write is repeated after a crash.
  const day = new Date(parcel.head.receivedAtMs).toISOString().slice(0, 10);
  return `dead-letters/${upstream}/dt=${day}/${parcel.origin}-${String(parcel.position).padStart(16, '0')}`;
}

/** Rejects only when `signal` aborts. */
export async function writeDeadLetter(
  deps: DeadLetterDeps,
  parcel: Parcel,
  givenUp: GivenUpReason,
  signal: AbortSignal,
): Promise<void> {
  const { position, head, body, attempts, lastReason, lastStatus } = parcel;
  const note = {
    attempts,
    reason: lastReason,
    ...(lastStatus === undefined ? {} : { status: lastStatus }),
    givenUp,
    atMs: deps.clock.nowMs(),
  };
  const bytes = encodeParcels([{ position, head, body, note }], deps.sealer);
  await putOnce(deps, deadLetterKey(deps.upstream.name, parcel), bytes, signal);
}

/** A spill object that cannot be read is kept whole for a human. */
export function unreadableKey(upstream: string, spillKey: string): string {
  return `dead-letters/${upstream}/unreadable/${spillKey.split('/').slice(2).join('-')}`;
}
