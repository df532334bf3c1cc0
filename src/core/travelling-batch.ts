/**
 * Batches on their way between threads. To hand over sixty arrays costs more than to fill them, and so does a buffer for each of many small
 * batches: a small one goes as a piece of a page, with its layout in front of its columns; several share a page.
 */
import {
  absentColumn,
  type BatchPage,
  type Column,
  type ColumnBatch,
  type ColumnKind,
  type ColumnSchema,
  isAbsent,
  NOTHING,
  type SeriesRows,
} from './columns.ts';

/**
 * A piece of a page. It begins with the layout, as Int32: per column, in the order of the schema, where it lies in the piece: of ids, offsets and
 * bytes, with the lengths of these two; of values and nulls. Behind them that of the series.
 */
export interface PackedBatch {
  rowCount: number;
  page: BatchPage;
  at: number;
  byteLength: number;
  table?: SharedArrayBuffer;
  /** Once opened. */
  opened?: { layout: Int32Array; places: Places };
}

/** Per column, where in the layout it stands; the series behind all. */
interface Places {
  columns: ReadonlyMap<string, { at: number; kind: ColumnKind }>;
  /** By index in the schema. */
  starts: readonly number[];
  seriesAt: number;
}

export type TravellingBatch = ColumnBatch | PackedBatch;

export const ALIGNMENT = 8;
const ABSENT = -1;
const INTS_OF_DICTIONARY = 5;
const INTS_OF_NUMBERS = 2;
/** Larger ones have a page of their own. */
const JOINED_BYTES_MAX = 64 * 1024;

const isText = (kind: ColumnKind): kind is 'string' | 'binary' => kind === 'string' || kind === 'binary';

export const aligned = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

const placesBySchema = new Map<readonly ColumnSchema[], Places>();

function placesOf(schema: readonly ColumnSchema[]): Places {
  const known = placesBySchema.get(schema);
  if (known) return known;
  const columns = new Map<string, { at: number; kind: ColumnKind }>();
  const starts: number[] = [];
  let at = 0;
  for (const { name, kind } of schema) {
    columns.set(name, { at, kind });
    starts.push(at);
    at += isText(kind) ? INTS_OF_DICTIONARY : INTS_OF_NUMBERS;
  }
  const places = { columns, starts, seriesAt: at };
  placesBySchema.set(schema, places);
  return places;
}

/** What the layout takes in front of the columns. `schema` must be one of a few that stay. */
export function layoutBytes(schema: readonly ColumnSchema[]): number {
  return aligned((placesOf(schema).seriesAt + 1) * 4);
}

/** The layout in front of a page, to be filled: no column is there yet. */
export class BatchLayout {
  readonly #ints: Int32Array;
  readonly #places: Places;

  constructor(buffer: ArrayBuffer, schema: readonly ColumnSchema[]) {
    this.#places = placesOf(schema);
    this.#ints = new Int32Array(buffer, 0, this.#places.seriesAt + 1).fill(ABSENT);
  }

  /** Where in the page a column of text lies; `column`: its index in the schema. */
  setDictionary(
    column: number,
    ids: number,
    offsets: number,
    offsetCount: number,
    bytes: number,
    byteLength: number,
  ): void {
    const ints = this.#ints;
    const at = this.#places.starts[column]!;
    ints[at] = ids;
    ints[at + 1] = offsets;
    ints[at + 2] = offsetCount;
    ints[at + 3] = bytes;
    ints[at + 4] = byteLength;
  }

  setNumbers(column: number, values: number, nulls: number | undefined): void {
    const at = this.#places.starts[column]!;
    this.#ints[at] = values;
    if (nulls !== undefined) this.#ints[at + 1] = nulls;
  }

  setSeries(ids: number): void {
    this.#ints[this.#places.seriesAt] = ids;
  }
}

/** A batch whose columns lie in a page of its own, with the layout in front. They are looked at only where they are asked for. */
export class PagedBatch implements ColumnBatch {
  readonly rowCount: number;
  readonly page: BatchPage;
  declare readonly series?: SeriesRows;
  readonly #schema: readonly ColumnSchema[];
  #columns: Record<string, Column> | undefined;

  constructor(rowCount: number, page: BatchPage, schema: readonly ColumnSchema[], series: SeriesRows | undefined) {
    this.rowCount = rowCount;
    this.page = page;
    this.#schema = schema;
    if (series) this.series = series;
  }

  get columns(): Record<string, Column> {
    this.#columns ??= unpackBatch(packBatch(this), this.#schema).columns;
    return this.#columns;
  }
}

/** The batch itself where its columns have buffers of their own. A page must be the batch's alone, with its layout. */
export function packBatch(batch: ColumnBatch): TravellingBatch {
  const { rowCount, series, page } = batch;
  if (!page) return batch;
  return { rowCount, page, at: 0, byteLength: page.buffer.byteLength, ...(series ? { table: series.table } : {}) };
}

/** Makes `columnOf` and `seriesOf` work. `schema`: of the rows that were packed. */
export function openBatch(batch: TravellingBatch, schema: readonly ColumnSchema[]): TravellingBatch {
  if ('columns' in batch) return batch;
  const places = placesOf(schema);
  batch.opened = { layout: new Int32Array(batch.page.buffer, batch.at, places.seriesAt + 1), places };
  return batch;
}

/** A column, seen anew with every call: a hundred thousand small batches wait for a flush, and views of all their columns would take more than they do. */
export function columnOf(batch: TravellingBatch, name: string): Column {
  if ('columns' in batch) return batch.columns[name] ?? noColumn(name);
  const { rowCount, page, at: start } = batch;
  const { buffer } = page;
  const { layout, places } = openedOf(batch);
  const { at, kind } = places.columns.get(name) ?? noColumn(name);
  const first = layout[at]!;
  if (first === ABSENT) return absentColumn(kind);
  if (isText(kind)) {
    return {
      kind,
      ids: new Uint32Array(buffer, start + first, rowCount),
      offsets: new Uint32Array(buffer, start + layout[at + 1]!, layout[at + 2]!),
      bytes: new Uint8Array(buffer, start + layout[at + 3]!, layout[at + 4]!),
    };
  }
  const nullsAt = layout[at + 1]!;
  const nulls = nullsAt === ABSENT ? {} : { nulls: new Uint8Array(buffer, start + nullsAt, rowCount) };
  return numbersOf(kind, buffer, start + first, rowCount, nulls);
}

/** False where the column is null in every row. Cheaper than to look at it. */
export function hasColumn(batch: TravellingBatch, name: string): boolean {
  if ('columns' in batch) return !isAbsent(columnOf(batch, name));
  const { layout, places } = openedOf(batch);
  const { at } = places.columns.get(name) ?? noColumn(name);
  return layout[at] !== ABSENT;
}

export function seriesOf(batch: TravellingBatch): SeriesRows | undefined {
  if ('columns' in batch) return batch.series;
  if (!batch.table) return undefined;
  const { layout, places } = openedOf(batch);
  const ids = new Uint32Array(batch.page.buffer, batch.at + layout[places.seriesAt]!, batch.rowCount);
  // What was added to the table was counted when the batch was packed.
  return { ids, table: batch.table, addedBytes: 0 };
}

/** Bytes of the entries of a column of text; 0 of others. */
export function textBytesOf(batch: TravellingBatch, name: string): number {
  if ('columns' in batch) {
    const column = batch.columns[name];
    return column && 'ids' in column ? column.bytes.byteLength : 0;
  }
  const { layout, places } = openedOf(batch);
  const place = places.columns.get(name);
  return place && isText(place.kind) && layout[place.at] !== ABSENT ? layout[place.at + 4]! : 0;
}

function openedOf(batch: PackedBatch): NonNullable<PackedBatch['opened']> {
  if (!batch.opened) throw new Error('BUG: a batch was not opened');
  return batch.opened;
}

function noColumn(name: string): never {
  throw new Error(`BUG: batch without column ${name}`);
}

/** The whole batch. */
export function unpackBatch(batch: TravellingBatch, schema: readonly ColumnSchema[]): ColumnBatch {
  if ('columns' in batch) return batch;
  openBatch(batch, schema);
  const { rowCount, page } = batch;
  const columns: Record<string, Column> = {};
  for (const { name } of schema) columns[name] = columnOf(batch, name);
  const series = seriesOf(batch);
  return { rowCount, columns, page, ...(series ? { series } : {}) };
}

function numbersOf(
  kind: Exclude<ColumnKind, 'string' | 'binary'>,
  buffer: ArrayBuffer,
  offset: number,
  length: number,
  nulls: { nulls?: Uint8Array },
): Column {
  switch (kind) {
    case 'double':
      return { kind, values: new Float64Array(buffer, offset, length), ...nulls };
    case 'int32':
      return { kind, values: new Int32Array(buffer, offset, length), ...nulls };
    default:
      return { kind, values: new BigInt64Array(buffer, offset, length), ...nulls };
  }
}

/** Small ones that are about to cross move into one page; what they lay in before is let go of. */
export function joinBatches(batches: readonly TravellingBatch[]): void {
  const small: PackedBatch[] = [];
  let bytes = 0;
  for (const batch of batches) {
    if ('columns' in batch || batch.byteLength > JOINED_BYTES_MAX) continue;
    small.push(batch);
    bytes += aligned(batch.byteLength);
  }
  // A page that others still need stays here.
  if (small.length === 0 || (small.length === 1 && small[0]!.page.users === 1)) return;
  const joined: BatchPage = { buffer: new ArrayBuffer(bytes), users: small.length };
  const target = new Uint8Array(joined.buffer);
  let at = 0;
  for (const batch of small) {
    const { page, byteLength } = batch;
    target.set(new Uint8Array(page.buffer, batch.at, byteLength), at);
    leavePage(page);
    batch.page = joined;
    batch.at = at;
    at += aligned(byteLength);
  }
}

function leavePage(page: BatchPage): void {
  page.users -= 1;
  if (page.users === 0 && page.buffer.byteLength > 0) page.buffer.transfer(0);
}

/** The buffers to hand over when batches are posted to another thread. All of a page must go in one message. */
export function transferList(batches: readonly TravellingBatch[]): ArrayBuffer[] {
  const buffers = new Set<ArrayBuffer>();
  for (const batch of batches) {
    if (batch.page) buffers.add(batch.page.buffer);
    else for (const view of viewsOf(batch as ColumnBatch)) buffers.add(view.buffer as ArrayBuffer);
  }
  buffers.delete(NOTHING);
  return [...buffers];
}

function viewsOf({ columns, series }: ColumnBatch): ArrayBufferView[] {
  const views: ArrayBufferView[] = [];
  for (const column of Object.values(columns)) {
    if ('ids' in column) {
      views.push(column.ids, column.offsets, column.bytes);
    } else {
      views.push(column.values);
      if (column.nulls) views.push(column.nulls);
    }
  }
  if (series) views.push(series.ids);
  return views;
}

const gone = new WeakSet<TravellingBatch>();

/** Its memory goes at once; that of a page with the last batch in it. Further calls do nothing. */
export function letGoOfBatch(batch: TravellingBatch): void {
  if (gone.has(batch)) return;
  gone.add(batch);
  if (batch.page) {
    leavePage(batch.page);
    return;
  }
  for (const buffer of transferList([batch])) if (buffer.byteLength > 0) buffer.transfer(0);
}
