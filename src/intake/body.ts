/**
 * Reads a request body into one buffer of its own. What is read was reserved in the process-wide budget first, so that a crowd of
 * large bodies costs a refusal, not memory. Chunks are copied as they arrive: no long copy at the end holds up the event loop, and
 * all bodies together take so many bytes per turn of it.
 */
import type { IncomingMessage } from 'node:http';
import { letGo } from '../core/buffers.ts';
import type { ByteBudget } from '../core/byte-budget.ts';
import type { Clock } from '../core/clock.ts';
import { KIB, MIB } from '../core/limits.ts';

export type BodyRead =
  /** `reservedBytes` stay reserved until the caller releases them. */
  | { ok: true; body: Uint8Array<ArrayBuffer>; reservedBytes: number }
  | { ok: false; kind: 'too-large' | 'busy' | 'slow' | 'aborted' };

export interface BodyLimits {
  bodyBytesMax: number;
  requestTimeoutMs: number;
}

/** First buffer of a body whose length is not told. */
const UNKNOWN_LENGTH_BYTES = 64 * KIB;

/** Pieces of this size come from the HTTP parser, in a buffer of their own. */
const LARGE_CHUNK_BYTES = 16 * KIB;

const TURN_BYTES_MAX = 1 * MIB;
/** Resumed at once, each with what was buffered for it: about as much as a turn may take. */
const RESUMED_MAX = 8;

/** Shares the event loop among bodies: what comes after a turn's bytes waits, unread, for the next turn. */
export class BodyTurns {
  readonly #paused = new Set<IncomingMessage>();
  #bytes = 0;
  #isScheduled = false;

  /** Counts a chunk; pauses the request when this turn has had its share. */
  took(request: IncomingMessage, bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes >= TURN_BYTES_MAX) {
      request.pause();
      this.#paused.add(request);
    }
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => this.#next());
  }

  /** It is read no more. */
  leave(request: IncomingMessage): void {
    this.#paused.delete(request);
  }

  #next(): void {
    this.#bytes = 0;
    this.#isScheduled = false;
    let resumed = 0;
    for (const request of this.#paused) {
      if (resumed++ >= RESUMED_MAX) break;
      this.#paused.delete(request);
      request.resume();
    }
    if (this.#paused.size === 0 || this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => this.#next());
  }
}

/** Not zeroed: it is cut to what was written into it. */
function emptyBuffer(bytes: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.allocUnsafeSlow(bytes).buffer);
}

export function readBody(
  request: IncomingMessage,
  limits: BodyLimits,
  budget: ByteBudget,
  clock: Clock,
  turns: BodyTurns,
): Promise<BodyRead> {
  const told = request.headers['content-length'];
  const length = told === undefined ? undefined : Number(told);
  if (length !== undefined && length > limits.bodyBytesMax) return Promise.resolve({ ok: false, kind: 'too-large' });
  let reservedBytes = length ?? UNKNOWN_LENGTH_BYTES;
  if (!budget.tryReserve(reservedBytes)) return Promise.resolve({ ok: false, kind: 'busy' });
  return new Promise((resolve) => {
    let buffer = emptyBuffer(reservedBytes);
    let filled = 0;
    const finish = (result: BodyRead): void => {
      cancelTimeout();
      turns.leave(request);
      request.off('data', onData);
      request.off('end', onEnd);
      request.off('close', onAborted);
      request.off('error', onAborted);
      if (!result.ok) {
        letGo(buffer);
        budget.release(reservedBytes);
      }
      resolve(result);
    };
    const onData = (chunk: Buffer): void => {
      const chunkBytes = chunk.byteLength;
      const needed = filled + chunkBytes;
      if (needed > limits.bodyBytesMax) {
        finish({ ok: false, kind: 'too-large' });
        return;
      }
      if (needed > buffer.byteLength) {
        const capacity = Math.min(limits.bodyBytesMax, Math.max(needed, buffer.byteLength * 2));
        // Old and new buffer are both there while it is copied.
        if (!budget.tryReserve(capacity)) {
          finish({ ok: false, kind: 'busy' });
          return;
        }
        const grown = emptyBuffer(capacity);
        grown.set(buffer.subarray(0, filled));
        letGo(buffer);
        buffer = grown;
        budget.release(reservedBytes);
        reservedBytes = capacity;
      }
      buffer.set(chunk, filled);
      filled = needed;
      // Left to the collector, copied chunks pile up to as much as all bodies together.
      if (chunk.byteLength >= LARGE_CHUNK_BYTES && chunk.byteLength === chunk.buffer.byteLength) letGo(chunk);
      turns.took(request, chunkBytes);
    };
    const onEnd = (): void => {
      // The buffer is transferred to a worker whole, so that it must be no longer than the body.
      const body = filled === buffer.byteLength ? buffer : new Uint8Array(buffer.buffer.transfer(filled));
      finish({ ok: true, body, reservedBytes });
    };
    const onAborted = (): void => finish({ ok: false, kind: 'aborted' });
    const cancelTimeout = clock.after(limits.requestTimeoutMs, () => finish({ ok: false, kind: 'slow' }));
    request.on('data', onData);
    request.on('end', onEnd);
    request.on('close', onAborted);
    request.on('error', onAborted);
  });
}
