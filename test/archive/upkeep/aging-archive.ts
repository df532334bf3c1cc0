/** An archive over any store, filled flush by flush on a manual clock, with the test's own ledger of what went in. */
import { createHash } from 'node:crypto';
import { SegmentBuilder } from '../../../src/archive/segment-builder.ts';
import type { UpkeepRules } from '../../../src/archive/upkeep/plan.ts';
import { runUpkeep, type UpkeepSummary } from '../../../src/archive/upkeep/upkeep.ts';
import { createParquetCodec } from '../../../src/codec/parquet-codec.ts';
import type { Signal } from '../../../src/core/envelope.ts';
import { decodeLogs } from '../../../src/record/logs.ts';
import { decodeMetrics } from '../../../src/record/metrics.ts';
import { SEGMENT_COLUMNS } from '../../../src/record/schema.ts';
import { decodeTraces } from '../../../src/record/traces.ts';
import type { DoubtfulEnvelope } from '../../../src/store/commit-log.ts';
import { appendCommit } from '../../../src/store/commit-records.ts';
import { HashCollector, hashListKey } from '../../../src/store/hash-lists.ts';
import { readLiveSegments } from '../../../src/store/live-segments.ts';
import type { ObjectReader, ObjectStore } from '../../../src/store/object-store.ts';
import type { ManualClock } from '../../support/manual-clock.ts';
import { quietWitness } from '../../support/quiet.ts';

export const DAY_MS = 24 * 3_600_000;
export const LEASE_MS = 10_000;
export const GRACE_MS = 3_600_000;

export const RULES: UpkeepRules = {
  tiers: [
    { tier: 'hot', days: 2, zstdLevel: 1 },
    { tier: 'warm', days: 6, zstdLevel: 2, rollup: { everyMs: 300_000, keepsRaw: true } },
    { tier: 'cold', days: 20, zstdLevel: 3, rollup: { everyMs: 3_600_000, keepsRaw: true } },
  ],
  compactAfterMs: 2 * 3_600_000,
  compactInputsMin: 3,
};

const codec = createParquetCodec();
const decoders = { logs: decodeLogs, metrics: decodeMetrics, traces: decodeTraces } as const;
const protocols = { logs: 'logs-json', metrics: 'series-v1-json', traces: 'traces-v04-json' } as const;
type KeptSignal = keyof typeof decoders;

export interface LedgerItem {
  signal: KeptSignal;
  /** As an export gives it back. */
  text: string;
  receivedAtMs: number;
}

export class AgingArchive {
  readonly ledger: LedgerItem[] = [];
  readonly #positions = new Map<string, { position: number; number: number }>();

  readonly store: ObjectStore;
  readonly clock: ManualClock;

  constructor(store: ObjectStore, clock: ManualClock) {
    this.store = store;
    this.clock = clock;
  }

  /** Flushes hold bodies that others hold as well. */
  repeatsBodies = false;

  /**
   * One flush of a replica: items of every signal, some of them hours old, metrics with points in several hours. `doubts`: positions
   * whose answers may not have been heard; then hashes are kept too.
   */
  async flush(replica: string, itemsPerSignal = 3, doubts?: readonly number[]): Promise<void> {
    const identity = { replica, epoch: 1 };
    const state = this.#positions.get(replica) ?? { position: 0, number: 0 };
    this.#positions.set(replica, state);
    const receivedAtMs = this.clock.nowMs();
    const first = state.position + 1;
    const hashes = new HashCollector();
    const doubtful: DoubtfulEnvelope[] = [];
    const builder = new SegmentBuilder(codec, { identity, zstdLevel: 1, rowGroupRowsMax: 1000, hoursMax: 3 });
    for (const signal of ['logs', 'metrics', 'traces'] as const) {
      const items = Array.from({ length: itemsPerSignal }, (_, index) =>
        itemText(signal, `${this.repeatsBodies ? 'x' : replica}-${first}-${index}`, receivedAtMs - index * 2_000_000),
      );
      for (const text of items) this.ledger.push({ signal, text, receivedAtMs });
      const decoded = decoders[signal]({
        protocol: protocols[signal],
        body: Buffer.from(bodyOf(signal, items)),
        contentType: '',
        path: '/',
        receivedAtMs,
      });
      if (!decoded.ok) throw new Error(decoded.reason);
      state.position += 1;
      const { position } = state;
      const bodyHash = createHash('sha256').update(bodyOf(signal, items)).digest('hex');
      hashes.add(position, { bodyHash, receivedAtMs });
      if (doubts?.includes(position)) doubtful.push({ bodyHash, receivedAtMs, journal: `${replica}-1`, position });
      builder.add({
        ...{ position: state.position, tenant: 'default', signal, protocol: protocols[signal], requestPath: '/' },
        ...{ receivedAtMs, batch: decoded.batch },
      });
    }
    const adds = [];
    for (const { entry, bytes } of builder.build(first, state.position, doubtful)) {
      await this.store.put(entry.key, bytes, { condition: { kind: 'absent' } });
      adds.push(entry);
    }
    state.number += 1;
    const times = { cutAtMs: this.clock.nowMs(), receivedMinMs: receivedAtMs };
    const key = hashListKey(identity, state.number, times);
    if (doubts) {
      await this.store.put(key, hashes.encode(identity, new Set(doubts)));
    }
    await appendCommit(this.store, {
      ...{ format: 1, ...identity, number: state.number, first, last: state.position, envelopes: {}, rawBytes: {} },
      ...{ committedAtMs: this.clock.nowMs(), adds, replaces: [], ...(doubts ? { hashes: key } : {}) },
    });
  }

  /** A run of upkeep, as some process does it; `store` may fail on it. */
  async upkeep(
    options: {
      store?: ObjectStore;
      replica?: string;
      decodedBytesMax?: number;
      recordsPerCheckpointMin?: number;
      rules?: UpkeepRules;
      isListed?: boolean;
    } = {},
  ): Promise<UpkeepSummary> {
    const running = runUpkeep({
      store: options.store ?? this.store,
      codec,
      clock: this.clock,
      log: quietWitness().log,
      replica: options.replica ?? 'a',
      leaseMs: LEASE_MS,
      rules: options.rules ?? RULES,
      bounds: { decodedBytesMax: options.decodedBytesMax ?? 64 << 20, rowsMax: 1_000_000, rowGroupRowsMax: 1000 },
      graceMs: GRACE_MS,
      recordsPerCheckpointMin: options.recordsPerCheckpointMin ?? 1000,
      ...(options.isListed ? { listedUrlOf: (key) => `s3://bucket/${key}` } : {}),
    });
    let isOver = false;
    const settled = running.finally(() => {
      isOver = true;
    });
    settled.catch(() => {});
    // It waits for the lease of a holder that is gone, by this clock.
    while (!isOver) await this.clock.advance(LEASE_MS / 8);
    return settled;
  }
}

/** How often each row is live, roll-ups aside: `signal journal/position/item/point/kind`. Reads every segment whole. */
export async function liveRows(store: ObjectReader): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (const { entry } of (await readLiveSegments(store)).live.values()) {
    if (entry.rollup) continue;
    const { bytes } = await store.get(entry.key);
    const { batch } = await codec.decode(SEGMENT_COLUMNS[entry.signal], bytes);
    const { journal, position, item, point, kind } = batch.columns as never as Record<
      string,
      { ids: Uint32Array; offsets: Uint32Array; bytes: Uint8Array; values: ArrayLike<bigint | number> }
    >;
    const textAt = (column: typeof journal, row: number): string => {
      const id = column!.ids[row]!;
      return Buffer.from(column!.bytes.subarray(column!.offsets[id], column!.offsets[id + 1])).toString();
    };
    for (let row = 0; row < batch.rowCount; row++) {
      const key = `${entry.signal} ${textAt(journal, row)}/${position!.values[row]}/${item!.values[row]}/${point!.values[row]}/${textAt(kind, row)}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
  }
  return counts;
}

function itemText(signal: KeptSignal, id: string, timeMs: number): string {
  const seconds = Math.floor(timeMs / 1000);
  switch (signal) {
    case 'logs':
      return `{"message":"something happened to ${id}","service":"shop","timestamp":${timeMs},"n":1.50}`;
    case 'metrics':
      return `{"metric":"m.${id}","points":[[${seconds},1.5],[${seconds - 3600},-0],[${seconds - 7200},3]],"type":"gauge"}`;
    case 'traces':
      return `{"trace_id":${1 + Math.floor(timeMs / 7)},"span_id":1,"parent_id":0,"start":${BigInt(timeMs) * 1_000_000n},"duration":5,"name":"a","service":"s","resource":"${id}","type":"t","error":0,"meta":{"id":"${id}"},"metrics":{"x":0.1}}`;
  }
}

function bodyOf(signal: Signal, items: readonly string[]): string {
  if (signal === 'metrics') return `{"series":[${items.join(',')}]}`;
  return signal === 'traces' ? `[[${items.join(',')}]]` : `[${items.join(',')}]`;
}
