/** Spans whose maps are like those of spans before in the same body: they are read as if each stood alone. */
import { expect, test } from 'vitest';
import type { Protocol } from '../../src/core/envelope.ts';
import type { Row } from '../../src/record/decoder.ts';
import { decodeTraces } from '../../src/record/traces.ts';
import { sameBytes } from '../../src/wire/same-bytes.ts';
import { rowsOf } from '../support/rows.ts';
import { RandomValues } from '../wire/msgpack-values.ts';
import { bodyProto, bodyV04, bodyV07, jsonOf, type Plain, type PlainSpan } from './traces-bodies.ts';
import { randomSpan, type SpanStyle } from './traces-random.ts';

function rowsOfBody(protocol: Protocol, body: Uint8Array): Row[] {
  const result = decodeTraces({ protocol, body, contentType: '', path: '', receivedAtMs: 1_700_000_000_123 });
  if (!result.ok) throw new Error(`refused: ${result.reason} at ${result.offset}`);
  const rows = rowsOf(result.batch).filter((row) => row.kind !== 'payload');
  // Where a span stands in its body, and what only the first of a chunk tells.
  return rows.map((row) => ({ ...row, item: 0, chunk: 0 }));
}

/** The map with another value here and there; at times with another key, one less, or the keys in another order. */
function varied(
  random: RandomValues,
  map: Map<string, Plain>,
  value: () => Plain,
  style: SpanStyle,
): Map<string, Plain> {
  let entries = [...map].map(([key, old]): [string, Plain] => [key, random.chance(0.15) ? value() : old]);
  if (random.chance(0.1)) entries.splice(random.below(entries.length + 1), 1);
  if (random.chance(0.1)) entries.push([`more${random.below(3)}`, value()]);
  if (random.chance(0.05)) entries.reverse();
  if (random.chance(0.3)) entries.push(['_dd.p.tid', random.pick(['640cfd8d00000000', '0123456789abcdef', 'no id'])]);
  if (!style.proto && random.chance(0.05)) entries.push(['nothing', null]);
  if (!style.proto && random.chance(0.05)) entries.push(['odd', [1, 'a']]);
  if (!style.proto && random.chance(0.03)) entries = [];
  return new Map(entries);
}

function alike(random: RandomValues, style: SpanStyle): PlainSpan[] {
  const models = Array.from({ length: 1 + random.below(3) }, () => randomSpan(random, style));
  return Array.from({ length: 2 + random.below(8) }, () => {
    const span = new Map(random.pick(models));
    const meta = span.get('meta');
    const metrics = span.get('metrics');
    if (meta instanceof Map)
      span.set(
        'meta',
        varied(random, meta, () => random.text(), style),
      );
    if (metrics instanceof Map)
      span.set(
        'metrics',
        varied(random, metrics, () => random.double(), style),
      );
    if (random.chance(0.2) && span.has('name')) span.set('name', random.text());
    return span;
  });
}

const FORMS: [Protocol, SpanStyle, (chunks: PlainSpan[][]) => Uint8Array][] = [
  ['traces-v04-msgpack', {}, bodyV04],
  ['traces-v07-msgpack', {}, (chunks) => bodyV07(chunks)],
  ['traces-agent-proto', { proto: true }, (chunks) => bodyProto([chunks])],
  ['traces-v04-json', {}, (chunks) => Buffer.from(jsonOf(chunks))],
];

test.each(FORMS)('%s: rows of spans that are alike are those of each alone', (protocol, style, bodyOf) => {
  for (let seed = 1; seed <= 400; seed++) {
    const spans = alike(new RandomValues(seed), style);
    const alone = spans.flatMap((span) => rowsOfBody(protocol, bodyOf([[span]])));
    const chunks = spans.map((span) => [span]);
    expect(rowsOfBody(protocol, bodyOf(chunks)), `seed ${seed}`).toEqual(alone);
    const withoutHigh = (rows: Row[]) => rows.map((row) => ({ ...row, trace_id_high: null }));
    expect(withoutHigh(rowsOfBody(protocol, bodyOf([spans]))), `seed ${seed}`).toEqual(withoutHigh(alone));
  }
});

test('zeros of both signs, and numbers that are none, are told apart by their bytes', () => {
  const meta = new Map<string, Plain>([['a', 'b']]);
  const values = [0.5, -0, 0.5, 0, 0.5, Number.NaN, 0.5, Number.NaN, 0.5, -0, 5e-324];
  const spans = values.map((value): PlainSpan => {
    const metrics = new Map<string, Plain>(['x', 'y', 'z'].map((key) => [key, value]));
    return new Map<string, Plain>([
      ['service', 's'],
      ['meta', meta],
      ['metrics', metrics],
    ]);
  });
  for (const [protocol, , bodyOf] of FORMS) {
    const alone = spans.flatMap((span) => rowsOfBody(protocol, bodyOf([[span]])));
    expect(rowsOfBody(protocol, bodyOf(spans.map((span) => [span])))).toEqual(alone);
  }
});

test('bytes are the same up to the first that differs', () => {
  const random = new RandomValues(3);
  for (let n = 0; n < 20_000; n++) {
    const length = random.below(40);
    // Runs of zeros and of ones: what as a double is 0, -0 or NaN.
    const fill = random.pick([0, 0, 0xff, 0x7f, 0x61]);
    const bytes = Buffer.alloc(length * 2 + 3, fill);
    if (random.chance(0.8) && length > 0)
      bytes[length + 3 + random.below(length)] = random.pick([0, 0x80, 0xff, 0x7f, 1]);
    let same = 0;
    while (same < length && bytes[same] === bytes[length + 3 + same]) same += 1;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    expect(sameBytes(view, bytes, 0, length + 3, length)).toBe(same);
  }
});
