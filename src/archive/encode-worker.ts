/** A worker thread around the SegmentBuilder: batches come in by transfer, finished segments leave by transfer. */
import { setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { createParquetCodec } from '../codec/parquet-codec.ts';
import type { Position } from '../core/envelope.ts';
import { ENCODE_NICENESS } from '../core/limits.ts';
import type { DoubtfulEnvelope } from '../store/commit-log.ts';
import { type AddedEnvelope, type BuildOptions, type BuiltSegment, SegmentBuilder } from './segment-builder.ts';

export type EncodeRequest =
  | { kind: 'add'; envelopes: readonly AddedEnvelope[] }
  /** Build the cut; each segment is answered as it is made, `next` asks for the one after. */
  | { kind: 'build'; first: Position; last: Position; doubts: readonly DoubtfulEnvelope[] }
  | { kind: 'next' };

export type EncodeAnswer = { kind: 'segment'; segment: BuiltSegment } | { kind: 'done' };

if (parentPort) {
  const port = parentPort;
  const builder = new SegmentBuilder(createParquetCodec(), workerData as BuildOptions);
  // This thread's alone: where processors are short, callers' sockets come first.
  setPriority(ENCODE_NICENESS);
  let running: Generator<BuiltSegment> | undefined;

  const step = (): void => {
    const made = running?.next();
    if (!made || made.done) {
      running = undefined;
      port.postMessage({ kind: 'done' } satisfies EncodeAnswer);
      return;
    }
    const segment = made.value;
    // The codec may hand out a view of a larger buffer; only a buffer of its own can be transferred.
    const bytes = segment.bytes.byteLength === segment.bytes.buffer.byteLength ? segment.bytes : segment.bytes.slice();
    port.postMessage({ kind: 'segment', segment: { entry: segment.entry, bytes } } satisfies EncodeAnswer, [
      bytes.buffer as ArrayBuffer,
    ]);
  };

  port.on('message', (request: EncodeRequest) => {
    if (request.kind === 'add') {
      for (const envelope of request.envelopes) builder.add(envelope);
      return;
    }
    if (request.kind === 'build') running = builder.build(request.first, request.last, request.doubts);
    step();
  });
}
