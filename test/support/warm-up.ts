/**
 * Before all tests: the product is bundled as it ships, then started and ended once, so that its compiled code is in the cache. Processes that
 * tests kill never write it, and would each compile everything anew.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from '../../scripts/build.ts';
import { BUNDLE, startProxy } from './proxy-process.ts';

export default async function warmUp(): Promise<void> {
  await build(BUNDLE, {
    'killing-main': 'test/support/killing-main.ts',
    'struck-main': 'test/support/struck-main.ts',
  });
  const dataFolder = await mkdtemp(join(tmpdir(), 'reductrai-warm-up-'));
  try {
    const proxy = await startProxy({ dataFolder, startWithinMs: 60_000 });
    await proxy.kill('SIGTERM');
  } finally {
    await rm(dataFolder, { recursive: true, force: true });
  }
}
