/**
 * Writing to a store that may be away: repeated with growing waits until it succeeds or the forwarder stops. Nothing is given up,
 * because what is to be written has no other place yet than the journal. Puts are create-only; an object that is there already is
 * our own earlier attempt.
 */
import type { Clock } from '../core/clock.ts';
import { isProxyError, messageOf } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import type { ObjectStore } from '../store/object-store.ts';
import type { Log } from '../telemetry/log.ts';

export interface PatienceDeps {
  store: ObjectStore;
  clock: Clock;
  random: Random;
  log: Log;
}

const WAIT_FIRST_MS = 250;
const WAIT_MS_MAX = 15_000;

/** Rejects only when `signal` aborts. */
export async function untilDone<T>(
  deps: PatienceDeps,
  what: string,
  signal: AbortSignal,
  act: () => Promise<T>,
): Promise<T> {
  for (let tries = 0; ; tries++) {
    signal.throwIfAborted();
    try {
      return await act();
    } catch (error) {
      signal.throwIfAborted();
      const waitMs = Math.min(WAIT_MS_MAX, WAIT_FIRST_MS * 2 ** Math.min(tries, 10)) * (0.5 + deps.random.next() / 2);
      deps.log.warn({ reason: messageOf(error), waitMs: Math.round(waitMs) }, `${what} failed; will try again`);
      await deps.clock.sleep(waitMs, signal);
    }
  }
}

export function putOnce(deps: PatienceDeps, key: string, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
  return untilDone(deps, `writing ${key}`, signal, async () => {
    try {
      await deps.store.put(key, bytes, { condition: { kind: 'absent' } });
    } catch (error) {
      if (!isProxyError(error, 'STORE_EXISTS')) throw error;
    }
  });
}
