/**
 * Decode workers behind one function. A job goes to the worker with the fewest jobs waiting; jobs that come right after each other go
 * together, small bodies as copies in one buffer, which are reserved in the budget like the bodies, large ones by transfer there and back. A worker
 * that ends unexpectedly fails its jobs as `busy` (the sender tries again) and is replaced; workers that end before they can take a job, again and
 * again, are a broken installation, and end the process.
 */
import { strict as assert } from 'node:assert';
import { Worker } from 'node:worker_threads';
import { letGo } from '../core/buffers.ts';
import type { ByteBudget } from '../core/byte-budget.ts';
import { WORKER_YOUNG_HEAP_MIB } from '../core/limits.ts';
import type { Log } from '../telemetry/log.ts';
import type { DecodeElsewhere, DecodeJob, DecodeVerdict } from './decode-job.ts';
import {
  type DecodeAnswer,
  type DecodeRequest,
  type DecodeWorkerData,
  STARTED,
  type TravellingJob,
} from './decode-worker.ts';

export interface DecodePoolOptions {
  workers: number;
  budget: ByteBudget;
  decompressedBytesMax: number;
  /** Jobs waiting over all workers; one more is `busy`. */
  jobsMax: number;
  /** Old-space limit of one worker, MiB: a body that needs more ends the worker, not the process. */
  heapMiBMax: number;
  log: Log;
  /** Of the workers' code; tests give another. */
  workerFile?: URL;
}

export interface DecodePool {
  decode: DecodeElsewhere;
  close(): Promise<void>;
}

interface Waiting {
  resolve: (verdict: DecodeVerdict) => void;
  isAgain: boolean;
  /** Kept where a copy was sent, which is reserved until the answer. */
  body: Uint8Array<ArrayBuffer> | undefined;
}

interface Lane {
  worker: Worker;
  waiting: Map<number, Waiting>;
  /** Not sent yet. */
  jobs: TravellingJob[];
  /** Bodies of `jobs` that go as copies. */
  copies: Uint8Array<ArrayBuffer>[];
  copyBytes: number;
  /** Of `waiting`, those that are decoded again. */
  againCount: number;
  /** New bodies that stand back for an archive that is behind. */
  standing: { job: DecodeJob; resolve: Waiting['resolve'] }[];
}

/**
 * New bodies at a worker once some stand back: half as many as an archive has there itself (archive/decoded-ahead.ts). With as many, all that it gains on
 * them they gain on it, and it never catches up. Until none stands back any more, as the archive is soon there with the next ones.
 */
const NEW_BESIDE_AGAIN_MAX = 8;

const newAt = (lane: Lane): number => lane.waiting.size - lane.againCount;

/** To copy so much costs less than to hand over a buffer. */
const COPIED_BYTES_MAX = 16 * 1024;
/** Jobs that go together at most, and bytes of their copies: the worker should begin soon. */
const JOBS_AT_ONCE = 16;
const COPIES_BYTES_MAX = 64 * 1024;

const FAILED_STARTS_MAX = 3;
const LOST: DecodeVerdict = { ok: false, kind: 'busy', reason: 'a decode worker was lost', offset: -1 };
const FULL: DecodeVerdict = { ok: false, kind: 'busy', reason: 'too many bodies are being decoded', offset: -1 };

export function createDecodePool(options: DecodePoolOptions): DecodePool {
  const { budget, log } = options;
  let closing = false;
  let nextId = 0;
  /** In a row, over all workers. */
  let failedStarts = 0;
  const lanes: Lane[] = [];
  /** Bodies that are being decoded again, and new ones that stand back for them. */
  let againCount = 0;
  let standingCount = 0;

  const openLane = (index: number): void => {
    const held = new SharedArrayBuffer(4);
    const worker = new Worker(options.workerFile ?? new URL('./decode-worker.ts', import.meta.url), {
      workerData: {
        budget: budget.shared,
        held,
        decompressedBytesMax: options.decompressedBytesMax,
      } satisfies DecodeWorkerData,
      resourceLimits: { maxOldGenerationSizeMb: options.heapMiBMax, maxYoungGenerationSizeMb: WORKER_YOUNG_HEAP_MIB },
      name: `decode-${index}`,
    });
    const standing = lanes[index]?.standing ?? [];
    const lane: Lane = { worker, waiting: new Map(), jobs: [], copies: [], copyBytes: 0, againCount: 0, standing };
    lanes[index] = lane;
    let hasStarted = false;
    worker.on('message', (answers: DecodeAnswer[] | typeof STARTED) => {
      if (answers === STARTED) {
        hasStarted = true;
        failedStarts = 0;
        return;
      }
      for (const { id, verdict } of answers) {
        const waiting = lane.waiting.get(id);
        if (!waiting) continue;
        lane.waiting.delete(id);
        if (waiting.isAgain) {
          againCount -= 1;
          lane.againCount -= 1;
        }
        if (waiting.body) budget.release(waiting.body.byteLength);
        const body = waiting.body ?? (verdict.ok ? verdict.body : undefined);
        if (!verdict.ok) {
          if (body) letGo(body);
          waiting.resolve(verdict);
        } else if (body) {
          waiting.resolve({ ...verdict, body });
        } else {
          throw new Error('BUG: a decoded body did not come back');
        }
      }
      letStandingIn(lane);
    });
    worker.on('error', (error) => log.error({ err: error, worker: index }, 'decode worker failed'));
    worker.on('exit', (code) => {
      for (const { resolve, body, isAgain } of lane.waiting.values()) {
        if (isAgain) againCount -= 1;
        if (body) budget.release(body.byteLength);
        resolve(LOST);
      }
      lane.waiting.clear();
      budget.releaseHeld(held);
      if (closing) {
        for (const { resolve } of lane.standing.splice(0)) resolve(LOST);
        return;
      }
      failedStarts += hasStarted ? 0 : 1;
      assert(failedStarts < FAILED_STARTS_MAX, 'decode workers cannot start');
      log.error({ worker: index, code }, 'decode worker ended; starting another');
      openLane(index);
      letStandingIn(lanes[index]!);
    });
  };
  for (let index = 0; index < options.workers; index++) openLane(index);

  const send = (lane: Lane): void => {
    if (lane.jobs.length === 0) return;
    const { jobs, copies, copyBytes } = lane;
    lane.jobs = [];
    lane.copies = [];
    lane.copyBytes = 0;
    const bodies = new Uint8Array(copyBytes);
    let at = 0;
    for (const copy of copies) {
      bodies.set(copy, at);
      at += copy.byteLength;
    }
    const transfer: ArrayBuffer[] = [bodies.buffer];
    for (const { body } of jobs) if (body) transfer.push(body.buffer);
    lane.worker.postMessage({ jobs, bodies } satisfies DecodeRequest, transfer);
  };

  const letStandingIn = (lane: Lane): void => {
    while (lane.standing.length > 0 && newAt(lane) < NEW_BESIDE_AGAIN_MAX) {
      const { job, resolve } = lane.standing.shift()!;
      standingCount -= 1;
      add(lane, job, resolve);
    }
  };

  const add = (lane: Lane, { body, ...job }: DecodeJob, resolve: Waiting['resolve']): void => {
    const id = nextId++;
    const { byteLength } = body;
    const isCopied = byteLength <= COPIED_BYTES_MAX && budget.tryReserve(byteLength);
    const isAgain = job.isAgain === true;
    if (isAgain) {
      againCount += 1;
      lane.againCount += 1;
    }
    lane.waiting.set(id, { resolve, isAgain, body: isCopied ? body : undefined });
    // What has come in with the same turn of the loop goes together.
    if (lane.jobs.length === 0) setImmediate(send, lane);
    if (isCopied) {
      lane.jobs.push({ ...job, id, at: lane.copyBytes, byteLength });
      lane.copies.push(body);
      lane.copyBytes += byteLength;
    } else {
      lane.jobs.push({ ...job, id, at: 0, byteLength, body });
    }
    if (!isCopied || lane.jobs.length >= JOBS_AT_ONCE || lane.copyBytes >= COPIES_BYTES_MAX) send(lane);
  };

  return {
    decode: (job) => {
      let least = lanes[0]!;
      let waiting = standingCount;
      for (const lane of lanes) {
        waiting += lane.waiting.size;
        if (lane.waiting.size + lane.standing.length < least.waiting.size + least.standing.length) least = lane;
      }
      if (closing || waiting >= options.jobsMax) return Promise.resolve(FULL);
      return new Promise((resolve) => {
        const isBusy = againCount > 0 && newAt(least) >= NEW_BESIDE_AGAIN_MAX;
        const standsBack = !job.isAgain && (isBusy || least.standing.length > 0);
        if (!standsBack) {
          add(least, job, resolve);
          return;
        }
        standingCount += 1;
        least.standing.push({ job, resolve });
      });
    },
    close: async () => {
      closing = true;
      await Promise.all(lanes.map((lane) => lane.worker.terminate()));
    },
  };
}
