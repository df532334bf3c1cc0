/**
 * Did an answer reach its sender? Whoever has hung up will send again, so an answer written to nobody must not count as heard.
 *
 * After a pause of the process (a stopped machine, a disk that blocks) a sender may have given up while we could not see it: its
 * hang-up waits in the kernel. So each answer waits for one look at the sockets that began after the envelope was durable.
 */
import type { IncomingMessage } from 'node:http';
import type { FastifyReply } from 'fastify';
import type { Clock } from '../core/clock.ts';

/** A look that took longer than this may have missed who hung up meanwhile. */
const LOOK_MS_MAX = 50;
/** Under constant overload each look is slow: then one has to do. */
const LOOKS_MAX = 3;

export function hasHungUp(request: IncomingMessage): boolean {
  return request.socket.destroyed || request.socket.readableEnded;
}

/** Looks whose first turn is still to come: whoever asks until then may join. */
const looks = new WeakMap<Clock, Promise<void>>();

/** Resolves when the event loop has polled all sockets once more. */
export function lookForHangUps(clock: Clock): Promise<void> {
  const joined = looks.get(clock) ?? look(clock);
  looks.set(clock, joined);
  return joined;
}

async function look(clock: Clock): Promise<void> {
  for (let count = 0; count < LOOKS_MAX; count++) {
    // The first turn ends the poll that is under way, the second one comes after a whole poll.
    await turn();
    looks.delete(clock);
    const beganAtMs = clock.monotonicMs();
    await turn();
    if (clock.monotonicMs() - beganAtMs <= LOOK_MS_MAX) return;
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export interface Hearing {
  clock: Clock;
  startedAtMs: number;
  /** An answer slower than this may have come too late for its sender. */
  patienceMs: number;
}

/**
 * Tells, once, whether the answer left in time and whole. What it returns is to be called when the answer was sent: mostly the
 * kernel has it by then, and each moment between that and the confirmation is one in which dying loses the difference.
 */
export function watchAnswer(
  request: IncomingMessage,
  reply: FastifyReply,
  { clock, startedAtMs, patienceMs }: Hearing,
  told: (confirmed: boolean) => void,
): () => void {
  const { socket } = request;
  if (hasHungUp(request)) {
    told(false);
    return () => {};
  }
  let settled = false;
  const settle = (confirmed: boolean): void => {
    if (settled) return;
    settled = true;
    told(confirmed);
  };
  const inTime = (): boolean => clock.monotonicMs() - startedAtMs <= patienceMs;
  reply.raw.once('finish', () => settle(inTime()));
  reply.raw.once('close', () => settle(false));
  return () => {
    if (reply.raw.writableEnded && socket.writableLength === 0 && !socket.destroyed) settle(inTime());
  };
}
