/**
 * The stages of the hot path, each by itself on one thread, over the requests of the seeded generator: decompress by encoding, decode by
 * protocol, build (merge a flush's batches), encode (write the Parquet file). MB are always those of the raw bodies.
 */
import { deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import type { AddedEnvelope } from '../src/archive/segment-builder.ts';
import { traffic } from '../src/cli/demo/traffic.ts';
import type { Codec } from '../src/codec/codec.ts';
import { createParquetCodec } from '../src/codec/parquet-codec.ts';
import { ByteBudget } from '../src/core/byte-budget.ts';
import { inFull } from '../src/core/columns.ts';
import type { Protocol, Signal } from '../src/core/envelope.ts';
import { GIB, MIB } from '../src/core/limits.ts';
import { decompress } from '../src/wire/decompression.ts';
import { rawBodyOf, tracesJson } from './generated.ts';
import { measure, type Samples, type Speed, speedOf } from './measure.ts';
import {
  addedEnvelope,
  createBuilder,
  decodeBody,
  HOT_LEVEL,
  itemRows,
  positionOf,
  type RawBody,
  RECEIVED_AT_MS,
} from './pipeline.ts';
import { jsonBody } from './sources.ts';

export type StageName = 'decompress' | 'decode' | 'build' | 'encode';

export interface StageResult {
  /** `metrics/decode/series-v2-proto`, `logs/decompress/zstd`, `traces/encode/all`. */
  name: string;
  signal: Signal;
  stage: StageName;
  rawBytes: number;
  /** Bytes the stage reads, for decompress; bytes it makes, for encode. */
  packedBytes?: number;
  /** Points of metrics, logs, spans, events. */
  items: number;
  mbPerSecond: Speed;
  itemsPerSecond: Speed;
  samples: Samples;
}

export interface StageOptions {
  seed: number;
  /** Raw bytes of each protocol, or as much as the most requests give. */
  bytesPerProtocol: number;
  seconds: number;
  samplesMin: number;
  /** Only names that contain it are measured. */
  filter: string;
}

const REQUESTS_MAX = 40_000;
/** Small bodies come seldom: so many of them are enough. */
const BODIES_MAX = 300;
const ENCODINGS = {
  gzip: (bytes: Uint8Array) => gzipSync(bytes),
  zstd: (bytes: Uint8Array) => zstdCompressSync(bytes),
  deflate: (bytes: Uint8Array) => deflateSync(bytes),
} as const;

export async function measureStages(signal: Signal, options: StageOptions): Promise<StageResult[]> {
  const byProtocol = generatedBodies(signal, options.seed, options.bytesPerProtocol);
  const bodies = [...byProtocol.values()].flat();
  const results: StageResult[] = [];
  const stage = async (
    name: string,
    kind: StageName,
    of: { rawBytes: number; items: number; packedBytes?: () => number },
    prepare: () => () => void,
  ): Promise<void> => {
    const whole = `${signal}/${kind}/${name}`;
    if (!whole.includes(options.filter)) return;
    const samples = await measure(prepare(), options);
    const { rawBytes, items, packedBytes } = of;
    results.push({
      name: whole,
      signal,
      stage: kind,
      rawBytes,
      ...(packedBytes ? { packedBytes: packedBytes() } : {}),
      items,
      mbPerSecond: speedOf(rawBytes / 1e6, samples),
      itemsPerSecond: speedOf(items, samples),
      samples,
    });
  };

  const all = totals(bodies);
  for (const [name, compress] of Object.entries(ENCODINGS)) {
    const packed = bodies.map(({ bytes }) => compress(bytes));
    const budget = ByteBudget.create(GIB);
    const packedBytes = () => packed.reduce((sum, { byteLength }) => sum + byteLength, 0);
    await stage(name, 'decompress', { ...all, packedBytes }, () => () => {
      for (const body of packed) {
        const made = decompress(body, name, 100 * MIB, budget);
        if (!made.ok) throw new Error(`${name}: ${made.reason}`);
        budget.release(made.reservedBytes);
      }
    });
  }

  for (const protocol of GENERATED_PROTOCOLS[signal]) {
    const list = byProtocol.get(protocol) ?? [];
    await stage(protocol, 'decode', totals(list), () => () => {
      list.forEach(decodeBody);
    });
  }

  const envelopes: AddedEnvelope[] = bodies.map((body, index) =>
    addedEnvelope(body, index, decodeBody(body, index).batch),
  );
  const merged: Parameters<Codec['encode']>[] = [];
  const build = (codec: Codec): void => {
    const builder = createBuilder(codec, HOT_LEVEL, { keepsBatches: true });
    for (const envelope of envelopes) builder.add(envelope);
    for (const _segment of builder.build(positionOf(0), positionOf(bodies.length - 1)));
  };
  const nothing = new Uint8Array(0);
  /** Merges, and writes nothing. */
  const merging = (keep: (args: Parameters<Codec['encode']>) => void): Codec => ({
    decode: () => Promise.reject(new Error('BUG: the build stage reads nothing')),
    encode: () => nothing,
    encodeGroups: (schema, groups, options) => {
      for (const { rowCount, column } of groups) {
        const columns = Object.fromEntries(schema.map((one) => [one.name, inFull(column(one), rowCount)]));
        keep([schema, { rowCount, columns }, { ...options, rowGroupRowsMax: Math.max(1, rowCount) }]);
      }
      return nothing;
    },
  });
  build(merging((args) => merged.push(args)));
  await stage('all', 'build', all, () => () => build(merging(() => {})));

  const codec = createParquetCodec();
  let encodedBytes = 0;
  await stage('all', 'encode', { ...all, packedBytes: () => encodedBytes }, () => () => {
    encodedBytes = merged.reduce((sum, args) => sum + codec.encode(...args).byteLength, 0);
  });
  return results;
}

function totals(bodies: readonly RawBody[]): { rawBytes: number; items: number } {
  let rawBytes = 0;
  let items = 0;
  bodies.forEach((body, index) => {
    rawBytes += body.bytes.byteLength;
    items += itemRows(decodeBody(body, index).batch);
  });
  return { rawBytes, items };
}

/** Bodies of one signal by protocol, of each about as many bytes as asked for. */
function generatedBodies(signal: Signal, seed: number, bytesPerProtocol: number): Map<Protocol, RawBody[]> {
  const lists = new Map<Protocol, RawBody[]>();
  const bytes = new Map<Protocol, number>();
  const isEnough = (protocol: Protocol): boolean =>
    (bytes.get(protocol) ?? 0) >= bytesPerProtocol || (lists.get(protocol)?.length ?? 0) >= BODIES_MAX;
  const add = (body: RawBody): void => {
    if (isEnough(body.protocol)) return;
    bytes.set(body.protocol, (bytes.get(body.protocol) ?? 0) + body.bytes.byteLength);
    const list = lists.get(body.protocol);
    if (list) list.push(body);
    else lists.set(body.protocol, [body]);
  };
  for (const request of traffic(seed, { startMs: RECEIVED_AT_MS, requests: REQUESTS_MAX })) {
    if (request.signal !== signal) continue;
    const body = rawBodyOf(request);
    add(body);
    // No agent sends spans as JSON, but some libraries do.
    if (body.protocol === 'traces-v04-msgpack' && !isEnough('traces-v04-json')) {
      add(jsonBody('traces', tracesJson(body)));
    }
    if (GENERATED_PROTOCOLS[signal].every(isEnough)) break;
  }
  return lists;
}

/** Protocols that the generator sends of each signal, and v0.4 JSON. */
const GENERATED_PROTOCOLS: Record<Signal, readonly Protocol[]> = {
  metrics: ['series-v2-proto', 'series-v2-json', 'series-v1-json', 'sketches-proto'],
  logs: ['logs-json'],
  traces: ['traces-agent-proto', 'traces-v04-msgpack', 'traces-v04-json'],
  events: ['check-run-json', 'events-v1-json'],
};

/** Names of all stages of a signal. */
export function stageNames(signal: Signal): string[] {
  return [
    ...Object.keys(ENCODINGS).map((name) => `${signal}/decompress/${name}`),
    ...GENERATED_PROTOCOLS[signal].map((protocol) => `${signal}/decode/${protocol}`),
    `${signal}/build/all`,
    `${signal}/encode/all`,
  ];
}
