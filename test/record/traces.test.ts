import { describe, expect, it } from 'vitest';
import type { Protocol } from '../../src/core/envelope.ts';
import type { DecodeResult, Row } from '../../src/record/decoder.ts';
import { decodeTraces, renderPayload, renderSpan } from '../../src/record/traces.ts';
import { firstDifference, parseLossless } from '../support/json-value.ts';
import { ProtobufWriter } from '../support/protobuf-writer.ts';
import { rowsOf } from '../support/rows.ts';
import { RandomValues } from '../wire/msgpack-values.ts';
import {
  bodyProto,
  bodyV04,
  bodyV05,
  bodyV07,
  jsonOf,
  type Plain,
  type PlainSpan,
  pack,
  spanProto,
} from './traces-bodies.ts';
import { randomChunks, randomSpan } from './traces-random.ts';

const RECEIVED_AT_MS = 1_700_000_000_123;
const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));

function decode(protocol: Protocol, body: Uint8Array): DecodeResult {
  return decodeTraces({ protocol, body, contentType: '', path: '', receivedAtMs: RECEIVED_AT_MS });
}

interface Decoded {
  rows: Row[];
  payload: Row | undefined;
  itemCount: number;
  opaqueCount: number;
}

/** Rows as a segment would give them; the payload row apart. */
function accepted(protocol: Protocol, body: Uint8Array): Decoded {
  const result = decode(protocol, body);
  if (!result.ok) throw new Error(`refused: ${result.reason} at ${result.offset}`);
  const rows = rowsOf(result.batch).map((row): Row => ({ ...row, protocol }));
  const items = rows.filter((row) => row.kind !== 'payload');
  return {
    rows: items,
    payload: rows.find((row) => row.kind === 'payload'),
    itemCount: result.itemCount,
    opaqueCount: result.opaqueCount,
  };
}

function expectSpans(protocol: Protocol, body: Uint8Array, spans: readonly PlainSpan[]): Decoded {
  const decoded = accepted(protocol, body);
  expect(decoded.itemCount).toBe(spans.length);
  expect(decoded.rows.map((row) => row.item)).toEqual(spans.map((_, index) => index));
  for (const [index, span] of spans.entries()) {
    const difference = firstDifference(parseLossless(renderSpan([decoded.rows[index]!])), parseLossless(jsonOf(span)));
    expect(difference, `span ${index}, shape ${decoded.rows[index]!.shape}`).toBeUndefined();
  }
  return decoded;
}

const span = (fields: Record<string, Plain>): PlainSpan => new Map(Object.entries(fields));
const SIMPLE = {
  service: 'web',
  name: 'request',
  resource: 'GET /',
  trace_id: 18446744073709551615n,
  span_id: 9007199254740993n,
  parent_id: 0,
  start: 1700000000000000001n,
  duration: 12345,
  error: 1,
  meta: new Map<string, Plain>([['_dd.p.tid', '640cfd8d00000000']]),
  metrics: new Map<string, Plain>([
    ['a', 1],
    ['b', 0.5],
  ]),
  type: 'web',
};

describe('spans come back equal', () => {
  it('v0.4 msgpack', () => {
    const random = new RandomValues(1);
    let opaque = 0;
    for (let i = 0; i < 60; i++) {
      const chunks = randomChunks(random);
      opaque += expectSpans('traces-v04-msgpack', bodyV04(chunks), chunks.flat()).opaqueCount;
    }
    // Every one of these can be said by columns alone.
    expect(opaque).toBe(0);
  });

  it('v0.4 JSON, also with white space', () => {
    const random = new RandomValues(2);
    for (let i = 0; i < 60; i++) {
      const chunks = randomChunks(random);
      const text = jsonOf(chunks);
      const body = Buffer.from(random.chance(0.5) ? text : text.replace(/(?<=[\]}]),(?=[[{])/g, ' ,\n\t'));
      expect(expectSpans('traces-v04-json', body, chunks.flat()).opaqueCount).toBe(0);
    }
  });

  it('v0.5 msgpack', () => {
    const random = new RandomValues(3);
    for (let i = 0; i < 60; i++) {
      const chunks = randomChunks(random, { twelve: true });
      expect(expectSpans('traces-v05-msgpack', bodyV05(chunks), chunks.flat()).opaqueCount).toBe(0);
    }
  });

  it('v0.7 msgpack', () => {
    const random = new RandomValues(4);
    for (let i = 0; i < 60; i++) {
      const chunks = randomChunks(random);
      const body = bodyV07(chunks, [
        ['env', 'prod'],
        ['hostname', 'h'],
        ['extra', [1, null]],
      ]);
      const { payload, opaqueCount } = expectSpans('traces-v07-msgpack', body, chunks.flat());
      expect(opaqueCount).toBe(0);
      const skeleton = `{"env":"prod","chunks":[${chunks.map(() => '{"spans":[]}')}],"hostname":"h","extra":[1,null]}`;
      expect(firstDifference(parseLossless(renderPayload(payload!)), parseLossless(skeleton))).toBeUndefined();
    }
  });

  it('agent protobuf', () => {
    const random = new RandomValues(5);
    for (let i = 0; i < 60; i++) {
      const payloads = Array.from({ length: random.below(4) }, () => randomChunks(random, { proto: true }));
      const { rows, opaqueCount } = expectSpans('traces-agent-proto', bodyProto(payloads), payloads.flat(2));
      expect(opaqueCount).toBe(0);
      const places = payloads.flatMap((chunks, p) => chunks.flatMap((spans, c) => spans.map(() => [p, c])));
      expect(rows.map((row) => [row.payload, row.chunk])).toEqual(places);
    }
  });
});

describe('columns', () => {
  it('are filled from v0.4', () => {
    const second = span({ ...SIMPLE, meta: new Map(), parent_id: 9007199254740993n });
    const { rows } = accepted('traces-v04-msgpack', bodyV04([[span(SIMPLE), second], [second]]));
    expect(rows[0]).toMatchObject({
      item: 0,
      point: 0,
      kind: 'span',
      shape: 'snrtipbdemxy',
      raw: null,
      time: 1700000000000000001n,
      payload: 0,
      chunk: 0,
      trace_id: -1n,
      trace_id_high: '640cfd8d00000000',
      span_id: 9007199254740993n,
      parent_id: 0n,
      duration: 12345n,
      error: 1,
      service: 'web',
      name: 'request',
      resource: 'GET /',
      type: 'web',
      meta: '{"_dd.p.tid":"640cfd8d00000000"}',
      metrics: '{"a":1,"b":0.5}',
      meta_struct: null,
      priority: null,
      env: null,
    });
    // The first span of a chunk tells the high half for all of them; the next chunk starts anew.
    expect(rows[1]).toMatchObject({ chunk: 0, trace_id_high: '640cfd8d00000000', parent_id: 9007199254740993n });
    expect(rows[2]).toMatchObject({ chunk: 1, trace_id_high: null });
  });

  it.each(['traces-v04-json', 'traces-v05-msgpack', 'traces-agent-proto'] as const)(
    'are the same from %s',
    (protocol) => {
      const body = {
        'traces-v04-json': Buffer.from(jsonOf([[span(SIMPLE)]])),
        'traces-v05-msgpack': bodyV05([[span(SIMPLE)]]),
        'traces-agent-proto': bodyProto([[[span(SIMPLE)]]]),
      }[protocol];
      const { rows } = accepted(protocol, body);
      expect(rows[0]).toMatchObject({
        time: 1700000000000000001n,
        trace_id: -1n,
        trace_id_high: '640cfd8d00000000',
        span_id: 9007199254740993n,
        parent_id: 0n,
        duration: 12345n,
        error: 1,
        service: 'web',
        name: 'request',
        resource: 'GET /',
        type: 'web',
        meta: '{"_dd.p.tid":"640cfd8d00000000"}',
        metrics: '{"a":1,"b":0.5}',
        raw: null,
      });
    },
  );

  it('tell the containers of agent payloads', () => {
    const { rows, payload } = accepted('traces-agent-proto', bodyProto([[[span(SIMPLE)]]]));
    expect(rows[0]).toMatchObject({
      priority: -1,
      origin: 'lambda',
      env: 'prod',
      host: 'tracer-host',
      app_version: '1.2.3',
      language: 'go',
      container_id: 'container',
      runtime_id: 'runtime',
    });
    expect(JSON.parse(renderPayload(payload!))).toEqual({
      hostName: 'agent-host',
      env: 'agent-env',
      tracerPayloads: [
        {
          container_id: 'container',
          language_name: 'go',
          runtime_id: 'runtime',
          chunks: [{ priority: -1, origin: 'lambda', tags: { k: 'v' }, dropped_trace: true }],
          tags: { tag: 'value' },
          env: 'prod',
          hostname: 'tracer-host',
          app_version: '1.2.3',
        },
      ],
      agentVersion: '7.60.0',
      targetTPS: 10,
      errorTPS: 10,
      rareSamplerEnabled: true,
    });
    expect(payload).toMatchObject({ item: -1, point: 0 });
  });

  it('fall back to the agent for host and environment', () => {
    const body = new ProtobufWriter()
      .message(5, (payload) => payload.message(6, (chunk) => chunk.bytes(3, spanProto(span(SIMPLE)).finish())))
      .string(2, 'agent-env')
      .string(1, 'agent-host')
      .finish();
    expect(accepted('traces-agent-proto', body).rows[0]).toMatchObject({
      host: 'agent-host',
      env: 'agent-env',
      priority: 0,
      origin: null,
    });
  });

  it('tell the containers of v0.7, in whatever order they come', () => {
    const spans = [[span(SIMPLE), span({ ...SIMPLE, meta: null })], [span(SIMPLE)]];
    const around: [string, Plain][] = [
      ['env', 'prod'],
      ['hostname', 'h'],
      ['app_version', '1'],
      ['language_name', 'ruby'],
      ['container_id', 'c'],
      ['runtime_id', 'r'],
    ];
    for (const ofChunk of [
      [
        ['priority', 2],
        ['origin', 'rum'],
      ],
      [
        ['tags', null],
        ['origin', 'rum'],
        ['priority', 2],
      ],
    ] as [string, Plain][][]) {
      const { rows } = accepted('traces-v07-msgpack', bodyV07(spans, around, ofChunk));
      expect(rows.map((row) => row.chunk)).toEqual([0, 0, 1]);
      for (const row of rows) {
        expect(row).toMatchObject({
          priority: 2,
          origin: 'rum',
          env: 'prod',
          host: 'h',
          app_version: '1',
          language: 'ruby',
          container_id: 'c',
          runtime_id: 'r',
        });
      }
    }
  });

  it('stay right when a batch grows, and when a container tells of its spans only behind them', () => {
    const random = new RandomValues(6);
    const spans = Array.from({ length: 1500 }, () => randomSpan(random));
    const ofChunk: [string, Plain][] = [
      ['tags', null],
      ['priority', -1],
      ['origin', 'rum'],
    ];
    const { rows } = expectSpans(
      'traces-v07-msgpack',
      bodyV07(
        [spans],
        [
          ['tags', null],
          ['env', 'prod'],
        ],
        ofChunk,
      ),
      spans,
    );
    expect(rows.every((row) => row.priority === -1 && row.origin === 'rum' && row.env === 'prod')).toBe(true);
  });

  it('hold the receive time where a span has no start, and zero for an absent parent', () => {
    const { rows } = accepted('traces-v04-msgpack', bodyV04([[span({ name: 'x' }), span({ start: null })]]));
    expect(rows[0]).toMatchObject({ time: 1700000000123000000n, parent_id: 0n, error: 0, shape: 'n', trace_id: null });
    expect(rows[1]).toMatchObject({ time: 1700000000123000000n, shape: 'B' });
    expect(rows.map((row) => renderSpan([row]))).toEqual(['{"name":"x"}', '{"start":null}']);
  });
});

describe('what columns cannot say is kept in raw', () => {
  const odd: [string, PlainSpan][] = [
    ['unknown key', span({ ...SIMPLE, extra: new Map<string, Plain>([['a', [1, null, 'x']]]) })],
    ['text for a number', span({ ...SIMPLE, span_id: '123' })],
    ['number for a text', span({ ...SIMPLE, service: 5 })],
    ['list for meta', span({ ...SIMPLE, meta: [1] })],
    ['number in meta', span({ ...SIMPLE, meta: new Map<string, Plain>([['k', 5]]) })],
    ['text in metrics', span({ ...SIMPLE, metrics: new Map<string, Plain>([['k', 'v']]) })],
    ['start beyond int64', span({ ...SIMPLE, start: 2n ** 63n })],
    ['error beyond int32', span({ ...SIMPLE, error: 2 ** 31 })],
    ['map for span_links', span({ ...SIMPLE, span_links: new Map() })],
    ['fraction for duration', span({ ...SIMPLE, duration: 1.5 })],
  ];
  it.each(odd)('msgpack and JSON: %s', (_name, value) => {
    const msgpack = expectSpans('traces-v04-msgpack', bodyV04([[value]]), [value]);
    const json = Buffer.from(jsonOf([[value]]));
    const text = expectSpans('traces-v04-json', json, [value]);
    expect(msgpack.rows[0]!.raw).toEqual(pack(value));
    expect(msgpack.opaqueCount).toBe(1);
    // JSON columns hold JSON as sent, so odd values inside of meta and metrics need no raw.
    if (text.rows[0]!.raw !== null) expect(text.rows[0]!.raw).toEqual(Uint8Array.from(json.subarray(2, -2)));
    for (const { rows } of [msgpack, text]) expect(rows[0]).toMatchObject({ name: 'request', kind: 'span' });
  });

  it('ids as texts fill their columns from JSON', () => {
    const body = Buffer.from('[[{"trace_id":"18446744073709551615","span_id":"7"}]]');
    expect(accepted('traces-v04-json', body).rows[0]).toMatchObject({ trace_id: -1n, span_id: 7n });
  });

  it('whole numbers sent as floats are equal by value and need no raw', () => {
    const body = hex(
      `91 91 83 a5${Buffer.from('start').toString('hex')} cb 43d0000000000000
      a5${Buffer.from('error').toString('hex')} ca 3f800000 a8${Buffer.from('duration').toString('hex')} cb c000000000000000`.replace(
        /\s/g,
        '',
      ),
    );
    const { rows } = accepted('traces-v04-msgpack', body);
    // 2^62 is beyond what every double in the neighbourhood tells apart: that one is kept raw.
    expect(rows[0]).toMatchObject({ error: 1, duration: -2n });
    expect(rows[0]!.raw).not.toBeNull();
    expect(renderSpan(rows)).toBe('{"start":4611686018427388000,"error":1,"duration":-2}');
  });

  it('non-finite metrics', () => {
    const value = span({
      ...SIMPLE,
      metrics: new Map<string, Plain>([
        ['n', Number.NaN],
        ['p', Number.POSITIVE_INFINITY],
        ['m', Number.NEGATIVE_INFINITY],
      ]),
    });
    for (const [protocol, body] of [
      ['traces-v04-msgpack', bodyV04([[value]])],
      ['traces-v05-msgpack', bodyV05([[value]])],
      ['traces-agent-proto', bodyProto([[[value]]])],
    ] as const) {
      const { rows } = expectSpans(protocol, body, [value]);
      expect(rows[0]!.metrics).toBe('{"n":"NaN","p":"Infinity","m":"-Infinity"}');
      expect(rows[0]!.raw).not.toBeNull();
    }
  });

  it('JSON numbers beyond doubles', () => {
    const text = '{"metrics":{"a":1e999,"b":1e-999,"c":1e5}}';
    const { rows } = accepted('traces-v04-json', Buffer.from(`[[${text}]]`));
    expect(rows[0]!.metrics).toBe('{"a":"1e999","b":1e-999,"c":1e5}');
    expect(renderSpan(rows)).toBe(text);
  });

  it('JSON: keys twice, lone surrogates, escapes, minus zero and exact decimals', () => {
    for (const text of [
      '{"name":"a","name":"b"}',
      '{"service":"\\ud800"}',
      '{"n\\u0061me":"\\u00e9\\n"}',
      '{"error":-0}',
      '{"trace_id":1e3}',
      '{"trace_id":18446744073709551616}',
      '{"span_id":-9223372036854775808}',
      '{"span_id":-1}',
      '{"metrics":{"a":1.000000000000000000000001,"a":-0.0},"meta":{"k":"\\ud800","k":"x"}}',
    ]) {
      const { rows } = accepted('traces-v04-json', Buffer.from(`[[${text}]]`));
      expect(firstDifference(parseLossless(renderSpan(rows)), parseLossless(text))).toBeUndefined();
    }
  });

  it('msgpack: keys twice, keys that are no text, text that is no UTF-8', () => {
    const cases: [string, string][] = [
      ['82 a46e616d65 a161 a46e616d65 a162', '{"name":"a","name":"b"}'],
      ['81 05 a161', '{"5":"a"}'],
      ['81 a46e616d65 a1ff', '{"name":{"$str":"/w=="}}'],
      ['81 a46d657461 82 a16b a176 a16b a177', '{"meta":{"k":"v","k":"w"}}'],
      ['81 a46d657461 81 a1ff a176', '{"meta":{"$str:/w==":"v"}}'],
      ['81 ab6d6574615f737472756374 82 a16b c401ff a16c a176', '{"meta_struct":{"k":"/w==","l":"v"}}'],
      ['81 a46d657461 81 a16b c0', '{"meta":{"k":null}}'],
      [
        '81 a76d657472696373 82 a16b cb8000000000000000 a16c cfffffffffffffffff',
        '{"metrics":{"k":-0,"l":18446744073709551615}}',
      ],
    ];
    for (const [bytes, text] of cases) {
      const { rows } = accepted('traces-v04-msgpack', hex(`91 91 ${bytes}`));
      expect(renderSpan(rows)).toBe(text);
    }
  });

  it('v0.5: raw stands on its own, without the table', () => {
    // strings: "", "ÿ" broken, "k"; span with a broken name, nil type, text for a start, NaN in metrics.
    const body = hex(
      `92 93 a0 a1ff a16b 91 91 9c
      00 01 02 cfffffffffffffffff 05 00 a178 07 00 81 02 01 81 02 cb7ff8000000000000 c0`.replace(/\s/g, ''),
    );
    const { rows } = accepted('traces-v05-msgpack', body);
    expect(renderSpan(rows)).toBe(
      '{"service":"","name":{"$str":"/w=="},"resource":"k","trace_id":18446744073709551615,"span_id":5,"parent_id":0,' +
        '"start":"x","duration":7,"error":0,"meta":{"k":{"$str":"/w=="}},"metrics":{"k":"NaN"},"type":null}',
    );
    expect(rows[0]).toMatchObject({ resource: 'k', duration: 7n, metrics: '{"k":"NaN"}' });
  });

  it('protobuf: unknown fields, wrong wire types, fields and keys twice', () => {
    const known = spanProto(span({ name: 'n', meta: new Map<string, Plain>([['k', 'v']]) })).finish();
    const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
    const unknown = new ProtobufWriter().varint(99, 7).finish();
    const wrong = new ProtobufWriter().varint(1, 7).finish();
    const cases: [ProtobufWriter, unknown][] = [
      [new ProtobufWriter().raw(known).raw(unknown), { unknown: { 99: [base64(unknown)] } }],
      [new ProtobufWriter().raw(known).raw(wrong), { unknown: { 1: [base64(wrong)] } }],
    ];
    for (const [writer, extra] of cases) {
      const { rows, opaqueCount } = accepted('traces-agent-proto', protoAround(writer.finish()));
      expect(opaqueCount).toBe(1);
      expect(rows[0]).toMatchObject({ name: 'n', meta: '{"k":"v"}' });
      expect(JSON.parse(renderSpan(rows))).toEqual({ name: 'n', meta: { k: 'v' }, ...(extra as object) });
    }
    const twice = new ProtobufWriter().string(2, 'a').raw(known);
    expect(renderSpan(accepted('traces-agent-proto', protoAround(twice.finish())).rows)).toBe(
      '{"name":"a","name":"n","meta":{"k":"v"}}',
    );
    const entry = (inner: ProtobufWriter): unknown => inner.string(1, 'k').string(2, 'w');
    const apart = new ProtobufWriter().raw(known).varint(5, 1).message(10, entry);
    const { rows } = accepted('traces-agent-proto', protoAround(apart.finish()));
    expect(renderSpan(rows)).toBe('{"name":"n","meta":{"k":"v","k":"w"},"span_id":1}');
  });
});

function protoAround(spanBytes: Uint8Array): Uint8Array {
  return new ProtobufWriter()
    .message(5, (payload) => payload.message(6, (chunk) => chunk.bytes(3, spanBytes)))
    .finish();
}

describe('bodies of another form', () => {
  it('are one opaque row', () => {
    for (const [protocol, body] of [
      ['traces-v04-msgpack', pack(new Map([['a', 1]]))],
      ['traces-v07-msgpack', pack([1, 2])],
      ['traces-v04-json', Buffer.from('{"a":1}')],
    ] as const) {
      const { rows, itemCount, opaqueCount } = accepted(protocol, body);
      expect([rows.length, itemCount, opaqueCount]).toEqual([1, 1, 1]);
      expect(rows[0]).toMatchObject({ kind: 'opaque', raw: Uint8Array.from(body) });
      expect(renderSpan(rows)).toBe(protocol === 'traces-v07-msgpack' ? '[1,2]' : '{"a":1}');
    }
  });

  it('keep odd pieces in their place', () => {
    const value = span(SIMPLE);
    const mixed: Plain = [[value, 5, null], 'chunk', [value]];
    for (const [protocol, body] of [
      ['traces-v04-msgpack', pack(mixed)],
      ['traces-v04-json', Buffer.from(jsonOf(mixed))],
    ] as const) {
      const { rows, itemCount, opaqueCount } = accepted(protocol, body);
      expect([itemCount, opaqueCount]).toEqual([5, 3]);
      expect(rows.map((row) => row.kind)).toEqual(['span', 'opaque', 'opaque', 'opaque', 'span']);
      expect(rows.map((row) => row.chunk)).toEqual([0, 0, 0, 1, 2]);
      expect(rows.slice(1, 4).map((row) => renderSpan([row]))).toEqual(['5', 'null', '"chunk"']);
    }
  });

  it('no spans, and chunks without spans', () => {
    for (const [protocol, none, empty] of [
      ['traces-v04-msgpack', '90', '93 90 91 80 90'],
      ['traces-v05-msgpack', '92 90 90', '92 91a0 93 90 91 9c 00000000000000000080 80 00 90'],
    ] as const) {
      expect(accepted(protocol, hex(none))).toMatchObject({ rows: [], itemCount: 0, payload: undefined });
      const { rows, payload } = accepted(protocol, hex(empty));
      expect(rows.map((row) => row.chunk)).toEqual([1]);
      expect(renderPayload(payload!)).toBe('[[],[],[]]');
    }
    expect(accepted('traces-v04-json', Buffer.from(' [] '))).toMatchObject({ rows: [], itemCount: 0 });
    expect(renderPayload(accepted('traces-v04-json', Buffer.from('[[],[{}]]')).payload!)).toBe('[[],[]]');
    expect(accepted('traces-agent-proto', new Uint8Array())).toMatchObject({
      rows: [],
      itemCount: 0,
      payload: undefined,
    });
  });

  it('agent payloads: idx payloads are opaque rows, legacy and unknown fields stay in the payload row', () => {
    const idx = new ProtobufWriter()
      .string(1, 'text')
      .message(11, (chunk) => chunk.message(4, (one) => one.varint(1, 1)).message(4, (two) => two.varint(1, 2)))
      .finish();
    const legacy = new ProtobufWriter().bytes(3, Buffer.from('legacy')).finish();
    const body = new ProtobufWriter()
      .string(1, 'h')
      .raw(legacy)
      .bytes(11, idx)
      .bytes(11, Buffer.from([0xff]))
      .finish();
    const { rows, payload, itemCount, opaqueCount } = accepted('traces-agent-proto', body);
    expect([itemCount, opaqueCount]).toEqual([3, 2]);
    expect(rows.map((row) => [row.kind, row.shape, row.payload, row.raw])).toEqual([
      ['opaque', 'idx', 0, idx],
      ['opaque', 'idx', 1, Uint8Array.from([0xff])],
    ]);
    expect(JSON.parse(renderSpan([rows[0]!]))).toEqual({ idxTracerPayload: Buffer.from(idx).toString('base64') });
    expect(JSON.parse(renderPayload(payload!))).toEqual({
      hostName: 'h',
      idxTracerPayloads: ['', ''],
      unknown: { 3: [Buffer.from(legacy).toString('base64')] },
    });
  });

  it('more rows than an envelope may have: kept whole', () => {
    const count = 1_000_001;
    const body = Buffer.alloc(6 + count, 0x80);
    body[0] = 0x91;
    body[1] = 0xdd;
    body.writeUInt32BE(count, 2);
    const { rows, opaqueCount } = accepted('traces-v04-msgpack', body);
    expect([rows.length, opaqueCount]).toEqual([1, 1]);
    expect(rows[0]).toMatchObject({ kind: 'opaque', shape: 'body' });
    expect((rows[0]!.raw as Uint8Array).byteLength).toBe(body.length);
    expect(decode('traces-v04-msgpack', body.subarray(0, -1)).ok).toBe(false);
  });
});

describe('stats', () => {
  const group = new Map<string, Plain>([['Service', 's']]);
  const client = new Map<string, Plain>([
    ['Hostname', 'h'],
    ['Stats', [new Map<string, Plain>([['Stats', [group, group]]])]],
  ]);
  it.each([
    ['stats-client-msgpack', client, 2],
    ['stats-agent-msgpack', new Map<string, Plain>([['Stats', [client, client, null]]]), 4],
    ['stats-agent-msgpack', 'odd', 1],
    ['stats-client-msgpack', new Map<string, Plain>([['Stats', null]]), 0],
  ] as const)('%s is one row with the body, groups counted', (protocol, value, groups) => {
    const body = pack(value);
    const { rows, itemCount, opaqueCount } = accepted(protocol, body);
    expect([itemCount, opaqueCount]).toEqual([groups, 0]);
    expect(rows).toHaveLength(1);
    expect(rows[0]).toMatchObject({ kind: 'stats', raw: body, item: 0 });
    expect(firstDifference(parseLossless(renderSpan(rows)), parseLossless(jsonOf(value as Plain)))).toBeUndefined();
  });
});

describe('malformed bodies are refused with their place', () => {
  const cases: [Protocol, string, RegExp][] = [
    ['traces-v04-msgpack', '', /end of msgpack/],
    ['traces-v04-msgpack', '9191c1', /0xc1/],
    ['traces-v04-msgpack', 'ddffffffff', /does not fit/],
    ['traces-v04-msgpack', '91ddffffffff', /does not fit/],
    ['traces-v04-msgpack', '9191dfffffffff', /does not fit/],
    ['traces-v04-msgpack', '9090', /bytes after/],
    ['traces-v05-msgpack', '90', /array of two/],
    ['traces-v05-msgpack', '80', /array of two/],
    ['traces-v05-msgpack', '92c090', /strings are an array/],
    ['traces-v05-msgpack', '92910190', /no string/],
    ['traces-v05-msgpack', '929001', /traces are an array/],
    ['traces-v05-msgpack', '92909101', /trace is an array/],
    ['traces-v05-msgpack', '92909191c0', /span is an array of 12/],
    ['traces-v05-msgpack', '9290919180', /span is an array of 12/],
    ['traces-v05-msgpack', '929191 90 91919c01000000000000000000008080', /no string|index|array/],
    ['traces-v05-msgpack', '9291a091919c01000000000000000000008080', /index 1 into 1/],
    ['traces-v05-msgpack', '9291a091919cff000000000000000000008080', /index -1 into 1/],
    ['traces-v07-msgpack', '81a66368756e6b73', /end of msgpack|does not fit/],
    ['stats-agent-msgpack', '81', /does not fit/],
    ['traces-agent-proto', '2a05', /length/],
    ['traces-agent-proto', '2a023205', /length/],
    ['traces-agent-proto', '2a0432021a05', /length/],
    ['traces-agent-proto', '2a0632041a022080', /varint/],
  ];
  it.each(cases)('%s %s', (protocol, bytes, reason) => {
    const result = decode(protocol, hex(bytes));
    expect(result.ok).toBe(false);
    if (result.ok) return;
    expect(result.reason).toMatch(reason);
    expect(result.offset).toBeGreaterThanOrEqual(0);
    expect(result.offset).toBeLessThanOrEqual(hex(bytes).length);
  });

  it('JSON', () => {
    for (const text of [
      '',
      '[',
      '[[{]]',
      '[[{"a":}]]',
      '[[{}]] x',
      '[[{"error":01}]]',
      `[[{"meta":${'['.repeat(600)}`,
    ]) {
      expect(decode('traces-v04-json', Buffer.from(text)).ok).toBe(false);
    }
  });

  const bodies = (seed: number): [Protocol, Uint8Array][] => {
    const random = new RandomValues(seed);
    const any = [[randomSpan(random), randomSpan(random)], [randomSpan(random)]];
    const twelve = [[randomSpan(random, { twelve: true }), randomSpan(random, { twelve: true })]];
    const proto = [[[randomSpan(random, { proto: true })], [randomSpan(random, { proto: true })]]];
    return [
      ['traces-v04-msgpack', bodyV04(any)],
      ['traces-v04-json', Buffer.from(jsonOf(any))],
      ['traces-v05-msgpack', bodyV05(twelve)],
      ['traces-v07-msgpack', bodyV07(any, [['env', 'prod']], [['priority', 1]])],
      ['traces-agent-proto', bodyProto(proto)],
    ];
  };

  it('cut at any offset: never thrown, msgpack and JSON always refused', () => {
    for (const [protocol, body] of bodies(21)) {
      // Every offset of the first 256, then every seventh.
      for (let length = 0; length < body.length; length += length < 256 ? 1 : 7) {
        const result = decode(protocol, body.subarray(0, length));
        // A protobuf message cut between two of its fields is a message.
        if (result.ok && protocol !== 'traces-agent-proto')
          throw new Error(`${protocol} cut at ${length} was accepted`);
        if (!result.ok && (result.offset < 0 || result.offset > length))
          throw new Error(`offset ${result.offset} of ${length}`);
      }
    }
  });

  it('with flipped bits: never thrown, and what is accepted can be rendered', () => {
    const random = new RandomValues(22);
    let refused = 0;
    let kept = 0;
    for (let seed = 100; seed < 102; seed++) {
      for (const [protocol, body] of bodies(seed)) {
        for (let round = 0; round < 60; round++) {
          const flipped = Uint8Array.from(body);
          for (let flips = 1 + random.below(3); flips > 0; flips--)
            flipped[random.below(flipped.length)]! ^= 1 << random.below(8);
          const result = decode(protocol, flipped);
          if (!result.ok) {
            refused += 1;
            continue;
          }
          kept += 1;
          for (const row of rowsOf(result.batch)) {
            if (row.meta) JSON.parse(row.meta as string);
            const text = renderSpan([{ ...row, protocol }]);
            if (protocol !== 'traces-v04-json') JSON.parse(text);
          }
        }
      }
    }
    expect(refused).toBeGreaterThan(50);
    expect(kept).toBeGreaterThan(100);
  });
});
