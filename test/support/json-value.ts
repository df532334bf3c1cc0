/**
 * JSON read without loss, for comparing what was sent with what is given back: duplicate keys, key order, exact decimals
 * and every UTF-16 unit (lone surrogates) are kept. Written apart from src/wire, so that it can contradict it.
 */
export type JsonValue =
  | { type: 'null' }
  | { type: 'boolean'; value: boolean }
  /** value = sign × digits × 10^exponent; digits without leading or trailing zeros, '' for zero. */
  | { type: 'number'; negative: boolean; digits: string; exponent: bigint }
  | { type: 'string'; value: string }
  | { type: 'array'; items: JsonValue[] }
  | { type: 'object'; members: [string, JsonValue][] };

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const STRING = /"(?:[^"\\\p{Cc}]|[\u007f-\u009f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/uy;
const SPACE = /[ \t\r\n]*/y;

/** Throws SyntaxError on what is not JSON. */
export function parseLossless(text: string): JsonValue {
  let at = 0;
  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (!match) return undefined;
    at = pattern.lastIndex;
    return match[0];
  };
  const fail = (what: string): never => {
    throw new SyntaxError(`${what} at ${at} of ${JSON.stringify(text.slice(0, 200))}`);
  };
  const punctuation = (mark: string): boolean => {
    take(SPACE);
    if (text[at] !== mark) return false;
    at += 1;
    return true;
  };
  const readString = (): string => JSON.parse(take(STRING) ?? fail('bad string')) as string;
  const read = (): JsonValue => {
    take(SPACE);
    if (punctuation('{')) {
      const members: [string, JsonValue][] = [];
      if (punctuation('}')) return { type: 'object', members };
      do {
        take(SPACE);
        const key = readString();
        if (!punctuation(':')) fail("expected ':'");
        members.push([key, read()]);
      } while (punctuation(','));
      if (!punctuation('}')) fail("expected '}'");
      return { type: 'object', members };
    }
    if (punctuation('[')) {
      const items: JsonValue[] = [];
      if (punctuation(']')) return { type: 'array', items };
      do items.push(read());
      while (punctuation(','));
      if (!punctuation(']')) fail("expected ']'");
      return { type: 'array', items };
    }
    for (const [word, value] of [
      ['null', { type: 'null' }],
      ['true', { type: 'boolean', value: true }],
      ['false', { type: 'boolean', value: false }],
    ] as const) {
      if (text.startsWith(word, at)) {
        at += word.length;
        return { ...value };
      }
    }
    if (text[at] === '"') return { type: 'string', value: readString() };
    return numberOf(take(NUMBER) ?? fail('unexpected character'));
  };
  const value = read();
  take(SPACE);
  if (at !== text.length) fail('trailing content');
  return value;
}

function numberOf(text: string): JsonValue {
  const [mantissa = '', exponentText = '0'] = text.toLowerCase().split('e');
  const negative = mantissa.startsWith('-');
  const [whole = '', fraction = ''] = mantissa.replace('-', '').split('.');
  const digits = (whole + fraction).replace(/^0+/, '');
  const kept = digits.replace(/0+$/, '');
  const exponent =
    kept === '' ? 0n : BigInt(exponentText) - BigInt(fraction.length) + BigInt(digits.length - kept.length);
  return { type: 'number', negative, digits: kept, exponent };
}

/** Equal values: keys in the same order with the same duplicates, numbers equal as decimals, sign of zero included. */
export function sameJson(a: JsonValue, b: JsonValue): boolean {
  if (a.type === 'array' && b.type === 'array') {
    return a.items.length === b.items.length && a.items.every((item, i) => sameJson(item, b.items[i]!));
  }
  if (a.type === 'object' && b.type === 'object') {
    if (a.members.length !== b.members.length) return false;
    return a.members.every(([key, value], i) => key === b.members[i]![0] && sameJson(value, b.members[i]![1]));
  }
  if (a.type === 'number' && b.type === 'number') {
    return a.negative === b.negative && a.digits === b.digits && a.exponent === b.exponent;
  }
  if (a.type === 'string' && b.type === 'string') return a.value === b.value;
  if (a.type === 'boolean' && b.type === 'boolean') return a.value === b.value;
  return a.type === 'null' && b.type === 'null';
}

/** For messages: the first place where two values differ, as a path; undefined when they are the same. */
export function firstDifference(a: JsonValue, b: JsonValue, path = '$'): string | undefined {
  if (sameJson(a, b)) return undefined;
  if (a.type === 'array' && b.type === 'array' && a.items.length === b.items.length) {
    for (let i = 0; i < a.items.length; i++) {
      const inner = firstDifference(a.items[i]!, b.items[i]!, `${path}[${i}]`);
      if (inner) return inner;
    }
  }
  if (a.type === 'object' && b.type === 'object' && a.members.length === b.members.length) {
    for (let i = 0; i < a.members.length; i++) {
      const [key, value] = a.members[i]!;
      if (key !== b.members[i]![0]) return `${path}: key ${key} / ${b.members[i]![0]}`;
      const inner = firstDifference(value, b.members[i]![1], `${path}.${key}`);
      if (inner) return inner;
    }
  }
  const show = (value: JsonValue): string =>
    JSON.stringify(value, (_key, part: unknown) => (typeof part === 'bigint' ? `${part}` : part)).slice(0, 300);
  return `${path}: ${show(a)} / ${show(b)}`;
}
