/**
 * Stands for an upstream that is owed envelopes but no longer configured. It takes nothing, so that its backlog moves to spill
 * objects and holds up neither journal nor intake; configured again, it is delivered from there.
 */
import type { Upstream } from './upstream.ts';

const ASK_AGAIN_MS = 60_000;

export function createAbsentUpstream(name: string): Upstream {
  return {
    name,
    send: () => Promise.resolve({ kind: 'retry', status: undefined, reason: 'not configured', afterMs: ASK_AGAIN_MS }),
    close: () => Promise.resolve(),
  };
}
