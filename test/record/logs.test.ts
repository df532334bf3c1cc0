/** Logs: every body reads back equal, bad bodies are refused with their place, columns show what queries need. */
import { describe, expect, test } from 'vitest';
import { NESTING_MAX, ROWS_PER_ENVELOPE_MAX } from '../../src/core/limits.ts';
import { type Random, seededRandom } from '../../src/core/random.ts';
import type { DecodeResult, Row } from '../../src/record/decoder.ts';
import { decodeLogs, renderLog } from '../../src/record/logs.ts';
import { TimeReader, timeOfText } from '../../src/record/logs-time.ts';
import { firstDifference, parseLossless } from '../support/json-value.ts';
import { itemsOf, rowsOf } from '../support/rows.ts';
import { jsonObject, jsonSpace, jsonString, jsonValue, LOG_KEYS, pick } from './logs-support.ts';

const RECEIVED_AT_MS = 1_750_000_000_123;

function decode(
  body: string | Uint8Array,
  path = '/api/v2/logs',
  protocol: 'logs-json' | 'logs-text' = 'logs-json',
): DecodeResult {
  const bytes = typeof body === 'string' ? Buffer.from(body, 'utf8') : body;
  return decodeLogs({ protocol, body: bytes, contentType: '', path, receivedAtMs: RECEIVED_AT_MS });
}

function rowsOfBody(body: string | Uint8Array, path?: string, protocol?: 'logs-json' | 'logs-text'): Row[] {
  const result = decode(body, path, protocol);
  if (!result.ok) throw new Error(`${result.reason} at ${result.offset}`);
  const rows = rowsOf(result.batch);
  expect(rows.map((row) => [row.item, row.point])).toEqual(rows.map((_row, i) => [i, 0]));
  return rows;
}

const rowOf = (item: string, path?: string): Row => rowsOfBody(`[${item}]`, path)[0]!;

/** Sends the body through columns and back; fails with the first difference. */
function expectRoundTrip(body: string): Row[][] {
  const items = itemsOf(rowsOfBody(body));
  const sent = parseLossless(body);
  const values = sent.type === 'array' ? sent.items : [sent];
  expect(items.length).toBe(values.length);
  items.forEach((rows, i) => {
    const difference = firstDifference(parseLossless(renderLog(rows)), values[i]!);
    if (difference) throw new Error(`item ${i} of ${body}: ${difference}`);
  });
  return items;
}

const KEYS = [...LOG_KEYS, 'mess\\u0061ge', 'custom', 'a b', ''];

function randomItem(random: Random): string {
  if (random.next() < 0.05) return jsonValue(random);
  const members: [string, string][] = [];
  for (let i = Math.floor(random.next() * 9); i > 0; i--) {
    const key = random.next() < 0.85 ? `"${pick(random, KEYS)}"` : jsonString(random);
    const value = random.next() < 0.5 ? jsonString(random) : jsonValue(random);
    members.push([key, value]);
  }
  return jsonObject(random, members);
}

function randomBody(random: Random): string {
  const space = () => jsonSpace(random);
  if (random.next() < 0.1) return space() + randomItem(random) + space();
  // Runs of equal layouts, as real bodies have them, besides changing ones.
  const items: string[] = [];
  for (let i = Math.floor(random.next() * 6); i > 0; i--) {
    const item = randomItem(random);
    for (let n = 1 + Math.floor(random.next() * 3); n > 0; n--) items.push(space() + item + space());
  }
  return `${space()}[${items.join(',')}]${space()}`;
}

describe('round trip', () => {
  test('any JSON body comes back equal', () => {
    const kept = { raw: 0, columns: 0 };
    for (let seed = 1; seed <= 1500; seed++) {
      for (const rows of expectRoundTrip(randomBody(seededRandom(seed)))) kept[rows[0]!.raw ? 'raw' : 'columns'] += 1;
    }
    // The generator is no use if everything falls back to raw bytes.
    expect(kept.columns).toBeGreaterThan(kept.raw);
    expect(kept.raw).toBeGreaterThan(100);
  });

  test('raw bytes that are no UTF-8 are kept as they are, neighbours in columns', () => {
    for (let seed = 1; seed <= 300; seed++) {
      const random = seededRandom(seed);
      const bad = Buffer.from(
        jsonObject(random, [
          ['"message"', '"x?y"'],
          ['"service"', '"a?"'],
          ['"n"', '{"k":"?"}'],
        ]),
      );
      for (let i = 0; i < bad.length; i++) if (bad[i] === 0x3f) bad[i] = pick(random, [0xff, 0xc0, 0x80]);
      const rows = rowsOfBody(Buffer.concat([Buffer.from('[{"message":"é"},'), bad, Buffer.from(']')]));
      expect(rows[0]).toMatchObject({ message: 'é', raw: null, shape: 'm' });
      expect(Buffer.from(rows[1]!.raw as Uint8Array)).toEqual(bad);
      expect(rows[1]).toMatchObject({
        message: 'x\ufffdy',
        service: 'a\ufffd',
        shape: null,
      });
    }
  });
});

describe('bad input', () => {
  test('a body cut anywhere, or with bits flipped, never throws', () => {
    for (let seed = 1; seed <= 15; seed++) {
      const random = seededRandom(seed);
      const body = Buffer.from(`[${randomItem(random)},${randomItem(random)}]`);
      for (let cut = 0; cut < body.length; cut++) {
        const result = decode(body.subarray(0, cut));
        expect(result.ok).toBe(false);
        if (!result.ok) expect(result.offset).toBeLessThanOrEqual(cut);
      }
      for (let i = 0; i < 40; i++) {
        const flipped = Buffer.from(body);
        flipped[Math.floor(random.next() * body.length)]! ^= 1 << Math.floor(random.next() * 8);
        const result = decode(flipped);
        if (result.ok) rowsOf(result.batch);
        else expect(result.offset).toBeGreaterThanOrEqual(0);
      }
    }
  });

  test('nested up to the bound', () => {
    const nested = (depth: number) => `${'{"a":['.repeat(depth / 2)}1,{"b":2}${']}'.repeat(depth / 2)}`;
    for (const depth of [62, 64, 66, NESTING_MAX - 2]) expectRoundTrip(nested(depth));
    expect(decode(nested(NESTING_MAX))).toMatchObject({ ok: false, reason: `nested deeper than ${NESTING_MAX}` });
    expect(decode(`${nested(100).slice(0, -1)},}`)).toMatchObject({ ok: false });
  });

  test.each([
    ['', 0],
    ['[{"message":"a"}', 16],
    ['[{"message":"a"}] x', 18],
    ['{"message":"a"}{"message":"b"}', 15],
    ['[{"message":"a",}]', 16],
    ['[{"message":01}]', 13],
    ['{"message":"a\nb"}', 13],
  ])('%j is refused at %i', (body, offset) => {
    expect(decode(body)).toMatchObject({ ok: false, offset });
  });
});

describe('columns', () => {
  test("an Agent's log", () => {
    const item =
      '{"message":"m \\"q\\" \\u00e9\\ud83d\\ude00","status":"info","timestamp":1700000000123,"hostname":"h1","service":"s1","ddsource":"nginx","ddtags":"env:a,b:c"}';
    expect(rowOf(item)).toMatchObject({
      kind: 'log',
      shape: 'msThvdt',
      raw: null,
      time: 1700000000123n,
      message: 'm "q" é😀',
      status: 'info',
      host: 'h1',
      service: 's1',
      source: 'nginx',
      tags: 'env:a,b:c',
      trace_id: null,
      attributes: null,
    });
  });

  test('attributes keep their text, order and duplicates', () => {
    const row = rowOf('{"a": 1.10, "message":"m","b" :{"x":[1e400]},"a":2}');
    expect(row).toMatchObject({ shape: '1m2', raw: null, attributes: '{"a": 1.10,"b" :{"x":[1e400]},"a":2}' });
  });

  test('a message that is no string is its JSON text', () => {
    expect(rowOf('{"message":{"a": [1,"x"]}}')).toMatchObject({ message: '{"a": [1,"x"]}', shape: 'M' });
    expect(rowOf('{"message":"{}"}')).toMatchObject({ message: '{}', shape: 'm' });
    expect(rowOf('{"message":null}')).toMatchObject({ message: 'null', shape: 'M' });
  });

  test('reserved keys that are no strings are attributes', () => {
    expect(rowOf('{"status":3,"service":null,"hostname":{"a":1}}')).toMatchObject({
      status: null,
      service: null,
      host: null,
      attributes: '{"status":3,"service":null,"hostname":{"a":1}}',
      raw: null,
    });
  });

  test('hostname goes before host, ddsource before source; alone each has the column', () => {
    expect(rowOf('{"host":"a","hostname":"b"}')).toMatchObject({ host: 'b', attributes: '{"host":"a"}', shape: '1h' });
    expect(rowOf('{"host":"a"}')).toMatchObject({ host: 'a', attributes: null, shape: 'H' });
    expect(rowOf('{"source":"a","ddsource":"b"}')).toMatchObject({ source: 'b', attributes: '{"source":"a"}' });
    expect(rowOf('{"source":"a"}')).toMatchObject({ source: 'a', attributes: null, shape: 'S' });
    expect(rowOf('{"source":"a","ddsource":7}')).toMatchObject({
      source: 'a',
      attributes: '{"ddsource":7}',
      shape: 'S1',
    });
  });

  test('a reserved key twice, or a lone surrogate, keeps the item raw', () => {
    const twice = '{"status":"a","x":1,"status":"b"}';
    expect(Buffer.from(rowOf(twice).raw as Uint8Array).toString()).toBe(twice);
    expect(rowOf(twice)).toMatchObject({ kind: 'log', status: 'b', shape: null });
    const lone = '{"message":"a\\ud800b"}';
    expect(Buffer.from(rowOf(lone).raw as Uint8Array).toString()).toBe(lone);
    expect(rowOf(lone)).toMatchObject({ message: 'a\ufffdb' });
    // In an attribute the escape itself is kept.
    expect(rowOf('{"x":"\\ud800"}')).toMatchObject({ raw: null, attributes: '{"x":"\\ud800"}' });
  });

  test.each([
    ['{"timestamp":1700000000123}', 1700000000123n, 'T'],
    ['{"timestamp":1700000000}', 1700000000000n, '1'],
    ['{"timestamp":1700000000.25}', 1700000000250n, '1'],
    ['{"timestamp":1700000000123456789}', 1700000000123n, '1'],
    ['{"timestamp":1700000000123456}', 1700000000123n, '1'],
    ['{"timestamp":1700000000123.0}', 1700000000123n, '1'],
    ['{"timestamp":1.7e12}', 1700000000000n, '1'],
    ['{"timestamp":"2023-11-14T22:13:20.123Z"}', 1700000000123n, '1'],
    ['{"timestamp":"1700000000123"}', 1700000000123n, '1'],
    ['{"@timestamp":"2023-11-14T23:13:20+01:00"}', 1700000000000n, '1'],
    ['{"date":"2023-11-14 22:13:20"}', 1700000000000n, '1'],
    ['{"date":"2020-01-01","timestamp":1700000000123}', 1700000000123n, '1T'],
    ['{"timestamp":1700000000123,"date":"2020-01-01"}', 1700000000123n, 'T1'],
    ['{"date":"1969-12-31T23:59:59.5Z"}', -500n, '1'],
    ['{"timestamp":"yesterday"}', BigInt(RECEIVED_AT_MS), '1'],
    ['{"timestamp":0}', BigInt(RECEIVED_AT_MS), '1'],
    ['{"timestamp":-5}', BigInt(RECEIVED_AT_MS), '1'],
    ['{"timestamp":1e999}', BigInt(RECEIVED_AT_MS), '1'],
    ['{}', BigInt(RECEIVED_AT_MS), '0'],
  ])('time of %s', (item, time, shape) => {
    expect(rowOf(item)).toMatchObject({ time, shape, raw: null });
    expectRoundTrip(item);
  });

  test.each([
    ['2024-02-29T12:00:00Z', Date.UTC(2024, 1, 29, 12)],
    ['2024-02-29t12:00:00.5-0530', Date.UTC(2024, 1, 29, 17, 30, 0, 500)],
    ['2024-02-29 12:00', Date.UTC(2024, 1, 29, 12)],
    ['2024-02-29T12:00:00,123456789+02', Date.UTC(2024, 1, 29, 10, 0, 0, 123)],
    ['2024-13-01', undefined],
    ['1', undefined],
    ['x'.repeat(1000), undefined],
  ])('time text %s', (text, time) => {
    expect(timeOfText(text)).toBe(time);
  });

  test('times read from bytes are those of the text, or left to it', () => {
    const reader = new TimeReader();
    let read = 0;
    for (let seed = 1; seed <= 20_000; seed++) {
      const random = seededRandom(seed);
      let text = new Date(Math.floor(random.next() * 4e12)).toISOString();
      if (random.next() < 0.3) text = `${text.slice(0, 20)}${Math.floor(random.next() * 1e12)}Z`;
      if (random.next() < 0.2) text = `${text.slice(0, 19)}Z`;
      if (random.next() < 0.6) {
        const at = Math.floor(random.next() * text.length);
        text = text.slice(0, at) + pick(random, ['0', '3', '6', '9', '.', 'Z', 'x', '']) + text.slice(at + 1);
      }
      const bytes = Buffer.from(`"${text}"`);
      if (!reader.read(bytes, 1, bytes.length)) continue;
      read += 1;
      expect([text, reader.timeMs, reader.end]).toEqual([text, timeOfText(text), bytes.length - 1]);
      expect(reader.read(bytes, 1, bytes.length - 1)).toBe(false);
    }
    expect(read).toBeGreaterThan(8000);
  });

  test('trace and span ids, from texts, numbers and the nested form; dotted ones win', () => {
    expect(rowOf('{"trace_id":"1","dd.trace_id":"2","dd":{"trace_id":"3","span_id":4}}')).toMatchObject({
      trace_id: '2',
      span_id: '4',
    });
    expect(rowOf('{"dd.trace_id":12345678901234567890,"span_id":9}')).toMatchObject({
      trace_id: '12345678901234567890',
      span_id: '9',
    });
    expect(rowOf('{"dd":{"trace_id":{"x":1},"y":[1]},"trace_id":null}')).toMatchObject({ trace_id: null, raw: null });
  });

  test("the request's query fills what an item lacks, and is not given back in it", () => {
    const path = '/v1/input?ddsource=nodejs&ddtags=env%3Aa%2Cb&service=web&hostname=h&x=1';
    expect(rowOf('{"message":"m"}', path)).toMatchObject({
      source: 'nodejs',
      tags: 'env:a,b',
      service: 'web',
      host: 'h',
      shape: 'm',
    });
    const own = rowOf('{"message":"m","service":"own","ddsource":"s"}', path);
    expect(own).toMatchObject({ source: 's', service: 'own', host: 'h' });
    expect(renderLog([own])).toBe('{"message":"m","service":"own","ddsource":"s"}');
    expect(rowsOfBody('line', path, 'logs-text')[0]).toMatchObject({
      source: 'nodejs',
      message: 'line',
      shape: 'text',
    });
  });

  test('what is no object is opaque', () => {
    const result = decode('[1, "a", null, {"message":"m"}, [2]]');
    expect(result).toMatchObject({ ok: true, itemCount: 5, opaqueCount: 4 });
    expect(rowsOfBody('[1, "a", null, {"message":"m"}, [2]]').map((row) => row.kind)).toEqual([
      'opaque',
      'opaque',
      'opaque',
      'log',
      'opaque',
    ]);
    expect(decode('"text"')).toMatchObject({ ok: true, itemCount: 1, opaqueCount: 1 });
    expect(decode('[]')).toMatchObject({ ok: true, itemCount: 0, opaqueCount: 0 });
  });

  test('a body of too many items is kept whole', () => {
    const body = Buffer.from(`[${'0,'.repeat(ROWS_PER_ENVELOPE_MAX)}0]`);
    const result = decode(body);
    expect(result).toMatchObject({ ok: true, itemCount: ROWS_PER_ENVELOPE_MAX + 1, opaqueCount: 1 });
    if (!result.ok) return;
    const rows = rowsOf(result.batch);
    expect(rows.length).toBe(1);
    expect(Buffer.compare(rows[0]!.raw as Uint8Array, body)).toBe(0);
  });
});

describe('text bodies', () => {
  test('one log per line that is not empty', () => {
    const rows = rowsOfBody('a\r\n\n  b \r\n\r\nc\rd\ne', '/v1/input', 'logs-text');
    expect(rows.map((row) => renderLog([row]))).toEqual(['a', '  b ', 'c\rd', 'e']);
    expect(rowsOfBody('', '/v1/input', 'logs-text')).toEqual([]);
  });

  test('a line that is no UTF-8 is kept raw', () => {
    const rows = rowsOfBody(Buffer.from([0x61, 0x0a, 0xff, 0x62, 0x0a]), '/v1/input', 'logs-text');
    expect(rows.map((row) => row.message)).toEqual(['a', '\ufffdb']);
    expect(rows[0]!.raw).toBeNull();
    expect(Buffer.from(rows[1]!.raw as Uint8Array)).toEqual(Buffer.from([0xff, 0x62]));
  });
});
