/** What becomes of the pool when its workers end, and who comes first when there is much to decode. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { ByteBudget } from '../../src/core/byte-budget.ts';
import type { DecodeJob } from '../../src/record/decode-job.ts';
import { createDecodePool, type DecodePool } from '../../src/record/decode-pool.ts';
import { createLog } from '../../src/telemetry/log.ts';
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

/** A worker that takes a while for each body, one after another, and says that it is malformed. */
const SLOW_WORKER = `import { parentPort } from 'node:worker_threads';
parentPort.postMessage('started');
let chain = Promise.resolve();
parentPort.on('message', ({ jobs }) => {
  for (const { id, path } of jobs)
    chain = chain.then(async () => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      if (path === '/end') process.exit(3);
      parentPort.postMessage([{ id, verdict: { ok: false, kind: 'malformed', reason: '', offset: 0 } }]);
    });
});`;

async function openSlowPool(): Promise<{
  pool: DecodePool;
  decode: (path: string, isAgain?: true) => Promise<string>;
}> {
  const worker = join(await temporaryFolder(), 'slow.mjs');
  await writeFile(worker, SLOW_WORKER);
  const pool = createDecodePool({
    ...{ workers: 1, budget: ByteBudget.create(1 << 24), decompressedBytesMax: 1 << 20, jobsMax: 1000, heapMiBMax: 64 },
    log: createLog('silent'),
    workerFile: pathToFileURL(worker),
  });
  const decode = async (path: string, isAgain?: true): Promise<string> => {
    const job: DecodeJob = {
      ...{ body: new Uint8Array(100), contentEncoding: '', protocol: 'logs-json', contentType: '' },
      ...{ path, receivedAtMs: 0, keyFingerprint: '' },
    };
    const verdict = await pool.decode(isAgain ? { ...job, isAgain } : job);
    return verdict.ok ? 'decoded' : verdict.kind;
  };
  return { pool, decode };
}

test('an archive that is behind gets two thirds of the decoding, however much comes in', async () => {
  const { pool, decode } = await openSlowPool();
  let newDone = 0;
  const archive = (async () => {
    // As many at once as it decodes ahead.
    const lane = async (): Promise<void> => {
      for (let i = 0; i < 10; i++) await decode('/', true);
    };
    await Promise.all(Array.from({ length: 16 }, lane));
    return newDone;
  })();
  const all = Promise.all(Array.from({ length: 500 }, () => decode('/').then(() => (newDone += 1))));
  // 160 of its own, and half as many of intake's.
  const beside = await archive;
  expect(beside).toBeGreaterThan(40);
  expect(beside).toBeLessThan(120);
  await all;
  expect(newDone).toBe(500);
  await pool.close();
});

test('what stands back is decoded though the worker ends', async () => {
  const { pool, decode } = await openSlowPool();
  const again = Array.from({ length: 8 }, (_, i) => decode(i === 3 ? '/end' : '/', true));
  const verdicts = await Promise.all(Array.from({ length: 100 }, () => decode('/')));
  // Those at the worker are lost with it: the sender tries again.
  expect(verdicts.filter((kind) => kind === 'busy').length).toBeLessThanOrEqual(8);
  expect(verdicts.filter((kind) => kind === 'malformed').length).toBeGreaterThanOrEqual(92);
  expect(await Promise.all(again)).toContain('busy');
  // Nothing stands back any more once the pool is closed.
  await pool.close();
  expect(await decode('/')).toBe('busy');
});
