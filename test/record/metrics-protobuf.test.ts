import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../src/core/random.ts';
import { fingerprintOf } from '../../src/core/sealer.ts';
import { renderMetric } from '../../src/record/metrics.ts';
import { ProtobufWriter } from '../support/protobuf-writer.ts';
import { Chance, seriesMessage, sketchMessage } from './metrics-bodies.ts';
import { decode, decoded, expectRendered, expectSameJson } from './metrics-support.ts';

type Fill = (out: ProtobufWriter) => void;

function payload(...items: Fill[]): Uint8Array {
  const out = new ProtobufWriter();
  for (const fill of items) out.message(1, fill);
  return out.finish();
}

const base64 = (fill: Fill): string => {
  const out = new ProtobufWriter();
  fill(out);
  return Buffer.from(out.finish()).toString('base64');
};

describe('series in protobuf', () => {
  it('puts what agents send into columns', () => {
    const body = payload((out) =>
      out
        .message(1, (resource) => resource.string(1, 'host').string(2, 'h1'))
        .message(1, (resource) => resource.string(1, 'device').string(2, 'sda'))
        .string(2, 'system.load')
        .string(3, 'a:1')
        .string(3, 'b')
        .message(4, (point) => point.double(1, 0.5).varint(2, 1575317847))
        .message(4, (point) => point.double(1, Number.NaN).varint(2, 1575317857))
        .varint(5, 3)
        .string(7, 'System')
        .varint(8, 10)
        .message(9, (metadata) =>
          metadata.message(1, (origin) => origin.varint(3, 9).varint(4, 10).varint(5, 11).varint(6, 193)),
        ),
    );
    const { items, result } = decoded('series-v2-proto', body);
    expect(result).toMatchObject({ itemCount: 1, opaqueCount: 0, holdsSecret: false });
    expect(items[0]).toMatchObject([
      {
        kind: 'series',
        raw: null,
        time: 1575317847000n,
        metric: 'system.load',
        type: 'gauge',
        interval: 10n,
        host: 'h1',
        device: 'sda',
        tags: '["a:1","b"]',
        resources: '[{"type":"host","name":"h1"},{"type":"device","name":"sda"}]',
        source_type_name: 'System',
        metadata: '{"origin":{"metric_type":9,"origin_product":10,"origin_category":11,"origin_service":193}}',
        value: 0.5,
      },
      { point: 1, time: 1575317857000n, value: Number.NaN },
    ]);
    expectRendered(
      items[0]!,
      '{"metric":"system.load","type":3,"points":[{"timestamp":1575317847,"value":0.5},{"timestamp":1575317857,"value":"NaN"}],' +
        '"tags":["a:1","b"],"resources":[{"type":"host","name":"h1"},{"type":"device","name":"sda"}],"interval":10,' +
        '"source_type_name":"System","metadata":{"origin":{"metric_type":9,"origin_product":10,"origin_category":11,"origin_service":193}}}',
    );
  });

  it('reads random series back equal', () => {
    let inColumns = 0;
    let total = 0;
    for (let seed = 0; seed < 300; seed++) {
      const chance = new Chance(seededRandom(seed));
      const series = chance.list(6, () => seriesMessage(chance));
      const body = new ProtobufWriter();
      for (const { bytes } of series) body.bytes(1, bytes);
      const { items, result } = decoded('series-v2-proto', body.finish());
      expect(result.itemCount).toBe(series.length);
      expect(items.length).toBe(series.length);
      for (const [i, { expected }] of series.entries()) expectRendered(items[i]!, expected);
      total += items.length;
      inColumns += items.filter((rows) => rows[0]!.raw === null).length;
    }
    expect(inColumns).toBeGreaterThan(total / 2);
  });

  it('gives the same text from columns and from the bytes', () => {
    for (let seed = 0; seed < 200; seed++) {
      const chance = new Chance(seededRandom(seed));
      const { bytes } = seriesMessage(chance);
      const plain = decoded('series-v2-proto', new ProtobufWriter().bytes(1, bytes).finish()).items[0]!;
      const marked = new ProtobufWriter().raw(bytes).varint(100, 1).finish();
      const kept = decoded('series-v2-proto', new ProtobufWriter().bytes(1, marked).finish()).items[0]!;
      expect(kept[0]!.raw).not.toBeNull();
      const unknown = `"unknown":{"100":["${base64((out) => out.varint(100, 1))}"]}`;
      const text = renderMetric(plain);
      expectSameJson(renderMetric(kept), text === '{}' ? `{${unknown}}` : `${text.slice(0, -1)},${unknown}}`);
    }
  });

  it('reads a point alike in whatever order its fields come', () => {
    const chance = new Chance(seededRandom(5));
    const values = [0, -0, 1.5, Number.POSITIVE_INFINITY, Number.MIN_VALUE, Number.NaN, 1e300];
    const times = [0, 127, 2 ** 28 - 1, 2 ** 28, 1575317847, 2 ** 35 - 1, 2 ** 35, -1];
    for (let i = 0; i < 300; i++) {
      const points = chance.list(5, () => ({
        value: values[chance.below(values.length)]!,
        time: times[chance.below(times.length)]!,
      }));
      const body = (isTurned: boolean): Uint8Array =>
        payload((out) => {
          out.string(2, 'turned');
          for (const { value, time } of points) {
            out.message(4, (point) => {
              // What is 0 is left out.
              if (isTurned) point.varint(2, time);
              if (!Object.is(value, 0)) point.double(1, value);
              if (!isTurned && time !== 0) point.varint(2, time);
            });
          }
        });
      const expected = decoded('series-v2-proto', body(true)).rows;
      const actual = decoded('series-v2-proto', body(false)).rows;
      expect(actual).toEqual(expected);
      expect(expected.map(({ value }) => value)).toEqual(
        points.length === 0 ? [null] : points.map(({ value }) => value),
      );
    }
  });

  const nan =
    (bits: bigint): Fill =>
    (out) =>
      out.message(4, (point) => point.fixed64(1, bits).varint(2, 5));
  it.each<[string, Fill, string]>([
    [
      'an unknown field',
      (out) => out.string(2, 'a').string(50, 'x'),
      `{"metric":"a","unknown":{"50":["${base64((o) => o.string(50, 'x'))}"]}}`,
    ],
    [
      'an unknown field of a point',
      (out) => out.message(4, (point) => point.varint(2, 5).varint(3, 1)),
      '{"points":[{"timestamp":5,"unknown":{"3":["GAE="]}}]}',
    ],
    [
      'an unknown field of an origin',
      (out) => out.message(9, (metadata) => metadata.message(1, (origin) => origin.varint(4, 1).varint(20, 1))),
      '{"metadata":{"origin":{"origin_product":1,"unknown":{"20":["oAEB"]}}}}',
    ],
    [
      'an unknown field of a resource',
      (out) => out.message(1, (resource) => resource.string(2, 'x').varint(3, 1)),
      '{"resources":[{"name":"x","unknown":{"3":["GAE="]}}]}',
    ],
    ['another wire type', (out) => out.varint(2, 7), `{"unknown":{"2":["${base64((o) => o.varint(2, 7))}"]}}`],
    [
      'a name sent twice',
      (out) => out.string(2, 'a').string(2, 'b'),
      `{"metric":"b","unknown":{"2":["${base64((o) => o.string(2, 'a'))}"]}}`,
    ],
    [
      'a text that is no UTF-8',
      (out) => out.bytes(3, Uint8Array.of(0xff)),
      `{"tags":["\ufffd"],"unknown":{"3":["GgH/"]}}`,
    ],
    [
      'the NaN of Go',
      nan(0x7ff8000000000001n),
      '{"points":[{"timestamp":5,"value":"NaN","unknown":{"1":["CQEAAAAAAPh/"]}}]}',
    ],
    [
      'a negative NaN',
      nan(0xfff8000000000000n),
      '{"points":[{"timestamp":5,"value":"NaN","unknown":{"1":["CQAAAAAAAPj/"]}}]}',
    ],
    [
      'a time beyond its column',
      (out) => out.message(4, (point) => point.varint(2, 2n ** 62n)),
      `{"points":[{"timestamp":${2n ** 62n}}]}`,
    ],
    [
      'a type beyond 32 bits',
      (out) => out.varint(5, 2n ** 40n + 3n),
      `{"type":3,"unknown":{"5":["${base64((o) => o.varint(5, 2n ** 40n + 3n))}"]}}`,
    ],
    ['an unknown group', (out) => out.raw([0x5b, 0x08, 0x01, 0x5c]), '{"unknown":{"11":["WwgBXA=="]}}'],
  ])('keeps the bytes of %s', (_what, fill, expected) => {
    const { items, result } = decoded('series-v2-proto', payload(fill));
    const sent = new ProtobufWriter();
    fill(sent);
    expect(result.opaqueCount).toBe(1);
    expect(items[0]![0]!.raw).toEqual(sent.finish());
    expectRendered(items[0]!, expected);
  });

  it('tells tags apart whose tag bytes are written long', () => {
    const { items } = decoded(
      'series-v2-proto',
      payload((out) => out.string(3, 'a').raw([0x9a, 0x00, 1, 0x62]).string(3, 'c')),
    );
    expectRendered(items[0]!, '{"tags":["a","b","c"]}');
  });

  it('keeps unknown fields around the series', () => {
    const body = new ProtobufWriter()
      .string(9, 'x')
      .raw(payload((out) => out.string(2, 'a')))
      .varint(10, 1)
      .finish();
    const { items, payload: around, result } = decoded('series-v2-proto', body);
    expect(result).toMatchObject({ itemCount: 1, opaqueCount: 1 });
    expectRendered(items[0]!, '{"metric":"a"}');
    expectRendered(around!, '{"unknown":{"9":["SgF4"],"10":["UAE="]}}');
  });

  it('takes an empty body for a payload without series', () => {
    expect(decoded('series-v2-proto', new Uint8Array()).result).toMatchObject({ itemCount: 0, opaqueCount: 0 });
  });

  it('keeps a body with too many points whole', () => {
    const one = new ProtobufWriter().message(4, (point) => point.varint(2, 5)).finish();
    const points = Buffer.alloc(one.byteLength * 1_000_001, one);
    const tag = [0x0a, ...ProtobufWriter.varintBytes(points.byteLength)];
    const body = Buffer.concat([Uint8Array.from(tag), points]);
    const { items, result } = decoded('series-v2-proto', body);
    expect(result).toMatchObject({ itemCount: 1, opaqueCount: 1 });
    expect(items[0]).toMatchObject([{ kind: 'opaque' }]);
    expect(Buffer.from(items[0]![0]!.raw as Uint8Array).equals(body)).toBe(true);
  });
});

describe('sketches in protobuf', () => {
  it('reads random sketches back equal', () => {
    let inColumns = 0;
    let total = 0;
    for (let seed = 0; seed < 300; seed++) {
      const chance = new Chance(seededRandom(seed));
      const sketches = chance.list(5, () => sketchMessage(chance));
      const body = new ProtobufWriter();
      for (const { bytes } of sketches) body.bytes(1, bytes);
      const { items, payload: around, result } = decoded('sketches-proto', body.message(2, () => {}).finish());
      expect(result.itemCount).toBe(sketches.length);
      for (const [i, { expected }] of sketches.entries()) expectRendered(items[i]!, expected);
      expectRendered(around!, '{"metadata":{}}');
      total += items.length;
      inColumns += items.filter((rows) => rows[0]!.raw === null).length;
    }
    expect(inColumns).toBeGreaterThan(total / 2);
  });

  it('keeps old distributions and wide bins as bytes', () => {
    const fill: Fill = (out) =>
      out
        .string(1, 'a')
        .message(3, (old) => old.varint(1, 5))
        .message(7, (sketch) =>
          sketch
            .varint(1, 5)
            .packedSint(7, [2n ** 40n])
            .packedVarint(8, [1]),
        );
    const { items } = decoded('sketches-proto', payload(fill));
    expect(items[0]![0]).toMatchObject({ kind: 'sketch', type: 'sketch', metric: 'a', sketch_keys: '[0]' });
    expectRendered(
      items[0]!,
      '{"metric":"a","dogsketches":[{"ts":5,"k":[0],"n":[1],"unknown":{"7":["OgaAgICAgEA="]}}],"unknown":{"3":["GgIIBQ=="]}}',
    );
  });

  it('never holds the API key of the metadata', () => {
    const key = '0123456789abcdef0123456789abcdef';
    const metadata: Fill = (out) => out.string(1, '7.50.0').string(6, key).double(3, 1.5);
    const body = new ProtobufWriter()
      .message(1, (out) => out.string(1, 'a'))
      .message(2, metadata)
      .finish();
    const { result, payload: around } = decoded('sketches-proto', body);
    expect(result.holdsSecret).toBe(true);
    expectRendered(
      around!,
      `{"metadata":{"agent_version":"7.50.0","current_epoch":1.5,"api_key":"${fingerprintOf(key)}"}}`,
    );
    for (const column of Object.values(result.batch.columns)) {
      if ('bytes' in column) expect(Buffer.from(column.bytes).toString('latin1')).not.toContain(key);
    }
    const many = Buffer.alloc(2 * 1_000_001, Uint8Array.of(0x0a, 0x00));
    const whole = decoded('sketches-proto', Buffer.concat([body, many]));
    expect(whole.result).toMatchObject({ itemCount: 1_000_002, opaqueCount: 1, holdsSecret: true });
    expect(whole.rows.length).toBe(1);
    expect(Buffer.from(whole.rows[0]!.raw as Uint8Array).includes(fingerprintOf(key))).toBe(true);
    expect(Buffer.from(whole.rows[0]!.raw as Uint8Array).includes(key)).toBe(false);
    const empty = new ProtobufWriter().message(2, (out) => out.string(1, '7').string(6, '')).finish();
    expect(decoded('sketches-proto', empty).result).toMatchObject({ holdsSecret: false, opaqueCount: 0 });
  });
});

describe('malformed protobuf', () => {
  it.each([
    ['series-v2-proto', [0x0a, 0x02, 0x12], 1],
    ['series-v2-proto', [0x0a, 0x03, 0x12, 0x05, 0x61], 3],
    ['series-v2-proto', [0x0a, 0x04, 0x0a, 0x02, 0x0a, 0x09], 5],
    ['series-v2-proto', [0x0a, 0x04, 0x4a, 0x02, 0x0a, 0x09], 5],
    ['series-v2-proto', [0x0a, 0x04, 0x22, 0x02, 0x10, 0x80], 5],
    ['series-v2-proto', [0x00], 0],
    ['sketches-proto', [0x12, 0x02, 0x32, 0x05], 3],
  ] as const)('is rejected with the place: %s %j', (protocol, bytes, offset) => {
    expect(decode(protocol, Uint8Array.from(bytes))).toMatchObject({ ok: false, offset });
  });

  it('never throws on cut or altered bodies', () => {
    for (const protocol of ['series-v2-proto', 'sketches-proto'] as const) {
      for (let seed = 0; seed < 2; seed++) {
        const chance = new Chance(seededRandom(2000 + seed));
        const make = protocol === 'sketches-proto' ? sketchMessage : seriesMessage;
        const body = new ProtobufWriter();
        for (const { bytes } of chance.list(4, () => make(chance))) body.bytes(1, bytes);
        const bytes = body.message(2, (out) => out.string(6, 'key')).finish();
        for (let end = 0; end < bytes.length; end++) check(protocol, bytes.subarray(0, end));
        for (let i = 0; i < 200; i++) {
          const altered = Uint8Array.from(bytes);
          for (let k = 0; k <= chance.below(3); k++) altered[chance.below(altered.length)] = chance.below(256);
          check(protocol, altered);
        }
      }
    }
  });
});

function check(protocol: 'series-v2-proto' | 'sketches-proto', body: Uint8Array): void {
  const result = decode(protocol, body);
  if (!result.ok) {
    if (!(result.offset >= 0 && result.offset <= body.byteLength)) throw new Error(`offset ${result.offset}`);
    return;
  }
  // Whatever was accepted can be given back as JSON.
  const { items, payload: around } = decoded(protocol, body);
  for (const rows of around ? [...items, around] : items) JSON.parse(renderMetric(rows));
}
