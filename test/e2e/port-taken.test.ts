/** A process that cannot listen ends, and says why: whoever runs it starts it again. What it had opened does not keep it alive. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { runCli } from '../support/proxy-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const taken = createServer();
afterAll(() => taken.close());

test.each(['memory', 'disk', 'store'])('with DURABILITY=%s', async (durability) => {
  if (!taken.listening) await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  const folder = await temporaryFolder();
  const env = {
    DURABILITY: durability,
    DATA_DIR: folder,
    STORAGE_HOT_PATH: join(folder, 'archive'),
    REDUCTRAI_HOST: '127.0.0.1',
    REDUCTRAI_PORT: String((taken.address() as AddressInfo).port),
    DATADOG_API_KEY: 'a'.repeat(32),
    FORWARD_TO: 'http://127.0.0.1:9',
  };
  // Twice: nothing that the first one left is in the way of the second.
  for (const _ of [1, 2]) {
    const { code, stderr } = await runCli(['serve'], env);
    expect(stderr).toMatch(/Cannot start: .*EADDRINUSE/);
    expect(code).toBe(1);
  }
});
