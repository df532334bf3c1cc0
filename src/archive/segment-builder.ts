/**
 * Holds decoded batches by position until a cut, then yields the segments of that cut one after another. Pure apart from the
 * memory it holds: the same envelopes and the same cut give the same keys and the same bytes, in this life or the next.
 */

import { crc32 } from 'node:zlib';
import type { Codec } from '../codec/codec.ts';
import { LOW_WORD } from '../core/columns.ts';
import { type JournalIdentity, type Position, SIGNALS, type Signal } from '../core/envelope.ts';
import { columnOf, openBatch, type TravellingBatch } from '../core/travelling-batch.ts';
import { SEGMENT_COLUMNS, SIGNAL_COLUMNS } from '../record/schema.ts';
import type { DoubtfulEnvelope, SegmentEntry } from '../store/commit-log.ts';
import { mergedGroups, type RowSelection, selectedCount } from './merge.ts';
import { HOUR_MS, hourOf, ownHours, segmentKey } from './partition.ts';

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

const LATE = 'late';

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
    const hours = envelopes.map((envelope) => hoursOfRows(envelope));
    const rowsByHour = new Map<number, number>();
    for (const rows of hours) countHours(rows, rowsByHour);
    const own = ownHours(rowsByHour, hoursMax);
    const groups = new Map<number | typeof LATE, RowSelection[]>();
    envelopes.forEach((envelope, index) => {
      for (const [group, rows] of splitRows(hours[index]!, own)) {
        const selection = selectionOf(envelope, rows, identity);
        const list = groups.get(group);
        if (list) list.push(selection);
        else groups.set(group, [selection]);
      }
    });
    const lateHour = Math.floor(envelopes[0]!.receivedAtMs / HOUR_MS);
    const ordered = [...groups.keys()].sort((a, b) => (a === LATE ? 1 : b === LATE ? -1 : a - b));
    const needed = new Map<TravellingBatch, number | typeof LATE>();
    for (const group of ordered) for (const { batch } of groups.get(group)!) needed.set(batch, group);
    for (const group of ordered) {
      const selections = groups.get(group)!;
      for (const selection of selections) {
        selection.isLastUse = !keepsBatches && needed.get(selection.batch) === group;
      }
      const late = group === LATE;
      const hour = late ? lateHour : group;
      const key = segmentKey({ tenant, signal, hour, ...identity, first, last, late, doubt: doubt?.position, writer });
      const times = timeRange(selections);
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

/** Time of a row in ms since the epoch, whole. */
function timesOf(batch: TravellingBatch): (row: number) => number {
  const time = columnOf(batch, 'time');
  if (!('values' in time)) throw new Error('BUG: batch without time');
  const { values } = time;
  if (time.kind === 'timestampNs') return (row) => Math.floor(Number(values[row]!) / 1e6);
  // By halves: a bigint for each row costs more than all else that is done with it here.
  const words = new Int32Array(values.buffer, values.byteOffset, values.length * 2);
  return (row) => words[row * 2 + 1 - LOW_WORD]! * 2 ** 32 + (words[row * 2 + LOW_WORD]! >>> 0);
}

function hoursOfRows(envelope: AddedEnvelope): Int32Array {
  const { batch, receivedAtMs } = envelope;
  const timeOf = timesOf(batch);
  const hours = new Int32Array(batch.rowCount);
  // Neighbours are mostly of the same time.
  let lastMs = Number.NaN;
  let lastHour = 0;
  for (let row = 0; row < hours.length; row++) {
    const timeMs = timeOf(row);
    if (timeMs !== lastMs) {
      lastMs = timeMs;
      lastHour = hourOf(timeMs, receivedAtMs);
    }
    hours[row] = lastHour;
  }
  return hours;
}

/** Adds the rows of each hour, a run at a time. */
function countHours(hours: Int32Array, counts: Map<number, number>): void {
  for (let start = 0; start < hours.length; ) {
    const hour = hours[start]!;
    let end = start + 1;
    while (end < hours.length && hours[end] === hour) end += 1;
    counts.set(hour, (counts.get(hour) ?? 0) + end - start);
    start = end;
  }
}

/** Row indexes by group; `undefined` when all rows fall into one. */
function splitRows(hours: Int32Array, own: ReadonlySet<number>): Map<number | typeof LATE, Uint32Array | undefined> {
  const [first] = hours;
  // Nearly always.
  if (first !== undefined && hours.every((hour) => hour === first))
    return new Map([[own.has(first) ? first : LATE, undefined]]);
  const lists = new Map<number | typeof LATE, number[]>();
  for (let row = 0; row < hours.length; row++) {
    const group = own.has(hours[row]!) ? hours[row]! : LATE;
    const list = lists.get(group);
    if (list) list.push(row);
    else lists.set(group, [row]);
  }
  const split = new Map<number | typeof LATE, Uint32Array | undefined>();
  for (const [group, list] of lists) split.set(group, lists.size === 1 ? undefined : Uint32Array.from(list));
  return split;
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

function timeRange(selections: readonly RowSelection[]): { min: number; max: number } {
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (const selection of selections) {
    const timeOf = timesOf(selection.batch);
    const count = selectedCount(selection);
    for (let i = 0; i < count; i++) {
      const at = timeOf(selection.rows ? selection.rows[i]! : i);
      if (at < min) min = at;
      if (at > max) max = at;
    }
  }
  return { min, max };
}
