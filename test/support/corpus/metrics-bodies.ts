/**
 * A converted body of series in every form that it travels in: as it is (v2 JSON), v2 protobuf, sketches, v1 JSON; each with the
 * items that an export must give back, as canonical texts. Protobuf fields: agent-payload proto/metrics/agent_payload.proto.
 */
import { create, toBinary } from '@bufbuild/protobuf';
import { canonicalItems, canonicalOf } from './canonical-json.ts';
import { messageTypes } from './protobuf-schema.ts';
import type { SentBody } from './sent-body.ts';

interface Series {
  metric: string;
  type: number;
  points: { timestamp: number; value: number }[];
  resources: { type: string; name: string }[];
  tags: string[];
  unit?: string;
  interval?: number;
}

const type = messageTypes('corpus.metrics', {
  Resource: { type: '1 string', name: '2 string' },
  Point: { value: '1 double', timestamp: '2 int64' },
  Series: {
    resources: '1 repeated Resource',
    metric: '2 string',
    tags: '3 repeated string',
    points: '4 repeated Point',
    type: '5 int32',
    unit: '6 string',
    source_type_name: '7 string',
    interval: '8 int64',
  },
  Payload: { series: '1 repeated Series' },
  Dogsketch: {
    ts: '1 int64',
    cnt: '2 int64',
    min: '3 double',
    max: '4 double',
    avg: '5 double',
    sum: '6 double',
    k: '7 repeated sint32',
    n: '8 repeated uint32',
  },
  Sketch: { metric: '1 string', host: '2 string', tags: '4 repeated string', dogsketches: '7 repeated Dogsketch' },
  SketchPayload: { sketches: '1 repeated Sketch' },
});
const PAYLOAD = type('Payload');
const SKETCH_PAYLOAD = type('SketchPayload');

/** proto3 does not send what has its default; neither does an export show it. */
function present<T>(value: T): T | undefined {
  const isDefault = Object.is(value, 0) || value === '' || (Array.isArray(value) && value.length === 0);
  return isDefault ? undefined : value;
}

export function seriesJson(text: string): SentBody {
  return {
    path: '/api/v2/series',
    contentType: 'application/json',
    signal: 'metrics',
    body: Buffer.from(text),
    items: canonicalItems(text, 'series'),
  };
}

export function seriesProtobuf(text: string): SentBody {
  const { series } = JSON.parse(text) as { series: Series[] };
  const message = create(PAYLOAD, {
    series: series.map(({ points, interval, ...rest }) => ({
      ...rest,
      points: points.map(({ timestamp, value }) => ({ timestamp: BigInt(timestamp), value })),
      interval: BigInt(interval ?? 0),
    })),
  } as Record<string, unknown>);
  return {
    path: '/api/v2/series',
    contentType: 'application/x-protobuf',
    signal: 'metrics',
    body: toBinary(PAYLOAD, message),
    items: series.map((one) =>
      canonicalOf({
        metric: present(one.metric),
        type: present(one.type),
        points: present(one.points.map((p) => ({ timestamp: present(p.timestamp), value: present(p.value) }))),
        tags: present(one.tags),
        resources: present(one.resources.map((r) => ({ type: present(r.type), name: present(r.name) }))),
        interval: present(one.interval ?? 0),
        unit: present(one.unit ?? ''),
      }),
    ),
  };
}

/** Each series as a sketch: its values in the Agent's bins (pkg/util/quantile: gamma 1 + 2/128, least value 1e-9). */
export function sketches(text: string): SentBody {
  const { series } = JSON.parse(text) as { series: Series[] };
  const all = series.map(({ metric, tags, resources, points }) => ({
    metric,
    host: resources.find((one) => one.type === 'host')?.name ?? '',
    tags,
    dogsketches: points.map(({ timestamp, value }) => {
      const half = value / 2;
      const keys = [keyOf(half), keyOf(value)].sort((a, b) => a - b);
      return {
        ts: timestamp,
        cnt: 3,
        min: Math.min(half, value),
        max: Math.max(half, value),
        avg: (value + value + half) / 3,
        sum: value + value + half,
        k: keys,
        n: keys[0] === keyOf(half) ? [1, 2] : [2, 1],
      };
    }),
  }));
  const message = create(SKETCH_PAYLOAD, {
    sketches: all.map((one) => ({
      ...one,
      dogsketches: one.dogsketches.map((d) => ({ ...d, ts: BigInt(d.ts), cnt: BigInt(d.cnt) })),
    })),
  } as Record<string, unknown>);
  return {
    path: '/api/beta/sketches',
    contentType: 'application/x-protobuf',
    signal: 'metrics',
    body: toBinary(SKETCH_PAYLOAD, message),
    items: all.map((one) =>
      canonicalOf({
        metric: present(one.metric),
        host: present(one.host),
        tags: present(one.tags),
        dogsketches: one.dogsketches.map((d) => ({
          ts: present(d.ts),
          cnt: d.cnt,
          min: present(d.min),
          max: present(d.max),
          avg: present(d.avg),
          sum: present(d.sum),
          k: d.k,
          n: d.n,
        })),
      }),
    ),
  };
}

const GAMMA = 1 + 2 / 128;
const VALUE_MIN = 1e-9;
const BIAS = 1 - Math.floor(Math.log(VALUE_MIN) / Math.log(GAMMA));

function keyOf(value: number): number {
  if (value < 0) return -keyOf(-value);
  if (value < VALUE_MIN) return 0;
  return Math.min(Math.round(Math.log(value) / Math.log(GAMMA)) + BIAS, 32767);
}

const TYPE_NAMES = ['', 'count', 'rate', 'gauge'];

/** As old libraries and agents write it: `[[time, value]]`, a type by name, a host. */
export function seriesV1Json(text: string): SentBody {
  const { series } = JSON.parse(text) as { series: Series[] };
  const body = JSON.stringify({
    series: series.map((one) => ({
      metric: one.metric,
      points: one.points.map(({ timestamp, value }) => [timestamp, value]),
      tags: one.tags,
      host: one.resources[0]?.name,
      type: TYPE_NAMES[one.type],
      interval: one.interval ?? 0,
    })),
  });
  return { ...seriesJson(body), path: '/api/v1/series' };
}
