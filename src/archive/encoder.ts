/** The encode worker as an object: `add` envelopes, `build` a cut. Losing the worker loses only what the journal still has. */
import { Worker } from 'node:worker_threads';
import type { Position } from '../core/envelope.ts';
import { ProxyError } from '../core/errors.ts';
import { WORKER_YOUNG_HEAP_MIB } from '../core/limits.ts';
import { joinBatches, transferList } from '../core/travelling-batch.ts';
import type { DoubtfulEnvelope } from '../store/commit-log.ts';
import type { EncodeAnswer, EncodeRequest } from './encode-worker.ts';
import type { AddedEnvelope, BuildOptions, BuiltSegment } from './segment-builder.ts';

/** Envelopes that go to the worker together; it does not need them before it builds. */
const ADDED_AT_ONCE = 64;
const ADDED_BYTES_MAX = 512 * 1024;

export interface Encoder {
  /** The batch's buffers are transferred sooner or later: it is gone for the caller. */
  add(envelope: AddedEnvelope): void;
  /** Segments of the cut, one at a time. Throws WORKER_LOST when the worker ended. */
  build(first: Position, last: Position, doubts: readonly DoubtfulEnvelope[]): AsyncGenerator<BuiltSegment>;
  close(): Promise<void>;
}

export function createEncoder(options: BuildOptions, heapMiBMax: number): Encoder {
  const worker = new Worker(new URL('./encode-worker.ts', import.meta.url), {
    workerData: options,
    resourceLimits: { maxOldGenerationSizeMb: heapMiBMax, maxYoungGenerationSizeMb: WORKER_YOUNG_HEAP_MIB },
    name: 'encode',
  });
  let lost: Error | undefined;
  let waiting: { resolve: (answer: EncodeAnswer) => void; reject: (error: Error) => void } | undefined;
  const fail = (cause: unknown): void => {
    lost ??= new ProxyError('WORKER_LOST', 'the encode worker ended', { cause });
    waiting?.reject(lost);
    waiting = undefined;
  };
  worker.on('error', fail);
  worker.on('exit', fail);
  worker.on('message', (answer: EncodeAnswer) => {
    waiting?.resolve(answer);
    waiting = undefined;
  });
  const ask = (request: EncodeRequest): Promise<EncodeAnswer> => {
    if (lost) return Promise.reject(lost);
    return new Promise((resolve, reject) => {
      waiting = { resolve, reject };
      worker.postMessage(request);
    });
  };
  let added: AddedEnvelope[] = [];
  let addedBytes = 0;
  const sendAdded = (): void => {
    if (added.length === 0) return;
    const envelopes = added;
    added = [];
    addedBytes = 0;
    if (lost) return;
    const batches = envelopes.map(({ batch }) => batch);
    joinBatches(batches);
    worker.postMessage({ kind: 'add', envelopes } satisfies EncodeRequest, transferList(batches));
  };
  return {
    add: (envelope) => {
      const { batch } = envelope;
      added.push(envelope);
      addedBytes += 'columns' in batch ? ADDED_BYTES_MAX : batch.byteLength;
      if (added.length >= ADDED_AT_ONCE || addedBytes >= ADDED_BYTES_MAX) sendAdded();
    },
    build: async function* (first, last, doubts) {
      sendAdded();
      let answer = await ask({ kind: 'build', first, last, doubts });
      while (answer.kind === 'segment') {
        yield answer.segment;
        answer = await ask({ kind: 'next' });
      }
    },
    close: async () => {
      await worker.terminate();
    },
  };
}
