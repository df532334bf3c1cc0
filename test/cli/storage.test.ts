/** `verify`, `storage copy`, `check-config --online` and a query, on what a real process kept; folder to folder, and to a bucket. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { request } from 'undici';
import { describe, expect, test } from 'vitest';
import { runCli, startProxy } from '../support/proxy-process.ts';
import { findS3Server, startS3Server } from '../support/servers/s3-server.ts';
import { HOW_TO_INSTALL } from '../support/servers/server-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

async function kept(dataFolder: string, env: Record<string, string> = {}): Promise<void> {
  const proxy = await startProxy({ dataFolder, env });
  const body = JSON.stringify(Array.from({ length: 40 }, (_, n) => ({ message: `line ${n}`, service: 'copied' })));
  const answer = await request(`${proxy.url}/api/v2/logs`, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json' },
  });
  expect(answer.statusCode).toBe(202);
  await proxy.kill('SIGTERM');
  expect((await proxy.exited).code).toBe(0);
}

const COUNT = 'SELECT count(*) AS n FROM logs';

async function expectWhole(env: Record<string, string>): Promise<void> {
  const online = await runCli(['check-config', '--online'], env);
  expect(online.code, online.stdout + online.stderr).toBe(0);
  expect(online.stdout).toContain('The store is fine.');
  const verified = await runCli(['verify'], env);
  expect(verified.code, verified.stdout + verified.stderr).toBe(0);
  expect(verified.stderr).toMatch(/1 commit records, 1 segments, 40 rows.*all is well/);
  const asked = await runCli(['query', COUNT], env);
  expect(asked.stdout.trim(), asked.stderr).toBe('{"n":40}');
}

describe('looking after a store', () => {
  test('copied from a folder to another it holds the same', async () => {
    const folder = await temporaryFolder();
    const from = { DATA_DIR: join(folder, 'a') };
    await kept(from.DATA_DIR);
    await expectWhole(from);
    const target = `file://${folder}/b`;
    const copied = await runCli(['storage', 'copy', '--from', `${from.DATA_DIR}/store`, '--to', target], from);
    expect(copied.code, copied.stderr).toBe(0);
    expect(copied.stderr).toMatch(/3 copied .*, 0 were there, of 3 found/);
    await expectWhole({ DATA_DIR: join(folder, 'c'), STORAGE_URL: target });
    const again = await runCli(['storage', 'copy', '--from', `${from.DATA_DIR}/store`, '--to', target], from);
    expect(again.stderr).toMatch(/0 copied .*, 3 were there/);
  }, 120_000);

  test('an encrypted folder is read with its key only', async () => {
    const folder = await temporaryFolder();
    const env = { DATA_DIR: folder, REDUCTRAI_STORAGE_ENCRYPTION_KEY: Buffer.alloc(32, 1).toString('base64') };
    await kept(folder, env);
    await expectWhole(env);
    const blind = await runCli(['query', COUNT], { DATA_DIR: folder });
    expect(blind.code).toBe(1);
    const wrong = await runCli(['query', COUNT], {
      ...env,
      REDUCTRAI_STORAGE_ENCRYPTION_KEY: Buffer.alloc(32, 2).toString('base64'),
    });
    expect(wrong.stderr).toMatch(/another key/);
  }, 120_000);

  test.skipIf(!findS3Server())(
    `in a bucket, and back${findS3Server() ? '' : ` (no server: ${HOW_TO_INSTALL})`}`,
    async () => {
      const server = await startS3Server();
      try {
        const folder = await temporaryFolder();
        const keys = { S3_ACCESS_KEY: server.accessKeyId, S3_SECRET_KEY: server.secretAccessKey };
        const url = `s3://${await server.bucket()}/team/a?endpoint=${server.endpoint}`;
        const env = { DATA_DIR: join(folder, 'a'), STORAGE_URL: url, ...keys };
        await kept(env.DATA_DIR, env);
        await expectWhole(env);
        const target = `file://${folder}/b`;
        const copied = await runCli(['storage', 'copy', '--from', url, '--to', target], env);
        expect(copied.code, copied.stderr).toBe(0);
        await rm(env.DATA_DIR, { recursive: true, force: true });
        await expectWhole({ DATA_DIR: join(folder, 'c'), STORAGE_URL: target });
        const denied = await runCli(['check-config', '--online'], { ...env, S3_SECRET_KEY: 'wrong' });
        expect(denied.code).toBe(1);
        expect(denied.stdout).toMatch(/failed {2}create an object: STORE_DENIED.*s3:PutObject/);
      } finally {
        await server.close();
      }
    },
    120_000,
  );

  test.skipIf(!findS3Server())(
    `the cold tier in a bucket behind a folder, by the variables of the published manifests${findS3Server() ? '' : ` (no server: ${HOW_TO_INSTALL})`}`,
    async () => {
      const server = await startS3Server();
      try {
        const folder = await temporaryFolder();
        const env = {
          DATA_DIR: join(folder, 'data'),
          STORAGE_HOT_PATH: join(folder, 'hot'),
          STORAGE_HOT_ENABLED: 'false',
          STORAGE_WARM_ENABLED: 'false',
          STORAGE_COLD_TYPE: 's3',
          S3_BUCKET: await server.bucket(),
          S3_ENDPOINT: server.endpoint,
          S3_ACCESS_KEY: server.accessKeyId,
          S3_SECRET_KEY: server.secretAccessKey,
          REDUCTRAI_CLEANUP_GRACE: '0ms',
          AUTO_CLEANUP_ENABLED: 'false',
        };
        await kept(env.DATA_DIR, env);
        const online = await runCli(['check-config', '--online'], env);
        expect(online.stdout).toMatch(/store: file:.*The store is fine.*cold store: s3:.*The cold store is fine/s);
        for (let run = 0; run < 2; run++) {
          const moved = await runCli(['tier', 'run'], env);
          expect(moved.code, moved.stdout + moved.stderr).toBe(0);
        }
        const listed = await runCli(['ls', '--segments'], env);
        expect(listed.stdout).toContain('/tier=cold/');
        expect(listed.stdout).not.toContain('/tier=hot/');
        const verified = await runCli(['verify'], env);
        expect(verified.stderr).toMatch(/1 segments, 40 rows.*all is well/);
        const asked = await runCli(['query', COUNT], env);
        expect(asked.stdout.trim(), asked.stderr).toBe('{"n":40}');
        // What is left in the folder says what is live, and nothing else.
        const alone = await runCli(['query', COUNT], { ...env, STORAGE_COLD_TYPE: 'local' });
        expect(alone.code, alone.stdout).toBe(1);
      } finally {
        await server.close();
      }
    },
    120_000,
  );
});
