/**
 * Parquet → column batch, through hyparquet: only the columns asked for, bit for bit. Whatever it meets in bytes that are no
 * segment becomes SEGMENT_UNREADABLE at the codec's edge.
 */
import { type FileMetaData, parquetMetadata, parquetRead } from 'hyparquet';
import zstd from 'zstd-napi/binding.js';
import { type Column, type ColumnBatch, type ColumnSchema, NULL_ID } from '../core/columns.ts';
import { ProxyError } from '../core/errors.ts';
import { type DecodedSegment, FORMAT_KEY, SEGMENT_FORMAT } from './codec.ts';
import { LAYOUT_KEY, PACKED_LAYOUT } from './packed/layout.ts';
import { fromPacked, packedSchema } from './packed/packed-layout.ts';

const context = new zstd.DCtx();

function decompressPage(input: Uint8Array, sizeBytes: number): Uint8Array {
  const output = Buffer.allocUnsafe(sizeBytes);
  const made = context.decompress(output, input);
  if (made !== sizeBytes) throw new Error('page has another size than its header says');
  return output;
}

/** Timestamps come back as the numbers they are stored as, texts as bytes. */
const PARSERS = {
  timestampFromMilliseconds: (millis: bigint) => millis,
  timestampFromMicroseconds: (micros: bigint) => micros,
  timestampFromNanoseconds: (nanos: bigint) => nanos,
  dateFromDays: (days: number) => days,
  stringFromBytes: (bytes: Uint8Array | undefined) => bytes,
  jsonFromBytes: (bytes: Uint8Array | undefined) => bytes,
};

/** Throws ProxyError SEGMENT_UNREADABLE, or whatever the reader throws at bytes that are no Parquet. */
export async function decodeSegment(schema: readonly ColumnSchema[], segment: Uint8Array): Promise<DecodedSegment> {
  const file = segment.buffer.slice(segment.byteOffset, segment.byteOffset + segment.byteLength) as ArrayBuffer;
  const footerData = parquetMetadata(file, { parsers: PARSERS as never });
  const metadata: Record<string, string> = {};
  for (const { key, value } of footerData.key_value_metadata ?? []) metadata[key] = value ?? '';
  if (metadata[FORMAT_KEY] !== SEGMENT_FORMAT) {
    throw new ProxyError('SEGMENT_UNREADABLE', `unknown format ${metadata[FORMAT_KEY] ?? '(none)'}`);
  }
  const layout = metadata[LAYOUT_KEY];
  if (layout !== undefined && layout !== PACKED_LAYOUT) {
    throw new ProxyError('SEGMENT_UNREADABLE', `unknown layout ${layout}`);
  }
  const stored = new Set(footerData.schema.slice(1).map((element) => element.name));
  if (layout === undefined) return { metadata, batch: await readColumns(schema, file, footerData, stored) };
  const batch = await readColumns([...schema, ...packedSchema(stored)], file, footerData, stored);
  return { metadata, batch: fromPacked(schema, batch) };
}

async function readColumns(
  schema: readonly ColumnSchema[],
  file: ArrayBuffer,
  footerData: FileMetaData,
  stored: ReadonlySet<string>,
): Promise<ColumnBatch> {
  const rowCount = Number(footerData.num_rows);
  readDoublesAsBits(footerData);
  const wanted = schema.filter((column) => stored.has(column.name));
  const fillers = new Map(schema.map((column) => [column.name, createFiller(column, rowCount)]));
  if (rowCount > 0) {
    await parquetRead({
      file,
      metadata: footerData,
      columns: wanted.map((column) => column.name),
      compressors: { ZSTD: decompressPage },
      parsers: PARSERS as never,
      utf8: false,
      onChunk: (chunk) => fillers.get(chunk.columnName)?.fill(chunk.rowStart, chunk.columnData as ArrayLike<unknown>),
    });
  }
  const columns: Record<string, Column> = {};
  for (const column of schema) columns[column.name] = fillers.get(column.name)!.finish();
  return { rowCount, columns };
}

/** Doubles are read as 64-bit integers, which have the same layout: numbers on their way could lose a NaN's payload. */
function readDoublesAsBits(footerData: FileMetaData): void {
  for (const element of footerData.schema) if (element.type === 'DOUBLE') element.type = 'INT64';
  for (const group of footerData.row_groups) {
    for (const { meta_data: chunk } of group.columns) if (chunk?.type === 'DOUBLE') chunk.type = 'INT64';
  }
}

interface Filler {
  fill(rowStart: number, values: ArrayLike<unknown>): void;
  finish(): Column;
}

function createFiller(column: ColumnSchema, rowCount: number): Filler {
  if (column.kind === 'string' || column.kind === 'binary') return createTextFiller(column.kind, rowCount);
  const values = column.kind === 'int32' ? new Int32Array(rowCount) : new BigInt64Array(rowCount);
  // Null until filled: a file may lack the column.
  const nulls = new Uint8Array(rowCount).fill(1);
  return {
    fill: (rowStart, source) => {
      for (let i = 0; i < source.length; i++) {
        const value = source[i];
        if (value === null || value === undefined) continue;
        values[rowStart + i] = (
          values instanceof BigInt64Array ? BigInt.asIntN(64, BigInt(value as bigint)) : value
        ) as never;
        nulls[rowStart + i] = 0;
      }
    },
    finish: () => {
      const shown = column.kind === 'double' ? new Float64Array(values.buffer) : values;
      return { kind: column.kind, values: shown, ...(nulls.includes(1) ? { nulls } : {}) } as Column;
    },
  };
}

function createTextFiller(kind: 'string' | 'binary', rowCount: number): Filler {
  const ids = new Uint32Array(rowCount).fill(NULL_ID);
  const known = new Map<string, number>();
  const entries: Uint8Array[] = [];
  let total = 0;
  return {
    fill: (rowStart, source) => {
      for (let i = 0; i < source.length; i++) {
        const value = source[i] as Uint8Array | string | null | undefined;
        if (value === null || value === undefined) continue;
        const bytes = typeof value === 'string' ? Buffer.from(value, 'utf8') : value;
        const key = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
        let id = known.get(key);
        if (id === undefined) {
          id = entries.length;
          known.set(key, id);
          entries.push(bytes);
          total += bytes.byteLength;
        }
        ids[rowStart + i] = id;
      }
    },
    finish: () => {
      const offsets = new Uint32Array(entries.length + 1);
      const bytes = new Uint8Array(total);
      let at = 0;
      entries.forEach((entry, index) => {
        bytes.set(entry, at);
        at += entry.byteLength;
        offsets[index + 1] = at;
      });
      return { kind, ids, offsets, bytes };
    },
  };
}
