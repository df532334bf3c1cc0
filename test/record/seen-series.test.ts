/**
 * A decoder that has seen most of what it gets says exactly what one says that has seen nothing: of series that come again with other points, in
 * another order, with some missing, and of ones that only look alike.
 */
import { describe, expect, it, vi } from 'vitest';
import type { Protocol } from '../../src/core/envelope.ts';
import { seededRandom } from '../../src/core/random.ts';
import type { DecodeResult } from '../../src/record/decoder.ts';
import { ProtobufWriter } from '../support/protobuf-writer.ts';
import { rowsOf } from '../support/rows.ts';
import { Chance } from './metrics-bodies.ts';

const SEEDS = 24;
const FLUSHES = 8;

type Decoder = (protocol: Protocol, body: Uint8Array) => unknown;

/** With a memory of its own. */
async function decoder(): Promise<Decoder> {
  vi.resetModules();
  const { decodeMetrics } = await import('../../src/record/metrics.ts');
  return (protocol, bytes) => {
    // As in the product: a buffer of its own, overwritten afterwards.
    const body = Uint8Array.from(bytes);
    const result: DecodeResult = decodeMetrics({
      protocol,
      body,
      contentType: '',
      path: '/',
      receivedAtMs: 1_790_000_000_000,
    });
    const told = result.ok
      ? { ...result, batch: rowsOf(result.batch), count: result.itemCount }
      : { reason: result.reason, offset: result.offset };
    body.fill(0x78);
    return told;
  };
}

interface Series {
  head: string;
  tail: string;
  separators: [time: string, value: string, end: string];
}

const NUMBERS = [
  '0',
  '-0',
  '1',
  '12.5',
  '-3.25',
  '0.1',
  '1e5',
  '0.30000000000000004',
  '123456789012345',
  '1234567890123456',
  '007',
  '1.',
  '1e400',
  '"5"',
  'null',
  '5.10',
  '99999999999999999999',
];
const TIMES = ['1790000000', '1790000010', '1790000000.5', '-1', '1e9', 'null', '99999999999999'];

function seriesOf(chance: Chance, index: number): Series {
  const gap = chance.is(0.3) ? ' ' : '';
  const tags = JSON.stringify(chance.list(4, () => chance.pick(['env:prod', 'host:ä', 'q:"x"', `i:${index}`])));
  const members = [
    `"tags":${gap}${tags}`,
    `"type":${chance.pick(['3', '"gauge"', '1', '7'])}`,
    ...(chance.is(0.4) ? ['"resources":[{"name":"h1","type":"host"}]'] : []),
    ...(chance.is(0.2) ? ['"odd":{"a":[1]}'] : []),
    ...(chance.is(0.1) ? ['"tags":[]'] : []),
    ...(chance.is(0.1) ? ['"unit":"\\ud800"'] : []),
    ...(chance.is(0.3) ? ['"interval":10', '"host":"web-1"'] : []),
  ];
  const split = chance.below(members.length + 1);
  const name = `"metric":${gap}"m.${chance.below(3) === 0 ? 'same' : index}"`;
  const before = [name, ...members.slice(0, split)].join(`,${gap}`);
  const after = members.slice(split).map((member) => `,${gap}${member}`);
  return {
    head: `{${before},${gap}"points":${gap}[`,
    tail: `]${after.join('')}}`,
    separators: chance.pick([
      [`{"timestamp":${gap}`, `,${gap}"value":${gap}`, '}'],
      ['[', `,${gap}`, ']'],
      ['{"value":0,"timestamp":', ',"value":', '}'],
      ['{ "timestamp":', ',"value":', ' }'],
    ]) as Series['separators'],
  };
}

function jsonBody(chance: Chance, all: readonly Series[]): Uint8Array {
  const list = chance.is(0.3) ? chance.shuffle(all) : all.filter(() => chance.is(0.9));
  const items = list.map(({ head, tail, separators: [time, value, end] }) => {
    const points = Array.from({ length: chance.is(0.8) ? 1 : chance.below(4) }, () => {
      const odd = chance.is(0.1);
      return `${time}${odd ? chance.pick(TIMES) : 1_790_000_000 + chance.below(1000)}${value}${odd ? chance.pick(NUMBERS) : chance.below(1e6) / 8}${end}`;
    });
    return `${head}${points.join(chance.is(0.9) ? ',' : ' , ')}${tail}`;
  });
  const text = `{"series":[${items.join(',')}]}`;
  if (!chance.is(0.1)) return Buffer.from(text);
  const cut = Buffer.from(text);
  cut[chance.below(cut.length)] = chance.below(256);
  return cut;
}

function protobufSeries(chance: Chance, index: number): { head: ProtobufWriter; tails: Uint8Array[] } {
  const head = new ProtobufWriter();
  if (chance.is(0.8)) head.message(1, (resource) => resource.string(1, 'host').string(2, `h${chance.below(3)}`));
  head.string(2, chance.is(0.3) ? 'same' : `m.${index}`);
  for (const tag of chance.list(3, () => chance.pick(['a:b', `i:${index}`, 'x'.repeat(200)]))) head.string(3, tag);
  const tail = new ProtobufWriter();
  if (chance.is(0.3)) tail.string(6, 'byte');
  if (chance.is(0.1)) tail.string(3, 'late:tag');
  if (chance.is(0.1)) tail.varint(99, 1);
  if (chance.is(0.3)) tail.varint(8, 10);
  // The same series with one type and with another, at times.
  const tails = [1, 3].map((type) => new ProtobufWriter().varint(5, type).raw(tail.finish()).finish());
  return { head, tails };
}

function protobufBody(chance: Chance, all: readonly ReturnType<typeof protobufSeries>[]): Uint8Array {
  const list = chance.is(0.3) ? chance.shuffle(all) : all.filter(() => chance.is(0.9));
  const payload = new ProtobufWriter();
  for (const { head, tails } of list) {
    const series = new ProtobufWriter().raw(head.finish());
    for (let points = chance.is(0.8) ? 1 : chance.below(4); points > 0; points--) {
      const point = new ProtobufWriter();
      if (chance.is(0.9)) point.double(1, chance.is(0.1) ? Number.NaN : chance.below(1e6) / 8);
      if (chance.is(0.9)) point.varint(2, 1_790_000_000 + chance.below(1000));
      if (chance.is(0.05)) point.varint(7, 1);
      series.bytes(4, point.finish());
    }
    payload.bytes(1, series.raw(tails[chance.is(0.9) ? 0 : 1]!).finish());
  }
  const bytes = Buffer.from(payload.finish());
  if (chance.is(0.1) && bytes.length > 0) bytes[chance.below(bytes.length)] = chance.below(256);
  return bytes;
}

describe.each([
  ['series-v2-json', seriesOf, jsonBody],
  ['series-v2-proto', protobufSeries, protobufBody],
] as const)('%s', (protocol, make, bodyOf) => {
  it('is decoded alike by one that has seen it and by one that has not', async () => {
    let recognised = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const chance = new Chance(seededRandom(seed));
      const all = Array.from({ length: 12 }, (_, index) => make(chance, index));
      const warm = await decoder();
      for (let flush = 0; flush < FLUSHES; flush++) {
        const body = bodyOf(chance, all as never);
        const cold = await decoder();
        const expected = cold(protocol, body);
        expect(warm(protocol, body), `seed ${seed}, flush ${flush}`).toEqual(expected);
        if ((expected as { count?: number }).count) recognised += 1;
      }
    }
    expect(recognised).toBeGreaterThan((SEEDS * FLUSHES) / 2);
  });
});
