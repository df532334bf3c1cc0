/** A folder of segments with commit records, written by the real codec and decoders: what queries and exports read. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SegmentBuilder } from '../../src/archive/segment-builder.ts';
import { createParquetCodec } from '../../src/codec/parquet-codec.ts';
import type { Protocol, Signal } from '../../src/core/envelope.ts';
import type { Decode } from '../../src/record/decoder.ts';
import { decodeEvents } from '../../src/record/events.ts';
import { decodeLogs } from '../../src/record/logs.ts';
import { decodeMetrics } from '../../src/record/metrics.ts';
import { decodeTraces } from '../../src/record/traces.ts';
import { type CommitRecord, commitKey, type SegmentEntry } from '../../src/store/commit-log.ts';
import { encodeCommit } from '../../src/store/commit-records.ts';
import { createMemoryStore } from '../../src/store/memory-store.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import { createManualClock } from '../support/manual-clock.ts';

const DECODERS: Record<Signal, Decode> = {
  metrics: decodeMetrics,
  logs: decodeLogs,
  traces: decodeTraces,
  events: decodeEvents,
};

export interface Request {
  signal: Signal;
  protocol: Protocol;
  body: string | Uint8Array;
  receivedAtMs: number;
  path?: string;
  tenant?: string;
}

export interface ArchiveFolder {
  store: ObjectStore;
  pathOf: (key: string) => string;
  tempFolder: string;
  /** One flush: all requests, then a commit record. Returns the segments it added. */
  flush(requests: readonly Request[], replaces?: string[]): Promise<SegmentEntry[]>;
}

/** Commit records lie in memory, segments as files under `folder`. */
export function createArchiveFolder(folder: string, identity = { replica: 'r-1', epoch: 1 }): ArchiveFolder {
  const store = createMemoryStore({ clock: createManualClock() });
  const root = join(folder, 'store');
  const pathOf = (key: string) => join(root, key);
  let position = 0;
  let number = 0;
  return {
    store,
    pathOf,
    tempFolder: join(folder, 'tmp'),
    flush: async (requests, replaces = []) => {
      const options = { identity, zstdLevel: 3, rowGroupRowsMax: 1000, hoursMax: 8 };
      const builder = new SegmentBuilder(createParquetCodec(), options);
      const first = position + 1;
      for (const request of requests) {
        const { signal, protocol, receivedAtMs } = request;
        const path = request.path ?? '/';
        const body = typeof request.body === 'string' ? Buffer.from(request.body) : request.body;
        const decoded = DECODERS[signal]({ protocol, body, contentType: '', path, receivedAtMs });
        if (!decoded.ok) throw new Error(`rejected: ${decoded.reason}`);
        position += 1;
        const tenant = request.tenant ?? 'default';
        builder.add({ position, tenant, signal, protocol, requestPath: path, receivedAtMs, batch: decoded.batch });
      }
      const adds: SegmentEntry[] = [];
      for (const { entry, bytes } of builder.build(first, Math.max(first, position))) {
        await mkdir(dirname(pathOf(entry.key)), { recursive: true });
        await writeFile(pathOf(entry.key), bytes);
        adds.push(entry);
      }
      number += 1;
      const record: CommitRecord = {
        format: 1,
        ...identity,
        number,
        first,
        last: Math.max(first, position),
        envelopes: {},
        rawBytes: {},
        committedAtMs: 0,
        adds,
        replaces,
      };
      await store.put(commitKey(identity, number), encodeCommit(record), { condition: { kind: 'absent' } });
      return adds;
    },
  };
}
