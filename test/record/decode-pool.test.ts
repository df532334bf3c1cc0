/** What becomes of the pool when its workers end. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { PROJECT } from '../support/proxy-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

/** A process that opens a pool whose workers run this code, and lives for as long as they let it. */
async function ended(workerCode: string): Promise<{ code: number | null; stderr: string }> {
  const folder = await temporaryFolder();
  const worker = join(folder, 'worker.mjs');
  const main = join(folder, 'main.ts');
  await writeFile(worker, workerCode);
  await writeFile(
    main,
    `import { ByteBudget } from '${PROJECT}/src/core/byte-budget.ts';
import { createDecodePool } from '${PROJECT}/src/record/decode-pool.ts';
const said = [];
const log = { error: (_, text) => said.push(text) };
createDecodePool({
  workers: 1, budget: ByteBudget.create(1 << 20), decompressedBytesMax: 1 << 20, jobsMax: 1, heapMiBMax: 64, log,
  workerFile: new URL('${pathToFileURL(worker)}'),
});
setInterval(() => {
  if (said.filter((text) => text.includes('starting another')).length >= 5) process.exit(42);
}, 10);`,
  );
  const child = spawn(process.execPath, [main], { stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  const [code] = await once(child, 'close');
  return { code, stderr };
}

test('workers whose code cannot be loaded end the process: it would refuse every body for ever', async () => {
  const { code, stderr } = await ended(`import './absent.mjs';`);
  expect(stderr).toContain('decode workers cannot start');
  expect(code).toBe(1);
});

test('a worker that had started is replaced however often it ends', async () => {
  const { code, stderr } = await ended(
    `import { parentPort } from 'node:worker_threads'; parentPort.postMessage('started'); setTimeout(() => process.exit(3), 20);`,
  );
  expect(stderr).toBe('');
  expect(code).toBe(42);
});
