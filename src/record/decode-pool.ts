/**
 * Decode workers behind one function. A job goes to the worker with the fewest jobs waiting; bodies are transferred there and
 * back. A worker that ends unexpectedly fails its jobs as `busy` (the sender tries again) and is replaced; workers that end before
 * they can take a job, again and again, are a broken installation, and end the process.
 */
import { strict as assert } from 'node:assert';
import { Worker } from 'node:worker_threads';
import type { ByteBudget } from '../core/byte-budget.ts';
import type { Log } from '../telemetry/log.ts';
import type { DecodeElsewhere, DecodeVerdict } from './decode-job.ts';
import { type DecodeAnswer, type DecodeRequest, type DecodeWorkerData, STARTED } from './decode-worker.ts';

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

interface Lane {
  worker: Worker;
  waiting: Map<number, (verdict: DecodeVerdict) => void>;
}

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

  const openLane = (index: number): void => {
    const held = new SharedArrayBuffer(4);
    const worker = new Worker(options.workerFile ?? new URL('./decode-worker.ts', import.meta.url), {
      workerData: {
        budget: budget.shared,
        held,
        decompressedBytesMax: options.decompressedBytesMax,
      } satisfies DecodeWorkerData,
      resourceLimits: { maxOldGenerationSizeMb: options.heapMiBMax },
      name: `decode-${index}`,
    });
    const lane: Lane = { worker, waiting: new Map() };
    lanes[index] = lane;
    let hasStarted = false;
    worker.on('message', (answers: DecodeAnswer[] | typeof STARTED) => {
      if (answers === STARTED) {
        hasStarted = true;
        failedStarts = 0;
        return;
      }
      for (const { id, verdict } of answers) {
        const resolve = lane.waiting.get(id);
        lane.waiting.delete(id);
        resolve?.(verdict);
      }
    });
    worker.on('error', (error) => log.error({ err: error, worker: index }, 'decode worker failed'));
    worker.on('exit', (code) => {
      for (const resolve of lane.waiting.values()) resolve(LOST);
      lane.waiting.clear();
      budget.releaseHeld(held);
      if (closing) return;
      failedStarts += hasStarted ? 0 : 1;
      assert(failedStarts < FAILED_STARTS_MAX, 'decode workers cannot start');
      log.error({ worker: index, code }, 'decode worker ended; starting another');
      openLane(index);
    });
  };
  for (let index = 0; index < options.workers; index++) openLane(index);

  return {
    decode: (job) => {
      let least = lanes[0]!;
      let waiting = 0;
      for (const lane of lanes) {
        waiting += lane.waiting.size;
        if (lane.waiting.size < least.waiting.size) least = lane;
      }
      if (closing || waiting >= options.jobsMax) return Promise.resolve(FULL);
      const id = nextId++;
      return new Promise((resolve) => {
        least.waiting.set(id, resolve);
        least.worker.postMessage({ id, job } satisfies DecodeRequest, [job.body.buffer]);
      });
    },
    close: async () => {
      closing = true;
      await Promise.all(lanes.map((lane) => lane.worker.terminate()));
    },
  };
}
