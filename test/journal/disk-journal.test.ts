import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isProxyError } from '../../src/core/errors.ts';
import { nodeFileSystem } from '../../src/core/file-system.ts';
import { seededRandom, systemRandom } from '../../src/core/random.ts';
import { createSealer } from '../../src/core/sealer.ts';
import { openDiskJournal } from '../../src/journal/disk-journal.ts';
import type { Journal } from '../../src/journal/journal.ts';
import type { DiskJournalOptions } from '../../src/journal/journal-options.ts';
import { systemProcessProbe } from '../../src/journal/owner.ts';
import { describeJournal, SUITE_BUDGET_BYTES } from '../contract/journal-suite.ts';
import { createSimulatedDisk } from '../support/simulated-disk.ts';
import { createTestProbe, diskOptions, envelopeOf, NOW_MS } from './journal-support.ts';

const EVERYTHING = { entriesMax: 10_000, bytesMax: 1 << 30 };

describeJournal('disk', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'journal-'));
  const options = { budgetBytes: SUITE_BUDGET_BYTES, recentBytesMax: 4096 };
  const journal = await openDiskJournal(diskOptions(nodeFileSystem, join(folder, 'journal', 'replica-a'), options));
  return {
    journal,
    dispose: async () => {
      await journal.close();
      await rm(folder, { recursive: true });
    },
  };
});

describe('disk journal', () => {
  let base: string;
  let folder: string;
  const opened: Journal[] = [];

  beforeEach(async () => {
    base = await mkdtemp(join(tmpdir(), 'journal-'));
    folder = join(base, 'journal', 'replica-a');
  });
  afterEach(async () => {
    for (const journal of opened.splice(0)) await journal.close();
    await rm(base, { recursive: true });
  });

  const open = async (more: Partial<DiskJournalOptions> = {}): Promise<Journal> => {
    const journal = await openDiskJournal(diskOptions(nodeFileSystem, folder, more));
    opened.push(journal);
    return journal;
  };
  const bodies = async (journal: Journal, from = 1): Promise<string[]> =>
    (await journal.read(from, EVERYTHING)).map((entry) => Buffer.from(entry.body).toString());
  /** A turn of the event loop: confirmations are on disk after it. */
  const turn = () => new Promise((resolve) => setImmediate(resolve));

  it('keeps entries, positions, notes and identity over a restart', async () => {
    const first = await open({ newEpoch: async () => 41 });
    await Promise.all(['a', 'b', 'c'].map((body) => first.append(envelopeOf(body))));
    const consumer = await first.consumer('archive', 'start');
    await consumer.commit(1, { nextCommit: 3 });
    await first.close();
    const second = await open({
      newEpoch: async () => {
        throw new Error('BUG: asked for an epoch again');
      },
    });
    expect(second.identity).toEqual({ replica: 'replica-a', epoch: 41 });
    expect(second.consumers()).toEqual(['archive']);
    expect((await second.consumer('archive', 'end')).state).toEqual({ position: 1, note: { nextCommit: 3 } });
    expect(await bodies(second, 2)).toEqual(['b', 'c']);
    expect(await second.append(envelopeOf('d'))).toEqual({ ok: true, position: 4 });
    expect(await bodies(second)).toEqual(['a', 'b', 'c', 'd']);
  });

  it('refuses the folder of another replica', async () => {
    await (await open()).close();
    await expect(open({ replica: 'replica-b' })).rejects.toSatisfy((error) => isProxyError(error, 'CONFIG_INVALID'));
  });

  it('does not pile up files over restarts without appends', async () => {
    for (let round = 0; round < 4; round += 1) await (await open()).close();
    await (await open()).append(envelopeOf('a'));
    await opened.at(-1)?.close();
    for (let round = 0; round < 4; round += 1) await (await open()).close();
    expect((await readdir(folder)).filter((name) => name.endsWith('.journal'))).toEqual([
      '0000000000000001.journal',
      '0000000000000002.journal',
    ]);
  });

  it('writes bodies sealed where asked, and no journal byte tells them', async () => {
    const journal = await open({ recentBytesMax: 0 });
    await journal.append(envelopeOf('{"api_key":"topsecret"}', NOW_MS, { sealedBody: true }));
    const file = await readFile(join(folder, '0000000000000001.journal'));
    expect(file.includes('topsecret')).toBe(false);
    expect(await bodies(journal)).toEqual(['{"api_key":"topsecret"}']);
    await journal.close();
    const other = await open({ sealer: createSealer([Buffer.alloc(32, 9)], seededRandom(2)) });
    await expect(other.read(1, EVERYTHING)).rejects.toSatisfy((error) => isProxyError(error, 'SEAL_KEY_MISSING'));
  });

  it('never uses a position again, though every file and consumer has gone', async () => {
    const first = await open({ budgetBytes: 64 * 1024 });
    const consumer = await first.consumer('archive', 'start');
    for (let index = 0; index < 5; index += 1) await first.append(envelopeOf('x'.repeat(9000)));
    await consumer.commit(5);
    await expect.poll(() => first.usage().start).toBe(6);
    await first.retire('archive');
    await first.close();
    const second = await open({ budgetBytes: 64 * 1024 });
    expect(second.usage()).toMatchObject({ start: 6, end: 5 });
    expect(await second.append(envelopeOf('y'))).toEqual({ ok: true, position: 6 });
  });

  it('goes on behind a consumer position when the files are lost', async () => {
    const first = await open();
    const consumer = await first.consumer('archive', 'start');
    for (let index = 0; index < 5; index += 1) await first.append(envelopeOf('x'));
    await consumer.commit(5);
    await first.close();
    await rm(join(folder, '0000000000000001.journal'));
    const second = await open();
    expect(second.usage()).toMatchObject({ start: 6, end: 5 });
    expect(await second.append(envelopeOf('y'))).toEqual({ ok: true, position: 6 });
  });

  it('falls back to the state before when a consumer file is damaged, and to the start when both are', async () => {
    const first = await open();
    const consumer = await first.consumer('archive', 'start');
    for (let index = 0; index < 5; index += 1) await first.append(envelopeOf('x'));
    await consumer.commit(2, 'two');
    await consumer.commit(4, 'four');
    await first.close();
    await writeFile(join(folder, 'consumers', 'archive.json'), '{"crc":1,"value":{"name":"archive","position":5}}');
    const second = await open();
    expect((await second.consumer('archive', 'end')).state).toEqual({ position: 2, note: 'two' });
    await second.close();
    await writeFile(join(folder, 'consumers', 'archive.json'), 'rubbish');
    await writeFile(join(folder, 'consumers', 'archive.previous.json'), '');
    const third = await open();
    expect((await third.consumer('archive', 'end')).state).toEqual({ position: 0, note: undefined });
  });

  it('tells what was not confirmed, within the window, also when its file is gone', async () => {
    const settings = { budgetBytes: 64 * 1024 };
    const first = await open(settings);
    await first.append(envelopeOf('too old', NOW_MS - 16 * 60_000));
    await first.append(envelopeOf('confirmed'));
    await first.append(envelopeOf('unconfirmed', NOW_MS - 1000, { requestId: 'r-3' }));
    await first.append(envelopeOf('confirmed later'));
    first.confirm(2);
    await turn();
    // As after SIGKILL: nothing is closed, the next process takes over.
    const second = await open(settings);
    expect(second.unconfirmedAtOpen().map(({ position, requestId }) => [position, requestId])).toEqual([
      [3, 'r-3'],
      [4, undefined],
    ]);
    const consumer = await second.consumer('archive', 'start');
    for (let index = 0; index < 12; index += 1) {
      const result = await second.append(envelopeOf(`${index}`.repeat(2000)));
      if (result.ok) second.confirm(result.position);
    }
    await consumer.commit(16);
    // Until no more files go: the next process does not open beside one that deletes.
    await expect
      .poll(async () => {
        const { start } = second.usage();
        await new Promise((resolve) => setTimeout(resolve, 50));
        return start > 10 && second.usage().start === start;
      })
      .toBe(true);
    second.confirm(4);
    await turn();
    const third = await open(settings);
    expect(third.usage().start).toBeGreaterThan(10);
    expect(third.unconfirmedAtOpen()).toEqual([
      { position: 3, requestId: 'r-3', receivedAtMs: NOW_MS - 1000, bodyHash: envelopeOf('unconfirmed').head.bodyHash },
    ]);
    await third.close();
    const clock = diskOptions(nodeFileSystem, folder).clock;
    clock.wallMs += 16 * 60_000;
    expect((await open({ ...settings, clock })).unconfirmedAtOpen()).toEqual([]);
  });

  it('closes its lane for ever after a failed sync', async () => {
    const disk = createSimulatedDisk(seededRandom(3));
    const journal = await openDiskJournal(diskOptions(disk.fileSystem, '/data/journal/replica-a'));
    expect(await journal.append(envelopeOf('a'))).toMatchObject({ ok: true });
    disk.failNext('sync', 'EIO');
    expect(await Promise.all([journal.append(envelopeOf('b')), journal.append(envelopeOf('c'))])).toEqual([
      { ok: false, reason: 'closed' },
      { ok: false, reason: 'closed' },
    ]);
    expect(await journal.append(envelopeOf('d'))).toEqual({ ok: false, reason: 'closed' });
    expect(journal.usage()).toMatchObject({ writable: false, end: 1 });
    expect(await bodies(journal)).toEqual(['a']);
    const consumer = await journal.consumer('archive', 'start');
    await consumer.commit(1);
    await journal.close();
  });

  it('makes durable at open what a failed sync left in the page cache only', async () => {
    let survivors = 0;
    for (let seed = 1; seed <= 40; seed += 1) {
      const disk = createSimulatedDisk(seededRandom(seed));
      const there = '/data/journal/replica-a';
      const first = await openDiskJournal(diskOptions(disk.fileSystem, there));
      await first.append(envelopeOf('a'));
      disk.failNext('sync', 'EIO');
      await first.append(envelopeOf('b'));
      disk.kill();
      const second = await openDiskJournal(diskOptions(disk.reopen(), there));
      const read = await bodies(second);
      if (read.includes('b')) survivors += 1;
      disk.crash('lose');
      const third = await openDiskJournal(diskOptions(disk.reopen(), there));
      expect(await bodies(third)).toEqual(read);
    }
    expect(survivors).toBeGreaterThan(0);
  });

  it('answers full on a full disk, and goes on when there is room again', async () => {
    const disk = createSimulatedDisk(seededRandom(4));
    const folderThere = '/data/journal/replica-a';
    const journal = await openDiskJournal(diskOptions(disk.fileSystem, folderThere, { reserveBytes: 4096 }));
    const consumer = await journal.consumer('archive', 'start');
    expect(await journal.append(envelopeOf('a'))).toMatchObject({ ok: true });
    disk.spaceBytes = disk.usedBytes + 100;
    expect(await journal.append(envelopeOf('b'))).toEqual({ ok: false, reason: 'full' });
    expect(journal.usage().writable).toBe(true);
    disk.spaceBytes = disk.usedBytes;
    await consumer.commit(1, 'the reserve makes room for this');
    disk.spaceBytes = Number.POSITIVE_INFINITY;
    expect(await journal.append(envelopeOf('c'))).toEqual({ ok: true, position: 2 });
    disk.crash('lose');
    const next = await openDiskJournal(diskOptions(disk.reopen(), folderThere));
    expect(await bodies(next)).toEqual(['a', 'c']);
    expect((await next.consumer('archive', 'start')).state.position).toBe(1);
    await next.close();
  });

  it('says so when not even the reserve makes room for a position', async () => {
    const disk = createSimulatedDisk(seededRandom(4));
    const journal = await openDiskJournal(diskOptions(disk.fileSystem, '/data/journal/replica-a', { reserveBytes: 0 }));
    const consumer = await journal.consumer('archive', 'start');
    await journal.append(envelopeOf('a'));
    disk.spaceBytes = disk.usedBytes;
    const isFull = (error: unknown): boolean => isProxyError(error, 'JOURNAL_FULL');
    await expect(consumer.commit(1)).rejects.toSatisfy(isFull);
    expect(consumer.state.position).toBe(0);
    disk.spaceBytes = Number.POSITIVE_INFINITY;
    await consumer.commit(1);
    expect(consumer.state.position).toBe(1);
    await journal.close();
  });

  it('sets a frame aside that turns out damaged when it is read', async () => {
    const first = await open();
    for (const body of ['one', 'two', 'three']) await first.append(envelopeOf(body.repeat(50)));
    await first.close();
    const second = await open();
    const path = join(folder, '0000000000000001.journal');
    const content = await readFile(path);
    content[content.indexOf('twotwo')] = 0x21;
    await writeFile(path, content);
    expect(await bodies(second)).toEqual(['one'.repeat(50), 'three'.repeat(50)]);
    expect(await bodies(second)).toHaveLength(2);
    expect(second.usage().quarantinedFrames).toBe(1);
    expect(second.backlog(0).entries).toBe(2);
    expect(second.backlog(1).entries).toBe(1);
    expect(await readdir(join(folder, 'quarantine'))).toHaveLength(1);
  });
});

describe('ownership', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'journal-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const isOwned = (error: unknown): boolean => isProxyError(error, 'JOURNAL_OWNED');

  it('refuses a second journal in the same process, until the first is closed', async () => {
    const options = diskOptions(nodeFileSystem, folder, { processProbe: systemProcessProbe, random: systemRandom });
    const journal = await openDiskJournal(options);
    await expect(openDiskJournal(options)).rejects.toSatisfy(isOwned);
    await journal.append(envelopeOf('still works'));
    await journal.close();
    await (await openDiskJournal(options)).close();
  });

  it('lets exactly one of several successors take over from a dead owner', async () => {
    for (let seed = 1; seed <= 30; seed += 1) {
      const disk = createSimulatedDisk(seededRandom(seed));
      const probe = createTestProbe();
      const start = (pid: number) => {
        // Its own probe: each process is itself.
        const processProbe = { self: async () => ({ ...(await probe.self()), pid }), isAlive: probe.isAlive };
        const random = seededRandom(seed * 100 + pid);
        return openDiskJournal(diskOptions(disk.fileSystem, '/data/j/a', { processProbe, random }));
      };
      await start(1);
      probe.dead.add(1);
      const results = await Promise.allSettled([start(2), start(3), start(4), start(5)]);
      expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      for (const result of results) if (result.status === 'rejected') expect(isOwned(result.reason)).toBe(true);
      const winner = results.findIndex(({ status }) => status === 'fulfilled') + 2;
      probe.dead.add(winner);
      await start(6);
      await expect(start(7)).rejects.toSatisfy(isOwned);
    }
  });

  it('refuses while another process lives, and takes over at once after its SIGKILL', async () => {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'owner-process.ts'), folder], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    expect(line.toString()).toContain('appended 3');
    const options = diskOptions(nodeFileSystem, folder, { processProbe: systemProcessProbe, random: systemRandom });
    await expect(openDiskJournal(options)).rejects.toSatisfy(isOwned);
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
    const journal = await openDiskJournal(options);
    expect((await journal.read(1, EVERYTHING)).map((entry) => Buffer.from(entry.body).toString())).toEqual([
      '0',
      '1',
      '2',
    ]);
    expect(journal.unconfirmedAtOpen().map(({ position }) => position)).toEqual([1, 3]);
    await journal.close();
  });

  it('starts again on a full disk by giving up the reserve of a dead owner, and of no other', async () => {
    const disk = createSimulatedDisk(seededRandom(3));
    const probe = createTestProbe();
    const open = () =>
      openDiskJournal(diskOptions(disk.fileSystem, '/data/j/a', { processProbe: probe, reserveBytes: 64 * 1024 }));
    const journal = await open();
    await journal.append(envelopeOf('kept'));
    disk.spaceBytes = disk.usedBytes;
    await expect(open()).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(disk.files()).toContain('/data/j/a/reserve');
    probe.dead.add(1);
    probe.current = 2;
    const again = await open();
    expect((await again.read(1, EVERYTHING)).map(({ body }) => Buffer.from(body).toString())).toEqual(['kept']);
    await again.close();
  });

  it('stops a process from opening new files once it was succeeded', async () => {
    const first = await openDiskJournal(diskOptions(nodeFileSystem, folder, { budgetBytes: 64 * 1024 }));
    await first.append(envelopeOf('a'));
    const second = await openDiskJournal(
      diskOptions(nodeFileSystem, folder, { budgetBytes: 64 * 1024, random: seededRandom(99) }),
    );
    expect(await first.append(envelopeOf('b'.repeat(9000)))).toEqual({ ok: false, reason: 'closed' });
    await second.close();
    await first.close();
  });
});
