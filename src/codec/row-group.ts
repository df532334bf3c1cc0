/**
 * Row groups: the column chunks of so many rows, behind one another; once all are written, their bloom filters and page indexes, which lie before the footer
 * so that a reader gets them with it.
 */
import { letGo } from '../core/buffers.ts';
import { type ColumnBatch, type ColumnSchema, type GroupColumn, isAbsent } from '../core/columns.ts';
import { bloomFilterOf, FILTERS_SHARE_MAX } from './bloom-filter.ts';
import type { ByteWriter } from './byte-writer.ts';
import type { RowGroupSource } from './codec.ts';
import { type WrittenChunk, writeChunk } from './column-chunk.ts';
import { columnIndex, offsetIndex } from './page-index.ts';
import { i32, i64, struct, type ThriftStruct, type ThriftValue, writeStruct } from './thrift.ts';
import type { WriteTools } from './write-tools.ts';

export interface RowGroup {
  offset: number;
  bytes: number;
  rows: number;
  chunks: GroupChunk[];
}

interface GroupChunk {
  schema: ColumnSchema;
  offset: number;
  written: WrittenChunk;
  filter?: Uint8Array | undefined;
}

export function writeRowGroup(
  out: ByteWriter,
  schema: readonly ColumnSchema[],
  { rowCount, column: columnOf }: RowGroupSource,
  tools: WriteTools,
): RowGroup {
  return writeRows(out, schema, columnOf, 0, rowCount, { tools, isThorough: false, letsGo: true });
}

export function writeRowsOfBatch(
  out: ByteWriter,
  schema: readonly ColumnSchema[],
  { columns }: ColumnBatch,
  start: number,
  end: number,
  tools: WriteTools,
  isThorough: boolean,
): RowGroup {
  const columnOf = ({ name }: ColumnSchema): GroupColumn => {
    const column = columns[name];
    if (!column) throw new Error(`BUG: batch without column ${name}`);
    return column;
  };
  return writeRows(out, schema, columnOf, start, end, { tools, isThorough, letsGo: false });
}

function writeRows(
  out: ByteWriter,
  schema: readonly ColumnSchema[],
  columnOf: (schema: ColumnSchema) => GroupColumn,
  start: number,
  end: number,
  { tools, isThorough, letsGo }: { tools: WriteTools; isThorough: boolean; letsGo: boolean },
): RowGroup {
  const offset = out.length;
  /** Of columns that get a filter, once it is known how large that may be. */
  const filtered: { chunk: GroupChunk; column: GroupColumn }[] = [];
  const chunks = schema.map((one): GroupChunk => {
    const column = columnOf(one);
    const chunkOffset = out.length;
    const written = writeChunk(out, one, column, start, end, tools, isThorough);
    const chunk = { schema: one, offset: chunkOffset, written };
    if (one.bloom) filtered.push({ chunk, column });
    else if (letsGo) letGoOfBuffers(column);
    return chunk;
  });
  const bytes = out.length - offset;
  let left = Math.floor(bytes * FILTERS_SHARE_MAX);
  for (const { chunk, column } of filtered) {
    chunk.filter = bloomFilterOf(chunk.schema, column, start, end, left);
    left -= chunk.filter?.byteLength ?? 0;
    if (letsGo) letGoOfBuffers(column);
  }
  return { offset, bytes, rows: end - start, chunks };
}

/** Of a column that was made for this group alone: its entries may lie in a larger buffer, of which nothing else is needed. */
function letGoOfBuffers(column: GroupColumn): void {
  // What is absent is everybody's; classes are those of other columns, too.
  if (!('classes' in column) && isAbsent(column)) return;
  const views =
    'classes' in column
      ? [column.classIds, column.offsets, column.bytes]
      : 'ids' in column
        ? [column.ids, column.offsets, column.bytes]
        : [column.values, column.nulls];
  for (const view of views) if (view) letGo(view);
}

/** Filters, then column indexes, then offset indexes of all groups; returns what the footer says of each group. */
export function writeIndexes(out: ByteWriter, groups: readonly RowGroup[]): ThriftStruct[] {
  const place = (write: () => void): Place => {
    const offset = out.length;
    write();
    return { offset, bytes: out.length - offset };
  };
  const placesOf = (write: (chunk: GroupChunk, group: RowGroup) => (() => void) | undefined) =>
    groups.map((group) =>
      group.chunks.map((chunk) => {
        const writing = write(chunk, group);
        return writing && place(writing);
      }),
    );
  const filters = placesOf(({ filter }) => filter && (() => out.bytes(filter)));
  const columns = placesOf(({ schema, written }, { rows }) => {
    const index = columnIndex(schema, written.pages, rows);
    return index && (() => writeStruct(out, index));
  });
  // Of all chunks or of none: Arrow's readers take no notice of indexes when a part of the file has no places.
  const isCut = groups.some(({ chunks }) => chunks.some(({ written }) => written.pages.length > 1));
  const offsets = placesOf(({ written }) => (isCut ? () => writeStruct(out, offsetIndex(written.pages)) : undefined));
  return groups.map((group, g) => {
    const chunks = group.chunks.map(({ offset, written: { meta } }, c): ThriftStruct => {
      return [
        [2, i64(offset)],
        [3, struct([...meta, ...placeFields(14, filters[g]![c])])],
        ...placeFields(4, offsets[g]![c]),
        ...placeFields(6, columns[g]![c]),
      ];
    });
    const uncompressed = group.chunks.reduce((sum, { written }) => sum + written.uncompressedBytes, 0);
    return [
      [1, { kind: 'list', of: 'struct', items: chunks }],
      [2, i64(uncompressed)],
      [3, i64(group.rows)],
      [5, i64(group.offset)],
      [6, i64(group.bytes)],
    ];
  });
}

interface Place {
  offset: number;
  bytes: number;
}

/** Offset and length, which the format puts beside one another. */
function placeFields(id: number, place: Place | undefined): [number, ThriftValue | undefined][] {
  return [
    [id, place && i64(place.offset)],
    [id + 1, place && i32(place.bytes)],
  ];
}
