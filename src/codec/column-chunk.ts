/**
 * One column of one row group → its pages, behind one another: dictionary page if there is one, then data pages (version 1), each
 * compressed by itself. How the values are written is column-values.ts' choice. What indexes say of them is page-index.ts'.
 */
import type { ColumnSchema, GroupColumn } from '../core/columns.ts';
import { ByteWriter } from './byte-writer.ts';
import { presenceOf, valuesOf } from './column-values.ts';
import { ENCODING, writeHybrid, writeRun } from './encodings.ts';
import { i32, struct, type ThriftStruct, type ThriftValue, writeStruct } from './thrift.ts';
import { type Bounds, PAGE_ROWS_MAX, type Presence, type Values } from './value-pages.ts';
import type { WriteTools } from './write-tools.ts';

const PHYSICAL = { int32: 1, int64: 2, double: 5, binary: 6 } as const;
const ZSTD = 6;
const DATA_PAGE = 0;
const DICTIONARY_PAGE = 2;

export function physicalType(column: ColumnSchema): number {
  switch (column.kind) {
    case 'string':
    case 'binary':
      return PHYSICAL.binary;
    case 'double':
      return PHYSICAL.double;
    case 'int32':
      return PHYSICAL.int32;
    default:
      return PHYSICAL.int64;
  }
}

export interface WrittenChunk {
  meta: ThriftStruct;
  uncompressedBytes: number;
  /** Data pages. */
  pages: WrittenPage[];
}

export interface WrittenPage {
  /** In the file. */
  offset: number;
  /** Compressed, with the header. */
  bytes: number;
  /** In the row group. */
  firstRow: number;
  nullCount: number;
  /** Undefined: without values, or the column has none. */
  bounds: Bounds | undefined;
}

/** `isThorough`: written in every way that makes sense, of which the smallest stays. */
export function writeChunk(
  out: ByteWriter,
  schema: ColumnSchema,
  column: GroupColumn,
  start: number,
  end: number,
  tools: WriteTools,
  isThorough = false,
): WrittenChunk {
  tools.begin();
  const present = presenceOf(column, start, end, tools.scratch);
  if (present.nullCount > 0 && !schema.nullable) throw new Error(`BUG: null in column ${schema.name}`);
  const ways = valuesOf(schema, column, start, end, present, tools, isThorough);
  const [only] = ways;
  if (ways.length === 1) return writeValues(out, 0, only!, schema, present, end - start, tools);
  let best: { bytes: ByteWriter; written: WrittenChunk } | undefined;
  for (const values of ways) {
    const bytes = new ByteWriter();
    const written = writeValues(bytes, out.length, values, schema, present, end - start, tools);
    if (best && bytes.length >= best.bytes.length) {
      bytes.release();
      continue;
    }
    best?.bytes.release();
    best = { bytes, written };
  }
  out.bytes(best!.bytes.view());
  best!.bytes.release();
  return best!.written;
}

/** `base`: where `out` will begin in the file. */
function writeValues(
  out: ByteWriter,
  base: number,
  values: Values,
  schema: ColumnSchema,
  present: Presence,
  rows: number,
  tools: WriteTools,
): WrittenChunk {
  const offsetAtStart = out.length;
  let uncompressedBytes = 0;
  let dictionaryOffset: number | undefined;
  if (values.dictionary) {
    dictionaryOffset = base + out.length;
    const { bytes, count } = values.dictionary;
    const header: ThriftStruct = [
      [1, i32(count)],
      [2, i32(ENCODING.plain)],
    ];
    uncompressedBytes += writePage(out, DICTIONARY_PAGE, 7, header, bytes, tools.compressor);
  }
  const dataOffset = base + out.length;
  const { page, compressor } = tools;
  const pages: WrittenPage[] = [];
  const isEmpty = present.nullCount === rows;
  let row = 0;
  let valueAt = 0;
  do {
    let rowEnd = Math.min(rows, row + PAGE_ROWS_MAX);
    let valueEnd = valueAt;
    const isOnePage = row === 0 && rowEnd === rows && rows - present.nullCount <= values.pageValuesMax;
    if (isOnePage) {
      valueEnd = rows - present.nullCount;
    } else if (present.isPresent) {
      for (let i = row; i < rowEnd; i++) {
        if (present.isPresent[i] !== 1) continue;
        if (valueEnd - valueAt >= values.pageValuesMax) {
          rowEnd = i;
          break;
        }
        valueEnd += 1;
      }
    } else if (!isEmpty) {
      rowEnd = Math.min(rowEnd, row + values.pageValuesMax);
      valueEnd += rowEnd - row;
    }
    page.clear();
    if (schema.nullable) writeLevels(page, present.isPresent, isEmpty ? 0 : 1, row, rowEnd);
    values.write(page, valueAt, valueEnd);
    const header: ThriftStruct = [
      [1, i32(rowEnd - row)],
      [2, i32(values.encoding)],
      [3, i32(ENCODING.rle)],
      [4, i32(ENCODING.rle)],
    ];
    const pageAt = out.length;
    uncompressedBytes += writePage(out, DATA_PAGE, 5, header, page.view(), compressor);
    pages.push({
      offset: base + pageAt,
      bytes: out.length - pageAt,
      firstRow: row,
      nullCount: rowEnd - row - (valueEnd - valueAt),
      // Of one page they are the chunk's.
      bounds: isOnePage ? values.bounds : valueEnd > valueAt ? values.boundsOf?.(valueAt, valueEnd) : undefined,
    });
    row = rowEnd;
    valueAt = valueEnd;
  } while (row < rows);
  const encodings = values.dictionary
    ? [ENCODING.plain, ENCODING.rle, values.encoding]
    : [ENCODING.rle, values.encoding];
  const statistics: ThriftStruct = [
    [3, { kind: 'i64', value: present.nullCount }],
    [5, values.bounds && { kind: 'binary', value: values.bounds.max }],
    [6, values.bounds && { kind: 'binary', value: values.bounds.min }],
    [7, values.bounds?.isExact && { kind: 'bool', value: values.bounds.isExact.max }],
    [8, values.bounds?.isExact && { kind: 'bool', value: values.bounds.isExact.min }],
  ];
  const meta: ThriftStruct = [
    [1, i32(physicalType(schema))],
    [2, { kind: 'list', of: 'i32', items: encodings }],
    [3, { kind: 'list', of: 'text', items: [schema.name] }],
    [4, i32(ZSTD)],
    [5, { kind: 'i64', value: rows }],
    [6, { kind: 'i64', value: uncompressedBytes }],
    [7, { kind: 'i64', value: out.length - offsetAtStart }],
    [9, { kind: 'i64', value: dataOffset }],
    [11, dictionaryOffset === undefined ? undefined : { kind: 'i64', value: dictionaryOffset }],
    [12, struct(statistics)],
  ];
  return { meta, uncompressedBytes, pages };
}

/** Header and compressed body; returns the uncompressed size including the header. */
function writePage(
  out: ByteWriter,
  type: number,
  headerField: number,
  header: ThriftStruct,
  body: Uint8Array,
  compressor: WriteTools['compressor'],
): number {
  const compressed = compressor.compress(body);
  const fields: (readonly [number, ThriftValue])[] = [
    [1, i32(type)],
    [2, i32(body.byteLength)],
    [3, i32(compressed.byteLength)],
    [headerField, struct(header)],
  ];
  const before = out.length;
  writeStruct(out, fields);
  const headerBytes = out.length - before;
  out.bytes(compressed);
  return headerBytes + body.byteLength;
}

/** Definition levels (0 null, 1 present), length first; `level` is that of all where `isPresent` does not tell. */
function writeLevels(
  page: ByteWriter,
  isPresent: Uint8Array | undefined,
  level: number,
  start: number,
  end: number,
): void {
  const at = page.zeros(4);
  if (isPresent) writeHybrid(page, isPresent.subarray(start, end), end - start, 1);
  else if (end > start) writeRun(page, level, end - start, 1);
  page.view(at, at + 4).writeUInt32LE(page.length - at - 4);
}
