/** Events, check runs and `/intake/` bodies: read back equal, keys never kept, bad bodies refused. */
import { describe, expect, test } from 'vitest';
import type { ColumnBatch } from '../../src/core/columns.ts';
import type { Protocol } from '../../src/core/envelope.ts';
import { ROWS_PER_ENVELOPE_MAX } from '../../src/core/limits.ts';
import { type Random, seededRandom } from '../../src/core/random.ts';
import { fingerprintOf } from '../../src/core/sealer.ts';
import type { DecodeResult, Row } from '../../src/record/decoder.ts';
import { decodeEvents, renderEvent, renderIntake } from '../../src/record/events.ts';
import { firstDifference, parseLossless } from '../support/json-value.ts';
import { rowsOf } from '../support/rows.ts';
import { jsonObject, jsonSpace, jsonString, jsonValue, pick } from './logs-support.ts';

const RECEIVED_AT_MS = 1_750_000_000_123;
const KEY = '0123456789abcdef0123456789abcdef';
const PROTOCOLS = ['events-v1-json', 'events-v2-json', 'check-run-json', 'intake-json'] as const satisfies Protocol[];
type EventsProtocol = (typeof PROTOCOLS)[number];

function decode(protocol: EventsProtocol, body: string | Uint8Array): DecodeResult {
  const bytes = typeof body === 'string' ? Buffer.from(body, 'utf8') : body;
  return decodeEvents({ protocol, body: bytes, contentType: '', path: '/intake/', receivedAtMs: RECEIVED_AT_MS });
}

function accepted(
  protocol: EventsProtocol,
  body: string | Uint8Array,
): { rows: Row[]; batch: ColumnBatch; holdsSecret: boolean } {
  const result = decode(protocol, body);
  if (!result.ok) throw new Error(`${result.reason} at ${result.offset}`);
  return { rows: rowsOf(result.batch), batch: result.batch, holdsSecret: result.holdsSecret };
}

function expectSame(got: string, sent: string): void {
  const difference = firstDifference(parseLossless(got), parseLossless(sent));
  if (difference) throw new Error(`${sent}: ${difference}`);
}

/** Every byte of the batch's texts. */
function contentOf(batch: ColumnBatch): string {
  const parts = Object.values(batch.columns).map((column) =>
    'bytes' in column ? Buffer.from(column.bytes).toString('latin1') : '',
  );
  return parts.join('\n');
}

const FIELDS = [
  'title',
  'text',
  'host',
  'tags',
  'timestamp',
  'status',
  'check',
  'data',
  'attributes',
  'date_happened',
  'msg_title',
  'other',
];

function randomObject(random: Random, more: [string, string][] = []): string {
  const members = more.slice();
  for (let i = Math.floor(random.next() * 7); i > 0; i--) {
    const key = random.next() < 0.8 ? `"${pick(random, FIELDS)}"` : jsonString(random);
    members.splice(Math.floor(random.next() * (members.length + 1)), 0, [key, jsonValue(random)]);
  }
  return jsonObject(random, members);
}

function randomEvents(random: Random): string {
  if (random.next() < 0.1) return jsonValue(random);
  const groups: [string, string][] = [];
  for (let i = Math.floor(random.next() * 4); i > 0; i--) {
    const items = Array.from({ length: Math.floor(random.next() * 4) }, () =>
      random.next() < 0.1 ? jsonValue(random) : randomObject(random),
    );
    groups.push([
      random.next() < 0.7 ? '"api"' : jsonString(random),
      random.next() < 0.04 ? jsonValue(random) : `[${items.join(' , ')}]`,
    ]);
  }
  return jsonObject(random, groups);
}

describe('round trip', () => {
  test('single objects', () => {
    for (let seed = 1; seed <= 500; seed++) {
      const random = seededRandom(seed);
      const sent = jsonSpace(random) + randomObject(random) + jsonSpace(random);
      for (const protocol of ['events-v1-json', 'events-v2-json', 'check-run-json'] as const) {
        const { rows, holdsSecret } = accepted(protocol, sent);
        expect([rows.length, holdsSecret]).toEqual([1, false]);
        expectSame(renderEvent(rows), sent);
      }
    }
  });

  test('lists of check runs', () => {
    for (let seed = 1; seed <= 500; seed++) {
      const random = seededRandom(seed);
      const items = Array.from({ length: Math.floor(random.next() * 5) }, () =>
        random.next() < 0.2 ? jsonValue(random) : randomObject(random),
      );
      const { rows } = accepted('check-run-json', `[${items.join(',')}]`);
      expect(rows.length).toBe(items.length);
      rows.forEach((row, i) => void expectSame(renderEvent([row]), items[i]!));
    }
  });

  test('intake bodies, taken apart and put together', () => {
    let apart = 0;
    for (let seed = 1; seed <= 250; seed++) {
      const random = seededRandom(seed);
      const more: [string, string][] = random.next() < 0.85 ? [['"events"', randomEvents(random)]] : [];
      if (random.next() < 0.05) more.push(['"events"', randomEvents(random)]);
      const sent = jsonSpace(random) + randomObject(random, more);
      const { rows } = accepted('intake-json', sent);
      expectSame(renderIntake(rows), sent);
      if (rows.length > 1) apart += 1;
    }
    expect(apart).toBeGreaterThan(100);
  });
});

describe('keys', () => {
  const ESCAPES: ((key: string) => string)[] = [
    (key) => key,
    (key) => `\\u00${key.charCodeAt(0).toString(16)}${key.slice(1)}`,
    (key) => [...key].map((c) => `\\u00${c.charCodeAt(0).toString(16)}`).join(''),
    (key) => `https:\\/\\/x?api_key=${key}`,
    (key) => `a\\n${key}\\n${key}`,
  ];

  test('no text of the batch holds the key, however it was written; the rest is equal', () => {
    const print = fingerprintOf(KEY);
    for (let seed = 1; seed <= 250; seed++) {
      const random = seededRandom(seed);
      const written = () => `"${pick(random, ESCAPES)(KEY)}"`;
      const plain = random.next() < 0.5 ? `"${KEY}"` : `"${pick(random, ESCAPES.slice(0, 3))(KEY)}"`;
      const name = pick(random, ['"apiKey"', '"api_key"', '"\\u0061piKey"', '"API_KEY"', '"api-key"']);
      const more: [string, string][] = [[name, plain]];
      if (random.next() < 0.3) more.push(['"apiKey"', plain]);
      if (random.next() < 0.5) more.push(['"gohai"', written()]);
      if (random.next() < 0.5) more.push(['"nested"', `{"a":[${written()},1,{${written()}:true}]}`]);
      if (random.next() < 0.5) more.push(['"events"', `{"api":[{"msg_title":${written()},"tags":[${written()}]}]}`]);
      if (random.next() < 0.2) more.push([written(), '1']);
      const sent = randomObject(random, more);
      for (const protocol of PROTOCOLS) {
        const { rows, batch, holdsSecret } = accepted(protocol, sent);
        expect(holdsSecret).toBe(true);
        // Unescaped twice: as bytes, and as every JSON text read.
        const render = protocol === 'intake-json' ? renderIntake(rows) : renderEvent(rows);
        expect(contentOf(batch)).not.toContain(KEY);
        expect(JSON.stringify(parseLosslessPlain(render))).not.toContain(KEY);
        expect(render).toContain(print);
        const expected = JSON.stringify(parseLosslessPlain(sent)).replaceAll(KEY, print);
        expect(JSON.stringify(parseLosslessPlain(render))).toBe(expected);
      }
    }
  });

  test('keys inside items and beside bytes that are no UTF-8', () => {
    const item = Buffer.concat([
      Buffer.from(`{"api_key":"${KEY}","x":"`),
      Buffer.from([0xff]),
      Buffer.from(` ${KEY}","title":"t"}`),
    ]);
    for (const [protocol, body] of [
      ['check-run-json', Buffer.concat([Buffer.from('[1,'), item, Buffer.from(']')])],
      ['events-v1-json', item],
      ['intake-json', Buffer.concat([Buffer.from('{"events":{"a":['), item, Buffer.from(']}}')])],
      ['intake-json', item],
    ] as const) {
      const { rows, batch, holdsSecret } = accepted(protocol, body);
      expect(holdsSecret).toBe(true);
      expect(contentOf(batch)).not.toContain(KEY);
      const raw = Buffer.from(
        rows.find((row) => row.raw && row.body === null && (row.raw as Uint8Array).length > 3)!.raw as Uint8Array,
      );
      const print = fingerprintOf(KEY);
      expect(raw.toString('latin1')).toContain(`{"api_key":"${print}","x":"\xff ${print}"`);
    }
  });

  test('empty keys and null are no secrets; other values are', () => {
    expect(accepted('intake-json', '{"apiKey":"","internalHostname":"h"}')).toMatchObject({ holdsSecret: false });
    expect(accepted('intake-json', '{"apiKey":null}')).toMatchObject({ holdsSecret: false });
    const { rows, holdsSecret } = accepted('intake-json', '{"apiKey":12345678,"n":12}');
    expect(holdsSecret).toBe(true);
    expect(renderEvent(rows)).toBe(`{"apiKey":"${fingerprintOf('12345678')}","n":12}`);
  });

  test('an escape before a key that begins like one', () => {
    const key = 'n0123456789abcdef0123456789abcde';
    const { rows } = accepted('intake-json', `{"apiKey":"${key}","x":"\\${key}"}`);
    expect(renderEvent(rows)).toBe(`{"apiKey":"${fingerprintOf(key)}","x":"\\${key}"}`);
  });
});

/** Every value with its order and duplicates, as plain lists, for comparing texts. */
function parseLosslessPlain(text: string): unknown {
  return JSON.parse(
    JSON.stringify(parseLossless(text), (_key, value: unknown) => (typeof value === 'bigint' ? `${value}` : value)),
  );
}

describe('bad input', () => {
  test('a body cut anywhere, or with bits flipped, never throws', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = seededRandom(seed);
      const body = Buffer.from(
        randomObject(random, [
          ['"events"', randomEvents(random)],
          ['"apiKey"', `"${KEY}"`],
        ]),
      );
      for (const protocol of PROTOCOLS) {
        for (let cut = 0; cut < body.length; cut += 3) expect(decode(protocol, body.subarray(0, cut)).ok).toBe(false);
        for (let i = 0; i < 20; i++) {
          const flipped = Buffer.from(body);
          flipped[Math.floor(random.next() * body.length)]! ^= 1 << Math.floor(random.next() * 8);
          const result = decode(protocol, flipped);
          if (result.ok) rowsOf(result.batch);
        }
      }
    }
  });

  test.each([
    ['', 0],
    ['{"title":"a"} {}', 14],
    ['{"title":a}', 9],
  ])('%j is refused at %i', (body, offset) => {
    for (const protocol of PROTOCOLS) expect(decode(protocol, body)).toMatchObject({ ok: false, offset });
  });
});

describe('columns', () => {
  const only = (protocol: EventsProtocol, body: string): Row => accepted(protocol, body).rows[0]!;

  test('event v1', () => {
    const body =
      '{"title":"t","text":"x","date_happened":1700000000,"host":"h","alert_type":"error","source_type_name":"s","priority":"low","aggregation_key":"k","tags":["a:b"]}';
    expect(only('events-v1-json', body)).toMatchObject({
      kind: 'event',
      time: 1700000000000n,
      title: 't',
      text: 'x',
      host: 'h',
      status: 'error',
      source: 's',
      priority: 'low',
      aggregation_key: 'k',
      tags: '["a:b"]',
      body,
    });
  });

  test('event v2', () => {
    const body =
      '{"data":{"type":"event","attributes":{"title":"t","message":"x","category":"alert","timestamp":"2023-11-14T22:13:20Z","host":"h","integration_id":"custom-events","aggregation_key":"k","tags":["a"],"attributes":{"status":"warn","priority":"5"}}}}';
    expect(only('events-v2-json', body)).toMatchObject({
      time: 1700000000000n,
      title: 't',
      text: 'x',
      host: 'h',
      status: 'warn',
      priority: '5',
      source: 'custom-events',
      aggregation_key: 'k',
      tags: '["a"]',
    });
  });

  test('check run', () => {
    const row = only(
      'check-run-json',
      '[{"check":"c","host_name":"h","timestamp":1700000000,"status":2,"message":"m","tags":null}]',
    );
    expect(row).toMatchObject({
      kind: 'check',
      title: 'c',
      host: 'h',
      status: 'critical',
      text: 'm',
      tags: null,
      time: 1700000000000n,
    });
  });

  test("the Agent's events", () => {
    const body =
      '{"apiKey":"","events":{"docker":[{"msg_title":"t","msg_text":"x","timestamp":1700000000},7]},"internalHostname":"h"}';
    const { rows } = accepted('intake-json', body);
    expect(rows.map((row) => [row.kind, row.item, row.source])).toEqual([
      ['intake', 0, null],
      ['event', 1, 'docker'],
      ['event', 2, 'docker'],
    ]);
    expect(rows[0]).toMatchObject({
      body: '{"apiKey":"","internalHostname":"h"}',
      shape: '[1,["docker",2]]',
      time: BigInt(RECEIVED_AT_MS),
    });
    expect(rows[1]).toMatchObject({ title: 't', text: 'x', time: 1700000000000n });
    expect(decode('intake-json', body)).toMatchObject({ itemCount: 2 });
    expect(decode('intake-json', '{"x":1}')).toMatchObject({ itemCount: 1 });
  });

  test('too many rows are one opaque row, without the key', () => {
    const body = `{"apiKey":"${KEY}","events":{"a":[${'1,'.repeat(ROWS_PER_ENVELOPE_MAX)}1]}}`;
    const { rows } = accepted('intake-json', body);
    expect(rows.map((row) => row.kind)).toEqual(['opaque']);
    expect(Buffer.from(rows[0]!.raw as Uint8Array).toString()).toBe(body.replace(KEY, fingerprintOf(KEY)));
  });
});
