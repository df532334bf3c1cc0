import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../src/core/random.ts';
import { renderMetric } from '../../src/record/metrics.ts';
import { ProtobufWriter } from '../support/protobuf-writer.ts';
import {
  Chance,
  double,
  doubleExpected,
  integerExpected,
  listExpected,
  objectText,
  plainText,
  textExpected,
} from './metrics-bodies.ts';
import { decode, decoded, expectRendered } from './metrics-support.ts';

/** A column's values before they are packed. */
class Column {
  readonly values: bigint[] = [];
  #last = 0n;

  plain(value: number | bigint): void {
    this.values.push(BigInt(value));
  }

  delta(value: number | bigint): void {
    this.values.push(BigInt(value) - this.#last);
    this.#last = BigInt(value);
  }
}

/** Texts after their lengths; index of a text counts from 1, 0 is the empty one. */
class Dictionary {
  readonly texts: string[] = [];

  index(text: string): number {
    if (text === '') return 0;
    if (!this.texts.includes(text)) this.texts.push(text);
    return this.texts.indexOf(text) + 1;
  }

  bytes(): Uint8Array {
    return Uint8Array.from(
      this.texts.flatMap((text) => {
        const bytes = Buffer.from(text, 'utf8');
        return [...ProtobufWriter.varintBytes(bytes.byteLength), ...bytes];
      }),
    );
  }
}

interface Model {
  metric: string;
  /** 1 count, 2 rate, 3 gauge, 4 sketch. */
  metricType: number;
  valueType: 0x00 | 0x10 | 0x20 | 0x30;
  flags: number;
  tags: string[];
  resources: { type: string; name: string }[];
  source: string;
  unit: string;
  origin: [number, number, number] | undefined;
  interval: number;
  points: { time: number; numbers: number[]; count: number; bins: { key: number; count: number }[] }[];
}

function randomModel(chance: Chance, withTagsOf: Model | undefined): Model {
  const metricType = chance.pick([1, 2, 3, 4]);
  const valueType = chance.pick([0x00, 0x10, 0x20, 0x30] as const);
  const number = (): number => {
    if (valueType === 0x00) return 0;
    if (valueType === 0x10) return chance.pick([0, 1, -1, 2 ** 53 - 1, -(2 ** 53) + 1, chance.below(1e6)]);
    const value = double(chance);
    return valueType === 0x20 ? Math.fround(value) : value;
  };
  const unit = chance.pick(['', '', 'byte', 'second']);
  return {
    metric: plainText(chance),
    metricType,
    valueType,
    flags: (unit === '' ? 0 : 0x200) | chance.pick([0, 0x100]),
    tags: [...(withTagsOf?.tags ?? []), ...chance.list(3, () => plainText(chance))],
    resources: chance.list(2, () => ({ type: chance.pick(['host', 'device', 'pod']), name: plainText(chance) })),
    source: chance.pick(['', 'System']),
    unit,
    origin: chance.is(0.5) ? [chance.below(20), chance.below(2), chance.below(300)] : undefined,
    interval: chance.pick([0, 10, 2 ** 40]),
    points: chance.list(3, () => ({
      time: 1_600_000_000 + chance.below(1e8) - chance.pick([0, 2e9]),
      numbers: metricType === 4 ? [number(), number(), number()] : [number()],
      count: chance.below(1000) - 5,
      bins: chance.list(4, () => ({ key: chance.below(65536) - 32768, count: chance.below(2 ** 32) })),
    })),
  };
}

/** MetricData of the models. A tagset that begins with the one before it refers to it. */
function metricData(models: readonly Model[]): ProtobufWriter {
  const [names, tags, resources, sources, units] = Array.from({ length: 5 }, () => new Dictionary()) as [
    Dictionary,
    Dictionary,
    Dictionary,
    Dictionary,
    Dictionary,
  ];
  const columns = new Map<number, Column>();
  const column = (field: number): Column => {
    const known = columns.get(field) ?? new Column();
    columns.set(field, known);
    return known;
  };
  const floats: number[] = [];
  const doubles: number[] = [];
  const origins: string[] = [];
  let tagsets = 0;
  let previous: string[] = [];
  for (const [i, model] of models.entries()) {
    column(10).plain(model.metricType | model.valueType | model.flags);
    column(11).delta(names.index(model.metric));
    let tagset = 0;
    if (model.tags.length > 0) {
      const inherits = tagsets > 0 && previous.length > 0 && previous.every((tag, k) => model.tags[k] === tag);
      const own = inherits ? model.tags.slice(previous.length) : model.tags;
      const indexes = own.map((tag) => tags.index(tag));
      if (inherits) indexes.unshift(-tagsets);
      column(3).plain(indexes.length);
      let last = 0;
      for (const index of indexes) {
        column(3).plain(index - last);
        last = index;
      }
      tagsets += 1;
      tagset = tagsets;
      previous = model.tags;
    }
    column(12).delta(tagset);
    column(5).plain(model.resources.length);
    let [lastType, lastName] = [0, 0];
    for (const { type, name } of model.resources) {
      const [typeIndex, nameIndex] = [resources.index(type), resources.index(name)];
      column(6).plain(typeIndex - lastType);
      column(7).plain(nameIndex - lastName);
      [lastType, lastName] = [typeIndex, nameIndex];
    }
    column(13).delta(i + 1);
    column(23).delta(sources.index(model.source));
    if (model.origin) {
      for (const part of model.origin) column(9).plain(part);
      origins.push('');
    }
    column(24).delta(model.origin ? origins.length : 0);
    column(14).plain(model.interval);
    column(15).plain(model.points.length);
    if (model.flags & 0x200) column(26).delta(units.index(model.unit));
    for (const { time, numbers, count, bins } of model.points) {
      column(16).delta(time);
      for (const number of numbers) {
        if (model.valueType === 0x10) column(17).plain(number);
        if (model.valueType === 0x20) floats.push(number);
        if (model.valueType === 0x30) doubles.push(number);
      }
      if (model.metricType !== 4) continue;
      column(17).plain(count);
      column(20).plain(bins.length);
      let last = 0;
      for (const bin of bins) {
        column(21).plain(bin.key - last);
        last = bin.key;
        column(22).plain(bin.count);
      }
    }
  }
  const out = new ProtobufWriter();
  for (const [field, dictionary] of [
    [1, names],
    [2, tags],
    [4, resources],
    [8, sources],
    [25, units],
  ] as const) {
    out.bytes(field, dictionary.bytes());
  }
  for (const [field, { values }] of columns) {
    if ([5, 9, 10, 14, 15, 20, 22].includes(field)) out.packedVarint(field, values);
    else out.packedSint(field, values);
  }
  return out.packedFloat(18, floats).packedDouble(19, doubles);
}

function expectedOf(model: Model): string {
  const isSketch = model.metricType === 4;
  const types = `${model.metricType | model.valueType | model.flags}`;
  const resources = model.resources.map(({ type, name }) =>
    objectText([
      ['type', textExpected(type)],
      ['name', textExpected(name)],
    ]),
  );
  const [product, category, service] = (model.origin ?? [0, 0, 0]).map((part) => integerExpected(BigInt(part)));
  const origin = objectText([
    ['origin_product', product],
    ['origin_category', category],
    ['origin_service', service],
  ]);
  const rest: [string, string | undefined][] = [
    ['tags', listExpected(model.tags.map((tag) => JSON.stringify(tag)))],
    ['resources', listExpected(resources)],
    ['interval', integerExpected(BigInt(model.interval))],
    ['unit', textExpected(model.unit)],
    ['source_type_name', textExpected(model.source)],
    ['metadata', model.origin ? `{"origin":${origin}}` : undefined],
  ];
  const points = model.points.map(({ time, numbers, count, bins }) => {
    if (!isSketch) {
      return objectText([
        ['timestamp', integerExpected(BigInt(time))],
        ['value', doubleExpected(numbers[0]!)],
      ]);
    }
    return objectText([
      ['ts', integerExpected(BigInt(time))],
      ['cnt', integerExpected(BigInt(count))],
      ['min', doubleExpected(numbers[1]!)],
      ['max', doubleExpected(numbers[2]!)],
      ['sum', doubleExpected(numbers[0]!)],
      ['k', listExpected(bins.map(({ key }) => `${key}`))],
      ['n', listExpected(bins.map((bin) => `${bin.count}`))],
    ]);
  });
  const name: [string, string | undefined] = ['metric', textExpected(model.metric)];
  if (isSketch) return objectText([name, ['types', types], ...rest, ['dogsketches', listExpected(points)]]);
  return objectText([
    name,
    ['type', `${model.metricType}`],
    ['types', types],
    ['points', listExpected(points)],
    ...rest,
  ]);
}

const body = (data: ProtobufWriter): Uint8Array => new ProtobufWriter().bytes(3, data.finish()).finish();

/** One gauge, to be spoilt by more fields. */
function gauge(): ProtobufWriter {
  return new ProtobufWriter()
    .bytes(1, Buffer.from('\u0001a'))
    .bytes(2, Buffer.from('\u0001t'))
    .packedVarint(10, [0x33])
    .packedSint(11, [1])
    .packedVarint(15, [1])
    .packedSint(16, [100])
    .packedDouble(19, [1.5]);
}

describe('intake v3', () => {
  it('reads random payloads back equal', () => {
    let series = 0;
    for (let seed = 0; seed < 500; seed++) {
      const chance = new Chance(seededRandom(seed));
      const blocks = chance.list(2, () => {
        let last: Model | undefined;
        return chance.list(5, () => {
          last = randomModel(chance, chance.is(0.4) ? last : undefined);
          return last;
        });
      });
      const out = new ProtobufWriter();
      for (const block of blocks) out.bytes(3, metricData(block).finish());
      const { items, payload, result } = decoded('series-v3-proto', out.finish());
      const models = blocks.flat();
      expect(result).toMatchObject({ itemCount: models.length, opaqueCount: 0 });
      expect(payload).toBeUndefined();
      for (const [i, model] of models.entries()) expectRendered(items[i]!, expectedOf(model));
      series += models.length;
    }
    expect(series).toBeGreaterThan(500);
  });

  it('fills columns', () => {
    const model: Model = {
      metric: 'a',
      metricType: 4,
      valueType: 0x30,
      flags: 0x100,
      tags: ['t:1'],
      resources: [{ type: 'host', name: 'h' }],
      source: 'S',
      unit: '',
      origin: undefined,
      interval: 10,
      points: [
        {
          time: 100,
          numbers: [6, 1, 3],
          count: 3,
          bins: [
            { key: 5, count: 1 },
            { key: 9, count: 2 },
          ],
        },
      ],
    };
    const { items } = decoded('series-v3-proto', body(metricData([model])));
    expect(items[0]).toMatchObject([
      {
        kind: 'sketch',
        type: 'sketch',
        shape: '#3:308',
        time: 100_000n,
        host: 'h',
        tags: '["t:1"]',
        interval: 10n,
        sketch_count: 3n,
        sketch_sum: 6,
        sketch_min: 1,
        sketch_max: 3,
        sketch_avg: 2,
        sketch_keys: '[5,9]',
        sketch_counts: '[1,2]',
        raw: null,
      },
    ]);
  });

  it('takes columns left out for zeros, and a block without types for no series', () => {
    const { items, result } = decoded('series-v3-proto', body(gauge()));
    expect(result.opaqueCount).toBe(0);
    expectRendered(items[0]!, '{"metric":"a","type":3,"types":51,"points":[{"timestamp":100,"value":1.5}]}');
    expect(decoded('series-v3-proto', new Uint8Array()).result.itemCount).toBe(0);
    expect(decoded('series-v3-proto', body(new ProtobufWriter().bytes(1, Buffer.from('\u0001a')))).rows).toEqual([]);
  });

  it('adds the metadata of the payload, wherever it stands, and says so', () => {
    const data = gauge().packedSint(3, [1, 1]).packedSint(12, [1]);
    const out = new ProtobufWriter()
      .bytes(3, data.finish())
      .message(2, (metadata) => metadata.string(1, 't').string(1, 'm').string(2, 'host').string(2, 'h'));
    const { items, payload, result } = decoded('series-v3-proto', out.finish());
    expect(result.opaqueCount).toBe(0);
    expect(items[0]).toMatchObject([{ tags: '["t","m"]', host: 'h', shape: '#3:51:t1:r1' }]);
    expectRendered(payload!, '{"metadata":{"tags":["t","m"],"resources":["host","h"]}}');
  });

  it.each<[string, ProtobufWriter]>([
    ['an unknown field', gauge().varint(99, 1)],
    ['values that no point uses', gauge().packedDouble(19, [2])],
    [
      'a NaN with a payload',
      gauge()
        .packedVarint(10, [0x33])
        .packedSint(11, [0])
        .packedVarint(15, [1])
        .packedSint(16, [1])
        .tag(19, 1)
        .raw([1, 0, 0, 0, 0, 0, 0xf8, 0x7f]),
    ],
    ['a text that is no UTF-8', gauge().bytes(2, Uint8Array.of(1, 0xff))],
  ])('keeps the block as well for %s', (_what, data) => {
    const { items, payload, result } = decoded('series-v3-proto', body(data));
    expect(result.opaqueCount).toBe(1);
    expect(items[0]![0]).toMatchObject({ metric: 'a', value: 1.5 });
    expect(payload![0]!.raw).toEqual(body(data));
  });

  it.each<[string, ProtobufWriter]>([
    ['a name beyond its dictionary', gauge().packedSint(12, [1])],
    ['a negative reference', gauge().packedSint(13, [-1])],
    ['a column that is too short', gauge().packedVarint(10, [0x33])],
    ['points without timestamps', new ProtobufWriter().packedVarint(10, [0]).packedVarint(15, [5])],
    ['more points than can be', new ProtobufWriter().packedVarint(10, [0]).packedVarint(15, [2n ** 63n])],
    ['an unknown value type', new ProtobufWriter().packedVarint(10, [0x43])],
    ['a broken dictionary', gauge().bytes(25, Uint8Array.of(9, 1))],
    ['a tagset that refers to itself', gauge().packedSint(3, [1, -1])],
    ['a tagset that is too long', gauge().packedSint(3, [5, 1])],
    [
      'tagsets that double',
      gauge().packedSint(3, [1, 1, ...Array.from({ length: 60 }, (_, i) => [2, -1 - i, 0]).flat()]),
    ],
    ['origins that are no triples', gauge().packedVarint(9, [1, 2])],
    ['resources beyond their columns', gauge().packedVarint(5, [3])],
  ])('keeps a block that does not fit together as one opaque row: %s', (_what, data) => {
    const good = body(metricData([randomModel(new Chance(seededRandom(1)), undefined)]));
    const { items, rows, result } = decoded('series-v3-proto', Buffer.concat([good, body(data)]));
    expect(result.opaqueCount).toBe(1);
    expect(items.length).toBe(2);
    expect(rows.at(-1)).toMatchObject({ kind: 'opaque', item: 1 });
    expect(items[1]![0]!.raw).toEqual(body(data));
    expect(renderMetric(items[1]!)).toContain('"unknown":{"3":');
  });

  it('bounds what tagsets unfold to over all blocks', () => {
    const doubling = gauge().packedSint(3, [1, 1, ...Array.from({ length: 18 }, (_, i) => [2, -1 - i, 0]).flat()]);
    const { items, result } = decoded(
      'series-v3-proto',
      Buffer.concat(Array.from({ length: 100 }, () => body(doubling))),
    );
    expect(result.itemCount).toBe(100);
    expect(items.filter((rows) => rows[0]!.kind === 'opaque').length).toBeGreaterThan(80);
  });

  it('rejects what is no protobuf, and never throws', () => {
    expect(decode('series-v3-proto', Uint8Array.of(0x1a, 0x05, 0x0a))).toMatchObject({ ok: false, offset: 1 });
    expect(decode('series-v3-proto', Uint8Array.of(0x1a, 0x03, 0x52, 0x01, 0x80))).toMatchObject({
      ok: false,
      offset: 4,
    });
    for (let seed = 0; seed < 2; seed++) {
      const chance = new Chance(seededRandom(3000 + seed));
      const bytes = body(metricData(chance.list(5, () => randomModel(chance, undefined))));
      const check = (altered: Uint8Array): void => {
        const result = decode('series-v3-proto', altered);
        if (result.ok) {
          for (const rows of decoded('series-v3-proto', altered).items) JSON.parse(renderMetric(rows));
        } else if (!(result.offset >= 0 && result.offset <= altered.byteLength)) {
          throw new Error(`offset ${result.offset}`);
        }
      };
      for (let end = 0; end < bytes.length; end++) check(bytes.subarray(0, end));
      for (let i = 0; i < 200; i++) {
        const altered = Uint8Array.from(bytes);
        for (let k = 0; k <= chance.below(3); k++) altered[chance.below(altered.length)] = chance.below(256);
        check(altered);
      }
    }
  });
});
