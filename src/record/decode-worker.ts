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
import { batchBytes, batchTransferList, packBatch } from '../core/columns.ts';
import { WORKER_NICENESS } from '../core/limits.ts';
import { decompress } from '../wire/decompression.ts';
import { decodeEnvelope } from './decode-envelope.ts';
import type { DecodeJob, DecodeVerdict } from './decode-job.ts';

export interface DecodeWorkerData {
  budget: SharedArrayBuffer;
  held: SharedArrayBuffer;
  decompressedBytesMax: number;
}

/** Sent to the worker, and answered with the same `id`; answers come in lists. */
export interface DecodeRequest {
  id: number;
  job: DecodeJob;
}

/**
 * To wake the other thread costs as much as a small body: answers that are ready one right after the other go together. A large body's goes
 * at once, so that it keeps nobody waiting.
 */
const ANSWERS_AT_ONCE = 4;
const LARGE_BYTES = 64 * 1024;

/** The first thing a worker says: its code is loaded. */
export const STARTED = 'started';

export interface DecodeAnswer {
  id: number;
  verdict: DecodeVerdict;
}

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
  if (bytes !== job.body) letGo(bytes);
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

const EMPTY_BATCH = { rowCount: 0, columns: {} };

function answerTo(request: DecodeRequest, budget: ByteBudget, decompressedBytesMax: number): DecodeVerdict {
  const { job } = request;
  if (job.body.byteLength <= 64) {
    // A probe need not be what the route expects, so it is recognised before the decoder sees it.
    const inflated = decompress(job.body, job.contentEncoding, decompressedBytesMax, budget);
    if (inflated.ok) {
      budget.release(inflated.reservedBytes);
      if (isProbeBody(inflated.bytes)) {
        return {
          ok: true,
          body: job.body,
          batch: EMPTY_BATCH,
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

if (parentPort) {
  const port = parentPort;
  const { budget: shared, held, decompressedBytesMax } = workerData as DecodeWorkerData;
  const bound = new ByteBudget(shared, held);
  const unbound = new ByteBudget(shared, held, false);
  // This thread's alone: where processors are short, callers' sockets come first.
  setPriority(WORKER_NICENESS);
  let answers: DecodeAnswer[] = [];
  const answer = (): void => {
    if (answers.length === 0) return;
    const transfer: ArrayBuffer[] = [];
    for (const { verdict } of answers) {
      if (!verdict.ok) continue;
      transfer.push(verdict.body.buffer, ...batchTransferList(verdict.batch));
      // Not before it goes: what a lost worker still held is given back for it.
      bound.handOver(verdict.reservedBytes);
    }
    port.postMessage(answers, transfer);
    answers = [];
  };
  port.on('message', (request: DecodeRequest) => {
    const budget = request.job.isOverdue ? unbound : bound;
    const verdict = answerTo(request, budget, decompressedBytesMax);
    // What is refused is not sent back.
    if (!verdict.ok) letGo(request.job.body);
    if (answers.length === 0) setImmediate(answer);
    answers.push({ id: request.id, verdict });
    if (answers.length >= ANSWERS_AT_ONCE || !verdict.ok || verdict.rawBytes >= LARGE_BYTES) answer();
  });
  port.postMessage(STARTED);
}
