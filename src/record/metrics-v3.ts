/**
 * Intake v3 payloads (columnar protobuf; series, and sketches as metric type 4) → rows. Each MetricData is resolved on its own.
 *
 * `shape`: `#3:T` with T the number in the `types` column (metric type, value type, flags), then `:t2` where the last 2 tags
 * and `:r1` where the last resource were added from the payload's metadata, then `:e` without points. Columns left out are zeros.
 * How dictionaries were filled and references were coded is not kept; what they mean is. A block that says more than its rows
 * (unknown fields, invalid UTF-8, integers beyond 2^53, NaN payloads, values that no point uses) is in the payload row as
 * well; one whose references or lengths do not fit is an opaque row. Payload metadata is in the payload row (`#fields3`).
 */
import { readV3Columns, type V3Columns } from '../wire/datadog/series-v3-columns.ts';
import { ProtobufReader } from '../wire/protobuf.ts';
import type { DecodeInput, DecodeResult } from './decoder.ts';
import { MetricRows, opaqueBody } from './metrics-rows.ts';
import { V3Block, type V3Metadata } from './metrics-v3-block.ts';
import { type Allowance, checkPoints, OddBlock } from './metrics-v3-references.ts';

const SHAPE = '#fields3';
/** Tags of all tagsets of a payload, inherited ones counted each time: a few bytes of tagsets may double at each step. */
const TAGS_RESOLVED_MAX = 4_000_000;
/** Length of the JSON of the tagsets and resources of a payload, in UTF-16 units. */
const TEXT_MAX = 32 * 1024 * 1024;

/** Throws ProtobufError. */
export function decodeMetricsV3(input: DecodeInput): DecodeResult {
  const body = Buffer.from(input.body.buffer, input.body.byteOffset, input.body.byteLength);
  const rows = new MetricRows(input.receivedAtMs);
  const metadata: V3Metadata = { tags: new Set(), resources: [], exact: true };
  const around: Uint8Array[] = [];
  const blocks: { start: number; contentStart: number; end: number }[] = [];
  let understood = true;
  // Metadata counts for all blocks, wherever it stands.
  const reader = new ProtobufReader(body);
  while (!reader.done()) {
    const start = reader.offset;
    const tag = reader.tag();
    if (tag === 0x1a) {
      const outer = reader.enter();
      blocks.push({ start, contentStart: reader.offset, end: reader.end });
      reader.leave(outer);
      continue;
    }
    if (tag === 0x12) readMetadata(reader.message(), metadata);
    else understood = false;
    if (tag !== 0x12) reader.skip(tag & 7, tag >>> 3);
    around.push(body.subarray(start, reader.offset));
  }
  const allowance: Allowance = { tags: TAGS_RESOLVED_MAX, text: TEXT_MAX };
  for (const block of blocks) {
    const columns = readV3Columns(new ProtobufReader(body, block.contentStart, block.end));
    const bytes = body.subarray(block.start, block.end);
    const odd = addBlock(rows, columns, metadata, allowance);
    if (odd !== undefined) {
      rows.addOpaque(SHAPE, bytes, columns.types.length);
    } else if (!columns.exact) {
      around.push(bytes);
      understood = false;
    }
  }
  if (around.length > 0) rows.addPayload(SHAPE, Buffer.concat(around), understood && metadata.exact);
  return rows.overflowed ? opaqueBody(input.receivedAtMs, SHAPE, body, rows.itemCount, false) : rows.finish(false);
}

function readMetadata(reader: ProtobufReader, metadata: V3Metadata): void {
  const pairs: string[] = [];
  while (!reader.done()) {
    const tag = reader.tag();
    if (tag === 0x0a) metadata.tags.add(reader.string());
    else if (tag === 0x12) pairs.push(reader.string());
    else reader.skip(tag & 7, tag >>> 3);
    if ((tag !== 0x0a && tag !== 0x12) || !reader.stringExact) metadata.exact = false;
  }
  // A last one without a name stays in the payload row alone.
  if (pairs.length % 2 !== 0) metadata.exact = false;
  for (let i = 0; i + 1 < pairs.length; i += 2) metadata.resources.push({ type: pairs[i]!, name: pairs[i + 1]! });
}

/** Adds the block's items, all or none; says why where they cannot be told. Sets `columns.exact` to false for leftovers. */
function addBlock(
  rows: MetricRows,
  columns: V3Columns,
  metadata: V3Metadata,
  allowance: Allowance,
): string | undefined {
  try {
    if (columns.odd !== undefined) return columns.odd;
    checkPoints(columns);
    const block = new V3Block(rows, columns, metadata, allowance);
    block.add();
    return undefined;
  } catch (error) {
    if (error instanceof OddBlock) return error.message;
    throw error;
  }
}
