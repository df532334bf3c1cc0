/**
 * Column batches as Parquet files: flat columns, zstd pages, statistics and key-value metadata in the footer. Writing is ours
 * (column-chunk.ts); reading back goes through hyparquet, an independent reader. Source: the Parquet format specification
 * and parquet.thrift.
 */
import { parquetMetadata, parquetRead } from 'hyparquet';
import zstd from 'zstd-napi/binding.js';
import type { Column, ColumnBatch, ColumnSchema } from '../core/columns.ts';
import { NULL_ID } from '../core/columns.ts';
import { messageOf, ProxyError } from '../core/errors.ts';
import { ByteWriter } from './byte-writer.ts';
import { type Codec, SEGMENT_FORMAT } from './codec.ts';
import { Compressor, physicalType, writeChunk } from './column-chunk.ts';
import { i32, struct, type ThriftStruct, type ThriftValue, text, writeStruct } from './thrift.ts';

const MAGIC = Buffer.from('PAR1', 'latin1');
const FORMAT_KEY = 'reductrai.format';
const CREATED_BY = 'reductrai-proxy';
const CONVERTED = { utf8: 0, timestampMillis: 9, uint64: 14, json: 19 } as const;

export function createParquetCodec(): Codec {
  const compressors = new Map<number, Compressor>();
  const compressorOf = (level: number): Compressor => {
    const known = compressors.get(level);
    if (known) return known;
    const made = new Compressor(level);
    compressors.set(level, made);
    return made;
  };
  return {
    encode: (schema, batch, options) => {
      const out = new ByteWriter(1024 * 1024);
      out.bytes(MAGIC);
      const groups: ThriftStruct[] = [];
      for (let start = 0; start < batch.rowCount; start += options.rowGroupRowsMax) {
        const end = Math.min(batch.rowCount, start + options.rowGroupRowsMax);
        groups.push(writeRowGroup(out, schema, batch, start, end, compressorOf(options.level)));
      }
      const metadata = { ...options.metadata, [FORMAT_KEY]: SEGMENT_FORMAT };
      const footerStart = out.length;
      writeStruct(out, footer(schema, batch.rowCount, groups, metadata));
      out.uint32(out.length - footerStart);
      out.bytes(MAGIC);
      return Uint8Array.prototype.slice.call(out.view());
    },
    decode: async (schema, segment) => {
      try {
        return await decodeSegment(schema, segment);
      } catch (cause) {
        if (cause instanceof ProxyError) throw cause;
        throw new ProxyError('SEGMENT_UNREADABLE', messageOf(cause), { cause });
      }
    },
  };
}

function writeRowGroup(
  out: ByteWriter,
  schema: readonly ColumnSchema[],
  batch: ColumnBatch,
  start: number,
  end: number,
  compressor: Compressor,
): ThriftStruct {
  const offset = out.length;
  const chunks: ThriftStruct[] = [];
  let uncompressedBytes = 0;
  for (const column of schema) {
    const values = batch.columns[column.name];
    if (!values) throw new Error(`BUG: batch without column ${column.name}`);
    const chunkOffset = out.length;
    const written = writeChunk(out, column, values, start, end, compressor);
    uncompressedBytes += written.uncompressedBytes;
    chunks.push([
      [2, { kind: 'i64', value: chunkOffset }],
      [3, struct(written.meta)],
    ]);
  }
  return [
    [1, { kind: 'list', of: 'struct', items: chunks }],
    [2, { kind: 'i64', value: uncompressedBytes }],
    [3, { kind: 'i64', value: end - start }],
    [5, { kind: 'i64', value: offset }],
    [6, { kind: 'i64', value: out.length - offset }],
  ];
}

function footer(
  schema: readonly ColumnSchema[],
  rowCount: number,
  groups: readonly ThriftStruct[],
  metadata: Record<string, string>,
): ThriftStruct {
  const root: ThriftStruct = [
    [4, text('schema')],
    [5, i32(schema.length)],
  ];
  const pairs = Object.entries(metadata)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(
      ([key, value]): ThriftStruct => [
        [1, text(key)],
        [2, text(value)],
      ],
    );
  const typeDefinedOrder: ThriftStruct = [[1, struct([])]];
  return [
    [1, i32(2)],
    [2, { kind: 'list', of: 'struct', items: [root, ...schema.map(schemaElement)] }],
    [3, { kind: 'i64', value: rowCount }],
    [4, { kind: 'list', of: 'struct', items: groups }],
    [5, { kind: 'list', of: 'struct', items: pairs }],
    [6, text(CREATED_BY)],
    // Without it readers do not trust min and max.
    [7, { kind: 'list', of: 'struct', items: schema.map(() => typeDefinedOrder) }],
  ];
}

function schemaElement(column: ColumnSchema): ThriftStruct {
  const { converted, logical } = annotation(column);
  return [
    [1, i32(physicalType(column))],
    [3, i32(column.nullable ? 1 : 0)],
    [4, text(column.name)],
    [6, converted === undefined ? undefined : i32(converted)],
    [10, logical ? struct(logical) : undefined],
  ];
}

function annotation(column: ColumnSchema): { converted?: number; logical?: ThriftStruct } {
  const empty: ThriftValue = struct([]);
  const timestamp = (unit: number): ThriftStruct => [
    [
      8,
      struct([
        [1, { kind: 'bool', value: true }],
        [2, struct([[unit, empty]])],
      ]),
    ],
  ];
  switch (column.kind) {
    case 'string':
      return column.json
        ? { converted: CONVERTED.json, logical: [[12, empty]] }
        : { converted: CONVERTED.utf8, logical: [[1, empty]] };
    case 'timestampMs':
      return { converted: CONVERTED.timestampMillis, logical: timestamp(1) };
    case 'timestampNs':
      return { logical: timestamp(3) };
    case 'int64':
      if (!column.unsigned) return {};
      return {
        converted: CONVERTED.uint64,
        logical: [
          [
            10,
            struct([
              [1, { kind: 'byte', value: 64 }],
              [2, { kind: 'bool', value: false }],
            ]),
          ],
        ],
      };
    default:
      return {};
  }
}

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

async function decodeSegment(
  schema: readonly ColumnSchema[],
  segment: Uint8Array,
): Promise<{ metadata: Record<string, string>; batch: ColumnBatch }> {
  const file = segment.buffer.slice(segment.byteOffset, segment.byteOffset + segment.byteLength) as ArrayBuffer;
  const footerData = parquetMetadata(file, { parsers: PARSERS as never });
  const metadata: Record<string, string> = {};
  for (const { key, value } of footerData.key_value_metadata ?? []) metadata[key] = value ?? '';
  if (metadata[FORMAT_KEY] !== SEGMENT_FORMAT) {
    throw new ProxyError('SEGMENT_UNREADABLE', `unknown format ${metadata[FORMAT_KEY] ?? '(none)'}`);
  }
  const rowCount = Number(footerData.num_rows);
  const stored = new Set(footerData.schema.slice(1).map((element) => element.name));
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
  return { metadata, batch: { rowCount, columns } };
}

interface Filler {
  fill(rowStart: number, values: ArrayLike<unknown>): void;
  finish(): Column;
}

function createFiller(column: ColumnSchema, rowCount: number): Filler {
  if (column.kind === 'string' || column.kind === 'binary') return createTextFiller(column.kind, rowCount);
  const values =
    column.kind === 'double'
      ? new Float64Array(rowCount)
      : column.kind === 'int32'
        ? new Int32Array(rowCount)
        : new BigInt64Array(rowCount);
  const nulls = new Uint8Array(rowCount).fill(column.nullable ? 1 : 0);
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
    finish: () => ({ kind: column.kind, values, ...(nulls.includes(1) ? { nulls } : {}) }) as Column,
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
