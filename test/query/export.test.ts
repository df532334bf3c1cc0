import { expect, test } from 'vitest';
import type { Signal } from '../../src/core/envelope.ts';
import { openCatalogue, type SegmentFilter } from '../../src/query/catalogue.ts';
import { exportItems } from '../../src/query/export.ts';
import { planExport } from '../../src/query/export-plan.ts';
import type { SegmentEntry } from '../../src/store/commit-log.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { type ArchiveFolder, createArchiveFolder } from './archive-folder.ts';

const NOW = Date.UTC(2026, 0, 1, 12, 30);
const HOUR_MS = 3_600_000;

async function exported(archive: ArchiveFolder, signal: Signal, includeAll = false, filter: SegmentFilter = {}) {
  const catalogue = await openCatalogue(archive.store);
  const { pathOf, tempFolder } = archive;
  const options = { catalogue, pathOf, tempFolder, memoryLimit: '300MB', signal, includeAll, filter };
  const items: string[] = [];
  for await (const item of exportItems(options)) items.push(item);
  return items;
}

test('items come back as sent, in order, over flushes', async () => {
  const archive = createArchiveFolder(await temporaryFolder());
  const sent: string[] = [];
  for (let flush = 0; flush < 12; flush++) {
    const requests = Array.from({ length: 3 }, (_, request) => {
      const items = Array.from({ length: 4 }, (_, item) => `{"message":"${flush}-${request}-${item}","n":1.50,"n":2}`);
      sent.push(...items);
      const body = `[${items.join(',')}]`;
      return { signal: 'logs', protocol: 'logs-json', body, receivedAtMs: NOW + flush * 1000 } as const;
    });
    await archive.flush(requests);
  }
  expect(await exported(archive, 'logs')).toEqual(sent);
});

test('an item whose points span hours is one item, also when only one of them is asked for', async () => {
  const archive = createArchiveFolder(await temporaryFolder());
  // Newest first: the order of points is not that of time.
  const points = Array.from({ length: 12 }, (_, i) => [(NOW - i * HOUR_MS) / 1000, i === 3 ? -0 : i / 3]);
  const pointTexts = points.map(([time, value]) => `[${time},${Object.is(value, -0) ? '-0' : value}]`);
  const item = (name: string, list: string[]) => `{"metric":"${name}","points":[${list.join(',')}],"type":"gauge"}`;
  const long = item('long', pointTexts);
  const short = item('short', pointTexts.slice(0, 1));
  const body = `{"series":[${long},${short}]}`;
  await archive.flush([{ signal: 'metrics', protocol: 'series-v1-json', body, receivedAtMs: NOW }]);
  expect((await openCatalogue(archive.store)).segments().length).toBeGreaterThan(5);
  expect(await exported(archive, 'metrics')).toEqual([long, short]);
  const range = { fromMs: NOW - 2 * HOUR_MS, toMs: NOW - HOUR_MS };
  expect(await exported(archive, 'metrics', false, range)).toEqual([long]);
  expect(await exported(archive, 'metrics', false, { fromMs: NOW + HOUR_MS })).toEqual([]);
});

test('64-bit ids and nanoseconds of spans are exact', async () => {
  const archive = createArchiveFolder(await temporaryFolder());
  const span = (start: bigint) =>
    `{"trace_id":18446744073709551615,"span_id":9223372036854775809,"parent_id":0,"start":${start},"duration":1,"name":"a","service":"s","resource":"r","type":"t","error":0,"meta":{"é":"\\u0000"},"metrics":{"x":0.1}}`;
  const spans = [BigInt(NOW) * 1_000_000n + 123_456_789n, 1n, 2n ** 63n - 1n].map(span);
  const body = `[[${spans.join(',')}]]`;
  await archive.flush([{ signal: 'traces', protocol: 'traces-v04-json', body, receivedAtMs: NOW }]);
  expect(await exported(archive, 'traces')).toEqual(spans);
});

test('every item is one line of JSON', async () => {
  const archive = createArchiveFolder(await temporaryFolder());
  await archive.flush([
    { signal: 'logs', protocol: 'logs-json', body: '[{\n"message":"a\\nb",\r\n"ddtags":5}]', receivedAtMs: NOW },
    { signal: 'logs', protocol: 'logs-text', body: 'plain "line"\nnext', receivedAtMs: NOW },
  ]);
  const lines = await exported(archive, 'logs');
  expect(lines.every((line) => !/[\r\n]/.test(line))).toBe(true);
  expect(lines.map((line) => JSON.parse(line))).toEqual([{ message: 'a\nb', ddtags: 5 }, 'plain "line"', 'next']);
});

test('what is no item comes only when asked for, with its bytes', async () => {
  const archive = createArchiveFolder(await temporaryFolder());
  const body = Buffer.concat([Buffer.from('[7,{"message":"a"},{"message":"'), Buffer.from([0xff]), Buffer.from('"}]')]);
  await archive.flush([{ signal: 'logs', protocol: 'logs-json', body, receivedAtMs: NOW }]);
  const items = (await exported(archive, 'logs')).map((line) => JSON.parse(line));
  expect(items[0]).toEqual({ message: 'a' });
  const all = (await exported(archive, 'logs', true)).map((line) => JSON.parse(line));
  expect(all[0]).toMatchObject({ kind: 'opaque', protocol: 'logs-json', raw: '7' });
  const odd = all.find((item) => 'raw_base64' in item);
  expect(Buffer.from(odd.raw_base64, 'base64').includes(0xff)).toBe(true);
  expect(all).toHaveLength(3);
});

test('plans keep ranges that share positions together, journals apart', () => {
  const entry = (name: string, timeMs = NOW, rowCount = 400_000): SegmentEntry => ({
    key: `default/logs/tier=hot/dt=2026-01-01/hour=12/${name}.parquet`,
    tenant: 'default',
    signal: 'logs',
    tier: 'hot',
    rowCount,
    sizeBytes: 1000,
    timeMinMs: timeMs,
    timeMaxMs: timeMs,
  });
  const names = (plan: SegmentEntry[][]) =>
    plan.map((batch) => batch.map(({ key }) => /([^/]+)\.parquet$/.exec(key)![1]!.replace(/0{5,}/g, '')));
  const segments = ['r-2-000000000005-000000000009', 'r-10-000000000001-000000000004', 'r-2-000000000001-000000000004']
    .concat('r-2-000000000005-000000000009-late', 'r-2-000000000010-000000000010')
    .map((name) => entry(name));
  expect(names(planExport(segments, {}))).toEqual([
    ['r-2-1-4'],
    ['r-2-5-9', 'r-2-5-9-late'],
    ['r-2-10-10'],
    ['r-10-1-4'],
  ]);
  const small = segments.map((segment) => ({ ...segment, rowCount: 10 }));
  expect(planExport(small, {}).map((batch) => batch.length)).toEqual([4, 1]);
  const odd = [...small, entry('merged')];
  expect(planExport(odd, {})).toEqual([odd]);
  expect(planExport(small, { fromMs: NOW + 10 })).toEqual([]);
});
