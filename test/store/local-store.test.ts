import { mkdir, readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { type FileSystem, nodeFileSystem } from '../../src/core/file-system.ts';
import { seededRandom, systemRandom } from '../../src/core/random.ts';
import { type LocalStore, openLocalStore } from '../../src/store/local-store.ts';
import type { PutCondition } from '../../src/store/object-store.ts';
import { createManualClock } from '../support/manual-clock.ts';
import { createSimulatedDisk, type SimulatedDisk, type SimulatedDiskOptions } from '../support/simulated-disk.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const absent: PutCondition = { kind: 'absent' };

async function onDisk(root: string, fileSystem: FileSystem = nodeFileSystem, clock: Clock = systemClock) {
  return openLocalStore({ root, fileSystem, clock, random: systemRandom });
}

async function simulated(options: SimulatedDiskOptions = {}): Promise<{ disk: SimulatedDisk; store: LocalStore }> {
  const random = seededRandom(7);
  const disk = createSimulatedDisk(random, options);
  const store = await openLocalStore({
    root: '/data/store',
    fileSystem: disk.fileSystem,
    clock: createManualClock(),
    random,
  });
  return { disk, store };
}

describe('local store', () => {
  it('keeps created objects as plain files that any tool reads, and nothing else', async () => {
    const root = await temporaryFolder();
    const store = await onDisk(root);
    await store.put('t/logs/dt=2026-01-01/x.parquet', bytesOf('PAR1'), { condition: absent });
    expect(store.pathOf('t/logs/dt=2026-01-01/x.parquet')).toBe(join(root, 't/logs/dt=2026-01-01/x.parquet'));
    expect(await readFile(store.pathOf('t/logs/dt=2026-01-01/x.parquet'), 'utf8')).toBe('PAR1');
    expect(await readdir(root)).toEqual(['.tmp', 't']);
    expect(await readdir(join(root, '.tmp'))).toEqual([]);
    expect(() => store.pathOf('../x')).toThrow('STORE_INVALID');
    expect(store.url).toBe(`file://${root}`);
  });

  it('ignores files that are not objects', async () => {
    const root = await temporaryFolder();
    const store = await onDisk(root);
    await store.put('a/k', bytesOf('x'));
    await writeFile(join(root, 'a', '.nfs0000123'), 'x');
    await writeFile(join(root, 'a', 'control\u0001character'), 'x');
    await mkdir(join(root, 'a', 'k.v%'), { recursive: true });
    await writeFile(join(root, 'a', 'k.v%', 'stray'), 'x');
    const keys: string[] = [];
    for await (const { key } of store.list('')) keys.push(key);
    expect(keys).toEqual(['a/k']);
    expect(new TextDecoder().decode((await store.get('a/k')).bytes)).toBe('x');
  });

  it('removes temporary files older than an hour at open, and only those', async () => {
    const root = await temporaryFolder();
    await mkdir(join(root, '.tmp'));
    await writeFile(join(root, '.tmp', 'old'), 'x');
    await writeFile(join(root, '.tmp', 'young'), 'x');
    const twoHoursAgo = new Date(Date.now() - 2 * 3_600_000);
    await utimes(join(root, '.tmp', 'old'), twoHoursAgo, twoHoursAgo);
    await onDisk(root);
    expect(await readdir(join(root, '.tmp'))).toEqual(['young']);
  });

  it('a full disk is STORE_UNAVAILABLE and leaves nothing behind', async () => {
    const { disk, store } = await simulated({ spaceBytes: 10_000 });
    await store.put('small', new Uint8Array(4000));
    const failed = store.put('large', new Uint8Array(8000), { condition: absent });
    await expect(failed).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', retryable: true });
    expect(disk.files()).toEqual(['/data/store/small']);
    expect(disk.usedBytes).toBe(4000);
    await store.delete('small');
    await store.put('large', new Uint8Array(8000), { condition: absent });
  });

  it('a refused access is STORE_DENIED, any other failure STORE_UNAVAILABLE', async () => {
    const { disk, store } = await simulated();
    await store.put('k', bytesOf('x'));
    for (const [code, expected] of [
      ['EACCES', 'STORE_DENIED'],
      ['EROFS', 'STORE_DENIED'],
      ['EIO', 'STORE_UNAVAILABLE'],
      ['EMFILE', 'STORE_UNAVAILABLE'],
    ] as const) {
      disk.failNext('open', code);
      await expect(store.put('n', bytesOf('x'))).rejects.toMatchObject({ code: expected });
      disk.failNext('open', code);
      await expect(store.get('k')).rejects.toMatchObject({ code: expected });
    }
    expect(disk.files()).toEqual(['/data/store/k']);
  });

  it('does not acknowledge what it could not sync, and finds its own object when it tries again', async () => {
    const { disk, store } = await simulated();
    disk.failNext('sync', 'EIO');
    await expect(store.put('a', bytesOf('x'), { condition: absent })).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
    });
    expect(disk.files()).toEqual([]);
    await store.put('b', bytesOf('x'));
    disk.failNext('syncDirectory', 'EIO');
    await expect(store.put('a', bytesOf('x'), { condition: absent })).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
    });
    await expect(store.put('a', bytesOf('x'), { condition: absent })).rejects.toMatchObject({ code: 'STORE_EXISTS' });
    disk.crash('lose');
    disk.reopen();
    expect(disk.files()).toEqual(['/data/store/a', '/data/store/b']);
  });

  it('makes durable what it tells a loser, though the winner has yet to sync', async () => {
    const { disk, store: loser } = await simulated();
    await loser.head('k');
    const fs = disk.fileSystem;
    let winning = false;
    const neverSyncing: FileSystem = {
      open: (path, mode) => fs.open(path, mode),
      rename: (from, to) => fs.rename(from, to),
      unlink: (path) => fs.unlink(path),
      removeDirectory: (path) => fs.removeDirectory(path),
      makeDirectory: (path) => fs.makeDirectory(path),
      list: (path) => fs.list(path),
      stat: (path) => fs.stat(path),
      link: (from, to) => fs.link(from, to),
      syncDirectory: (path) => (winning ? new Promise<void>(() => {}) : fs.syncDirectory(path)),
    };
    const winner = await openLocalStore({
      root: '/data/store',
      fileSystem: neverSyncing,
      clock: createManualClock(),
      random: seededRandom(8),
    });
    await winner.head('k');
    winning = true;
    void winner.put('k', bytesOf('winner'), { condition: absent });
    while (!disk.files().includes('/data/store/k')) await new Promise((resolve) => setImmediate(resolve));
    await expect(loser.put('k', bytesOf('loser'), { condition: absent })).rejects.toMatchObject({
      code: 'STORE_EXISTS',
    });
    disk.crash('lose');
    disk.reopen();
    expect(new TextDecoder().decode(disk.contentOf('/data/store/k'))).toBe('winner');
  });

  it('makes a removal durable that an earlier attempt could not sync', async () => {
    const { disk, store } = await simulated();
    await store.put('k', bytesOf('x'));
    disk.failNext('syncDirectory', 'EIO');
    await expect(store.delete('k')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    await store.delete('k');
    disk.crash('lose');
    disk.reopen();
    expect(disk.files()).toEqual([]);
  });

  it('knows its own link when the answer was lost (NFS)', async () => {
    const { disk, store } = await simulated();
    for (const [key, code] of [
      ['a', 'EEXIST'],
      ['b', 'EIO'],
    ] as const) {
      disk.failNext('link', code, { afterEffect: true });
      await store.put(key, bytesOf('x'), { condition: absent });
    }
    const head = await store.head('a');
    disk.failNext('link', 'EEXIST', { afterEffect: true });
    const replaced = await store.put('a', bytesOf('y'), { condition: { kind: 'unchanged', version: head!.version } });
    expect((await store.head('a'))!.version).toBe(replaced.version);
    await expect(store.put('b', bytesOf('x'), { condition: absent })).rejects.toMatchObject({ code: 'STORE_EXISTS' });
  });

  it('removes old versions once newer ones are older than the grace', async () => {
    let nowMs = 0;
    const { disk, store } = await simulated({ nowMs: () => nowMs });
    let { version } = await store.put('lease', bytesOf('0'), { condition: absent });
    for (let round = 1; round <= 200; round++) {
      nowMs += 5000;
      version = (await store.put('lease', bytesOf(`${round}`), { condition: { kind: 'unchanged', version } })).version;
    }
    const kept = disk.files();
    // 10 minutes of one version each 5 s, and never the newest.
    expect(kept.length).toBeGreaterThanOrEqual(120);
    expect(kept.length).toBeLessThan(130);
    expect(kept.at(-1)).toBe('/data/store/lease.v%/0000000201');
    expect(new TextDecoder().decode((await store.get('lease')).bytes)).toBe('200');
  });

  it('does not let a stalled writer win a number that was cleaned away', async () => {
    let nowMs = 0;
    const { disk, store } = await simulated({ nowMs: () => nowMs });
    const first = await store.put('lease', bytesOf('0'), { condition: absent });
    const second = await store.put('lease', bytesOf('1'), { condition: { kind: 'unchanged', version: first.version } });
    // The stalled one has looked (version 2 is the highest) and now sleeps before its link.
    let letGo: (() => void) | undefined;
    const gate = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    let stalledOnce = false;
    const stalling: FileSystem = {
      open: (path, mode) => disk.fileSystem.open(path, mode),
      rename: (from, to) => disk.fileSystem.rename(from, to),
      unlink: (path) => disk.fileSystem.unlink(path),
      removeDirectory: (path) => disk.fileSystem.removeDirectory(path),
      makeDirectory: (path) => disk.fileSystem.makeDirectory(path),
      list: (path) => disk.fileSystem.list(path),
      stat: (path) => disk.fileSystem.stat(path),
      syncDirectory: (path) => disk.fileSystem.syncDirectory(path),
      link: async (from, to) => {
        stalledOnce = true;
        await gate;
        return disk.fileSystem.link(from, to);
      },
    };
    const slow = await openLocalStore({
      root: '/data/store',
      fileSystem: stalling,
      clock: createManualClock(),
      random: seededRandom(99),
    });
    const attempt = slow.put('lease', bytesOf('stalled'), {
      condition: { kind: 'unchanged', version: second.version },
    });
    const outcome = expect(attempt).rejects.toMatchObject({ code: 'STORE_EXISTS' });
    let { version } = second;
    for (let round = 0; round < 200; round++) {
      nowMs += 60_000;
      version = (await store.put('lease', bytesOf(`n${round}`), { condition: { kind: 'unchanged', version } })).version;
    }
    expect(disk.files()).not.toContain('/data/store/lease.v%/0000000003');
    expect(stalledOnce).toBe(true);
    letGo?.();
    await outcome;
    expect(new TextDecoder().decode((await store.get('lease')).bytes)).toBe('n199');
    expect(disk.files()).not.toContain('/data/store/lease.v%/0000000003');
  });

  it('refuses an object where a folder is, and a folder where an object is', async () => {
    const store = await onDisk(await temporaryFolder());
    await store.put('a/b', bytesOf('x'));
    for (const options of [{}, { condition: absent }]) {
      await expect(store.put('a', bytesOf('x'), options)).rejects.toMatchObject({ code: 'STORE_INVALID' });
      await expect(store.put('a/b/c', bytesOf('x'), options)).rejects.toMatchObject({ code: 'STORE_INVALID' });
    }
    expect(await store.head('a/b/c')).toBeUndefined();
    await store.delete('a/b/c');
    expect((await store.get('a/b')).bytes.byteLength).toBe(1);
  });

  it('goes on when folders were removed by hand', async () => {
    const { disk, store } = await simulated();
    await store.put('a/b/k', bytesOf('x'));
    await disk.fileSystem.rename('/data/store/a', '/data/aside');
    await disk.fileSystem.rename('/data/store/.tmp', '/data/aside-too');
    await store.put('a/b/k', bytesOf('y'), { condition: absent });
    expect(disk.files()).toContain('/data/store/a/b/k');
  });

  it('opens for reading only without writing anything', async () => {
    const root = await temporaryFolder();
    await writeFile(join(root, 'k'), 'x');
    const store = await openLocalStore({
      root,
      fileSystem: nodeFileSystem,
      clock: systemClock,
      random: systemRandom,
      readOnly: true,
    });
    expect((await store.get('k')).bytes.byteLength).toBe(1);
    await expect(store.put('n', bytesOf('x'))).rejects.toMatchObject({ code: 'STORE_DENIED' });
    await expect(store.delete('k')).rejects.toMatchObject({ code: 'STORE_DENIED' });
    expect(await readdir(root)).toEqual(['k']);
  });
});
