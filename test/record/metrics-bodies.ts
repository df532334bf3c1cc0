/**
 * Seeded bodies of metrics for tests: JSON as text (mostly what clients send, often odd), and protobuf written field by field
 * from a plain model whose expected rendering is written down here, apart from the decoders.
 */
import type { Random } from '../../src/core/random.ts';
import { ProtobufWriter } from '../support/protobuf-writer.ts';

export class Chance {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  is(probability: number): boolean {
    return this.#random.next() < probability;
  }

  /** 0 … limit - 1. */
  below(limit: number): number {
    return Math.floor(this.#random.next() * limit);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  list<T>(countMax: number, make: () => T): T[] {
    return Array.from({ length: this.below(countMax + 1) }, make);
  }

  bytes(count: number): Uint8Array {
    return this.#random.bytes(count);
  }

  shuffle<T>(list: readonly T[]): T[] {
    const rest = [...list];
    const out: T[] = [];
    while (rest.length > 0) out.push(...rest.splice(this.below(rest.length), 1));
    return out;
  }
}

const TEXTS = [
  '',
  'cpu.load',
  'a',
  'héhé',
  '日本',
  '\u{1f600}',
  'q"uote',
  'back\\slash',
  'tab\t',
  'x'.repeat(60),
  '\u0000',
  '\u007f\u0085',
];
const ODD_NUMBERS = [
  '1e400',
  '-1e400',
  '0.1000000000000000055511151231257827',
  '123456789012345678901234567890',
  '9007199254740993',
  '1e-400',
];
const NUMBERS = [
  '0',
  '-0',
  '1',
  '-1',
  '3.0',
  '1.50',
  '1e3',
  '1E-7',
  '0.1',
  '123456789.123',
  '5e-324',
  '1.7976931348623157e308',
  '-0.0',
  '100e-2',
];

/** JSON text of a string: plain, with escapes, sometimes a lone surrogate. */
function stringText(chance: Chance): string {
  if (chance.is(0.03)) return chance.pick(['"\\ud800"', '"a\\udc00b"', '"\\ud83d\\ude00"', '"\\u0061\\/"']);
  return JSON.stringify(chance.pick(TEXTS));
}

function numberText(chance: Chance): string {
  if (chance.is(0.04)) return chance.pick(ODD_NUMBERS);
  return chance.is(0.5) ? chance.pick(NUMBERS) : String(chance.below(1e9) / chance.pick([1, 10, 1000, 7]));
}

function timeText(chance: Chance): string {
  if (chance.is(0.05))
    return chance.pick([
      '1575317847.1234',
      '-0',
      '1e300',
      '0.0001',
      '"1575317847"',
      'null',
      '9007199254740.991',
      '-62135596800',
    ]);
  const seconds = 1_600_000_000 + chance.below(1e8);
  return chance.is(0.3) ? `${seconds}.${String(chance.below(1000)).padStart(3, '0')}` : `${seconds}`;
}

/** Any JSON value. */
function anyText(chance: Chance, depth = 0): string {
  switch (chance.below(depth > 2 ? 4 : 6)) {
    case 0:
      return chance.pick(['null', 'true', 'false']);
    case 1:
    case 2:
      return numberText(chance);
    case 3:
      return stringText(chance);
    case 4:
      return `[${chance.list(3, () => anyText(chance, depth + 1)).join(',')}]`;
    default:
      return `{ ${chance.list(3, () => `${stringText(chance)} : ${anyText(chance, depth + 1)}`).join(' ,')}}`;
  }
}

function pointsText(chance: Chance): string {
  const form = chance.pick(['pair', 'pair', 'pair', 'object', 'turned', 'list', 'mixed']);
  const point = (): string => {
    const kind = form === 'mixed' ? chance.pick(['pair', 'object', 'list', 'odd']) : form;
    const value = chance.is(0.03) ? chance.pick(['"1.5"', 'null', '" "', '"x"', '{}']) : numberText(chance);
    const time = timeText(chance);
    if (kind === 'pair') return chance.is(0.05) ? `[${time}]` : `[${time}, ${value}]`;
    if (kind === 'object') return `{"timestamp":${time},"value":${value}}`;
    if (kind === 'turned') return `{"value":${value},"timestamp":${time}${chance.is(0.05) ? ',"value":1' : ''}}`;
    if (kind === 'list')
      return `[${time},[${chance.list(4, () => (chance.is(0.02) ? anyText(chance) : numberText(chance))).join(', ')}]]`;
    return anyText(chance);
  };
  return `[${chance.list(4, point).join(',')}]`;
}

const TAGS = ['["env:prod","host:a"]', '["env:prod", "host:b"]', '[]', '["ünï:code"]', '["\\ud800"]', '[1,null,"x"]'];
const RESOURCES = [
  '[{"type":"host","name":"h1"}]',
  '[{"name":"h2","type":"host"},{"type":"device","name":"sda"}]',
  '[null,{"type":"host","name":3}]',
];

/** JSON text of one series object. */
export function seriesText(chance: Chance): string {
  const members: string[] = [];
  const member = (key: string, value: () => string, usual: number): void => {
    if (!chance.is(usual)) return;
    members.push(`"${key}":${chance.is(0.04) ? anyText(chance) : value()}`);
    if (chance.is(0.02)) members.push(`"${key}" : ${value()}`);
  };
  member('metric', () => stringText(chance), 0.95);
  member('points', () => pointsText(chance), 0.95);
  member(
    'type',
    () => chance.pick(['"gauge"', '"count"', '""', '0', '1', '2', '3', '3.0', '4', '-0', '"distribution"']),
    0.7,
  );
  member('tags', () => chance.pick(TAGS), 0.7);
  member('interval', () => chance.pick(['10', '0', '15.5', '1e1', '-0', '9007199254740993', '-5']), 0.5);
  member('unit', () => stringText(chance), 0.2);
  member('host', () => stringText(chance), 0.5);
  member('device', () => stringText(chance), 0.2);
  member('resources', () => chance.pick(RESOURCES), 0.3);
  member('source_type_name', () => stringText(chance), 0.3);
  member('metadata', () => '{"origin":{"origin_product":10,"x":1.0}}', 0.2);
  if (chance.is(0.2)) members.push(`${stringText(chance)}:${anyText(chance)}`);
  const order = chance.is(0.5) ? chance.shuffle(members) : members;
  return `{${order.join(chance.pick([',', ', ', '\n,']))}}`;
}

export interface JsonBody {
  text: string;
  /** The members of its `series` array. */
  series: string[];
  /** The body with null for that array, where it has further keys. */
  around: string | undefined;
}

export function jsonBody(chance: Chance): JsonBody {
  const series = chance.list(6, () => (chance.is(0.03) ? anyText(chance) : seriesText(chance)));
  const array = `[${series.join(' , ')}]`;
  if (chance.is(0.8)) return { text: `{"series":${array}}`, series, around: undefined };
  const before = chance.list(2, () => `${stringText(chance)}:${anyText(chance)}`);
  const after = chance.list(2, () =>
    chance.is(0.3) ? `"series":${anyText(chance)}` : `${stringText(chance)}:${anyText(chance)}`,
  );
  const whole = (value: string): string =>
    `${chance.is(0) ? '' : ' '}{${[...before, `"series":${value}`, ...after].join(',')}}\n`;
  return { text: whole(array), series, around: before.length + after.length === 0 ? undefined : whole('null') };
}

// Protobuf: a model of what is sent, its bytes, and the JSON expected of it.

const DOUBLES = [0, -0, 1, -1.5, 0.1, 1e300, 5e-324, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
const INTEGERS = [0n, 1n, 127n, 128n, -1n, 1_700_000_000n, 2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n)];

export function double(chance: Chance): number {
  return chance.is(0.5) ? chance.pick(DOUBLES) : (chance.below(2 ** 31) - 2 ** 30) / chance.pick([1, 4, 10, 1000]);
}

export function seconds(chance: Chance): bigint {
  return chance.is(0.1) ? chance.pick(INTEGERS) : BigInt(1_600_000_000 + chance.below(1e8));
}

export function plainText(chance: Chance): string {
  return chance.pick(TEXTS);
}

/** `{"name":value,…}` of those that are there; the expected form of a message. */
export function objectText(members: readonly (readonly [string, string | undefined])[]): string {
  return `{${members
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `"${name}":${value}`)
    .join(',')}}`;
}

export function doubleExpected(value: number): string | undefined {
  if (Object.is(value, 0)) return undefined;
  if (Object.is(value, -0)) return '-0';
  return Number.isFinite(value) ? String(value) : `"${value}"`;
}

export function integerExpected(value: bigint): string | undefined {
  return value === 0n ? undefined : String(value);
}

export function textExpected(value: string): string | undefined {
  return value === '' ? undefined : JSON.stringify(value);
}

export function listExpected(items: readonly string[]): string | undefined {
  return items.length === 0 ? undefined : `[${items.join(',')}]`;
}

interface Message {
  bytes: Uint8Array;
  expected: string;
}

/** A writer call per field, in any order of unlike fields. */
function written(chance: Chance, groups: readonly ((out: ProtobufWriter) => void)[]): Uint8Array {
  const out = new ProtobufWriter();
  for (const write of chance.is(0.5) ? chance.shuffle(groups) : groups) write(out);
  return out.finish();
}

function metadata(chance: Chance): Message {
  const [type, product, category, service] = [
    chance.pick([0, 9]),
    chance.below(20),
    chance.below(3),
    chance.below(300),
  ];
  const origin = new ProtobufWriter();
  if (type) origin.varint(3, type);
  if (product) origin.varint(4, product);
  if (category) origin.varint(5, category);
  if (service) origin.varint(6, service);
  const hasOrigin = chance.is(0.9);
  const out = new ProtobufWriter();
  if (hasOrigin) out.bytes(1, origin.finish());
  const expectedOrigin = objectText([
    ['metric_type', integerExpected(BigInt(type))],
    ['origin_product', integerExpected(BigInt(product))],
    ['origin_category', integerExpected(BigInt(category))],
    ['origin_service', integerExpected(BigInt(service))],
  ]);
  return { bytes: out.finish(), expected: objectText([['origin', hasOrigin ? expectedOrigin : undefined]]) };
}

export function seriesMessage(chance: Chance): Message {
  const metric = plainText(chance);
  const tags = chance.list(3, () => plainText(chance));
  const resources = chance.list(3, () => ({
    type: chance.pick(['host', 'device', '', 'pod']),
    name: plainText(chance),
  }));
  const points = chance.list(4, () => ({ value: double(chance), timestamp: seconds(chance) }));
  const type = chance.pick([0, 1, 2, 3, 3, 7, -1]);
  const unit = chance.pick(['', 'byte']);
  const source = chance.pick(['', 'System']);
  const interval = chance.pick([0n, 10n, 2n ** 62n, -1n]);
  const meta = chance.is(0.6) ? metadata(chance) : undefined;
  const bytes = written(chance, [
    (out) => {
      for (const { type, name } of resources) out.message(1, (inner) => inner.string(1, type).string(2, name));
    },
    (out) => out.string(2, metric),
    (out) => {
      for (const tag of tags) out.string(3, tag);
    },
    (out) => {
      for (const { value, timestamp } of points) {
        out.message(4, (inner) => {
          if (!Object.is(value, 0) || chance.is(0.5)) inner.double(1, value);
          inner.varint(2, timestamp);
        });
      }
    },
    (out) => out.varint(5, type),
    (out) => out.string(6, unit).string(7, source).varint(8, interval),
    (out) => {
      if (meta) out.bytes(9, meta.bytes);
    },
  ]);
  const expected = objectText([
    ['metric', textExpected(metric)],
    ['type', integerExpected(BigInt(type))],
    [
      'points',
      listExpected(
        points.map(({ value, timestamp }) =>
          objectText([
            ['timestamp', integerExpected(timestamp)],
            ['value', doubleExpected(value)],
          ]),
        ),
      ),
    ],
    ['tags', listExpected(tags.map((tag) => JSON.stringify(tag)))],
    [
      'resources',
      listExpected(
        resources.map(({ type, name }) =>
          objectText([
            ['type', textExpected(type)],
            ['name', textExpected(name)],
          ]),
        ),
      ),
    ],
    ['interval', integerExpected(interval)],
    ['unit', textExpected(unit)],
    ['source_type_name', textExpected(source)],
    ['metadata', meta?.expected],
  ]);
  return { bytes, expected };
}

export function sketchMessage(chance: Chance): Message {
  const metric = plainText(chance);
  const host = plainText(chance);
  const tags = chance.list(3, () => plainText(chance));
  const meta = chance.is(0.5) ? metadata(chance) : undefined;
  const sketches = chance.list(3, () => {
    const bins = chance.below(5);
    return {
      ts: seconds(chance),
      cnt: chance.pick(INTEGERS),
      numbers: [double(chance), double(chance), double(chance), double(chance)],
      keys: Array.from({ length: bins }, () => chance.below(65536) - 32768),
      counts: Array.from({ length: bins }, () => chance.pick([0, 1, 65535, 2 ** 32 - 1])),
    };
  });
  const bytes = written(chance, [
    (out) => out.string(1, metric).string(2, host),
    (out) => {
      for (const tag of tags) out.string(4, tag);
    },
    (out) => {
      for (const sketch of sketches) {
        out.message(7, (inner) => {
          inner.varint(1, sketch.ts).varint(2, sketch.cnt);
          for (const [i, value] of sketch.numbers.entries()) inner.double(3 + i, value);
          if (chance.is(0.8)) {
            inner.packedSint(7, sketch.keys).packedVarint(8, sketch.counts);
          } else {
            for (const key of sketch.keys) inner.sint(7, key);
            for (const count of sketch.counts) inner.varint(8, count);
          }
        });
      }
    },
    (out) => {
      if (meta) out.bytes(8, meta.bytes);
    },
  ]);
  const expected = objectText([
    ['metric', textExpected(metric)],
    ['host', textExpected(host)],
    ['tags', listExpected(tags.map((tag) => JSON.stringify(tag)))],
    ['metadata', meta?.expected],
    [
      'dogsketches',
      listExpected(
        sketches.map((sketch) =>
          objectText([
            ['ts', integerExpected(sketch.ts)],
            ['cnt', integerExpected(sketch.cnt)],
            ['min', doubleExpected(sketch.numbers[0]!)],
            ['max', doubleExpected(sketch.numbers[1]!)],
            ['avg', doubleExpected(sketch.numbers[2]!)],
            ['sum', doubleExpected(sketch.numbers[3]!)],
            ['k', listExpected(sketch.keys.map(String))],
            ['n', listExpected(sketch.counts.map(String))],
          ]),
        ),
      ),
    ],
  ]);
  return { bytes, expected };
}
