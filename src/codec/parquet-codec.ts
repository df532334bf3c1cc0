/**
 * Column batches as Parquet files: flat columns, zstd pages, bloom filters and page indexes, statistics and key-value metadata in the
 * footer. Writing is ours; reading back goes through hyparquet, an independent reader (parquet-reader.ts). Source: the Parquet format
 * specification and parquet.thrift.
 *
 * Two annotations are left out on purpose. JSON: DuckDB then refuses a whole file for one lone surrogate (`"\\ud800"`), which
 * senders may write and we must keep. TIMESTAMP(NANOS, UTC): DuckDB cuts it to microseconds, and Spark does not read it.
 */
import { letGo } from '../core/buffers.ts';
import type { ColumnBatch, ColumnSchema } from '../core/columns.ts';
import { messageOf, ProxyError } from '../core/errors.ts';
import { ByteWriter } from './byte-writer.ts';
import { type Codec, type EncodeOptions, FORMAT_KEY, type Layout, PACKED_GAIN_MIN, SEGMENT_FORMAT } from './codec.ts';
import { physicalType } from './column-chunk.ts';
import { LAYOUT_KEY, PACKED_LAYOUT } from './packed/layout.ts';
import { type PackedColumns, toPacked } from './packed/packed-layout.ts';
import { decodeSegment } from './parquet-reader.ts';
import { type RowGroup, writeIndexes, writeRowGroup, writeRowsOfBatch } from './row-group.ts';
import { i32, struct, type ThriftStruct, type ThriftValue, text, writeStruct } from './thrift.ts';
import { WriteTools } from './write-tools.ts';

const MAGIC = Buffer.from('PAR1', 'latin1');
const TRIAL_LEVEL = 4;
const CREATED_BY = 'reductrai-proxy';
const CONVERTED = { utf8: 0, timestampMillis: 9, uint64: 14 } as const;

export function createParquetCodec(): Codec {
  const byLevel = new Map<number, WriteTools>();
  const toolsOf = (level: number): WriteTools => {
    const known = byLevel.get(level);
    if (known) return known;
    const made = new WriteTools(level);
    byLevel.set(level, made);
    return made;
  };
  return {
    encodeGroups: (schema, groups, options) => {
      const out = beginFile();
      const tools = toolsOf(options.level);
      const written: RowGroup[] = [];
      for (const group of groups) written.push(writeRowGroup(out, schema, group, tools));
      return endFile(out, schema, written, options.metadata, 'plain');
    },
    encode: (schema, batch, options) => {
      const tools = toolsOf(options.level);
      const plain = writeFile(schema, batch, options, tools, 'plain');
      const found = options.layout === 'packed' ? smallest(schema, batch, options, toolsOf) : undefined;
      if (!found) return plain;
      const packed = writeFile(found.schema, found.batch, options, tools, 'packed');
      const isWorth = packed.byteLength <= plain.byteLength * (1 - PACKED_GAIN_MIN);
      letGo(isWorth ? plain : packed);
      return isWorth ? packed : plain;
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

/** Of the ways to pack a batch, the one that is smallest at a low level: that tells, and takes a fraction of the time. */
function smallest(
  schema: readonly ColumnSchema[],
  batch: ColumnBatch,
  options: EncodeOptions,
  toolsOf: (level: number) => WriteTools,
): PackedColumns | undefined {
  const tools = toolsOf(Math.min(options.level, TRIAL_LEVEL));
  let best: { packed: PackedColumns; bytes: number } | undefined;
  for (const packed of toPacked(schema, batch)) {
    const file = writeFile(packed.schema, packed.batch, options, tools, 'packed');
    const bytes = file.byteLength;
    letGo(file);
    if (!best || bytes < best.bytes) best = { packed, bytes };
  }
  return best?.packed;
}

function writeFile(
  schema: readonly ColumnSchema[],
  batch: ColumnBatch,
  { rowGroupRowsMax, metadata }: EncodeOptions,
  tools: WriteTools,
  layout: Layout,
): Uint8Array {
  const out = beginFile();
  const groups: RowGroup[] = [];
  for (let start = 0; start < batch.rowCount; start += rowGroupRowsMax) {
    const end = Math.min(batch.rowCount, start + rowGroupRowsMax);
    groups.push(writeRowsOfBatch(out, schema, batch, start, end, tools, layout === 'packed'));
  }
  return endFile(out, schema, groups, metadata, layout);
}

function beginFile(): ByteWriter {
  const out = new ByteWriter(1024 * 1024);
  out.bytes(MAGIC);
  return out;
}

function endFile(
  out: ByteWriter,
  schema: readonly ColumnSchema[],
  groups: readonly RowGroup[],
  metadata: Record<string, string>,
  layout: Layout,
): Uint8Array {
  const written = {
    ...metadata,
    [FORMAT_KEY]: SEGMENT_FORMAT,
    ...(layout === 'packed' ? { [LAYOUT_KEY]: PACKED_LAYOUT } : {}),
  };
  const described = writeIndexes(out, groups);
  const rowCount = groups.reduce((sum, { rows }) => sum + rows, 0);
  const footerStart = out.length;
  writeStruct(out, footer(schema, rowCount, described, written));
  out.uint32(out.length - footerStart);
  out.bytes(MAGIC);
  return out.finish();
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
  switch (column.kind) {
    case 'string':
      return { converted: CONVERTED.utf8, logical: [[1, empty]] };
    case 'timestampMs':
      return {
        converted: CONVERTED.timestampMillis,
        logical: [
          [
            8,
            struct([
              [1, { kind: 'bool', value: true }],
              [2, struct([[1, empty]])],
            ]),
          ],
        ],
      };
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
