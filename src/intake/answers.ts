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

/** Resolves when the event loop has polled all sockets once more. */
export async function lookForHangUps(clock: Clock): Promise<void> {
  for (let look = 0; look < LOOKS_MAX; look++) {
    // The first turn ends the poll that is under way, the second one comes after a whole poll.
    await turn();
    const beganAtMs = clock.monotonicMs();
    await turn();
    if (clock.monotonicMs() - beganAtMs <= LOOK_MS_MAX) return;
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** The answer that a socket got last. A reset right behind it says that it lay there unread. */
interface LastAnswer {
  atMs: number;
  undo: () => void;
}

/** A peer that was there so long after an answer has read it. */
const RESET_WITHIN_MS = 1_000;
const LAST_ANSWER = Symbol('last-answer');

type AnsweredSocket = IncomingMessage['socket'] & { [LAST_ANSWER]?: LastAnswer | undefined };

/** Whoever sends the next request has read the answer to the one before. */
export function beginRequest({ socket }: IncomingMessage): void {
  if (LAST_ANSWER in socket) socket[LAST_ANSWER] = undefined;
}

function watchForReset(socket: AnsweredSocket, clock: Clock, undo: () => void): void {
  const isWatched = LAST_ANSWER in socket;
  socket[LAST_ANSWER] = { atMs: clock.monotonicMs(), undo };
  if (isWatched) return;
  socket.once('error', (error: NodeJS.ErrnoException) => {
    const last = socket[LAST_ANSWER];
    if (error.code !== 'ECONNRESET' || !last || clock.monotonicMs() - last.atMs > RESET_WITHIN_MS) return;
    last.undo();
  });
}

export interface Hearing {
  clock: Clock;
  startedAtMs: number;
  /** An answer slower than this may have come too late for its sender. */
  patienceMs: number;
}

/**
 * Tells, once, whether the answer left in time and whole. What it returns is to be called when the answer was sent: mostly the
 * kernel has it by then, and each moment between that and the confirmation is one in which dying loses the difference. `undo`: it was told as heard, and
 * the connection was then reset with it unread, as when a balancer dies.
 */
export function watchAnswer(
  request: IncomingMessage,
  reply: FastifyReply,
  { clock, startedAtMs, patienceMs }: Hearing,
  told: (confirmed: boolean) => void,
  undo: () => void,
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
    if (confirmed) watchForReset(socket, clock, undo);
  };
  const inTime = (): boolean => clock.monotonicMs() - startedAtMs <= patienceMs;
  reply.raw.once('finish', () => settle(inTime()));
  reply.raw.once('close', () => settle(false));
  return () => {
    if (reply.raw.writableEnded && socket.writableLength === 0 && !socket.destroyed) settle(inTime());
  };
}
