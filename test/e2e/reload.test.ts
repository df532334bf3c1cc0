/** SIGHUP on the real process: keys change without a request being dropped, and a broken file changes nothing. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { request } from 'undici';
import { expect, test } from 'vitest';
import { startProxy } from '../support/proxy-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const [OLD, NEW] = ['a'.repeat(32), 'b'.repeat(32)] as const;

test('SIGHUP reads the configuration again', async () => {
  const folder = await temporaryFolder();
  const config = join(folder, 'reductrai.yaml');
  const write = (keys: readonly string[], rest = ''): Promise<void> =>
    writeFile(config, `intake:\n  api_keys_allowed: [${keys.join(', ')}]\n${rest}`);
  await write([OLD]);
  const proxy = await startProxy({ dataFolder: folder, env: { REDUCTRAI_CONFIG: config } });
  try {
    const statuses: number[] = [];
    const send = async (key: string): Promise<number> => {
      const { statusCode, body } = await request(`${proxy.url}/api/v2/logs`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'dd-api-key': key },
        body: '[{"message":"hello"}]',
      });
      await body.dump();
      return statusCode;
    };
    expect([await send(OLD), await send(NEW)]).toEqual([202, 403]);

    // Both are allowed meanwhile, and nobody is refused at any moment.
    let isDone = false;
    const steady = (async () => {
      while (!isDone) statuses.push(await send(OLD));
    })();
    await write([OLD, NEW], 'server:\n  port: 1234\n');
    proxy.child.kill('SIGHUP');
    await expect.poll(() => send(NEW), { timeout: 20_000 }).toBe(202);
    isDone = true;
    await steady;
    expect(new Set(statuses)).toEqual(new Set([202]));
    const said = proxy.lines.find((line) => line.includes('configuration read again'));
    expect(JSON.parse(said!)).toMatchObject({ applied: ['intake.api_keys_allowed'] });

    await write([NEW]);
    proxy.child.kill('SIGHUP');
    await expect.poll(() => send(OLD), { timeout: 20_000 }).toBe(403);

    await writeFile(config, 'intake:\n  api_keys_alowed: []\n');
    proxy.child.kill('SIGHUP');
    await expect
      .poll(() => proxy.lines.some((line) => line.includes('api_keys_alowed')), { timeout: 20_000 })
      .toBe(true);
    expect([await send(OLD), await send(NEW)]).toEqual([403, 202]);
  } finally {
    await proxy.kill();
  }
});
