import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../src/core/random.ts';
import { fingerprintOf } from '../../src/core/sealer.ts';
import { decodeMetrics, renderMetric } from '../../src/record/metrics.ts';
import { Chance, jsonBody } from './metrics-bodies.ts';
import { decode, decoded, expectRendered, expectSameJson, RECEIVED_AT_MS } from './metrics-support.ts';

const PROTOCOLS = ['series-v1-json', 'series-v2-json', 'distribution-points-json'] as const;

describe('metrics in JSON', () => {
  it('puts what clients send into columns', () => {
    const { items, result } = decoded(
      'series-v1-json',
      '{"series":[{"metric":"system.load","points":[[1575317847,0.5],[1575317848.25,-0]],"type":"gauge","interval":10,' +
        '"host":"h","device":"sda","tags":["a:1","b"],"source_type_name":"System","unit":"byte","metadata":{"origin":{}}}]}',
    );
    expect(result).toMatchObject({ itemCount: 1, opaqueCount: 0, holdsSecret: false });
    expect(items[0]).toMatchObject([
      {
        item: 0,
        point: 0,
        kind: 'series',
        raw: null,
        time: 1575317847000n,
        metric: 'system.load',
        type: 'gauge',
        interval: 10n,
        unit: 'byte',
        host: 'h',
        device: 'sda',
        tags: '["a:1","b"]',
        source_type_name: 'System',
        metadata: '{"origin":{}}',
        value: 0.5,
        attributes: null,
      },
      { item: 0, point: 1, time: 1575317848250n, value: -0 },
    ]);
  });

  it('takes either form of points and types on either path', () => {
    const v1 = '{"metric":"a","points":[[1,2]],"type":"count"}';
    const v2 = '{"metric":"b","type":3,"points":[{"timestamp":1,"value":2}],"resources":[{"type":"host","name":"q"}]}';
    for (const protocol of ['series-v1-json', 'series-v2-json'] as const) {
      const { items, result } = decoded(protocol, `{"series":[${v1},${v2}]}`);
      expect(result.opaqueCount).toBe(0);
      expect(items[0]).toMatchObject([{ type: 'count', value: 2, time: 1000n, raw: null }]);
      expect(items[1]).toMatchObject([{ type: 'gauge', value: 2, time: 1000n, host: 'q', raw: null }]);
      expectRendered(items[0]!, v1);
      expectRendered(items[1]!, v2);
    }
  });

  it('keeps distribution points as lists', () => {
    const series = '{"metric":"d","points":[[1575317847,[1,2.50,1e400]],[1575317848,[]]],"type":"distribution"}';
    const { items } = decoded('distribution-points-json', `{"series":[${series}]}`);
    expect(items[0]).toMatchObject([
      { kind: 'distribution', type: 'distribution', value: null, values: '[1,2.50,1e400]', raw: null },
      { values: '[]' },
    ]);
    expectRendered(items[0]!, series);
  });

  it('keeps an item without points as one row at receive time', () => {
    const { rows, items } = decoded('series-v1-json', '{"series":[{"metric":"a","points":[]},{"metric":"b"}]}');
    expect(rows).toMatchObject([
      { metric: 'a', value: null, time: BigInt(RECEIVED_AT_MS) },
      { metric: 'b', value: null, time: BigInt(RECEIVED_AT_MS) },
    ]);
    expectRendered(items[0]!, '{"metric":"a","points":[]}');
    expectRendered(items[1]!, '{"metric":"b"}');
  });

  it('keeps unknown keys, nulls and other types in attributes, in place', () => {
    const series =
      '{"unit":null,"metric":"a","tags":null,"x\\u0041":{"b":1.0},"points":[[1,2]],"interval":"10","type":7}';
    const { items } = decoded('series-v1-json', `{"series":[${series}]}`);
    expect(items[0]![0]).toMatchObject({ raw: null, type: '7', interval: null });
    expectSameJson(
      items[0]![0]!.attributes as string,
      '{"unit":null,"tags":null,"xA":{"b":1.0},"interval":"10","type":7}',
    );
    expectRendered(items[0]!, series);
  });

  it.each([
    '{"metric":"a","metric":"b","points":[[1,2]]}',
    '{"metric":"a","points":[[1,0.1000000000000000055511151231257827]]}',
    '{"metric":"a","points":[[1,1e400]]}',
    '{"metric":"a","points":[[1,"2.5"]]}',
    '{"metric":"a","points":[[1,null]]}',
    '{"metric":"a","points":[[1.00001,2]]}',
    '{"metric":"a","points":[[-0,2]]}',
    '{"metric":"a","points":[[1,2],{"timestamp":1,"value":2}]}',
    '{"metric":"a","points":[[1,2,3]]}',
    '{"metric":"a","points":[null]}',
    '{"metric":"\\ud800","points":[[1,2]]}',
  ])('keeps the bytes of what columns cannot give back: %s', (series) => {
    const { items, result } = decoded('series-v1-json', `{"series":[${series}]}`);
    expect(result.opaqueCount).toBe(1);
    expect(Buffer.from(items[0]![0]!.raw as Uint8Array).toString()).toBe(series);
    for (const row of items[0]!.slice(1)) expect(row.raw).toBeNull();
    expect(renderMetric(items[0]!)).toBe(series);
  });

  it('fills columns as well as it goes where the bytes are kept', () => {
    const { rows } = decoded('series-v1-json', '{"series":[{"metric":"a","points":[[1,"2.5"],["3",1e400],[4,null]]}]}');
    expect(rows).toMatchObject([
      { time: 1000n, value: 2.5 },
      { time: 3000n, value: Number.POSITIVE_INFINITY },
      { time: 4000n, value: null },
    ]);
  });

  it('keeps bytes that are no UTF-8', () => {
    const series = Buffer.concat([
      Buffer.from('{"metric":"a'),
      Buffer.of(0xff, 0xc3),
      Buffer.from('","points":[[1,2]]}'),
    ]);
    const { items } = decoded('series-v1-json', Buffer.concat([Buffer.from('{"series":['), series, Buffer.from(']}')]));
    expect(Buffer.from(items[0]![0]!.raw as Uint8Array)).toEqual(series);
  });

  it('skips a byte order mark', () => {
    const { items } = decoded('series-v1-json', '\ufeff{"series":[{"metric":"a"}]}');
    expect(items[0]![0]!.metric).toBe('a');
  });

  it('reads random bodies back equal', () => {
    let inColumns = 0;
    for (let seed = 0; seed < 1500; seed++) {
      const chance = new Chance(seededRandom(seed));
      const body = jsonBody(chance);
      const { items, payload, result } = decoded(chance.pick(PROTOCOLS), body.text);
      expect(result.itemCount).toBe(body.series.length);
      expect(items.length).toBe(body.series.length);
      for (const [i, series] of body.series.entries()) expectRendered(items[i]!, series);
      inColumns += items.filter((rows) => rows[0]!.raw === null).length;
      expect(payload === undefined).toBe(body.around === undefined);
      if (payload) expectRendered(payload, body.around!);
    }
    // The property would hold as well if everything were kept as bytes.
    expect(inColumns).toBeGreaterThan(1500);
  });

  it('gives the same batch for the same body', () => {
    const { text } = jsonBody(new Chance(seededRandom(11)));
    expect(decode('series-v1-json', text)).toEqual(decode('series-v1-json', text));
  });

  it.each(['[]', '"x"', '7', 'null', '{}', '{"series":7}', '{"series":{}}', '{"serie":[]}'])(
    'accepts JSON that it does not understand: %s',
    (body) => {
      const { items, result } = decoded('series-v2-json', body);
      expect(result).toMatchObject({ itemCount: 0, opaqueCount: 1 });
      expect(items[0]).toMatchObject([{ kind: 'opaque', shape: 'body' }]);
      expectRendered(items[0]!, body);
    },
  );

  it.each([
    ['', 0],
    ['{', 1],
    ['{"series":[}', 11],
    ['{"series":[{"metric":"a",}]}', 25],
    ['{"series":[]} x', 14],
    ['{"series":[{"points":[[01,2]]}]}', 24],
    ['[[', 2],
  ])('rejects what is no JSON, with the place: %s', (body, offset) => {
    expect(decode('series-v1-json', body)).toMatchObject({ ok: false, offset });
  });

  it('never holds an API key, whatever is around it', () => {
    const key = '0123456789abcdef0123456789abcdef';
    const series = '{"metric":"a","points":[[1,2]]}';
    for (const body of [
      `{"apiKey":"${key}","series":[${series}],"x":1}`,
      `{"series":[${series}],"api_key":"${key}"}`,
      `{"series":[${series}],"api\\u005fkey":"\\u0030${key.slice(1)}"}`,
      `{"api_key":"${key}","series":null}`,
      `{"api_key":["${key}"],"series":null}`,
    ]) {
      const { result, rows, payload, items } = decoded('series-v1-json', body);
      expect(result.holdsSecret).toBe(true);
      for (const column of Object.values(result.batch.columns)) {
        if ('bytes' in column) expect(Buffer.from(column.bytes).toString('latin1')).not.toContain(key.slice(1));
      }
      const shown = renderMetric(payload ?? items[0]!);
      if (!body.includes(`["${key}"]`)) expect(shown).toContain(fingerprintOf(key));
      expect(() => JSON.parse(shown)).not.toThrow();
      expect(rows.length).toBeGreaterThan(0);
    }
    expect(decoded('series-v1-json', '{"series":[],"apiKey":""}').result.holdsSecret).toBe(false);
  });

  it('keeps a body with too many points whole', () => {
    const point = '[1,2],';
    const body = `{"series":[{"metric":"a","points":[${point.repeat(1_000_000)}[1,2]]},{"metric":"b"}],"apiKey":"secret"}`;
    const { items, result } = decoded('series-v1-json', body);
    expect(result).toMatchObject({ itemCount: 2, opaqueCount: 1, holdsSecret: true });
    expect(items.length).toBe(1);
    expect(items[0]).toMatchObject([{ kind: 'opaque', shape: 'body' }]);
    expect(renderMetric(items[0]!)).toBe(body.replace('"secret"', `"${fingerprintOf('secret')}"`));
    expect(decode('series-v1-json', body.slice(0, -1))).toMatchObject({ ok: false });
  });

  it('never throws on cut or altered bodies', () => {
    for (let seed = 0; seed < 3; seed++) {
      const chance = new Chance(seededRandom(1000 + seed));
      const bytes = Buffer.from(jsonBody(chance).text, 'utf8');
      for (let end = 0; end < bytes.length; end++) decodeCut(bytes.subarray(0, end));
      for (let i = 0; i < 200; i++) {
        const altered = Buffer.from(bytes);
        for (let k = 0; k <= chance.below(3); k++) altered[chance.below(altered.length)] = chance.below(256);
        decodeCut(altered);
      }
    }
  });
});

function decodeCut(body: Uint8Array): void {
  const result = decodeMetrics({ protocol: 'series-v1-json', body, contentType: '', path: '', receivedAtMs: 1 });
  if (result.ok) return;
  expect(result.offset).toBeGreaterThanOrEqual(0);
  expect(result.offset).toBeLessThanOrEqual(body.byteLength);
}
