/** Random spans that every protocol can carry (or nearly: see the flags). */
import type { RandomValues } from '../wire/msgpack-values.ts';
import type { Plain, PlainSpan } from './traces-bodies.ts';

export interface SpanStyle {
  /** The twelve fields of v0.5, all of them, in its order. */
  twelve?: true;
  /** No zero, empty or nil: what proto3 would leave out. */
  proto?: true;
}

function map(random: RandomValues, value: () => Plain, atLeast: number): Map<string, Plain> {
  const taken = new Set<string>();
  const size = random.chance(0.05) ? 60 : atLeast + random.below(8);
  return new Map(Array.from({ length: size }, () => [random.newText(taken), value()]));
}

export function randomSpan(random: RandomValues, style: SpanStyle = {}): PlainSpan {
  const least = style.proto ? 1 : 0;
  const meta = map(random, () => random.text(), least);
  if (random.chance(0.3)) meta.set('_dd.p.tid', '640cfd8d00000000');
  const fields: [string, Plain][] = [
    ['service', random.text()],
    ['name', random.text()],
    ['resource', random.text()],
    ['trace_id', style.proto || style.twelve ? random.uint64() : random.pick([random.uint64(), random.int64()])],
    ['span_id', random.uint64()],
    ['parent_id', random.uint64()],
    ['start', random.int64()],
    ['duration', random.int64()],
    ['error', random.pick([0, 1, -1, 2 ** 31 - 1, -(2 ** 31)])],
    ['meta', meta],
    ['metrics', map(random, () => random.double(), least)],
    ['type', random.text()],
  ];
  if (style.twelve) return new Map(fields);
  fields.push(
    ['meta_struct', map(random, () => random.bytes(), least)],
    ['span_links', Array.from({ length: least + random.below(3) }, () => randomLink(random))],
    ['span_events', Array.from({ length: least + random.below(3) }, () => randomEvent(random))],
  );
  const kept = fields.filter(() => random.chance(0.8));
  if (style.proto) return new Map(kept);
  // Any order, some nil.
  for (let i = kept.length - 1; i > 0 && random.chance(0.9); i--) {
    const j = random.below(i + 1);
    [kept[i], kept[j]] = [kept[j]!, kept[i]!];
  }
  return new Map(kept.map(([key, value]) => [key, random.chance(0.08) ? null : value]));
}

function randomLink(random: RandomValues): Plain {
  return new Map<string, Plain>([
    ['trace_id', random.uint64()],
    ['trace_id_high', random.uint64()],
    ['span_id', random.uint64()],
    ['attributes', map(random, () => random.text(), 1)],
    ['tracestate', random.text()],
    ['flags', random.pick([0, 1, 2 ** 32 - 1])],
  ]);
}

function randomEvent(random: RandomValues): Plain {
  const scalar = (): Map<string, Plain> =>
    random.pick([
      new Map<string, Plain>([
        ['type', 0],
        ['string_value', random.text()],
      ]),
      new Map<string, Plain>([
        ['type', 1],
        ['bool_value', random.chance(0.5)],
      ]),
      new Map<string, Plain>([
        ['type', 2],
        ['int_value', random.int64()],
      ]),
      new Map<string, Plain>([
        ['type', 3],
        ['double_value', random.double()],
      ]),
    ]);
  const any = (): Plain =>
    random.chance(0.3)
      ? new Map<string, Plain>([
          ['type', 4],
          ['array_value', new Map<string, Plain>([['values', [scalar(), scalar()]]])],
        ])
      : scalar();
  return new Map<string, Plain>([
    ['time_unix_nano', random.uint64()],
    ['name', random.text()],
    ['attributes', map(random, any, 1)],
  ]);
}

export function randomChunks(random: RandomValues, style: SpanStyle = {}): PlainSpan[][] {
  return Array.from({ length: random.below(4) }, () =>
    Array.from({ length: random.below(6) }, () => randomSpan(random, style)),
  );
}
