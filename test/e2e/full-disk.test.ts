/**
 * `DURABILITY=disk` on a disk that is full, by others or by what waits in the journal itself: callers get 503 and nothing else, and once there
 * is room all goes on, at the latest when the archive has taken what lay there. What was acknowledged is in the archive exactly once, and
 * at the vendor.
 */
import { join } from 'node:path';
import { request } from 'undici';
import { describe, expect, test } from 'vitest';
import { type FakeVendor, startFakeVendor } from '../support/fake-vendor.ts';
import { FleetLoad, KEY, replicaEnv } from '../support/fleet-load.ts';
import { type ProxyProcess, runCli, startProxy } from '../support/proxy-process.ts';
import { canMount, openSmallDisk, type SmallDisk } from '../support/small-disk.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

/** The journal's reserve is one of them. */
const DISK_BYTES = 8 * 1024 * 1024;
const FILLER_BYTES = 32 * 1024;
const FREE_AFTER_MS = 2_000;
const STARTS_MAX = 30;

interface Scene {
  disk: SmallDisk;
  load: FleetLoad;
  vendor: FakeVendor;
  start(): Promise<ProxyProcess>;
  /** How many callers were told "not now". */
  refused(): number;
  /** Until so many more were acknowledged. */
  acknowledged(count: number): Promise<void>;
}

/** Whatever happens in `strike`, all that was acknowledged has to be there in the end. */
async function keepsAll(kind: SmallDisk['kind'], strike: (scene: Scene) => Promise<ProxyProcess>): Promise<void> {
  const disk = await openSmallDisk(DISK_BYTES, kind);
  const vendor = await startFakeVendor({ apiKeys: [KEY] });
  const load = new FleetLoad({ clients: 3, fillerBytes: FILLER_BYTES });
  const storeEnv = { STORAGE_URL: `file://${await temporaryFolder()}` };
  const started: ProxyProcess[] = [];
  const start = async (): Promise<ProxyProcess> => {
    const proxy = await startProxy({
      disk,
      env: {
        ...replicaEnv('alone', vendor, storeEnv),
        DURABILITY: 'disk',
        REDUCTRAI_JOURNAL_FILE_BYTES_MAX: '1MiB',
      },
    });
    started.push(proxy);
    load.urls.set('alone', proxy.url);
    return proxy;
  };
  const acknowledged = async (count: number): Promise<void> => {
    const before = load.acknowledged.size;
    await expect.poll(() => load.acknowledged.size - before, { timeout: 30_000 }).toBeGreaterThan(count);
  };
  const refused = (): number => load.troubles.filter((trouble) => trouble === 'status 503').length;
  try {
    const last = await strike({ disk, load, vendor, start, refused, acknowledged });
    await load.stop();
    last.child.kill('SIGTERM');
    expect(await last.exited, last.lines.slice(-20).join('\n')).toEqual({ code: 0, signal: null });
  } finally {
    await Promise.all(started.map((proxy) => proxy.kill()));
    await vendor.close();
    await disk.close();
  }
  const env = { ...storeEnv, DATA_DIR: join(await temporaryFolder(), 'reader') };
  await load.expectKept(env, vendor);
  const verified = await runCli(['verify'], env);
  expect(verified.code, verified.stdout + verified.stderr).toBe(0);
  console.log(`${kind}: ${load.acknowledged.size} envelopes, none lost; ${refused()} times "not now"`);
}

/** As an orchestrator does, again and again. */
async function startedAgain(start: Scene['start']): Promise<ProxyProcess> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start();
    } catch (error) {
      if (!String(error).includes('no space left') || attempt === STARTS_MAX) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
}

const kinds: readonly SmallDisk['kind'][] = (await canMount()) ? ['tmpfs', 'simulated'] : ['simulated'];

describe.each(kinds)('a full disk (%s)', (kind) => {
  test('filled by others: 503, and on it goes when there is room', { timeout: 120_000, retry: 0 }, () =>
    keepsAll(kind, async ({ disk, load, start, refused, acknowledged }) => {
      const first = await start();
      load.start();
      await acknowledged(50);
      // Whoever filled it takes the journal's reserve, too, as soon as that is given up: not even a position can be written.
      const filling = setInterval(() => disk.fill(), 20);
      try {
        const isFull = (line: string): boolean => line.includes('the position could not be written');
        await expect.poll(() => first.lines.some(isFull), { timeout: 30_000 }).toBe(true);
        await expect.poll(refused, { timeout: 30_000 }).toBeGreaterThan(100);
        const answer = await request(`${first.url}/api/v2/logs`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'dd-api-key': KEY },
          body: JSON.stringify([{ message: 'y'.repeat(2 * FILLER_BYTES) }]),
        });
        await answer.body.dump();
        expect(answer.statusCode).toBe(503);
        expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
      } finally {
        clearInterval(filling);
      }
      disk.free();
      await acknowledged(50);

      // Whoever starts it tries until there is room.
      disk.fill();
      await first.kill('SIGKILL');
      setTimeout(() => disk.free(), FREE_AFTER_MS);
      const second = await startedAgain(start);
      await acknowledged(50);
      expect(new Set(load.troubles.filter((trouble) => trouble.startsWith('status')))).toEqual(new Set(['status 503']));
      return second;
    }),
  );

  test('filled by the journal: the archive makes room again', { timeout: 120_000, retry: 0 }, () =>
    keepsAll(kind, async ({ load, start, refused, acknowledged }) => {
      const proxy = await start();
      load.start();
      for (let round = 0; round < 2; round++) {
        const before = refused();
        await expect.poll(refused, { timeout: 30_000 }).toBeGreaterThan(before);
        await acknowledged(100);
      }
      return proxy;
    }),
  );
});
