/** Series, sketches and check runs of the fleet, in the forms agents and libraries send them. */
import { type Fleet, type Host, SERVICES } from './fleet.ts';
import { ProtobufWriter } from './protobuf-writer.ts';

/** Decompressed, with the number of series, sketches or check runs in it. */
export interface Body {
  bytes: Buffer;
  items: number;
}

const COUNT = 1;
const RATE = 2;
const GAUGE = 3;
const TYPE_NAMES = ['unspecified', 'count', 'rate', 'gauge'];
/** Of series and sketches in the agent's payloads: where a metric comes from. */
const ORIGIN_PRODUCT_AGENT = 10;

interface Series {
  metric: string;
  type: number;
  tags: readonly string[];
  points: readonly (readonly [seconds: number, value: number])[];
  interval: number;
  sourceType: string;
  category: number;
}

/** What one host's agent flushes: system checks, containers of services, their counters. */
function seriesOf(fleet: Fleet, host: Host, seconds: number): Series[] {
  const list: Series[] = [];
  const add = (metric: string, type: number, value: number, tags: readonly string[], interval = 0) => {
    const isSystem = metric.startsWith('system.');
    const sourceType = isSystem ? 'System' : '';
    const category = isSystem ? 11 : 10;
    list.push({ metric, type, tags, points: [[seconds, value]], interval, sourceType, category });
  };
  const gauge = (metric: string, least: number, most: number, tags: readonly string[] = host.tags) =>
    add(metric, GAUGE, fleet.walk(`${host.name} ${metric} ${tags.at(-1)}`, least, most), tags);
  for (const name of ['user', 'system', 'iowait', 'idle', 'stolen'])
    gauge(`system.cpu.${name}`, 0, name === 'idle' ? 100 : 30);
  for (const minutes of [1, 5, 15]) gauge(`system.load.${minutes}`, 0, 8);
  add('system.mem.total', GAUGE, 16_388_902_912, host.tags);
  for (const name of ['used', 'free', 'cached']) {
    add(`system.mem.${name}`, GAUGE, 4096 * Math.round(fleet.walk(`${host.name} mem ${name}`, 2e5, 3.5e6)), host.tags);
  }
  for (const device of ['/dev/nvme0n1p1', '/dev/nvme1n1']) {
    const tags = [...host.tags, `device:${device}`];
    gauge('system.disk.in_use', 0.2, 0.9, tags);
    gauge('system.io.util', 0, 40, tags);
  }
  for (const service of SERVICES) {
    const tags = [...host.tags, `service:${service.name}`, `version:${service.version}`];
    gauge('container.cpu.usage', 1e7, 9e8, tags);
    add(
      'container.memory.usage',
      GAUGE,
      4096 * Math.round(fleet.walk(`${host.name} ${service.name} rss`, 3e4, 2e5)),
      tags,
    );
    add('container.net.sent', GAUGE, fleet.total(`${host.name} ${service.name} sent`, 90_000), tags);
    for (const [resource] of service.endpoints) {
      const ofResource = [...tags, `resource_name:${resource.toLowerCase().replaceAll(' ', '_')}`];
      add('shop.requests', COUNT, fleet.whole(0, 40), ofResource, 10);
      add('shop.queue.rate', RATE, fleet.whole(0, 40) / 10, ofResource, 10);
    }
  }
  return list;
}

/** `/api/v2/series` as the agent sends it: MetricPayload, agent-payload proto/metrics/agent_payload.proto. */
export function seriesProtobuf(fleet: Fleet, host: Host, nowMs: number): Body {
  const series = seriesOf(fleet, host, Math.floor(nowMs / 1000));
  const payload = new ProtobufWriter();
  for (const { metric, type, tags, points, interval, sourceType, category } of series) {
    payload.message(1, (one) => {
      one.message(1, (resource) => resource.string(1, 'host').string(2, host.name));
      one.string(2, metric);
      for (const tag of tags) one.string(3, tag);
      for (const [seconds, value] of points) {
        one.message(4, (point) => {
          if (value !== 0) point.double(1, value);
          point.varint(2, seconds);
        });
      }
      one.varint(5, type);
      if (sourceType) one.string(7, sourceType);
      if (interval) one.varint(8, interval);
      one.message(9, (metadata) =>
        metadata.message(1, (origin) => origin.varint(4, ORIGIN_PRODUCT_AGENT).varint(5, category)),
      );
    });
  }
  return { bytes: payload.finish(), items: series.length };
}

export function seriesV1Json(fleet: Fleet, host: Host, nowMs: number): Body {
  const series = seriesOf(fleet, host, Math.floor(nowMs / 1000)).map(({ metric, points, tags, type, interval }) => ({
    metric,
    points,
    tags,
    host: host.name,
    type: TYPE_NAMES[type],
    interval,
  }));
  return { bytes: Buffer.from(JSON.stringify({ series })), items: series.length };
}

/** A library's own metrics: fewer series, several points. */
export function seriesV2Json(fleet: Fleet, host: Host, nowMs: number): Body {
  const seconds = Math.floor(nowMs / 1000);
  const series = SERVICES.map(({ name, version }) => ({
    metric: 'shop.cart.value',
    type: GAUGE,
    points: [30, 20, 10, 0].map((ago) => ({
      timestamp: seconds - ago,
      value: Math.round(100 * fleet.walk(`cart ${name}`, 5, 400)) / 100,
    })),
    resources: [{ name: host.name, type: 'host' }],
    tags: [`service:${name}`, `version:${version}`, 'env:prod'],
    unit: 'euro',
  }));
  return { bytes: Buffer.from(JSON.stringify({ series })), items: series.length };
}

const SKETCH_GAMMA_LN = Math.log(1 + 1 / 64);
const SKETCH_KEY_BIAS = 1338;

/** `/api/beta/sketches`: SketchPayload of the same file. Keys as DDSketch's agent form: logarithms with a bias. */
export function sketchesProtobuf(fleet: Fleet, host: Host, nowMs: number): Body {
  const payload = new ProtobufWriter();
  let items = 0;
  for (const service of SERVICES) {
    for (const [resource, typicalMs] of service.endpoints) {
      items += 1;
      const values = Array.from({ length: fleet.whole(1, 40) }, () => fleet.skewed(typicalMs) / 1000);
      const bins = new Map<number, number>();
      for (const value of values.sort((a, b) => a - b)) {
        const key = Math.round(Math.log(value) / SKETCH_GAMMA_LN) + SKETCH_KEY_BIAS;
        bins.set(key, (bins.get(key) ?? 0) + 1);
      }
      const sum = values.reduce((total, value) => total + value, 0);
      payload.message(1, (sketch) => {
        sketch.string(1, 'shop.request.duration').string(2, host.name);
        for (const tag of [...host.tags, `service:${service.name}`, `resource_name:${resource}`]) sketch.string(4, tag);
        sketch.message(7, (points) => {
          points.varint(1, Math.floor(nowMs / 1000)).varint(2, values.length);
          points
            .double(3, values[0]!)
            .double(4, values.at(-1)!)
            .double(5, sum / values.length)
            .double(6, sum);
          const keys = new ProtobufWriter();
          const counts = new ProtobufWriter();
          for (const [key, count] of bins) {
            keys.sint(key);
            counts.element(count);
          }
          points.bytes(7, keys.finish()).bytes(8, counts.finish());
        });
      });
    }
  }
  return { bytes: payload.finish(), items };
}

export function checkRuns(fleet: Fleet, host: Host, nowMs: number): Body {
  const checks = ['datadog.agent.up', 'ntp.in_sync', 'postgres.can_connect', 'redis.can_connect'];
  const runs = checks.map((check) => {
    const fails = check === 'redis.can_connect' && fleet.chance(0.1);
    return {
      check,
      host_name: host.name,
      timestamp: Math.floor(nowMs / 1000),
      status: fails ? 2 : 0,
      message: fails ? 'Error 111 connecting to redis:6379. Connection refused.' : '',
      tags: ['env:prod'],
    };
  });
  return { bytes: Buffer.from(JSON.stringify(runs)), items: runs.length };
}
