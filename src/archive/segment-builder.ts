/**
 * Holds decoded batches by position until a cut, then yields the segments of that cut one after another. Pure apart from the
 * memory it holds: the same envelopes and the same cut give the same keys and the same bytes, in this life or the next.
 */

import { crc32 } from 'node:zlib';
import type { Codec } from '../codec/codec.ts';
import { type JournalIdentity, type Position, SIGNALS, type Signal } from '../core/envelope.ts';
import { openBatch, type TravellingBatch } from '../core/travelling-batch.ts';
import { SEGMENT_COLUMNS, SIGNAL_COLUMNS } from '../record/schema.ts';
import type { DoubtfulEnvelope, SegmentEntry } from '../store/commit-log.ts';
import { EnvelopeTimes, LATE, TimeRange } from './envelope-times.ts';
import { mergedGroups, type RowSelection, selectedCount } from './merge.ts';
import { HOUR_MS, ownHours, segmentKey } from './partition.ts';

/** What the builder needs of an envelope's head. */
export interface AddedEnvelope {
  position: Position;
  tenant: string;
  signal: Signal;
  protocol: string;
  requestPath: string;
  receivedAtMs: number;
  batch: TravellingBatch;
}

export interface BuildOptions {
  identity: JournalIdentity;
  /** Who writes, where that is not the journal's own replica. */
  writer?: string;
  zstdLevel: number;
  rowGroupRowsMax: number;
  /** Hours that get a segment of their own, per signal and tenant in one cut. */
  hoursMax: number;
  /** Batches are left as they are, to be built from again (benchmarks). Otherwise they are used up. */
  keepsBatches?: true;
}

export interface BuiltSegment {
  entry: SegmentEntry;
  bytes: Uint8Array;
}

export class SegmentBuilder {
  readonly #codec: Codec;
  readonly #options: BuildOptions;
  #held: AddedEnvelope[] = [];

  constructor(codec: Codec, options: BuildOptions) {
    this.#codec = codec;
    this.#options = options;
  }

  /** Positions come in ascending order. */
  add(envelope: AddedEnvelope): void {
    openBatch(envelope.batch, SIGNAL_COLUMNS[envelope.signal]);
    this.#held.push(envelope);
  }

  /** Builds the segments of [first, last] and lets go of what they hold. Each envelope in doubt has its own. */
  *build(first: Position, last: Position, doubts: readonly DoubtfulEnvelope[] = []): Generator<BuiltSegment> {
    const inCut = this.#held.filter((envelope) => envelope.position >= first && envelope.position <= last);
    this.#held = this.#held.filter((envelope) => envelope.position > last);
    const doubtAt = new Map(doubts.map((doubt) => [doubt.position, doubt]));
    const cut = inCut.filter(({ position }) => !doubtAt.has(position));
    for (const signal of SIGNALS) {
      const tenants = new Map<string, AddedEnvelope[]>();
      for (const envelope of cut) {
        if (envelope.signal !== signal || envelope.batch.rowCount === 0) continue;
        const list = tenants.get(envelope.tenant);
        if (list) list.push(envelope);
        else tenants.set(envelope.tenant, [envelope]);
      }
      for (const tenant of [...tenants.keys()].sort()) {
        yield* this.#buildSignal(signal, tenant, tenants.get(tenant)!, first, last);
      }
    }
    for (const envelope of inCut) {
      const doubt = doubtAt.get(envelope.position);
      if (!doubt || envelope.batch.rowCount === 0) continue;
      yield* this.#buildSignal(envelope.signal, envelope.tenant, [envelope], first, last, doubt);
    }
  }

  *#buildSignal(
    signal: Signal,
    tenant: string,
    envelopes: readonly AddedEnvelope[],
    first: Position,
    last: Position,
    doubt?: DoubtfulEnvelope,
  ): Generator<BuiltSegment> {
    const { identity, writer, zstdLevel, rowGroupRowsMax, hoursMax, keepsBatches } = this.#options;
    const times = envelopes.map((envelope) => new EnvelopeTimes(envelope));
    const rowsByHour = new Map<number, number>();
    for (const one of times) one.countHours(rowsByHour);
    const own = ownHours(rowsByHour, hoursMax);
    const groups = new Map<number | typeof LATE, { selections: RowSelection[]; times: TimeRange }>();
    envelopes.forEach((envelope, index) => {
      for (const { group, rows, range } of times[index]!.split(own)) {
        const known = groups.get(group) ?? { selections: [], times: new TimeRange() };
        groups.set(group, known);
        known.selections.push(selectionOf(envelope, rows, identity));
        known.times.addRange(range);
      }
    });
    const lateHour = Math.floor(envelopes[0]!.receivedAtMs / HOUR_MS);
    const ordered = [...groups.keys()].sort((a, b) => (a === LATE ? 1 : b === LATE ? -1 : a - b));
    const needed = new Map<TravellingBatch, number | typeof LATE>();
    for (const group of ordered) for (const { batch } of groups.get(group)!.selections) needed.set(batch, group);
    for (const group of ordered) {
      const { selections, times } = groups.get(group)!;
      for (const selection of selections) {
        selection.isLastUse = !keepsBatches && needed.get(selection.batch) === group;
      }
      const late = group === LATE;
      const hour = late ? lateHour : group;
      const key = segmentKey({ tenant, signal, hour, ...identity, first, last, late, doubt: doubt?.position, writer });
      const rowCount = selections.reduce((sum, selection) => sum + selectedCount(selection), 0);
      const bytes = this.#codec.encodeGroups(SEGMENT_COLUMNS[signal], mergedGroups(selections, rowGroupRowsMax), {
        level: zstdLevel,
        metadata: { 'reductrai.signal': signal, 'reductrai.journal': `${identity.replica}-${identity.epoch}` },
      });
      yield {
        entry: {
          key,
          tenant,
          signal,
          tier: 'hot',
          rowCount,
          sizeBytes: bytes.byteLength,
          crc32: crc32(bytes),
          timeMinMs: times.min,
          timeMaxMs: times.max,
          ...(doubt ? { doubt } : {}),
        },
        bytes,
      };
    }
  }
}

function selectionOf(envelope: AddedEnvelope, rows: Uint32Array | undefined, identity: JournalIdentity): RowSelection {
  return {
    batch: envelope.batch,
    rows,
    journal: `${identity.replica}-${identity.epoch}`,
    position: envelope.position,
    receivedAtMs: envelope.receivedAtMs,
    protocol: envelope.protocol,
    requestPath: envelope.requestPath,
    isLastUse: false,
  };
}
