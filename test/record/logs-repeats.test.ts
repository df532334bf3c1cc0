/** Logs whose members came before in the same body: they are read as if each stood alone, and a broken body is refused at the same place. */
import { expect, test } from 'vitest';
import { type Random, seededRandom } from '../../src/core/random.ts';
import type { Row } from '../../src/record/decoder.ts';
import { decodeLogs } from '../../src/record/logs.ts';
import { JsonScanner, JsonSyntaxError } from '../../src/wire/json-scanner.ts';
import { rowsOf } from '../support/rows.ts';
import { jsonSpace, jsonString, jsonValue, LOG_KEYS, pick } from './logs-support.ts';

const decode = (body: Uint8Array) =>
  decodeLogs({ protocol: 'logs-json', body, contentType: '', path: '/api/v2/logs', receivedAtMs: 1_750_000_000_123 });

function rowsOfBody(body: Uint8Array): Row[] {
  const result = decode(body);
  if (!result.ok) throw new Error(`${result.reason} at ${result.offset}`);
  return rowsOf(result.batch).map((row) => ({ ...row, item: 0 }));
}

const KEYS = [...LOG_KEYS, 'mess\\u0061ge', 'custom'];
const VALUES = [
  '1700000000123',
  '1431857103000',
  '"1700000000123"',
  '"2023-11-14T22:13:20.123Z"',
  '{"trace_id":"123","span_id":"9"}',
  '"info"',
  '"error"',
  '"env:prod,version:1.2,team:x"',
  '"escaped\\ttab"',
];
const WORDS = ['word ', 'é', '漢字', '\\n', '\\"', '\\\\', '\\/', '\\u00e9', '\\u0022', '\\ud83d\\ude00', '{}', '1'];
const LONE = ['\\ud800', '\\udc00', '\\ud83d\\u0041', '\\ude00\\ud83d'];

function longString(random: Random): string {
  let text = '';
  for (let i = Math.floor(random.next() * 40); i > 0; i--) text += pick(random, WORDS);
  return `"${random.next() < 0.1 ? text + pick(random, LONE) + text : text}"`;
}

function value(random: Random): string {
  const roll = random.next();
  if (roll < 0.4) return pick(random, VALUES);
  if (roll < 0.6) return longString(random);
  return roll < 0.8 ? jsonString(random) : jsonValue(random);
}

/** Items of one layout, each a little different from the one before; in some, white space, order or keys differ, too. */
function alike(random: Random): string[] {
  const isLoose = random.next() < 0.3;
  const space = () => (isLoose ? jsonSpace(random) : '');
  const member = (): [string, string] => [pick(random, KEYS), value(random)];
  let members = Array.from({ length: Math.floor(random.next() * 9) }, member);
  if (random.next() < 0.8) members = [...new Map(members)];
  const items: string[] = [];
  for (let n = 2 + Math.floor(random.next() * 6); n > 0; n--) {
    for (const each of members) if (random.next() < 0.25) each[1] = value(random);
    if (random.next() < 0.1) members.reverse();
    if (random.next() < 0.1) members.splice(Math.floor(random.next() * members.length), 1);
    if (random.next() < 0.1) members.splice(Math.floor(random.next() * members.length), 0, member());
    items.push(
      `{${members.map(([key, text]) => `${space()}"${key}"${space()}:${space()}${text}${space()}`).join(',')}}`,
    );
  }
  return items;
}

test('rows of items that follow each other are those of each alone', () => {
  for (let seed = 1; seed <= 600; seed++) {
    const items = alike(seededRandom(seed));
    const alone = items.flatMap((item) => rowsOfBody(Buffer.from(`[${item}]`)));
    expect(rowsOfBody(Buffer.from(`[${items.join(',')}]`)), `seed ${seed}`).toEqual(alone);
  }
});

test('the same where the body is no UTF-8, begins anywhere in its buffer and has other bytes behind it', () => {
  for (let seed = 1; seed <= 150; seed++) {
    const random = seededRandom(seed);
    const items = alike(random);
    const alone = items.flatMap((item) => rowsOfBody(Buffer.from(`[${item}]`)));
    const text = Buffer.from(`[${items.join(',')},{"message":"?"}]`);
    if (seed % 2 === 0) text[text.length - 4] = 0xff;
    const before = Math.floor(random.next() * 9);
    const buffer = Buffer.alloc(before + text.length + 9, pick(random, ['"', '\\', ' ']));
    buffer.set(text, before);
    expect(rowsOfBody(buffer.subarray(before, before + text.length)).slice(0, -1), `seed ${seed}`).toEqual(alone);
  }
});

test('a body cut or changed anywhere is refused where its grammar is broken', () => {
  const kept = { ok: 0, refused: 0 };
  for (let seed = 1; seed <= 1500; seed++) {
    const random = seededRandom(seed);
    let body = Buffer.from(`[${alike(random).join(',')}]`);
    if (random.next() < 0.3) body = body.subarray(0, Math.floor(random.next() * body.length));
    else
      body[Math.floor(random.next() * body.length)] = pick(
        random,
        [0, 9, 0x1f, 0x20, 0x22, 0x2c, 0x5c, 0x7d, 0x80, 0x31],
      );
    const result = decode(body);
    expect(result.ok ? undefined : result.offset, `seed ${seed}`).toBe(brokenAt(body));
    kept[result.ok ? 'ok' : 'refused'] += 1;
  }
  expect(kept.ok).toBeGreaterThan(150);
  expect(kept.refused).toBeGreaterThan(150);
});

/** Where a reader that knows of no repeats finds the document broken. */
function brokenAt(body: Uint8Array): number | undefined {
  const scanner = new JsonScanner(body);
  try {
    scanner.skipValue();
    return scanner.atEnd() ? undefined : scanner.offset;
  } catch (error) {
    if (error instanceof JsonSyntaxError) return error.offset;
    throw error;
  }
}

test('more texts than are remembered, and texts that differ in a byte, each have their own', () => {
  const random = seededRandom(7);
  const hosts = Array.from(
    { length: 500 },
    () => `h${Math.floor(random.next() * 90)}-${'x'.repeat(Math.floor(random.next() * 4))}-end`,
  );
  const body = Buffer.from(`[${hosts.map((host) => `{"hostname":"${host}","service":"s"}`).join(',')}]`);
  expect(rowsOfBody(body).map((row) => row.host)).toEqual(hosts);
});

test('long messages grow their column on the way', () => {
  const texts = [10, 100, 5000, 300_000, 3, 70_000].map((length, i) => `${'é"\\\n漢a'.repeat(length / 5)}${i}`);
  const body = Buffer.from(JSON.stringify(texts.map((message) => ({ message, status: 'info' }))));
  expect(rowsOfBody(body).map((row) => row.message)).toEqual(texts);
});
