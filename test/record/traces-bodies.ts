/**
 * Spans as plain values and their bodies in every protocol, by encoders that are not ours (msgpackr) or know nothing of our
 * decoders (the support folder's protobuf writer).
 */
import { Packr } from 'msgpackr';
import { ProtobufWriter } from '../support/protobuf-writer.ts';

/** A value as msgpackr takes it; Map keeps the order of any keys. */
export type Plain = string | number | bigint | boolean | null | Uint8Array | Plain[] | Map<string, Plain>;
export type PlainSpan = Map<string, Plain>;

const packr = new Packr({ useRecords: false, mapsAsObjects: false });

export const pack = (value: unknown): Uint8Array => Uint8Array.from(packr.pack(value));

export function bodyV04(chunks: PlainSpan[][]): Uint8Array {
  return pack(chunks);
}

export function bodyV07(
  chunks: PlainSpan[][],
  around: [string, Plain][] = [],
  ofChunk: [string, Plain][] = [],
): Uint8Array {
  const list = chunks.map(
    (spans) => new Map<string, unknown>([...ofChunk.slice(0, 1), ['spans', spans], ...ofChunk.slice(1)]),
  );
  return pack(new Map<string, unknown>([...around.slice(0, 1), ['chunks', list], ...around.slice(1)]));
}

/** Spans must have all of v0.5's twelve fields, strings and maps of strings and numbers. */
export function bodyV05(chunks: PlainSpan[][]): Uint8Array {
  const strings = [''];
  const known = new Map([['', 0]]);
  const index = (text: Plain | undefined): number => {
    const key = text as string;
    let at = known.get(key);
    if (at === undefined) {
      at = strings.push(key) - 1;
      known.set(key, at);
    }
    return at;
  };
  const traces = chunks.map((spans) =>
    spans.map((span) => [
      index(span.get('service')),
      index(span.get('name')),
      index(span.get('resource')),
      span.get('trace_id'),
      span.get('span_id'),
      span.get('parent_id'),
      span.get('start'),
      span.get('duration'),
      span.get('error'),
      new Map([...(span.get('meta') as Map<string, Plain>)].map(([key, value]) => [index(key), index(value)])),
      new Map([...(span.get('metrics') as Map<string, Plain>)].map(([key, value]) => [index(key), value])),
      index(span.get('type')),
    ]),
  );
  return pack([strings, traces]);
}

const asMap = (value: Plain): [string, Plain][] => [...(value as Map<string, Plain>)];
type Put = (writer: ProtobufWriter, value: Plain) => unknown;
const text =
  (field: number): Put =>
  (writer, value) =>
    writer.string(field, value as string);
const whole =
  (field: number): Put =>
  (writer, value) =>
    writer.varint(field, value as number | bigint);
const entries =
  (field: number, put: (entry: ProtobufWriter, value: Plain) => unknown): Put =>
  (writer, value) => {
    for (const [key, inner] of asMap(value)) {
      writer.message(field, (entry) => {
        entry.string(1, key);
        put(entry, inner);
      });
    }
  };
const message =
  (field: number, puts: Record<string, Put>): Put =>
  (writer, value) => {
    writer.message(field, (inner) => {
      for (const [key, member] of asMap(value)) puts[key]!(inner, member);
    });
  };
const messages =
  (field: number, puts: Record<string, Put>): Put =>
  (writer, value) => {
    for (const item of value as Plain[]) message(field, puts)(writer, item);
  };
const scalarPuts: Record<string, Put> = {
  type: whole(1),
  string_value: text(2),
  bool_value: (writer, value) => writer.varint(3, value ? 1 : 0),
  int_value: whole(4),
  double_value: (writer, value) => writer.double(5, Number(value)),
};
const anyPuts: Record<string, Put> = { ...scalarPuts, array_value: message(6, { values: messages(1, scalarPuts) }) };

/** By the names of v0.4; numbers from datadog-agent's span.proto. */
export const SPAN_PUTS: Record<string, Put> = {
  service: text(1),
  name: text(2),
  resource: text(3),
  trace_id: whole(4),
  span_id: whole(5),
  parent_id: whole(6),
  start: whole(7),
  duration: whole(8),
  error: whole(9),
  meta: entries(10, (entry, value) => entry.string(2, value as string)),
  metrics: entries(11, (entry, value) => entry.double(2, Number(value))),
  type: text(12),
  meta_struct: entries(13, (entry, value) => entry.bytes(2, value as Uint8Array)),
  span_links: messages(14, {
    trace_id: whole(1),
    trace_id_high: whole(2),
    span_id: whole(3),
    attributes: entries(4, (entry, value) => entry.string(2, value as string)),
    tracestate: text(5),
    flags: whole(6),
  }),
  span_events: messages(15, {
    time_unix_nano: (writer, value) => writer.fixed64(1, BigInt(value as number | bigint)),
    name: text(2),
    attributes: entries(3, (entry, value) => message(2, anyPuts)(entry, value)),
  }),
};

export function spanProto(span: PlainSpan): ProtobufWriter {
  const writer = new ProtobufWriter();
  for (const [key, value] of span) SPAN_PUTS[key]!(writer, value);
  return writer;
}

/** One tracer payload per list of chunks. */
export function bodyProto(payloads: PlainSpan[][][]): Uint8Array {
  const agent = new ProtobufWriter().string(1, 'agent-host').string(2, 'agent-env');
  for (const chunks of payloads) {
    agent.message(5, (payload) => {
      payload.string(1, 'container').string(2, 'go').string(5, 'runtime');
      for (const spans of chunks) {
        payload.message(6, (chunk) => {
          chunk.varint(1, -1).string(2, 'lambda');
          for (const span of spans) chunk.bytes(3, spanProto(span).finish());
          chunk.message(4, (entry) => entry.string(1, 'k').string(2, 'v')).varint(5, 1);
        });
      }
      payload.message(7, (entry) => entry.string(1, 'tag').string(2, 'value'));
      payload.string(8, 'prod').string(9, 'tracer-host').string(10, '1.2.3');
    });
  }
  return agent.string(7, '7.60.0').double(8, 10).double(9, 10).varint(10, 1).finish();
}

/** JSON text of plain values, bigints as integer literals, binaries as base64 texts, -0 as -0. */
export function jsonOf(value: Plain): string {
  if (value === null) return 'null';
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) return `"${value}"`;
    return Object.is(value, -0) ? '-0' : String(value);
  }
  if (typeof value === 'bigint' || typeof value === 'boolean') return String(value);
  if (value instanceof Uint8Array) return `"${Buffer.from(value).toString('base64')}"`;
  if (Array.isArray(value)) return `[${value.map(jsonOf).join(',')}]`;
  return `{${[...value].map(([key, inner]) => `${JSON.stringify(key)}:${jsonOf(inner)}`).join(',')}}`;
}
