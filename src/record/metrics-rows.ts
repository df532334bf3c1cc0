/**
 * Rows of metrics as they are being decoded: one item is staged (its columns, then its points, in whatever order they were
 * sent), then written as one row per point. An item without points is one row; so is what surrounds the items.
 *
 * Past ROWS_PER_ENVELOPE_MAX rows nothing more is written, only counted: the decoder then keeps the body as one opaque row.
 */
import { NULL_ID } from '../core/columns.ts';
import { ROWS_PER_ENVELOPE_MAX } from '../core/limits.ts';
import type { SeriesTexts } from '../core/series-table.ts';
import { BatchBuilder } from './batch-builder.ts';
import type { StringWriter } from './column-writers.ts';
import type { DecodeResult } from './decoder.ts';
import { SIGNAL_COLUMNS } from './schema.ts';
import { currentTable, type SeenItem, type TablePlace, tableOf } from './seen-series.ts';

export type MetricKind = 'series' | 'sketch' | 'distribution' | 'payload' | 'opaque';

/** Names of the metric types 0 to 3 of v2 and v3. */
export const TYPE_NAMES: readonly string[] = ['unspecified', 'count', 'rate', 'gauge'];

/** `item` of the row that holds what surrounds the items. */
export const PAYLOAD_ITEM = -1;

/** Milliseconds beyond which a time is not kept in its column. */
const TIME_MS_MAX = Number.MAX_SAFE_INTEGER;
const TWO_32 = 2 ** 32;

function idOf(writer: StringWriter, text: string | null): number {
  return text === null ? NULL_ID : writer.intern(text);
}

function textOf(writer: StringWriter, id: number): string | null {
  return id === NULL_ID ? null : writer.textOf(id);
}

export class MetricRows {
  readonly #builder = new BatchBuilder(SIGNAL_COLUMNS.metrics);
  readonly #item = this.#builder.ints('item');
  readonly #point = this.#builder.ints('point');
  readonly #kind = this.#builder.strings('kind');
  readonly #shape = this.#builder.strings('shape');
  readonly #raw = this.#builder.strings('raw');
  readonly #time = this.#builder.longs('time');
  readonly #interval = this.#builder.longs('interval');
  readonly #value = this.#builder.doubles('value');
  readonly #values = this.#builder.strings('values');
  readonly #sketchCount = this.#builder.longs('sketch_count');
  readonly #sketchMin = this.#builder.doubles('sketch_min');
  readonly #sketchMax = this.#builder.doubles('sketch_max');
  readonly #sketchAvg = this.#builder.doubles('sketch_avg');
  readonly #sketchSum = this.#builder.doubles('sketch_sum');
  readonly #sketchKeys = this.#builder.strings('sketch_keys');
  readonly #sketchCounts = this.#builder.strings('sketch_counts');
  readonly metrics = this.#builder.strings('metric');
  readonly types = this.#builder.strings('type');
  readonly units = this.#builder.strings('unit');
  readonly hosts = this.#builder.strings('host');
  readonly devices = this.#builder.strings('device');
  readonly tagLists = this.#builder.strings('tags');
  readonly resourceLists = this.#builder.strings('resources');
  readonly sourceTypeNames = this.#builder.strings('source_type_name');
  readonly metadatas = this.#builder.strings('metadata');
  readonly attributeLists = this.#builder.strings('attributes');
  readonly #receivedAt: bigint;

  /** The one that the batch's rows name their series in. */
  readonly #table = currentTable();

  itemCount = 0;
  opaqueCount = 0;
  /** More rows than one envelope may yield were asked for. */
  overflowed = false;

  // The staged item: ids into the columns' dictionaries.
  metric = NULL_ID;
  type = NULL_ID;
  unit = NULL_ID;
  host = NULL_ID;
  device = NULL_ID;
  tags = NULL_ID;
  resources = NULL_ID;
  sourceTypeName = NULL_ID;
  metadata = NULL_ID;
  attributes = NULL_ID;
  interval: bigint | null = null;

  // Its points. `#times` are milliseconds; NaN: the point has no usable time.
  #pointCount = 0;
  readonly #times: number[] = [];
  readonly #pointValues: (number | null)[] = [];
  readonly #lists: (Uint8Array | undefined)[] = [];
  readonly #sketches: SketchPoint[] = [];

  constructor(receivedAtMs: number) {
    this.#receivedAt = BigInt(Math.trunc(receivedAtMs));
  }

  get pointCount(): number {
    return this.#pointCount;
  }

  beginItem(): void {
    this.metric = NULL_ID;
    this.type = NULL_ID;
    this.unit = NULL_ID;
    this.host = NULL_ID;
    this.device = NULL_ID;
    this.tags = NULL_ID;
    this.resources = NULL_ID;
    this.sourceTypeName = NULL_ID;
    this.metadata = NULL_ID;
    this.attributes = NULL_ID;
    this.interval = null;
    this.clearPoints();
  }

  clearPoints(): void {
    this.#pointCount = 0;
  }

  /** Writes an item that was seen before; only its points are new. */
  endSeen(kind: 'series' | 'distribution', seen: SeenItem): void {
    const series = this.#seriesOf(seen);
    if (series === undefined) {
      const { texts, interval } = tableOf(seen.table)!.read(seen.series);
      this.#stage(texts, interval);
      this.endItem(kind, texts.shape!, undefined);
      return;
    }
    const builder = this.#builder;
    const item = this.itemCount;
    const rows = this.#pointCount;
    this.itemCount += 1;
    if (this.overflowed || builder.row + rows > ROWS_PER_ENVELOPE_MAX) {
      this.overflowed = true;
      return;
    }
    for (let point = 0; point < rows; point++) {
      const row = builder.row;
      builder.series.setId(row, series);
      this.#item.set(row, item);
      this.#point.set(row, point);
      this.#writePoint(row, point, kind);
      builder.endRow();
    }
  }

  /** Its number in the table of this batch; undefined where that has no room for it. */
  #seriesOf(seen: SeenItem): number | undefined {
    const table = this.#table;
    if (!this.#builder.seriesTable) this.#builder.useTable(table);
    if (seen.table === table.number) return seen.series;
    const series = table.move(tableOf(seen.table)!, seen.series);
    if (series === undefined) return undefined;
    seen.table = table.number;
    seen.series = series;
    return series;
  }

  /** Puts what is staged, apart from the points, into the table; undefined where that has no room. */
  place(kind: 'series' | 'distribution', shape: string): TablePlace | undefined {
    const table = this.#table;
    if (!this.#builder.seriesTable) this.#builder.useTable(table);
    const texts: SeriesTexts = {
      kind,
      shape,
      metric: textOf(this.metrics, this.metric),
      type: textOf(this.types, this.type),
      unit: textOf(this.units, this.unit),
      host: textOf(this.hosts, this.host),
      device: textOf(this.devices, this.device),
      tags: textOf(this.tagLists, this.tags),
      resources: textOf(this.resourceLists, this.resources),
      source_type_name: textOf(this.sourceTypeNames, this.sourceTypeName),
      metadata: textOf(this.metadatas, this.metadata),
      attributes: textOf(this.attributeLists, this.attributes),
    };
    const series = table.add(texts, this.interval);
    return series === undefined ? undefined : { table: table.number, series };
  }

  /** Stages all but the points of an item that was seen before. */
  #stage(texts: SeriesTexts, interval: bigint | null): void {
    this.metric = idOf(this.metrics, texts.metric);
    this.type = idOf(this.types, texts.type);
    this.unit = idOf(this.units, texts.unit);
    this.host = idOf(this.hosts, texts.host);
    this.device = idOf(this.devices, texts.device);
    this.tags = idOf(this.tagLists, texts.tags);
    this.resources = idOf(this.resourceLists, texts.resources);
    this.sourceTypeName = idOf(this.sourceTypeNames, texts.source_type_name);
    this.metadata = idOf(this.metadatas, texts.metadata);
    this.attributes = idOf(this.attributeLists, texts.attributes);
    this.interval = interval;
  }

  addValue(timeMs: number, value: number | null): void {
    const at = this.#nextPoint(timeMs);
    this.#pointValues[at] = value;
    this.#lists[at] = undefined;
  }

  /** `json`: the values as a JSON array; the bytes must stay unchanged. */
  addValues(timeMs: number, json: Uint8Array): void {
    const at = this.#nextPoint(timeMs);
    this.#pointValues[at] = null;
    this.#lists[at] = json;
  }

  addSketch(timeMs: number, sketch: SketchPoint): void {
    this.#sketches[this.#nextPoint(timeMs)] = sketch;
  }

  #nextPoint(timeMs: number): number {
    // What is beyond the bound is not written anyway: the place of the last is used again.
    if (this.#pointCount > ROWS_PER_ENVELOPE_MAX) return ROWS_PER_ENVELOPE_MAX;
    this.#times[this.#pointCount] = timeMs;
    this.#pointCount += 1;
    return this.#pointCount - 1;
  }

  /** Writes the staged item; `raw` where its columns do not tell all of it. */
  endItem(kind: 'series' | 'sketch' | 'distribution', shape: string, raw: Uint8Array | undefined): void {
    const item = this.itemCount;
    this.itemCount += 1;
    if (raw) this.opaqueCount += 1;
    const rows = Math.max(1, this.#pointCount);
    if (this.overflowed || this.#builder.row + rows > ROWS_PER_ENVELOPE_MAX) {
      this.overflowed = true;
      return;
    }
    const kindId = this.#kind.intern(kind);
    const shapeId = this.#shape.intern(shape);
    for (let point = 0; point < rows; point++) {
      const row = this.#builder.row;
      this.#item.set(row, item);
      this.#point.set(row, point);
      this.#kind.setId(row, kindId);
      this.#shape.setId(row, shapeId);
      if (point === 0 && raw) this.#raw.setBytes(row, raw);
      this.#setColumns(row);
      if (this.#pointCount === 0) this.#time.set(row, this.#receivedAt);
      else this.#writePoint(row, point, kind);
      this.#builder.endRow();
    }
  }

  /** What is not set is null. */
  #setColumns(row: number): void {
    if (this.metric !== NULL_ID) this.metrics.setId(row, this.metric);
    if (this.type !== NULL_ID) this.types.setId(row, this.type);
    if (this.unit !== NULL_ID) this.units.setId(row, this.unit);
    if (this.host !== NULL_ID) this.hosts.setId(row, this.host);
    if (this.device !== NULL_ID) this.devices.setId(row, this.device);
    if (this.tags !== NULL_ID) this.tagLists.setId(row, this.tags);
    if (this.resources !== NULL_ID) this.resourceLists.setId(row, this.resources);
    if (this.sourceTypeName !== NULL_ID) this.sourceTypeNames.setId(row, this.sourceTypeName);
    if (this.metadata !== NULL_ID) this.metadatas.setId(row, this.metadata);
    if (this.attributes !== NULL_ID) this.attributeLists.setId(row, this.attributes);
    if (this.interval !== null) this.#interval.set(row, this.interval);
  }

  #writePoint(row: number, point: number, kind: MetricKind): void {
    const time = Math.round(this.#times[point]!);
    if (time >= -TIME_MS_MAX && time <= TIME_MS_MAX)
      this.#time.setHalves(row, time >>> 0, Math.floor(time / TWO_32) >>> 0);
    else this.#time.set(row, this.#receivedAt);
    if (kind === 'sketch') {
      const sketch = this.#sketches[point]!;
      this.#sketchCount.set(row, sketch.count);
      this.#sketchMin.set(row, sketch.min);
      this.#sketchMax.set(row, sketch.max);
      this.#sketchAvg.set(row, sketch.avg);
      this.#sketchSum.set(row, sketch.sum);
      this.#sketchKeys.set(row, sketch.keys);
      this.#sketchCounts.set(row, sketch.counts);
      return;
    }
    const value = this.#pointValues[point];
    if (value !== null) this.#value.set(row, value);
    const list = this.#lists[point];
    if (list) this.#values.setBytes(row, list);
  }

  /** An item, or several (`items`), of which only the bytes are kept. */
  addOpaque(shape: string, raw: Uint8Array, items = 1): void {
    this.opaqueCount += 1;
    this.#addBytes(this.itemCount, 'opaque', shape, raw);
    this.itemCount += items;
  }

  /** What surrounds the items. `understood`: it does not count as opaque. */
  addPayload(shape: string, raw: Uint8Array, understood: boolean): void {
    if (!understood) this.opaqueCount += 1;
    this.#addBytes(PAYLOAD_ITEM, 'payload', shape, raw);
  }

  #addBytes(item: number, kind: MetricKind, shape: string, raw: Uint8Array): void {
    const row = this.#builder.row;
    if (this.overflowed || row >= ROWS_PER_ENVELOPE_MAX) {
      this.overflowed = true;
      return;
    }
    this.#item.set(row, item);
    this.#kind.set(row, kind);
    this.#shape.set(row, shape);
    this.#raw.setBytes(row, raw);
    this.#time.set(row, this.#receivedAt);
    this.#builder.endRow();
  }

  finish(holdsSecret: boolean): DecodeResult & { ok: true } {
    return {
      ok: true,
      batch: this.#builder.finish(),
      itemCount: this.itemCount,
      opaqueCount: this.opaqueCount,
      holdsSecret,
    };
  }
}

export interface SketchPoint {
  count: bigint;
  min: number;
  max: number;
  avg: number;
  sum: number;
  /** JSON arrays of integers; null where the sketch has no bins. */
  keys: string | null;
  counts: string | null;
}

/** The whole body as one opaque row: it has more rows than are kept, or is not understood at all. */
export function opaqueBody(
  receivedAtMs: number,
  shape: string,
  raw: Uint8Array,
  itemCount: number,
  holdsSecret: boolean,
): DecodeResult & { ok: true } {
  const rows = new MetricRows(receivedAtMs);
  rows.addOpaque(shape, raw, itemCount);
  return rows.finish(holdsSecret);
}
