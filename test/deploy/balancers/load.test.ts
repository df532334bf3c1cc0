/**
 * The load test of the standard guide: `hey -z 60s -c 100 -m POST … /api/v2/series` through HAProxy and Nginx as shipped to three real replicas; 10 s of
 * it here, LOAD_SECONDS=60 for all. No request fails, the replicas get even shares, and the books of all three say what hey says: everything
 * that was answered was archived. LOAD_DURABILITY=store: journals in a real S3 server, as with a bucket; default: on disk.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { startHaproxy } from '../../support/servers/haproxy-server.ts';
import { startNginx } from '../../support/servers/nginx-server.ts';
import { type S3Server, startS3Server } from '../../support/servers/s3-server.ts';
import { findProgram, HOW_TO_INSTALL } from '../../support/servers/server-process.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';
import { pass } from '../support/tools.ts';
import { acknowledged, type Fleet, queried, startFleet } from './fleet.ts';

const SECONDS = Number(process.env.LOAD_SECONDS ?? 10);
const CLIENTS = 100;
/** Even would be a third. */
const SHARE_MIN = 1 / 4;
const STARTS = { haproxy: startHaproxy, nginx: startNginx };
const NAMES = ['haproxy', 'nginx'] as const;

const missing = NAMES.filter((name) => !findProgram(name)).map((name) => `no ${name}`);
const title = missing.length > 0 ? `hey (${missing.join(', ')}: ${HOW_TO_INSTALL})` : 'hey';

interface Report {
  perSecond: number;
  p50: number;
  p99: number;
  /** Of answers by status. */
  statuses: Record<string, number>;
  errors: string;
}

function reportOf(text: string): Report {
  const found = (pattern: RegExp): number => Number(pattern.exec(text)?.[1] ?? Number.NaN);
  return {
    perSecond: found(/Requests\/sec:\s+([\d.]+)/),
    p50: found(/50%+ in ([\d.]+) secs/),
    p99: found(/99%+ in ([\d.]+) secs/),
    statuses: Object.fromEntries(
      [...text.matchAll(/^\s+\[(\d+)\]\s+(\d+) responses$/gm)].map(([, status, count]) => [status!, Number(count)]),
    ),
    errors: /Error distribution:\n([\s\S]*)/.exec(text)?.[1]?.trim() ?? '',
  };
}

const ms = (seconds: number): string => (seconds * 1000).toFixed(0);

test('what hey prints is understood', () => {
  const text = `
Summary:
  Total:	1.0010 secs
  Requests/sec:	1500.5000

Latency distribution:
  50%% in 0.0630 secs
  99%% in 0.1234 secs

Status code distribution:
  [202]	1499 responses
  [503]	1 responses

Error distribution:
  [2]	Post "http://x": EOF
`;
  expect(reportOf(text)).toEqual({
    perSecond: 1500.5,
    p50: 0.063,
    p99: 0.1234,
    statuses: { 202: 1499, 503: 1 },
    errors: '[2]	Post "http://x": EOF',
  });
});

describe.skipIf(missing.length > 0)(title, () => {
  let fleet: Fleet;
  let server: S3Server | undefined;

  beforeAll(async () => {
    if (process.env.LOAD_DURABILITY === 'store') {
      server = await startS3Server();
      fleet = await startFleet({
        DURABILITY: 'store',
        STORAGE_URL: `s3://${await server.bucket()}/kept?endpoint=${server.endpoint}`,
        S3_ACCESS_KEY: server.accessKeyId,
        S3_SECRET_KEY: server.secretAccessKey,
      });
    } else fleet = await startFleet();
  });
  afterAll(async () => {
    await fleet.close();
    await server?.close();
  });

  test.each(NAMES)(
    `%s: ${CLIENTS} connections, ${SECONDS} s`,
    { timeout: (SECONDS + 120) * 1000, retry: 0 },
    async (name) => {
      const metric = `load_test.${name}`;
      const body = join(await temporaryFolder(), 'series.json');
      const points = [{ timestamp: Math.floor(Date.now() / 1000), value: 42.5 }];
      await writeFile(body, JSON.stringify({ series: [{ metric, type: 3, points, tags: ['env:test'] }] }));
      const balancer = await STARTS[name](fleet.addresses);
      onTestFinished(() => balancer.close());
      const before = await acknowledged(fleet);
      const booksBefore = await fleet.settled();
      const load = ['-z', `${SECONDS}s`, '-c', String(CLIENTS)];
      const how = ['-m', 'POST', '-T', 'application/json', '-H', 'DD-API-KEY: made-up', '-D', body];
      const report = reportOf(await pass('hey', [...load, ...how, `${balancer.url}/api/v2/series`]));
      expect([Object.keys(report.statuses), report.errors], JSON.stringify(report)).toEqual([['202'], '']);
      const answered = report.statuses['202']!;
      expect(answered).toBeGreaterThan(CLIENTS);

      const after = await acknowledged(fleet);
      const counts = after.map((count, index) => count - before[index]!);
      const shares = counts.map((count) => count / answered);
      expect(Math.min(...shares), `${counts}`).toBeGreaterThan(SHARE_MIN);
      expect(counts.reduce((sum, count) => sum + count)).toBe(answered);

      const books = await fleet.settled();
      const grown = (of: (books: (typeof booksBefore)[number]) => number): number =>
        books.reduce((sum, one, index) => sum + of(one) - of(booksBefore[index]!), 0);
      expect({
        received: grown(({ intake }) => intake.received),
        accepted: grown(({ intake }) => intake.accepted),
        archived: grown(({ archive }) => archive!.archived),
      }).toEqual({ received: answered, accepted: answered, archived: answered });
      const sql = `SELECT count(*)::INTEGER AS points FROM metrics WHERE metric = '${metric}'`;
      expect(await queried(fleet, sql)).toEqual([{ points: answered }]);
      console.log(
        `${name}: ${report.perSecond.toFixed(0)} requests/s, ${answered} × 202, p50 ${ms(report.p50)} ms, p99 ${ms(report.p99)} ms, ` +
          `shares ${shares.map((share) => `${(share * 100).toFixed(1)} %`).join(', ')}`,
      );
    },
  );
});
