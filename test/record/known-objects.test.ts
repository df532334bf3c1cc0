/** Objects that are like others before them are passed as if each stood alone, and a broken one is refused at the same place. */
import { expect, test } from 'vitest';
import { type Random, seededRandom } from '../../src/core/random.ts';
import { KnownObjects } from '../../src/record/known-objects.ts';
import { JsonScanner, JsonSyntaxError } from '../../src/wire/json-scanner.ts';
import { jsonValue, pick } from './logs-support.ts';

const VALUES = [
  '1',
  '12',
  '123',
  '1.5',
  '-1',
  'true',
  'false',
  'null',
  '"a"',
  '"ab"',
  '"a\\"b"',
  '[]',
  '[1]',
  '{}',
  '""',
];
const SPACES = ['', '', '', '', ' ', '\n\t'];
const CHARACTERS = [...'{}[]",:123 aetn\\'];

type Member = [string, string];

function objectOf(random: Random, members: readonly Member[]): string {
  const space = (): string => (random.next() < 0.1 ? pick(random, SPACES) : '');
  const texts = members.map(([key, value]) => `${space()}"${key}"${space()}:${space()}${value}${space()}`);
  return `{${texts.join(',') || space()}}`;
}

function someValue(random: Random): string {
  return random.next() < 0.8 ? pick(random, VALUES) : jsonValue(random);
}

function varied(random: Random, members: readonly Member[]): Member[] {
  const next = members.map(([key, value]): Member => [key, random.next() < 0.15 ? someValue(random) : value]);
  if (random.next() < 0.1) next.splice(Math.floor(random.next() * (next.length + 1)), 1);
  if (random.next() < 0.1) next.push([pick(random, ['more', 'k', 'k1']), someValue(random)]);
  if (random.next() < 0.05) next.reverse();
  return next;
}

/** One character of it is another, is gone, or is new. */
function broken(random: Random, text: string): string {
  const at = Math.floor(random.next() * text.length);
  const put = random.next() < 0.3 ? '' : pick(random, CHARACTERS);
  return text.slice(0, at) + put + text.slice(at + (random.next() < 0.5 ? 1 : 0));
}

interface Passed {
  ends: number[];
  failure: string | undefined;
}

function passAll(bytes: Buffer, passOne: (scanner: JsonScanner, index: number) => void): Passed {
  const scanner = new JsonScanner(bytes);
  const ends: number[] = [];
  try {
    scanner.enterArray();
    while (scanner.nextElement()) {
      if (scanner.type() === 'object') passOne(scanner, ends.length);
      else scanner.skipValue();
      ends.push(scanner.offset);
    }
    return { ends, failure: undefined };
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    return { ends, failure: `${error.message} at ${error.offset}` };
  }
}

function passPlainly(scanner: JsonScanner): void {
  scanner.enterObject();
  while (scanner.passKey()) scanner.skipValue();
}

test('objects that are alike end where they end, and are the same only if their bytes are', () => {
  let sameCount = 0;
  let brokenCount = 0;
  for (let seed = 1; seed <= 10000; seed++) {
    const random = seededRandom(seed);
    let members: Member[] = Array.from({ length: Math.floor(random.next() * 6) }, (_, i) => [
      `k${i}`,
      someValue(random),
    ]);
    const texts: string[] = [];
    for (let i = 2 + Math.floor(random.next() * 8); i > 0; i--) {
      texts.push(objectOf(random, members));
      if (random.next() < 0.6) members = varied(random, members);
    }
    const whole = `[${texts.join(',')}]`;
    const bytes = Buffer.from(random.next() < 0.4 ? broken(random, whole) : whole);
    const expected = passAll(bytes, passPlainly);
    const objects = new KnownObjects();
    const seen: Buffer[] = [];
    const passed = passAll(bytes, (scanner, index) => {
      const start = scanner.offset;
      const hint = index % 2;
      const id = objects.pass(scanner, hint);
      const own = bytes.subarray(start, scanner.offset);
      if (id === -1) {
        if (random.next() < 0.9) objects.keep(hint, seen.length);
        seen.push(own);
        return;
      }
      sameCount += 1;
      expect(own.equals(seen[id]!), `seed ${seed}`).toBe(true);
    });
    if (expected.failure !== undefined) brokenCount += 1;
    expect(passed, `seed ${seed}: ${bytes}`).toEqual(expected);
  }
  expect(sameCount).toBeGreaterThan(1000);
  expect(brokenCount).toBeGreaterThan(1000);
});

test('of an object with more members than are kept, nothing is kept', () => {
  const text = `{${Array.from({ length: 300 }, (_, i) => `"k${i}":${i}`).join(',')}}`;
  const scanner = new JsonScanner(Buffer.from(`[${text},${text}]`));
  const objects = new KnownObjects();
  scanner.enterArray();
  for (let i = 0; i < 2; i++) {
    expect(scanner.nextElement()).toBe(true);
    expect(objects.pass(scanner, 0)).toBe(-1);
    objects.keep(0, i);
  }
  expect(scanner.nextElement()).toBe(false);
  expect(scanner.atEnd()).toBe(true);
});
