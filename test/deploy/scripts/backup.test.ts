/**
 * backup.sh and restore.sh on what real replicas kept: a store in use is copied, and again with what is new; it is wiped, restored and verified, and
 * gives back the very items that were sent, also from and to buckets. What is damaged, missing or not empty is told.
 */
import { existsSync } from 'node:fs';
import { appendFile, cp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DeleteObjectsCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import { describe, expect, onTestFinished, test } from 'vitest';
import { runCli } from '../../support/proxy-process.ts';
import { findS3Server, startS3Server } from '../../support/servers/s3-server.ts';
import { HOW_TO_INSTALL } from '../../support/servers/server-process.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';
import { script, sendLog, startReplica } from '../support/scripts.ts';

interface Stores {
  /** Where a replica keeps everything, and where the copy goes. */
  from: string;
  copy: string;
  env: Record<string, string>;
}

const itemsIn = async (url: string, env: Record<string, string>): Promise<string[]> => {
  const { code, stdout, stderr } = await runCli(['export', '--signal', 'logs'], { ...env, STORAGE_URL: url });
  expect(code, stderr).toBe(0);
  return stdout.split('\n').filter(Boolean).sort();
};

const log = (n: number) => ({ message: `log ${n}`, service: 'backed-up', n: n / 3, deep: { list: [n, null, 'é'] } });
const lines = (count: number): string[] => Array.from({ length: count }, (_, n) => JSON.stringify(log(n))).sort();

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Logs, of which all numbers below `sent` were acknowledged. */
class Sender {
  sent = 0;
  #isOver = false;
  #sending: Promise<void> | undefined;

  async send(url: string, count: number): Promise<void> {
    for (let n = 0; n < count; n++) await sendLog(url, log(this.sent++));
  }

  start(url: string): void {
    this.#sending = (async () => {
      for (; !this.#isOver; await pause(40)) await this.send(url, 1);
    })();
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#sending;
  }
}

async function withReplica({ from, copy, env }: Stores) {
  const folder = await temporaryFolder();
  const common = { ...env, DATA_DIR: join(folder, 'reader') };
  const start = (name: string): ReturnType<typeof startReplica> =>
    startReplica('r1', {
      ...env,
      STORAGE_URL: from,
      DURABILITY: 'store',
      DATA_DIR: join(folder, name),
      REDUCTRAI_JOURNAL_CHUNK_AFTER: '20ms',
      REDUCTRAI_ARCHIVE_FLUSH_AFTER: '700ms',
    });
  return {
    start,
    items: (url: string) => itemsIn(url, common),
    verify: () => runCli(['verify'], { ...common, STORAGE_URL: from }),
    backup: (...args: string[]) => script('backup', ['--from', from, '--to', copy, ...args], { env: common }),
    restore: (...args: string[]) => script('restore', ['--from', copy, '--to', from, ...args], { env: common }),
  };
}

describe('backup, wipe, restore, verify', () => {
  test('of a folder in use, of which the replica then dies with its disk: all that was acknowledged', {
    timeout: 180_000,
    retry: 0,
  }, async () => {
    const folder = await temporaryFolder();
    const [from, copy] = [join(folder, 'kept'), join(folder, 'copy')];
    const wipe = () => rm(from, { recursive: true });
    const { start, items, verify, backup, restore } = await withReplica({ from, copy, env: {} });
    const empty = await backup();
    expect([empty.code, empty.output]).toEqual([1, expect.stringContaining('nothing is kept in')]);
    const { proxy, url } = await start('first');
    const sender = new Sender();
    await sender.send(url, 10);
    await expect.poll(() => items(from), { timeout: 30_000 }).toEqual(lines(10));
    const dry = await backup('--dry-run');
    expect([dry.code, dry.stdout]).toEqual([0, expect.stringMatching(/10 rows\nwould run: .*storage copy/)]);
    expect(existsSync(copy)).toBe(false);

    sender.start(url);
    try {
      for (const round of [1, 2]) {
        const copied = await backup();
        expect(copied.code, `${round}: ${copied.output}`).toBe(0);
        expect(copied.stdout, copied.output).not.toContain('once more');
      }
    } finally {
      await sender.stop();
    }
    // The last ones are in its journal only, which is in the store.
    await proxy.kill('SIGKILL');
    const last = await backup('--check-present');
    expect(last.code, last.output).toBe(0);
    const again = await backup();
    expect([again.code, again.output]).toEqual([0, expect.stringMatching(/ 0 copied .*, \d+ were there/)]);
    await wipe();
    const wouldRestore = await restore('--dry-run');
    expect([wouldRestore.code, existsSync(from)], wouldRestore.output).toEqual([0, false]);
    const done = await restore();
    expect([done.code, done.output]).toEqual([0, expect.stringMatching(/all is well.* rows, verified/s)]);
    const refused = await restore();
    expect([refused.code, refused.output]).toEqual([1, expect.stringContaining('is not empty')]);
    const heir = await start('second');
    await sender.send(heir.url, 1);
    await expect.poll(() => items(from), { timeout: 60_000, interval: 500 }).toEqual(lines(sender.sent));
    await heir.proxy.kill('SIGTERM');
    expect(await items(from)).toEqual(lines(sender.sent));
    expect((await verify()).code).toBe(0);
  });

  test.skipIf(findS3Server() === undefined)(
    `of a bucket${findS3Server() ? '' : ` (no S3 server: ${HOW_TO_INSTALL})`}`,
    { timeout: 180_000, retry: 0 },
    async () => {
      const server = await startS3Server();
      onTestFinished(() => server.close());
      const [kept, copies] = [await server.bucket(), await server.bucket()];
      const at = (bucket: string, prefix: string) => `s3://${bucket}/${prefix}?endpoint=${server.endpoint}`;
      const { start, items, verify, backup, restore } = await withReplica({
        from: at(kept, 'prod'),
        copy: at(copies, 'backup'),
        env: { S3_ACCESS_KEY: server.accessKeyId, S3_SECRET_KEY: server.secretAccessKey },
      });
      const { proxy, url } = await start('first');
      const sender = new Sender();
      await sender.send(url, 10);
      await expect.poll(() => items(at(kept, 'prod')), { timeout: 30_000 }).toEqual(lines(10));
      sender.start(url);
      const inUse = await backup();
      await sender.stop();
      expect([inUse.code, inUse.output]).toEqual([0, expect.not.stringContaining('once more')]);
      await proxy.kill('SIGTERM');
      const last = await backup();
      expect([last.code, last.stdout], last.output).toEqual([
        0,
        expect.stringContaining(`${sender.sent} rows; the copy is whole`),
      ]);
      await server.client.send(
        new DeleteObjectsCommand({
          Bucket: kept,
          Delete: {
            Objects: (await server.client.send(new ListObjectsV2Command({ Bucket: kept }))).Contents!.map(
              ({ Key }) => ({ Key }),
            ),
          },
        }),
      );
      expect(await items(at(kept, 'prod'))).toEqual([]);
      const done = await restore();
      expect([done.code, done.output]).toEqual([
        0,
        expect.stringMatching(new RegExp(`all is well.*: ${sender.sent} rows, verified`, 's')),
      ]);
      expect(await items(at(kept, 'prod'))).toEqual(lines(sender.sent));
      expect((await verify()).code).toBe(0);
    },
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
