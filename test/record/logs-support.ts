/** Random JSON texts that no serializer would write: odd white space, escapes, duplicate keys, long decimals, lone surrogates. */
import type { Random } from '../../src/core/random.ts';
import { KEY_NUMBERS } from '../../src/record/logs-keys.ts';

export function pick<T>(random: Random, from: readonly T[]): T {
  return from[Math.floor(random.next() * from.length)]!;
}

const PIECES = [
  'a',
  'Zz',
  ' ',
  'é',
  '漢',
  '😀',
  '\\n',
  '\\"',
  '\\\\',
  '\\/',
  '\\u0041',
  '\\u00e9',
  '\\ud83d\\ude00',
  '\\t',
  '%',
  '{}',
  '123',
];

export function jsonString(random: Random, hardness = 0.02): string {
  let text = '';
  for (let i = Math.floor(random.next() * 6); i > 0; i--) text += pick(random, PIECES);
  if (random.next() < hardness) text += pick(random, ['\\ud800', '\\udc00x', '\\ud83dA', '\\ud800\\u0041']);
  return `"${text}"`;
}

const NUMBERS = [
  '0',
  '-0',
  '-0.0',
  '1',
  '1.0',
  '1e5',
  '1E-7',
  '0.1',
  '12345678901234567890',
  '0.1000000000000000055511151231257827',
  '1e400',
  '1700000000',
  '1700000000000',
  '1700000000000.0',
  '1.7e12',
  '1700000000000000000',
  '99999999999999',
  '100000000000',
  '99999999999',
  '-1700000000000',
  '123456789012345',
];

export function jsonSpace(random: Random): string {
  return random.next() < 0.8 ? '' : pick(random, [' ', '\n', '\t', '\r\n', '  ']);
}

export function jsonValue(random: Random, depth = 0): string {
  const roll = random.next();
  if (depth < 3 && roll < 0.12) {
    const keys = Array.from({ length: Math.floor(random.next() * 4) }, () => jsonString(random));
    return jsonObject(
      random,
      keys.map((key) => [key, jsonValue(random, depth + 1)]),
    );
  }
  if (depth < 3 && roll < 0.24) {
    const items = Array.from({ length: Math.floor(random.next() * 4) }, () => jsonValue(random, depth + 1));
    return `[${items.map((item) => jsonSpace(random) + item + jsonSpace(random)).join(',')}]`;
  }
  if (roll < 0.45) return pick(random, NUMBERS);
  if (roll < 0.6) return pick(random, ['true', 'false', 'null']);
  return jsonString(random);
}

export function jsonObject(random: Random, members: readonly [string, string][]): string {
  const space = () => jsonSpace(random);
  return `{${members.map(([key, value]) => `${space()}${key}${space()}:${space()}${value}${space()}`).join(',')}${space()}}`;
}

/** Keys that mean something in a log. */
export const LOG_KEYS: readonly string[] = [...KEY_NUMBERS.keys()];
