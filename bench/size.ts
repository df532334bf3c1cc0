/** One row of the size table: a source stored as the product stores it, beside its baselines, read back and compared. */
import type { BuiltSegment } from '../src/archive/segment-builder.ts';
import type { Layout } from '../src/codec/codec.ts';
import { createParquetCodec } from '../src/codec/parquet-codec.ts';
import { SEGMENT_COLUMNS } from '../src/record/schema.ts';
import { aged, COLD_LAYOUT } from './aging.ts';
import { type Baselines, runBaselines } from './baselines.ts';
import { type FormResult, measureForms } from './forms.ts';
import { measure, type Samples, type Speed, speedOf } from './measure.ts';
import { decodeBody, HOT_LEVEL, itemRows, LEVELS, type Level, storeAll } from './pipeline.ts';
import { checkCuts, itemTexts } from './round-trip.ts';
import { jsonBody, loadSource, type Source, type SourceSignal } from './sources.ts';

export interface SizeOptions {
  capBytes: number;
  seconds: number;
  samplesMin: number;
  duckdb: boolean;
  /** Also as protobuf and msgpack. */
  forms: boolean;
}

export interface SizeResult {
  name: string;
  signal: SourceSignal;
  /** Points of metrics, logs, spans. */
  items: number;
  bodies: number;
  rawBytes: number;
  /** The source holds more than was taken. */
  isCapped: boolean;
  /** Sum of the Parquet objects: `light` and `medium` as first written, `heavy` once upkeep has made them cold, with the default settings. */
  storedBytes: Record<Level, number>;
  /** As first written at the level `heavy`. */
  writtenHeavyBytes: number;
  /** Cold, in the layout that is not the default's too. */
  coldBytes: Record<Layout, number>;
  segments: number;
  baselines: Baselines;
  baselineMBps: Record<string, number>;
  duckdbProblem?: string;
  /** Raw bytes in, Parquet bytes out, at the hot level: medians per core. */
  encodeMBps: number;
  itemsPerSecond: number;
  /** Parquet bytes in, all columns out; MB of the raw bodies. */
  decodeMBps: number;
  roundTripExact: boolean;
  /** With `forms`: the same items as other protocols. */
  forms?: FormResult[];
  formsProblem?: string;
  roundTripProblem?: string;
  spread: { encodeMBps: Speed; decodeMBps: Speed };
  samples: { encode: Samples; decode: Samples };
  /** Of the process that measured this source, its raw bodies and baselines included. */
  peakRssMiB: number;
}

export async function measureSize(source: Source, options: SizeOptions): Promise<SizeResult> {
  const { name, signal } = source;
  const { bodies: raw, isCapped } = await loadSource(source, options.capBytes);
  const rawBytes = raw.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const bodies = raw.map((bytes) => jsonBody(signal, bytes));
  const codec = createParquetCodec();
  const sentItems = (position: number): string[] => itemTexts(raw[position - 1]!.toString('utf8'), signal);

  const storedBytes = {} as Record<Level, number>;
  const cuts: Uint8Array[][] = [];
  const hot: BuiltSegment[] = [];
  for (const level of LEVELS) {
    storedBytes[level] = 0;
    storeAll(bodies, codec, level, (segments) => {
      for (const { bytes } of segments) storedBytes[level] += bytes.byteLength;
      if (level !== HOT_LEVEL) return;
      hot.push(...segments);
      cuts.push(segments.map(({ bytes }) => bytes));
    });
  }
  const writtenHeavyBytes = storedBytes.heavy;
  const coldBytes = {} as Record<Layout, number>;
  const layouts = new Map<Layout, Uint8Array[]>();
  for (const layout of ['plain', 'packed'] as const) {
    const cold = await aged(hot, codec, layout);
    layouts.set(layout, cold);
    coldBytes[layout] = cold.reduce((sum, bytes) => sum + bytes.byteLength, 0);
  }
  storedBytes.heavy = coldBytes[COLD_LAYOUT];
  let items = 0;
  bodies.forEach((body, index) => {
    items += itemRows(decodeBody(body, index).batch);
  });

  const segments = cuts.flat();
  let roundTripProblem = await checkCuts(codec, signal, cuts, bodies.length, sentItems);
  for (const cold of layouts.values()) {
    roundTripProblem ??= await checkCuts(codec, signal, [cold], bodies.length, sentItems);
  }

  const baselines = await runBaselines(signal, raw, options.duckdb);
  const encode = await measure(() => storeAll(bodies, codec, HOT_LEVEL, () => {}), options);
  const decode = await measure(async () => {
    for (const bytes of segments) await codec.decode(SEGMENT_COLUMNS[signal], bytes);
  }, options);
  const peakRssMiB = process.resourceUsage().maxRSS / 1024;
  const forms = options.forms ? await tryForms(signal, raw, options) : {};
  const encodeSpeed = speedOf(rawBytes / 1e6, encode);
  const decodeSpeed = speedOf(rawBytes / 1e6, decode);
  return {
    name,
    signal,
    items,
    bodies: bodies.length,
    rawBytes,
    isCapped,
    storedBytes,
    writtenHeavyBytes,
    coldBytes,
    segments: segments.length,
    baselines: baselines.bytes,
    baselineMBps: baselines.mbPerSecond,
    ...(baselines.duckdbProblem === undefined ? {} : { duckdbProblem: baselines.duckdbProblem }),
    encodeMBps: encodeSpeed.median,
    itemsPerSecond: items / encode.median,
    decodeMBps: decodeSpeed.median,
    roundTripExact: roundTripProblem === undefined,
    ...(roundTripProblem === undefined ? {} : { roundTripProblem }),
    spread: { encodeMBps: encodeSpeed, decodeMBps: decodeSpeed },
    samples: { encode, decode },
    peakRssMiB,
    ...forms,
  };
}

/** Bodies that the encoders cannot write anew are no failure of the product's. */
async function tryForms(
  signal: SourceSignal,
  raw: readonly Uint8Array[],
  options: SizeOptions,
): Promise<Pick<SizeResult, 'forms' | 'formsProblem'>> {
  try {
    return { forms: await measureForms(signal, raw, options) };
  } catch (error) {
    return { formsProblem: error instanceof Error ? error.message : String(error) };
  }
}
