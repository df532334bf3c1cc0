/** Batches made from a seed: spans, and logs: lines of a few programs, JSON, and texts that no template should fit. */
import { TIME_FORMS, writeTime } from '../../../src/codec/packed/time-forms.ts';
import type { Column, ColumnBatch } from '../../../src/core/columns.ts';
import { NULL_ID } from '../../../src/core/columns.ts';
import type { Signal } from '../../../src/core/envelope.ts';
import { seededRandom } from '../../../src/core/random.ts';
import { SEGMENT_COLUMNS } from '../../../src/record/schema.ts';

export type LogRow = Record<string, string | number | bigint | null>;

const TIME_MS = 1_790_000_000_000;
const ODD = [
  '',
  ' ',
  '"',
  '\\',
  '\\"',
  '\\\\"',
  '\x01',
  'a\x01s0b',
  '\x00',
  '\u2028',
  'é'.repeat(40),
  '\\ud800',
  '😀 12:00:00 😀',
  '{"a":1.0,"a":1e5,"b":-0,"c":007,"d":"\\ud800 \\u0000"}',
  '['.repeat(2000),
  `{"a":${'{"b":'.repeat(300)}1${'}'.repeat(300)}}`,
  '9'.repeat(400),
  '0x00FF 00ff ff00 1e400 NaN 0 00 000 -1 +1 1. .1 1.50 999999999999999999999',
  '2026-02-30T25:61:61 1969-12-31 23:59:59 9999999999 9999999999999 Feb 31 99:99:99',
  'x'.repeat(300_000),
  '1 '.repeat(9000),
];

/** `count` rows of several envelopes; `oddShare`: of lines that no template should fit. */
export function randomLogs(seed: number, count: number, oddShare = 0.02): LogRow[] {
  const random = seededRandom(seed).next;
  const whole = (max: number): number => Math.floor(random() * max);
  const pick = <T>(list: readonly T[]): T => list[whole(list.length)]!;
  const hex = (digits: number): string => Array.from({ length: digits }, () => whole(16).toString(16)).join('');
  const ids = Array.from({ length: 20 }, () => hex(32));
  let counter = 4000;
  const lineOf = (timeMs: number): string => {
    counter += whole(3);
    const isOdd = random() < oddShare;
    const kind = whole(7);
    const letter = isOdd ? pick(TIME_FORMS).letter : 'fbcaklh'[kind]!;
    const time = writeTime(letter, timeMs + (isOdd ? pick([-7_200_000, 250, -3]) : 0));
    const fraction = isOdd ? pick(['', ',123456Z', '.5', '.0051']) : `.${writeTime('m', timeMs)}`;
    if (isOdd && random() < 0.7) return pick(ODD);
    switch (kind) {
      case 0:
        return `${time} host sshd[${counter}]: Failed password for ${pick(['root', 'admin', 'bob'])} from 10.0.${whole(9)}.${whole(256)} port ${whole(65536)}`;
      case 1:
        return `[${time}${fraction}] INFO [Broker ${whole(3)}]: offset ${counter} of partition test-${whole(9)} (kafka.log.Log)`;
      case 2:
        return `10.1.1.${whole(256)} - - [${time}] "GET /${pick(['a', 'b/c', `d/${hex(6)}`])} HTTP/1.1" 200 ${whole(9999)} "-" "Agent/${whole(4)}.${whole(9)}"`;
      case 3:
        return JSON.stringify({
          ts: timeMs,
          seq: counter,
          trace: pick(ids),
          again: pick(ids),
          level: 'info',
          msg: `took ${whole(900)} ms`,
          f: random(),
        });
      case 4:
        return `{"time":"${time}${fraction}","id":"${hex(8)}-${hex(4)}-${hex(4)}-${hex(4)}-${hex(12)}","n":${pick(['1.0', '1e5', '-0', '007', '0'])},"path":"C:\\\\dir\\\\${pick(['x', 'y'])}.exe","m":{"k":[${whole(5)},null]}}`;
      case 5:
        return `block blk_${counter} of /${hex(4)} block blk_${counter} counter ${(counter * 7919).toString(16)} at ${hex(16)}`;
      default:
        return `${pick(['début', 'ende', '終わり'])} ${time} ${whole(5)}é ${counter}\u0308 ${whole(99)}-\u0301ü`;
    }
  };
  const rows: LogRow[] = [];
  let position = 1;
  let item = 0;
  for (let i = 0; i < count; i++) {
    if (item > 20 && random() < 0.05) {
      position += 1 + whole(3);
      item = 0;
    }
    const timeMs = random() < 0.02 ? pick([0, -5, 999_999_999_999, 4_102_444_800_000]) : TIME_MS + i * whole(900);
    rows.push({
      journal: i < count / 2 ? 'b-1' : 'a-7',
      position: BigInt(i < count / 2 ? position : position + 3),
      received_at: BigInt(TIME_MS + position * 250),
      protocol: 'logs-json',
      request_path: '/api/v2/logs',
      item: item++,
      point: 0,
      kind: 'log',
      shape: pick(['mthsc', null]),
      raw: random() < 0.02 ? 'raw \x01 bytes' : null,
      time: BigInt(timeMs),
      message: random() < 0.03 ? null : lineOf(timeMs),
      status: pick(['info', 'error']),
      host: pick(['h1', 'h2']),
      service: 'web',
      source: 'web',
      tags: 'env:prod',
      trace_id: null,
      span_id: null,
      attributes:
        random() < 0.5
          ? null
          : `{"user":{"id":${counter},"name":"${pick(['ann', 'bob'])}"},"at":"${writeTime('a', TIME_MS + i)}","v":${random()}}`,
    });
  }
  return rows;
}

export const logBatch = (rows: readonly LogRow[]): ColumnBatch => batchOf('logs', rows);

/** `count` spans of several traces, children before and behind their parents, and some whose parents are elsewhere. */
export function randomSpans(seed: number, count: number): LogRow[] {
  const random = seededRandom(seed).next;
  const whole = (max: number): number => Math.floor(random() * max);
  const id = (): bigint => (BigInt(whole(2 ** 32)) << 32n) | BigInt(whole(2 ** 32));
  const rows: LogRow[] = [];
  let trace: { id: bigint; spans: bigint[] } = { id: id(), spans: [] };
  for (let i = 0; i < count; i++) {
    if (random() < 0.1) trace = { id: id(), spans: [] };
    const spanId = BigInt.asIntN(64, random() < 0.01 ? 0n : id());
    const parents = [...trace.spans.slice(-4), ...trace.spans.slice(-6), 0n, BigInt.asIntN(64, id())];
    trace.spans.push(spanId);
    rows.push({
      ...{
        journal: 'r-1',
        position: BigInt(1 + Math.floor(i / 50)),
        received_at: BigInt(TIME_MS),
        protocol: 'traces-v04-json',
      },
      ...{ request_path: '/v0.4/traces', item: i % 50, point: 0, kind: 'span', shape: null, raw: null },
      time: BigInt(TIME_MS + i) * 1_000_000n + BigInt(whole(999)),
      trace_id: BigInt.asIntN(64, trace.id),
      span_id: spanId,
      parent_id: random() < 0.02 ? null : parents[whole(parents.length)]!,
      duration: BigInt(whole(1e6)),
      ...{ error: 0, service: 'web', name: 'http', resource: `GET /${whole(5)}`, type: 'web' },
      meta: `{"k":"${whole(3)}"}`,
    });
  }
  // Children may come before their parents.
  return rows.map((row, i) => {
    const other = rows[i % 50 < 25 ? i + 25 : i - 25] ?? row;
    return { ...other, position: row.position!, item: row.item! };
  });
}

const ODD_VALUES = [
  ...[0, -0, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 5e-324, 1.7e308, 0.1 + 0.2, 1 / 3],
  ...[2 ** 53, 2 ** 53 + 2, -(2 ** 53), 1e15, 1e16, 1e22, 123456789.12345679, 1e-15, -1e-7],
];

/** Points of several series, each with values of its own kind: whole, with some decimals, arbitrary, odd. */
export function randomPoints(seed: number, count: number): LogRow[] {
  const random = seededRandom(seed).next;
  const whole = (max: number): number => Math.floor(random() * max);
  return Array.from({ length: count }, (_, i) => {
    const series = Math.floor((i * 12) / count);
    const value = [whole(1e6) + i * 1000, whole(1e4) / 100, whole(2e9) / 1e6, random() * 1e3][series % 4]!;
    const isOdd = random() < 0.05;
    return {
      ...{ journal: 'r-1', position: BigInt(1 + whole(400)), received_at: BigInt(TIME_MS), protocol: 'series-v2-json' },
      ...{ request_path: '/api/v2/series', item: i, point: 0, kind: 'series', shape: 'mpg', raw: null },
      time: BigInt(TIME_MS + i * 10_000),
      ...{ metric: `m.${series}`, type: 'gauge', tags: `["s:${series}"]`, host: 'h' },
      value: random() < 0.02 ? null : isOdd ? ODD_VALUES[whole(ODD_VALUES.length)]! : value,
    };
  });
}

export function batchOf(signal: Signal, rows: readonly LogRow[]): ColumnBatch {
  const columns: Record<string, Column> = {};
  for (const { name, kind, nullable } of SEGMENT_COLUMNS[signal])
    columns[name] = columnOf(
      kind,
      nullable,
      rows.map((row) => row[name] ?? null),
    );
  return { rowCount: rows.length, columns };
}

function columnOf(kind: Column['kind'], nullable: boolean, values: (string | number | bigint | null)[]): Column {
  if (kind === 'string' || kind === 'binary') {
    const known = new Map<string, number>();
    const ids = Uint32Array.from(values, (value) => {
      if (value === null) return NULL_ID;
      const text = String(value);
      if (!known.has(text)) known.set(text, known.size);
      return known.get(text)!;
    });
    const entries = [...known.keys()].map((text) => Buffer.from(text, 'utf8'));
    const offsets = new Uint32Array(entries.length + 1);
    entries.forEach((entry, i) => {
      offsets[i + 1] = offsets[i]! + entry.byteLength;
    });
    return { kind, ids, offsets, bytes: Buffer.concat(entries) };
  }
  const nulls = nullable ? { nulls: Uint8Array.from(values, (value) => (value === null ? 1 : 0)) } : {};
  if (kind === 'int32') return { kind, values: Int32Array.from(values, Number), ...nulls };
  if (kind === 'double') return { kind, values: Float64Array.from(values, (value) => Number(value ?? 0)), ...nulls };
  return { kind, values: BigInt64Array.from(values, (value) => BigInt(value ?? 0)), ...nulls };
}

/** The batch as rows, texts as hex of their bytes: comparable by `toEqual`. */
export function rowsOf({ rowCount, columns }: ColumnBatch): LogRow[] {
  return Array.from({ length: rowCount }, (_, row) => {
    const shown: LogRow = {};
    for (const [name, column] of Object.entries(columns)) {
      if ('ids' in column) {
        const id = column.ids[row]!;
        const entry = () => Buffer.from(column.bytes.subarray(column.offsets[id]!, column.offsets[id + 1]!));
        shown[name] = id === NULL_ID ? null : entry().toString('hex');
      } else {
        shown[name] = column.nulls?.[row] === 1 ? null : column.values[row]!;
      }
    }
    return shown;
  });
}

/** In the order received: journal, position, item. */
export function inReceivedOrder(rows: readonly LogRow[]): LogRow[] {
  return [...rows].sort(
    (a, b) =>
      (String(a.journal) < String(b.journal) ? -1 : String(a.journal) > String(b.journal) ? 1 : 0) ||
      Number(a.position) - Number(b.position) ||
      Number(a.item) - Number(b.item),
  );
}
