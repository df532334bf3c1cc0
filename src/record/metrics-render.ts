/**
 * A metric item given back as JSON text, from its rows. JSON items: the value that was sent, keys in the same order; from `raw`
 * the very text. Protobuf items: the same JSON whichever way they rest (wire/datadog/series-messages.ts says how it looks),
 * for v3 with `types`, the number that holds metric type, value type and flags. Opaque and payload rows of protobuf: their
 * fields under "unknown", as far as they are not understood.
 */
import { doubleText, jsonOfMessage, MESSAGES, type MessageSchema } from '../wire/datadog/series-messages.ts';
import { ProtobufReader } from '../wire/protobuf.ts';
import type { Row } from './decoder.ts';
import { renderJsonItem } from './metrics-json-render.ts';
import { TYPE_NAMES } from './metrics-rows.ts';

const SCHEMAS: Record<string, MessageSchema> = {
  '#2': MESSAGES.series,
  '#2e': MESSAGES.series,
  '#s': MESSAGES.sketch,
  '#se': MESSAGES.sketch,
  '#fields2': MESSAGES.anything,
  '#fieldsS': MESSAGES.sketchPayload,
  '#fields3': MESSAGES.v3Payload,
};

/** `rows`: all rows of one item, sorted by `point`. */
export function renderMetric(rows: readonly Row[]): string {
  const first = rows[0];
  if (!first) throw new Error('BUG: an item has at least one row');
  const shape = first.shape as string;
  if (first.raw !== null) {
    const raw = first.raw as Uint8Array;
    const schema = SCHEMAS[shape];
    return schema ? jsonOfMessage(new ProtobufReader(raw), schema).text : Buffer.from(raw).toString('utf8');
  }
  if (!shape.startsWith('#')) return renderJsonItem(rows);
  return first.kind === 'sketch' ? sketchText(rows, shape) : seriesText(rows, shape);
}

/** Members of an object, those without a value left out. */
function objectText(members: readonly (readonly [string, string | null])[]): string {
  const texts = members.filter(([, value]) => value !== null).map(([name, value]) => `"${name}":${value}`);
  return `{${texts.join(',')}}`;
}

function text(value: Row[string] | undefined): string | null {
  return typeof value === 'string' ? JSON.stringify(value) : null;
}

function json(value: Row[string] | undefined): string | null {
  return typeof value === 'string' ? value : null;
}

function integer(value: bigint | number | null): string | null {
  return value === null || BigInt(value) === 0n ? null : String(value);
}

function double(value: Row[string] | undefined): string | null {
  return typeof value !== 'number' || Object.is(value, 0) ? null : doubleText(value);
}

function seconds(row: Row): string | null {
  return integer((row.time as bigint) / 1000n);
}

/** What only v3 has; empty for others. */
function v3Members(shape: string): [string, string | null][] {
  const types = /^#3:(\d+)/.exec(shape)?.[1];
  return types === undefined ? [] : [['types', types]];
}

function hasPoints(shape: string): boolean {
  return !shape.endsWith('e');
}

function seriesText(rows: readonly Row[], shape: string): string {
  const first = rows[0]!;
  const known = TYPE_NAMES.indexOf(first.type as string);
  const type = known >= 0 ? known : Number(first.type);
  const points = rows.map((row) =>
    objectText([
      ['timestamp', seconds(row)],
      ['value', double(row.value)],
    ]),
  );
  return objectText([
    ['metric', text(first.metric)],
    ['type', integer(type)],
    ...v3Members(shape),
    ['points', hasPoints(shape) ? `[${points.join(',')}]` : null],
    ['tags', json(first.tags)],
    ['resources', json(first.resources)],
    ['interval', integer(first.interval as bigint | null)],
    ['unit', text(first.unit)],
    ['source_type_name', text(first.source_type_name)],
    ['metadata', json(first.metadata)],
  ]);
}

function sketchText(rows: readonly Row[], shape: string): string {
  const first = rows[0]!;
  const v3 = v3Members(shape);
  const dogsketches = rows.map((row) =>
    objectText([
      ['ts', seconds(row)],
      ['cnt', integer(row.sketch_count as bigint)],
      ['min', double(row.sketch_min)],
      ['max', double(row.sketch_max)],
      // v3 sends no average.
      ['avg', v3.length > 0 ? null : double(row.sketch_avg)],
      ['sum', double(row.sketch_sum)],
      ['k', json(row.sketch_keys)],
      ['n', json(row.sketch_counts)],
    ]),
  );
  return objectText([
    ['metric', text(first.metric)],
    ...v3,
    // A v3 sketch names its host among its resources.
    ['host', v3.length > 0 ? null : text(first.host)],
    ['tags', json(first.tags)],
    ['resources', json(first.resources)],
    ['interval', integer(first.interval as bigint | null)],
    ['unit', text(first.unit)],
    ['source_type_name', text(first.source_type_name)],
    ['metadata', json(first.metadata)],
    ['dogsketches', hasPoints(shape) ? `[${dogsketches.join(',')}]` : null],
  ]);
}
