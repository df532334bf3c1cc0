/**
 * A worker thread that decodes: hash, inflate within bounds, frame and turn into columns, in one pass over the body. It never
 * throws on bad input; what crosses back is a `DecodeVerdict` with every buffer transferred.
 */
import { createHash } from 'node:crypto';
import { setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { crc32 } from 'node:zlib';
import { letGo } from '../core/buffers.ts';
import { ByteBudget } from '../core/byte-budget.ts';
import { batchBytes } from '../core/columns.ts';
import { WORKER_NICENESS } from '../core/limits.ts';
import { joinBatches, packBatch, type TravellingBatch, transferList } from '../core/travelling-batch.ts';
import { decompress } from '../wire/decompression.ts';
import { decodeEnvelope } from './decode-envelope.ts';
import type { DecodedBody, DecodeJob, DecodeVerdict } from './decode-job.ts';

export interface DecodeWorkerData {
  budget: SharedArrayBuffer;
  held: SharedArrayBuffer;
  decompressedBytesMax: number;
}

/**
 * Sent to the worker; each is answered with the same `id`, and answers come in lists. A small body is a piece of `bodies`, which is a copy: the pool
 * keeps the body. A large one is transferred, and goes back.
 */
export interface DecodeRequest {
  jobs: readonly TravellingJob[];
  bodies: Uint8Array<ArrayBuffer>;
}

export interface TravellingJob extends Omit<DecodeJob, 'body'> {
  id: number;
  /** Where it begins in `bodies`, and its length. */
  at: number;
  byteLength: number;
  body?: Uint8Array<ArrayBuffer>;
}

/**
 * To wake the other thread costs as much as a small body: answers that are ready one right after the other go together. A large body's goes
 * at once, so that it keeps nobody waiting.
 */
const ANSWERS_AT_ONCE = 8;
const LARGE_BYTES = 64 * 1024;

/** The first thing a worker says: its code is loaded. */
export const STARTED = 'started';

export interface DecodeAnswer {
  id: number;
  /** Without a body where the pool has kept it. */
  verdict: WorkerVerdict;
}

export type WorkerVerdict =
  | (Omit<DecodedBody, 'body'> & { body?: Uint8Array<ArrayBuffer> })
  | Exclude<DecodeVerdict, DecodedBody>;

export function decodeJob(job: DecodeJob, budget: ByteBudget, decompressedBytesMax: number): DecodeVerdict {
  const inflated = decompress(job.body, job.contentEncoding, decompressedBytesMax, budget);
  if (!inflated.ok) return { ok: false, kind: inflated.kind, reason: inflated.reason, offset: -1 };
  const { bytes } = inflated;
  // A batch is seldom larger than the text it came from; what it really takes is settled below.
  if (!budget.tryReserve(bytes.byteLength)) {
    budget.release(inflated.reservedBytes);
    return { ok: false, kind: 'busy', reason: 'the in-flight byte budget is used up', offset: -1 };
  }
  const decoded = decodeEnvelope({
    protocol: job.protocol,
    body: bytes,
    contentType: job.contentType,
    path: job.path,
    receivedAtMs: job.receivedAtMs,
  });
  const rawBytes = bytes.byteLength;
  const isProbe = isProbeBody(bytes);
  if (bytes !== job.body && !inflated.isShared) letGo(bytes);
  budget.release(inflated.reservedBytes);
  budget.release(rawBytes);
  if (!decoded.ok) return { ok: false, kind: 'malformed', reason: decoded.reason, offset: decoded.offset };
  const reservedBytes = ByteBudget.rounded(batchBytes(decoded.batch));
  if (!budget.tryReserve(reservedBytes)) {
    return { ok: false, kind: 'busy', reason: 'the in-flight byte budget is used up', offset: -1 };
  }
  return {
    ok: true,
    body: job.body,
    batch: packBatch(decoded.batch),
    itemCount: decoded.itemCount,
    opaqueCount: decoded.opaqueCount,
    rawBytes,
    bodyHash: createHash('sha256').update(`${job.path}\n${job.keyFingerprint}\n`).update(job.body).digest('hex'),
    bodyCrc: crc32(job.body),
    holdsSecret: decoded.holdsSecret,
    isProbe,
    reservedBytes,
  };
}

/** Agents probe with an empty body or `{}`, on protobuf routes too. */
function isProbeBody(bytes: Uint8Array): boolean {
  return bytes.byteLength === 0 || (bytes.byteLength <= 8 && Buffer.from(bytes).toString('latin1').trim() === '{}');
}

function verdictOn(job: DecodeJob, budget: ByteBudget, decompressedBytesMax: number): DecodeVerdict {
  if (job.body.byteLength <= 64) {
    // A probe need not be what the route expects, so it is recognised before the decoder sees it.
    const inflated = decompress(job.body, job.contentEncoding, decompressedBytesMax, budget);
    if (inflated.ok) {
      budget.release(inflated.reservedBytes);
      if (isProbeBody(inflated.bytes)) {
        return {
          ok: true,
          body: job.body,
          batch: { rowCount: 0, columns: {} },
          itemCount: 0,
          opaqueCount: 0,
          rawBytes: inflated.bytes.byteLength,
          bodyHash: '',
          bodyCrc: 0,
          holdsSecret: false,
          isProbe: true,
          reservedBytes: 0,
        };
      }
    }
  }
  return decodeJob(job, budget, decompressedBytesMax);
}

/** Answers of one thread, on their way. */
class Answers {
  readonly #send: (answers: DecodeAnswer[], transfer: ArrayBuffer[]) => void;
  /** Takes over what is reserved for batches: what a lost worker still held is given back for it. */
  readonly #budget: ByteBudget;
  #waiting: DecodeAnswer[] = [];

  constructor(send: (answers: DecodeAnswer[], transfer: ArrayBuffer[]) => void, budget: ByteBudget) {
    this.#send = send;
    this.#budget = budget;
  }

  add(answer: DecodeAnswer): void {
    this.#waiting.push(answer);
    const { verdict } = answer;
    if (this.#waiting.length >= ANSWERS_AT_ONCE || !verdict.ok || verdict.rawBytes >= LARGE_BYTES) this.flush();
  }

  flush(): void {
    if (this.#waiting.length === 0) return;
    const answers = this.#waiting;
    this.#waiting = [];
    const batches: TravellingBatch[] = [];
    const bodies: ArrayBuffer[] = [];
    for (const { verdict } of answers) {
      if (!verdict.ok) continue;
      batches.push(verdict.batch);
      if (verdict.body) bodies.push(verdict.body.buffer);
      // Not before it goes.
      this.#budget.handOver(verdict.reservedBytes);
    }
    joinBatches(batches);
    this.#send(answers, [...bodies, ...transferList(batches)]);
  }
}

if (parentPort) {
  const port = parentPort;
  const { budget: shared, held, decompressedBytesMax } = workerData as DecodeWorkerData;
  const bound = new ByteBudget(shared, held);
  const unbound = new ByteBudget(shared, held, false);
  // This thread's alone: where processors are short, callers' sockets come first.
  setPriority(WORKER_NICENESS);
  const answers = new Answers((list, transfer) => port.postMessage(list, transfer), bound);
  port.on('message', ({ jobs, bodies }: DecodeRequest) => {
    for (const { id, at, byteLength, body: own, ...job } of jobs) {
      // A large one takes long: what is ready does not wait for it.
      if (own) answers.flush();
      const body = own ?? bodies.subarray(at, at + byteLength);
      const decoded = verdictOn({ ...job, body }, job.isOverdue ? unbound : bound, decompressedBytesMax);
      if (own) {
        // What is refused is not sent back.
        if (!decoded.ok) letGo(own);
        answers.add({ id, verdict: decoded });
      } else if (decoded.ok) {
        const { body: _, ...verdict } = decoded;
        answers.add({ id, verdict });
      } else {
        answers.add({ id, verdict: decoded });
      }
    }
    answers.flush();
  });
  port.postMessage(STARTED);
}
