import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { isProxyError } from '../../src/core/errors.ts';
import { openCatalogue, type SegmentFilter } from '../../src/query/catalogue.ts';
import { openEngine } from '../../src/query/engine.ts';
import { jsonOfFields } from '../../src/query/table.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { type ArchiveFolder, createArchiveFolder } from './archive-folder.ts';

const NOW = Date.UTC(2026, 0, 1, 12, 30);
const HOUR_MS = 3_600_000;

async function openFolder(archive: ArchiveFolder, filter: SegmentFilter = {}) {
  const catalogue = await openCatalogue(archive.store);
  const { pathOf, tempFolder } = archive;
  const engine = await openEngine({ catalogue, pathOf, tempFolder, memoryLimit: '300MB', filter });
  onTestFinished(() => engine.close());
  const ask = async (sql: string): Promise<string[]> => {
    const { columns, rows } = await engine.run(sql);
    const lines: string[] = [];
    for await (const batch of rows) {
      for (const row of batch) lines.push(jsonOfFields(columns.map((name, i) => [name, row[i]!])));
    }
    return lines;
  };
  return { engine, ask, catalogue };
}

const log = (body: unknown) => ({ signal: 'logs', protocol: 'logs-json', body: JSON.stringify(body) }) as const;
const series = (points: [number, number][], more = {}) =>
  ({
    signal: 'metrics',
    protocol: 'series-v1-json',
    body: JSON.stringify({ series: [{ metric: 'cpu', points, host: 'h1', type: 'gauge', ...more }] }),
  }) as const;

test('with nothing kept the views are there, with all columns and no rows', async () => {
  const { ask } = await openFolder(createArchiveFolder(await temporaryFolder()));
  for (const view of ['metrics', 'logs', 'spans', 'events', 'rollups']) {
    expect(await ask(`SELECT count(*) AS n FROM ${view}`)).toEqual(['{"n":0}']);
    expect(await ask(`SELECT count(*) AS n FROM ${view}_raw`)).toEqual(['{"n":0}']);
    const described = await ask(`SELECT column_name, column_type FROM (DESCRIBE ${view}) WHERE column_name = 'time'`);
    expect(described).toEqual(['{"column_name":"time","column_type":"TIMESTAMP WITH TIME ZONE"}']);
  }
  const types = await ask(`SELECT column_name || ' ' || column_type AS c FROM (DESCRIBE spans)`);
  expect(types).toContain('{"c":"trace_id UBIGINT"}');
  expect((await ask('SHOW TABLES')).length).toBe(10);
});

test('views show items in friendly columns', async () => {
  const archive = createArchiveFolder(await temporaryFolder());
  await archive.flush([
    { ...series([[NOW / 1000, 1.5]], { tags: ['env:prod', 'a'] }), receivedAtMs: NOW },
    {
      ...log([{ message: 'hi', ddtags: 'a:b,c', service: 's', status: 'info', http: { code: 500 } }]),
      receivedAtMs: NOW,
    },
    {
      signal: 'traces',
      protocol: 'traces-v04-json',
      body: `[[{"trace_id":18446744073709551615,"span_id":2,"parent_id":0,"start":${BigInt(NOW) * 1_000_000n + 123_456_789n},"duration":2500000,"name":"op","service":"s","resource":"r","type":"web","error":0,"meta":{"k":"v"},"metrics":{"m":1}}]]`,
      receivedAtMs: NOW,
    },
    {
      signal: 'events',
      protocol: 'events-v1-json',
      body: `{"title":"t","text":"x","date_happened":${NOW / 1000},"tags":["q"]}`,
      receivedAtMs: NOW,
    },
  ]);
  const { ask } = await openFolder(archive);
  expect(await ask('SELECT time, metric, value, tags, host FROM metrics')).toEqual([
    '{"time":"2026-01-01T12:30:00Z","metric":"cpu","value":1.5,"tags":["env:prod","a"],"host":"h1"}',
  ]);
  expect(await ask(`SELECT tags, service, attributes->>'$.http.code' AS code FROM logs WHERE status = 'info'`)).toEqual(
    ['{"tags":["a:b","c"],"service":"s","code":"500"}'],
  );
  expect(await ask('SELECT time, time_ns, trace_id, trace_id_hex, duration, duration_ms, meta FROM spans')).toEqual([
    `{"time":"2026-01-01T12:30:00.123456Z","time_ns":${BigInt(NOW) * 1_000_000n + 123_456_789n},"trace_id":18446744073709551615,"trace_id_hex":"0000000000000000ffffffffffffffff","duration":2500000,"duration_ms":2.5,"meta":{"k":"v"}}`,
  ]);
  expect(await ask('SELECT title, tags FROM events')).toEqual(['{"title":"t","tags":["q"]}']);
  expect(await ask('SELECT count(*) AS n FROM logs WHERE time < now() + INTERVAL 900 YEAR')).toEqual(['{"n":1}']);
  expect(await ask(`SELECT count(*) AS n FROM query_table('lo' || 'gs')`)).toEqual(['{"n":1}']);
});

test('a lone surrogate and tags that are no texts spoil no query', async () => {
  const archive = createArchiveFolder(await temporaryFolder());
  const odd = `{"series":[{"metric":"m","points":[[${NOW / 1000},1]],"tags":["\\ud800","x"]},{"metric":"n","points":[[${NOW / 1000},1]],"tags":[1,null]}]}`;
  await archive.flush([
    { signal: 'metrics', protocol: 'series-v1-json', body: odd, receivedAtMs: NOW },
    { signal: 'logs', protocol: 'logs-json', body: '[{"message":"a","x":"\\ud800"}]', receivedAtMs: NOW },
  ]);
  const { ask } = await openFolder(archive);
  expect(await ask(`SELECT metric FROM metrics WHERE tags IS NULL OR true ORDER BY metric`)).toHaveLength(2);
  expect(await ask(`SELECT attributes->>'$.x' AS x FROM logs`)).toEqual(['{"x":"\ufffd"}']);
});

test('rows that are no items show only in the raw view', async () => {
  const archive = createArchiveFolder(await temporaryFolder());
  await archive.flush([{ ...log([{ message: 'a' }, 7]), receivedAtMs: NOW }]);
  const { ask } = await openFolder(archive);
  expect(await ask('SELECT count(*) AS n FROM logs')).toEqual(['{"n":1}']);
  expect(await ask('SELECT kind FROM logs_raw ORDER BY kind')).toEqual(['{"kind":"log"}', '{"kind":"opaque"}']);
});

test('what was replaced is gone, and what no record names was never there', async () => {
  const archive = createArchiveFolder(await temporaryFolder());
  const [old] = await archive.flush([{ ...log([{ message: 'old' }]), receivedAtMs: NOW }]);
  await archive.flush([{ ...log([{ message: 'new' }]), receivedAtMs: NOW }], [old!.key]);
  const { ask, catalogue } = await openFolder(archive);
  expect(catalogue.segments().map(({ key }) => key)).not.toContain(old!.key);
  expect(await ask('SELECT message FROM logs')).toEqual(['{"message":"new"}']);
});

test('a range shows exactly its rows, and opens only segments that may hold some', async () => {
  const archive = createArchiveFolder(await temporaryFolder());
  const times = Array.from({ length: 6 }, (_, i) => NOW - i * HOUR_MS);
  await archive.flush([{ ...series(times.map((time, i) => [time / 1000, i])), receivedAtMs: NOW }]);
  const range = { fromMs: times[3]!, toMs: times[1]! };
  const { ask, catalogue } = await openFolder(archive, range);
  expect(await ask('SELECT value FROM metrics ORDER BY time')).toEqual(['{"value":3}', '{"value":2}']);
  expect(catalogue.segments()).toHaveLength(6);
  expect(catalogue.segments(range).length).toBeLessThanOrEqual(3);
});

test('a filter on time reaches the statistics of the files', async () => {
  const archive = createArchiveFolder(await temporaryFolder());
  await archive.flush([{ ...log([{ message: 'a' }]), receivedAtMs: NOW }]);
  const { ask } = await openFolder(archive);
  const planOf = async (time: string) => (await ask(`EXPLAIN SELECT message FROM logs WHERE time < '${time}'`))[0];
  // The file is ruled out by its footer alone: nothing of it is left in the plan.
  expect(await planOf('2020-01-01')).toMatch(/EMPTY_RESULT/);
  expect(await planOf('2026-01-01 13:00:00')).toMatch(/READ_PARQUET/);
});

test('a statement can only read, and only what is kept', async () => {
  const folder = await temporaryFolder();
  const archive = createArchiveFolder(folder);
  const [segment] = await archive.flush([{ ...log([{ message: 'a' }]), receivedAtMs: NOW }]);
  const { ask } = await openFolder(archive);
  const path = archive.pathOf(segment!.key);
  const before = await readFile(path);
  for (const sql of [
    `COPY (SELECT 1) TO '${path}' (USE_TMP_FILE false)`,
    `EXPLAIN ANALYZE COPY (SELECT 1) TO '${path}' (USE_TMP_FILE false)`,
    `explain /* x */ analyze copy (SELECT 1) to '${path}' (use_tmp_file false)`,
    `SELECT 1; COPY (SELECT 1) TO '${path}' (USE_TMP_FILE false)`,
    `COPY (SELECT 1) TO '${join(folder, 'x.csv')}'`,
    `SELECT * FROM read_text('/etc/hostname')`,
    `SELECT * FROM glob('/etc/*')`,
    'SET enable_external_access = true',
    `SET memory_limit = '100GB'`,
    'INSTALL httpfs',
    `ATTACH '${join(folder, 'x.db')}'`,
    'SELEC 1',
    'SELECT nothing FROM logs',
    '',
  ]) {
    await expect(ask(sql), sql).rejects.toSatisfy((error) => isProxyError(error, 'QUERY_INVALID'));
  }
  expect(Buffer.compare(await readFile(path), before)).toBe(0);
  expect(await ask('EXPLAIN ANALYZE SELECT count(*) FROM logs')).toHaveLength(1);
});

test('folders with quotes and pattern characters in their names', async () => {
  const archive = createArchiveFolder(join(await temporaryFolder(), `it's [a] *folder?`));
  await archive.flush([{ ...log([{ message: 'a' }]), receivedAtMs: NOW }]);
  const { ask } = await openFolder(archive);
  expect(await ask('SELECT message FROM logs')).toEqual(['{"message":"a"}']);
});

test('values come out exact', async () => {
  const { ask } = await openFolder(createArchiveFolder(await temporaryFolder()));
  const sql = `SELECT 1.10::DECIMAL(20,3) AS d, 170141183460469231731687303715884105727::HUGEINT AS h, 'nan'::DOUBLE AS n, -0.0::DOUBLE AS z,
    {'a': [1, NULL]} AS s, MAP {'k': 2} AS m, 'x'::BLOB AS b, '1969-12-31 23:59:59.5'::TIMESTAMP AS t, TIMESTAMP_NS '2020-01-01 00:00:00.123456789' AS ns`;
  expect(await ask(sql)).toEqual([
    '{"d":1.100,"h":170141183460469231731687303715884105727,"n":"NaN","z":-0,"s":{"a":[1,null]},"m":{"k":2},"b":"eA==","t":"1969-12-31T23:59:59.500Z","ns":"2020-01-01T00:00:00.123456789Z"}',
  ]);
});
