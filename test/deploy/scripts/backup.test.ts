/**
 * backup.sh and restore.sh on what real replicas kept: a store in use is copied, and again with what is new; it is wiped, restored and verified, and
 * gives back the very items that were sent, also from and to buckets. What is damaged, missing or not empty is told.
 */
import { appendFile, cp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { runCli } from '../../support/proxy-process.ts';
import { findS3Server, startS3Server } from '../../support/servers/s3-server.ts';
import { HOW_TO_INSTALL } from '../../support/servers/server-process.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';
import { script, sendLog, startReplica } from '../support/scripts.ts';

interface Stores {
  /** Where a replica keeps everything, and three more places. */
  urls: readonly [string, string, string, string];
  env: Record<string, string>;
  /** Backups while the store is in use. */
  rounds: readonly number[];
}

const itemsIn = async (url: string, env: Record<string, string>): Promise<string[]> => {
  const { code, stdout, stderr } = await runCli(['export', '--signal', 'logs'], { ...env, STORAGE_URL: url });
  expect(code, stderr).toBe(0);
  return stdout.split('\n').filter(Boolean).sort();
};

const log = (n: number) => ({ message: `log ${n}`, service: 'backed-up', n: n / 3, deep: { list: [n, null, 'é'] } });
const lines = (count: number): string[] => Array.from({ length: count }, (_, n) => JSON.stringify(log(n))).sort();

async function backedUp({ urls: [from, copy, restored, other], env, rounds }: Stores): Promise<void> {
  const folder = await temporaryFolder();
  const common = { ...env, DATA_DIR: join(folder, 'reader') };
  const replicaEnv = {
    ...env,
    STORAGE_URL: from,
    DURABILITY: 'store',
    REDUCTRAI_JOURNAL_LEASE: '3s',
    REDUCTRAI_JOURNAL_CHUNK_AFTER: '20ms',
    REDUCTRAI_ARCHIVE_FLUSH_AFTER: '700ms',
  };
  const backup = (...args: string[]) => script('backup', ['--from', from, '--to', copy, ...args], { env: common });
  const restore = (...args: string[]) =>
    script('restore', ['--from', copy, '--to', restored, ...args], { env: common });

  const empty = await backup();
  expect([empty.code, empty.output]).toEqual([1, expect.stringContaining('nothing is kept in')]);
  const { proxy, url } = await startReplica('r1', { ...replicaEnv, DATA_DIR: join(folder, 'r1') });
  for (let n = 0; n < 10; n++) await sendLog(url, log(n));
  await expect.poll(() => itemsIn(from, common), { timeout: 30_000 }).toEqual(lines(10));
  const dry = await backup('--dry-run');
  expect([dry.code, dry.stdout]).toEqual([0, expect.stringMatching(/10 rows\nwould run: .*storage copy/)]);
  expect(await itemsIn(copy, common)).toEqual([]);

  // While it is in use: what comes meanwhile may be in the copy or not, but it is whole.
  let sent = 10;
  let isOver = false;
  const sending = (async () => {
    while (!isOver) {
      await sendLog(url, log(sent++));
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
  })();
  try {
    for (const round of rounds) {
      const before = sent;
      const copied = await backup();
      expect(copied.code, `${round}: ${copied.output}`).toBe(0);
      expect(copied.stdout, copied.output).not.toContain('once more');
      if (round > 1) expect((await itemsIn(copy, common)).length).toBeGreaterThan(before / 2);
    }
  } finally {
    isOver = true;
    await sending;
  }
  await proxy.kill('SIGTERM');
  const last = await backup('--check-present');
  expect([last.code, last.stdout], last.output).toEqual([
    0,
    expect.stringContaining(`${sent} rows; the copy is whole`),
  ]);
  const again = await backup();
  expect([again.code, again.output]).toEqual([0, expect.stringMatching(/ 0 copied .*, \d+ were there/)]);

  const dryRestore = await restore('--dry-run');
  expect([dryRestore.code, await itemsIn(restored, common)], dryRestore.output).toEqual([0, []]);
  const done = await restore();
  expect([done.code, done.output]).toEqual([
    0,
    expect.stringMatching(new RegExp(`all is well.*: ${sent} rows, verified`, 's')),
  ]);
  expect(await itemsIn(restored, common)).toEqual(lines(sent));
  const refused = await restore();
  expect([refused.code, refused.output]).toEqual([1, expect.stringContaining('is not empty')]);
  // A replica of the old name goes on in what was restored.
  const heir = await startReplica('r1', { ...replicaEnv, STORAGE_URL: restored, DATA_DIR: join(folder, 'heir') });
  await sendLog(heir.url, log(sent++));
  await heir.proxy.kill('SIGTERM');
  expect(await itemsIn(restored, common)).toEqual(lines(sent));
  const verified = await runCli(['verify'], { ...common, STORAGE_URL: restored });
  expect(verified.code, verified.stdout).toBe(0);
  const unreadable = await script('restore', ['--from', copy, '--to', other], {
    env: { ...common, REDUCTRAI: 'false' },
  });
  expect([unreadable.code, unreadable.output]).toEqual([1, expect.stringContaining('cannot be read')]);
}

describe('backup, wipe, restore, verify', () => {
  test('of a folder', async () => {
    const folder = await temporaryFolder();
    const urls = ['kept', 'copy', 'restored', 'other'].map((name) => join(folder, name));
    await backedUp({ urls: urls as unknown as Stores['urls'], env: {}, rounds: [1, 2, 3] });
  }, 180_000);

  test.skipIf(findS3Server() === undefined)(
    `of a bucket${findS3Server() ? '' : ` (no S3 server: ${HOW_TO_INSTALL})`}`,
    async () => {
      const server = await startS3Server();
      onTestFinished(() => server.close());
      const at = async (prefix: string) => `s3://${await server.bucket()}/${prefix}?endpoint=${server.endpoint}`;
      await backedUp({
        urls: [await at('kept'), await at('copy'), await at('restored'), await at('other')],
        rounds: [1, 2],
        env: { S3_ACCESS_KEY: server.accessKeyId, S3_SECRET_KEY: server.secretAccessKey },
      });
    },
    180_000,
  );
});

const filesBelow = async (folder: string, end: string): Promise<string[]> =>
  (await readdir(folder, { recursive: true })).filter((name) => name.endsWith(end)).map((name) => join(folder, name));

test('a copy that lacks a segment, or has a damaged one, is not restored as if it were whole', async () => {
  const folder = await temporaryFolder();
  const [from, copy] = [join(folder, 'data', 'store'), join(folder, 'copy')];
  const env = { DATA_DIR: join(folder, 'reader') };
  const { proxy, url } = await startReplica('r1', { DATA_DIR: join(folder, 'data') });
  for (let n = 0; n < 3; n++) await sendLog(url, log(n));
  await proxy.kill('SIGTERM');
  expect((await script('backup', ['--from', from, '--to', copy], { env })).code).toBe(0);

  const [segment] = await filesBelow(copy, '.parquet');
  await cp(copy, join(folder, 'lacking'), { recursive: true });
  await rm(segment!.replace('copy', 'lacking'));
  const lacking = await script('restore', ['--from', join(folder, 'lacking'), '--to', join(folder, 'a')], { env });
  expect([lacking.code, lacking.output]).toEqual([1, expect.stringMatching(/"kind":"missing".*not whole/s)]);

  const forced = await script('restore', ['--from', copy, '--to', join(folder, 'a'), '--force'], { env });
  expect([forced.code, forced.output]).toEqual([0, expect.stringMatching(/1 copied .*all is well/s)]);

  await appendFile(segment!, 'x');
  const damaged = await script('restore', ['--from', copy, '--to', join(folder, 'b')], { env });
  expect([damaged.code, damaged.output]).toEqual([1, expect.stringMatching(/"kind":"altered".*not whole/s)]);
  // The next backup tells that the copy is another object, and leaves it as it is.
  const next = await script('backup', ['--from', from, '--to', copy, '--attempts', '1'], { env });
  expect([next.code, next.output]).toEqual([1, expect.stringContaining('is another object in')]);
  for (const args of [
    ['--from', from, '--to', from],
    ['--from', from],
  ]) {
    expect((await script('restore', args, { env })).code).toBe(64);
    expect((await script('backup', args, { env })).code).toBe(64);
  }
});
