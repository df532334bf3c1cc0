/**
 * A source in the binary forms that agents and tracers send: its JSON bodies written anew by encoders that share no code with the product
 * (test/support/corpus: protobuf-es, msgpackr), stored, read back and compared.
 */
import { createParquetCodec } from '../src/codec/parquet-codec.ts';
import type { Protocol } from '../src/core/envelope.ts';
import { ROUTES } from '../src/intake/routes.ts';
import { seriesProtobuf } from '../test/support/corpus/metrics-bodies.ts';
import type { SentBody } from '../test/support/corpus/sent-body.ts';
import { reencodedSpans } from '../test/support/corpus/traces-bodies.ts';
import { type MeasureOptions, measure, type Samples, type Speed, speedOf } from './measure.ts';
import { decodeBody, HOT_LEVEL, itemRows, type RawBody, storeAll } from './pipeline.ts';
import { checkCuts } from './round-trip.ts';
import type { SourceSignal } from './sources.ts';

export interface FormResult {
  protocol: Protocol;
  items: number;
  rawBytes: number;
  /** At the hot level. */
  storedBytes: number;
  encodeMBps: Speed;
  itemsPerSecond: Speed;
  samples: Samples;
  roundTripProblem?: string;
}

const FORMS: readonly Protocol[] = ['series-v2-proto', 'traces-v04-msgpack', 'traces-agent-proto'];

/** Throws when the bodies are not such as the encoders expect (v1-shaped points, say). */
export async function measureForms(
  signal: SourceSignal,
  texts: readonly Uint8Array[],
  options: MeasureOptions,
): Promise<FormResult[]> {
  const lists = new Map<Protocol, { bodies: RawBody[]; items: string[][] }>();
  texts.forEach((bytes, index) => {
    for (const sent of reencoded(signal, Buffer.from(bytes).toString('utf8'), index)) {
      const body = rawBodyAt(signal, sent.path, sent.contentType, sent.body);
      if (!FORMS.includes(body.protocol)) continue;
      const list = lists.get(body.protocol) ?? { bodies: [], items: [] };
      lists.set(body.protocol, list);
      list.bodies.push(body);
      // What surrounds spans comes first, by another name; it is no item.
      list.items.push(sent.items.filter((item) => item.startsWith('{')));
    }
  });
  const results: FormResult[] = [];
  for (const [protocol, { bodies, items }] of lists) {
    const codec = createParquetCodec();
    let storedBytes = 0;
    const cuts: Uint8Array[][] = [];
    storeAll(bodies, codec, HOT_LEVEL, (segments) => {
      for (const { bytes } of segments) storedBytes += bytes.byteLength;
      cuts.push(segments.map(({ bytes }) => bytes));
    });
    const problem = await checkCuts(codec, signal, cuts, bodies.length, (position) => items[position - 1]!);
    const samples = await measure(() => storeAll(bodies, codec, HOT_LEVEL, () => {}), options);
    const rawBytes = bodies.reduce((sum, { bytes }) => sum + bytes.byteLength, 0);
    const count = bodies.reduce((sum, body, index) => sum + itemRows(decodeBody(body, index).batch), 0);
    results.push({
      protocol,
      items: count,
      rawBytes,
      storedBytes,
      encodeMBps: speedOf(rawBytes / 1e6, samples),
      itemsPerSecond: speedOf(count, samples),
      samples,
      ...(problem === undefined ? {} : { roundTripProblem: problem }),
    });
  }
  return results;
}

function reencoded(signal: SourceSignal, text: string, index: number): SentBody[] {
  if (signal === 'metrics') return [seriesProtobuf(text)];
  return signal === 'traces' ? reencodedSpans(text, `bench ${index}`) : [];
}

export function rawBodyAt(signal: SourceSignal, path: string, contentType: string, bytes: Uint8Array): RawBody {
  const route = ROUTES.find((one) => one.path === path);
  if (!route) throw new Error(`BUG: no route ${path}`);
  return { signal, protocol: route.protocolOf(contentType), contentType, path, bytes };
}
