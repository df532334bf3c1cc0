/**
 * A converted body of spans in every form that it travels in: v0.4 as JSON and msgpack, v0.5, v0.7, and the Agent's protobuf; each
 * with the items that an export must give back, as canonical texts. msgpack by msgpackr, protobuf by protobuf-es.
 * Sources: datadog-agent pkg/proto/datadog/trace/*.proto, pkg/trace/api (v0.4, v0.5, v0.7).
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { Packr, Unpackr } from 'msgpackr';
import { canonicalItems, canonicalOf } from './canonical-json.ts';
import { members, messageTypes } from './protobuf-schema.ts';
import type { SentBody } from './sent-body.ts';
import { seeded } from './sources.ts';

type Integer = number | bigint;

interface Span {
  service: string;
  name: string;
  resource: string;
  trace_id: Integer;
  span_id: Integer;
  parent_id: Integer;
  start: Integer;
  duration: Integer;
  error: number;
  meta: Record<string, string>;
  metrics: Record<string, number>;
  type: string;
  meta_struct?: Record<string, unknown>;
  span_links?: Link[];
  span_events?: Event[];
}
interface Link {
  trace_id?: Integer;
  trace_id_high?: Integer;
  span_id?: Integer;
  attributes?: Record<string, string>;
  tracestate?: string;
  flags?: number;
}
interface Event {
  time_unix_nano: Integer;
  name: string;
  attributes?: Record<string, Attribute>;
}
interface Attribute {
  type?: number;
  string_value?: string;
  bool_value?: boolean;
  int_value?: Integer;
  double_value?: number;
  array_value?: { values: Attribute[] };
}

const ELEMENTS_V05 = 'service,name,resource,trace_id,span_id,parent_id,start,duration,error,meta,metrics,type';
const SCALAR_ATTRIBUTE = {
  type: '1 int32',
  string_value: '2 string',
  bool_value: '3 bool',
  int_value: '4 int64',
  double_value: '5 double',
};
const type = messageTypes('corpus.traces', {
  ArrayItem: SCALAR_ATTRIBUTE,
  ArrayValue: { values: '1 repeated ArrayItem' },
  Attribute: { ...SCALAR_ATTRIBUTE, array_value: '6 ArrayValue' },
  Event: { time_unix_nano: '1 fixed64', name: '2 string', attributes: '3 map<Attribute>' },
  Link: {
    trace_id: '1 uint64',
    trace_id_high: '2 uint64',
    span_id: '3 uint64',
    attributes: '4 map<string>',
    tracestate: '5 string',
    flags: '6 uint32',
  },
  Span: {
    service: '1 string',
    name: '2 string',
    resource: '3 string',
    trace_id: '4 uint64',
    span_id: '5 uint64',
    parent_id: '6 uint64',
    start: '7 int64',
    duration: '8 int64',
    error: '9 int32',
    meta: '10 map<string>',
    metrics: '11 map<double>',
    type: '12 string',
    meta_struct: '13 map<bytes>',
    span_links: '14 repeated Link',
    span_events: '15 repeated Event',
  },
  Chunk: {
    priority: '1 int32',
    origin: '2 string',
    spans: '3 repeated Span',
    tags: '4 map<string>',
    dropped_trace: '5 bool',
  },
  TracerPayload: {
    container_id: '1 string',
    language_name: '2 string',
    language_version: '3 string',
    tracer_version: '4 string',
    runtime_id: '5 string',
    chunks: '6 repeated Chunk',
    tags: '7 map<string>',
    env: '8 string',
    hostname: '9 string',
    app_version: '10 string',
  },
  AgentPayload: {
    hostName: '1 string',
    env: '2 string',
    tracerPayloads: '5 repeated TracerPayload',
    tags: '6 map<string>',
    agentVersion: '7 string',
    targetTPS: '8 double',
    errorTPS: '9 double',
    rareSamplerEnabled: '10 bool',
  },
});
const AGENT_PAYLOAD = type('AgentPayload');

const packr = new Packr({ useRecords: false, variableMapSize: true });
const unpackr = new Unpackr({ useRecords: false, int64AsType: 'bigint', mapsAsObjects: true });

/** Whole numbers beyond 2^53 as bigint: the converter writes every digit of an id. */
function parseSpans(text: string): Span[][] {
  return JSON.parse(text, ((_key: string, value: unknown, context: { source: string }) => {
    const isBig = typeof value === 'number' && !Number.isSafeInteger(value) && /^-?\d+$/.test(context.source);
    return isBig ? BigInt(context.source) : value;
  }) as (key: string, value: unknown) => unknown) as Span[][];
}

export function spansJson(text: string): SentBody {
  return {
    path: '/v0.4/traces',
    contentType: 'application/json',
    signal: 'traces',
    body: Buffer.from(text),
    items: canonicalItems(text, 'chunks'),
  };
}

/** The body as msgpack and protobuf. v0.5 has no place for structs, links and events: there it is only for bodies without. */
export function reencodedSpans(text: string, seed: string): SentBody[] {
  const chunks = parseSpans(text);
  const isPlain = chunks.every((chunk) => chunk.every((span) => Object.keys(span).join() === ELEMENTS_V05));
  return [v04(chunks), ...(isPlain ? [v05(chunks)] : []), v07(chunks, seed), agentPayload(chunks, seed)];
}

const asMsgpack = (path: string, body: Uint8Array, items: string[]): SentBody => ({
  path,
  contentType: 'application/msgpack',
  signal: 'traces',
  body,
  items,
});

/** Structs travel as msgpack inside of binary; an export shows those bytes in base64. */
function packedStruct(span: Span): Record<string, Buffer> | undefined {
  if (!span.meta_struct) return undefined;
  return Object.fromEntries(Object.entries(span.meta_struct).map(([key, value]) => [key, packr.pack(value)]));
}

function inBase64(struct: Record<string, Buffer>): Record<string, string> {
  return Object.fromEntries(Object.entries(struct).map(([key, value]) => [key, value.toString('base64')]));
}

/** Spans as maps to pack, and as an export shows them. */
function spanMaps(chunks: Span[][]): { maps: object[][]; items: string[] } {
  const items: string[] = [];
  const maps = chunks.map((chunk) =>
    chunk.map((span) => {
      const struct = packedStruct(span);
      items.push(canonicalOf(struct ? { ...span, meta_struct: inBase64(struct) } : span));
      return struct ? { ...span, meta_struct: struct } : span;
    }),
  );
  return { maps, items };
}

function v04(chunks: Span[][]): SentBody {
  const { maps, items } = spanMaps(chunks);
  return asMsgpack('/v0.4/traces', Buffer.from(packr.pack(maps)), items);
}

function v05(chunks: Span[][]): SentBody {
  const table = new Map<string, number>([['', 0]]);
  const index = (text: string): number => {
    const known = table.get(text);
    if (known !== undefined) return known;
    table.set(text, table.size);
    return table.size - 1;
  };
  const packed = chunks.map((chunk) =>
    chunk.map((span) => [
      index(span.service),
      index(span.name),
      index(span.resource),
      span.trace_id,
      span.span_id,
      span.parent_id,
      span.start,
      span.duration,
      span.error,
      new Map(Object.entries(span.meta).map(([key, value]) => [index(key), index(value)])),
      new Map(Object.entries(span.metrics).map(([key, value]) => [index(key), value])),
      index(span.type),
    ]),
  );
  const items = chunks.flatMap((chunk) => chunk.map(canonicalOf));
  return asMsgpack('/v0.5/traces', Buffer.from(packr.pack([[...table.keys()], packed])), items);
}

const ORIGINS = ['', 'synthetics', 'lambda', 'rum'];

/** What surrounds the spans, from a seed; the corpus has it only in part. */
function surroundings(span: Span | undefined, seed: string) {
  const number = (of: string, below: number): number => Math.floor(seeded(`${seed} ${of}`) * below);
  return {
    tracer: {
      container_id: seeded(`${seed} container`).toString(16).slice(2),
      language_name: span?.meta.language ?? 'go',
      language_version: `1.${number('language', 30)}`,
      tracer_version: `2.${number('tracer', 90)}.0`,
      runtime_id: span?.meta['runtime-id'] ?? 'none',
      tags: { '_dd.compute': 'x', region: `r-${number('region', 5)}` },
      env: span?.meta.env ?? '',
      hostname: `host-${number('host', 50)}`,
      app_version: `${number('app', 9)}.1`,
    },
    chunk: (index: number) => ({
      priority: number(`priority ${index}`, 4) - 1,
      origin: ORIGINS[number(`origin ${index}`, 4)]!,
      tags: { '_dd.p.dm': `-${number(`dm ${index}`, 9)}` },
      dropped_trace: number(`dropped ${index}`, 10) === 0,
    }),
  };
}

function v07(chunks: Span[][], seed: string): SentBody {
  const { maps, items } = spanMaps(chunks);
  const { tracer, chunk } = surroundings(chunks[0]?.[0], `${seed} v0.7`);
  const payload = (spansOf: (index: number) => object[]): object => ({
    ...tracer,
    chunks: maps.map((_, i) => ({ ...chunk(i), spans: spansOf(i) })),
  });
  const surrounding = containerItem('traces-v07-msgpack', packr.pack(payload(() => [])));
  return asMsgpack('/v0.7/traces', Buffer.from(packr.pack(payload((i) => maps[i]!))), [surrounding, ...items]);
}

function agentPayload(chunks: Span[][], seed: string): SentBody {
  const { tracer, chunk } = surroundings(chunks[0]?.[0], `${seed} agent`);
  const payload = (spansOf: (index: number) => object[]): Uint8Array =>
    toBinary(
      AGENT_PAYLOAD,
      create(AGENT_PAYLOAD, {
        hostName: tracer.hostname,
        env: 'agent-env',
        tags: { agent: 'yes' },
        agentVersion: '7.83.3',
        targetTPS: 10,
        errorTPS: 10.5,
        rareSamplerEnabled: seeded(`${seed} rare`) < 0.5,
        tracerPayloads: [
          members({ ...tracer, chunks: chunks.map((_, i) => members({ ...chunk(i), spans: spansOf(i) })) }),
        ],
      } as Record<string, unknown>),
    );
  return {
    path: '/api/v0.2/traces',
    contentType: 'application/x-protobuf',
    signal: 'traces',
    body: payload((i) => chunks[i]!.map(spanMessage)),
    items: [
      containerItem(
        'traces-agent-proto',
        payload(() => []),
      ),
      ...chunks.flatMap((spans) => spans.map((span) => canonicalOf(shownSpan(span)))),
    ],
  };
}

function spanMessage(span: Span): object {
  return members({
    ...span,
    trace_id: BigInt(span.trace_id),
    span_id: BigInt(span.span_id),
    parent_id: BigInt(span.parent_id),
    start: BigInt(span.start),
    duration: BigInt(span.duration),
    meta_struct: packedStruct(span) ?? {},
    span_links: (span.span_links ?? []).map((link) =>
      members({
        ...link,
        trace_id: BigInt(link.trace_id ?? 0),
        trace_id_high: BigInt(link.trace_id_high ?? 0),
        span_id: BigInt(link.span_id ?? 0),
      }),
    ),
    span_events: (span.span_events ?? []).map((event) =>
      members({
        ...event,
        time_unix_nano: BigInt(event.time_unix_nano),
        attributes: Object.fromEntries(
          Object.entries(event.attributes ?? {}).map(([key, value]) => [key, attributeMessage(value)]),
        ),
      }),
    ),
  });
}

function attributeMessage(value: Attribute): object {
  const { int_value, array_value, ...rest } = value;
  return members({
    ...rest,
    ...(int_value === undefined ? {} : { int_value: BigInt(int_value) }),
    ...(array_value ? { array_value: { values: array_value.values.map(attributeMessage) } } : {}),
  });
}

const isDefault = (value: unknown): boolean =>
  value === undefined ||
  value === '' ||
  value === false ||
  value === 0n ||
  Object.is(value, 0) ||
  (typeof value === 'object' && Object.keys(value as object).length === 0);

/** Members in this order, without those that proto3 does not send. */
function shown(value: object, names: string): Record<string, unknown> {
  const members = value as Record<string, unknown>;
  return Object.fromEntries(
    names.split(',').flatMap((name) => (isDefault(members[name]) ? [] : [[name, members[name]]])),
  );
}

function shownAttribute(value: Attribute): object {
  const array = value.array_value && { values: value.array_value.values.map(shownAttribute) };
  const names = 'type,string_value,bool_value,int_value,double_value,array_value';
  return shown({ ...value, array_value: array }, names);
}

function shownSpan(span: Span): object {
  const struct = packedStruct(span);
  const span_links = span.span_links?.map((link) =>
    shown(link, 'trace_id,trace_id_high,span_id,attributes,tracestate,flags'),
  );
  const span_events = span.span_events?.map((event) => {
    const attributes = Object.entries(event.attributes ?? {}).map(([key, value]) => [key, shownAttribute(value)]);
    return shown({ ...event, attributes: Object.fromEntries(attributes) }, 'time_unix_nano,name,attributes');
  });
  const whole = { ...span, meta_struct: struct && inBase64(struct), span_links, span_events };
  return shown(whole, `${ELEMENTS_V05},meta_struct,span_links,span_events`);
}

/** What surrounds spans, as it is compared: decoded and written anew, so that two ways to write it are equal. */
function containerItem(protocol: string, raw: Uint8Array): string {
  const text =
    protocol === 'traces-agent-proto'
      ? Buffer.from(toBinary(AGENT_PAYLOAD, fromBinary(AGENT_PAYLOAD, raw))).toString('base64')
      : canonicalOf(unpackr.unpack(raw));
  return `${protocol} ${text}`;
}

/** A line of `export --all` for what surrounds spans, as it is compared; undefined for any other line. */
export function containerOf(line: string): string | undefined {
  if (!line.startsWith('{"kind":"payload","protocol":"traces-')) return undefined;
  const { protocol, raw_base64 } = JSON.parse(line) as { protocol: string; raw_base64?: string };
  return raw_base64 === undefined ? undefined : containerItem(protocol, Buffer.from(raw_base64, 'base64'));
}
