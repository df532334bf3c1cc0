import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { isProxyError } from '../../src/core/errors.ts';
import { nodeFileSystem } from '../../src/core/file-system.ts';
import { seededRandom } from '../../src/core/random.ts';
import { openDiskJournal } from '../../src/journal/disk-journal.ts';
import { wasAdopted } from '../../src/journal/folder-taking.ts';
import type { Journal } from '../../src/journal/journal.ts';
import type { VolumeSharing } from '../../src/journal/journal-options.ts';
import { type LeftJournal, LeftJournals } from '../../src/journal/left-journals.ts';
import type { ProcessProbe } from '../../src/journal/owner.ts';
import { createManualClock, type ManualClock } from '../support/manual-clock.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { diskOptions, envelopeOf } from './journal-support.ts';

const LEASE_MS = 10_000;
const EVERYTHING = { entriesMax: 100, bytesMax: 1_000_000 };

/** A process on a machine of its own: it sees no other's. */
function machine(name: string): ProcessProbe {
  return {
    self: async () => ({ pid: 1, startTime: name, bootId: `boot-${name}`, namespace: 'pid:[1]' }),
    isAlive: async (owner) => owner.bootId === `boot-${name}`,
  };
}

describe('a journal folder on a shared volume', () => {
  let root: string;
  let clock: ManualClock;
  let lost: string[];
  let seed = 0;

  beforeEach(async () => {
    root = await temporaryFolder();
    clock = createManualClock();
    lost = [];
  });

  function open(on: string, replica: string, adoption?: VolumeSharing['adoption']): Promise<Journal> {
    seed += 1;
    return openDiskJournal(
      diskOptions(nodeFileSystem, join(root, replica), {
        replica,
        clock: clock as never,
        random: seededRandom(seed),
        processProbe: machine(on),
        sharing: { leaseMs: LEASE_MS, onLost: () => lost.push(on), ...(adoption ? { adoption } : {}) },
      }),
    );
  }

  function watcher(on: string): LeftJournals {
    const random = seededRandom(99);
    return new LeftJournals({
      ...{
        fileSystem: nodeFileSystem,
        root,
        isOwn: (replica: string) => replica === on,
        leaseMs: LEASE_MS,
        clock,
        random,
      },
      processProbe: machine(on),
    });
  }

  /** Clocks go on for everybody, in steps short enough for beats. */
  async function pass(ms: number, look?: () => Promise<unknown>): Promise<void> {
    for (let at = 0; at < ms; at += 1_000) {
      await clock.advance(1_000);
      // Beats are real file operations.
      await new Promise((resolve) => setTimeout(resolve, 5));
      await look?.();
    }
  }

  /** What waits by the clock goes on while files are slow. */
  async function passUntil<T>(waiting: Promise<T>): Promise<T> {
    let isOver = false;
    const settled = waiting.finally(() => {
      isOver = true;
    });
    settled.catch(() => {});
    for (let round = 0; round < 2_000 && !isOver; round += 1) await pass(1_000);
    return settled;
  }

  async function findLeft(watch: LeftJournals): Promise<LeftJournal> {
    let found: LeftJournal[] = [];
    for (let round = 0; round < 60 && found.length === 0; round += 1) {
      found = await watch.find();
      await pass(1_000);
    }
    expect(found).toHaveLength(1);
    return found[0]!;
  }

  it('is not taken from a replica that beats, on whatever machine', async () => {
    const journal = await open('a', 'a');
    const watch = watcher('b');
    await pass(LEASE_MS * 4, async () => expect(await watch.find()).toEqual([]));
    expect(await journal.append(envelopeOf('x'))).toMatchObject({ ok: true });
    await journal.close();
  });

  it('is found once its owner has been still for longer than its lease; released ones too', async () => {
    const journal = await open('a', 'a');
    await journal.append(envelopeOf('x'));
    await journal.close();
    const watch = watcher('b');
    expect(await watch.find()).toEqual([]);
    await pass(LEASE_MS);
    expect(await watch.find()).toEqual([]);
    await pass(LEASE_MS);
    const [left] = await watch.find();
    expect(left).toMatchObject({ replica: 'a' });
    const adopted = await open('b', 'a', left!);
    expect(await wasAdopted(nodeFileSystem, left!.folder)).toBe(true);
    expect((await adopted.read(1, EVERYTHING)).map(({ position }) => position)).toEqual([1]);
    await adopted.close();
    expect(await wasAdopted(nodeFileSystem, left!.folder)).toBe(false);
  });

  it('keeps a zombie from acknowledging what its successor has not seen', async () => {
    const own = createManualClock();
    const stopped = await openDiskJournal(
      diskOptions(nodeFileSystem, join(root, 'a'), {
        replica: 'a',
        // Nobody moves it until the process goes on.
        clock: own as never,
        processProbe: machine('a'),
        sharing: { leaseMs: LEASE_MS, onLost: () => lost.push('a') },
      }),
    );
    expect(await stopped.append(envelopeOf('before'))).toMatchObject({ ok: true });
    const left = await findLeft(watcher('b'));
    const adopted = await open('b', 'a', left);
    expect(await adopted.read(1, EVERYTHING)).toHaveLength(1);

    await own.advance(LEASE_MS * 3);
    expect(await stopped.append(envelopeOf('after'))).toEqual({ ok: false, reason: 'closed' });
    expect(lost).toEqual(['a']);
    await adopted.close();
    await stopped.close();
  });

  it('lets a process that stood still for long go on when nobody has taken its folder', async () => {
    const journal = await open('a', 'a');
    clock.jumpTo(clock.nowMs() + LEASE_MS * 10);
    expect(await journal.append(envelopeOf('x'))).toMatchObject({ ok: true });
    expect(lost).toEqual([]);
    await journal.close();
  });

  it('goes back to its own replica once the adopter sees that it is wanted', async () => {
    await (await open('a', 'a')).close();
    const adopted = await open('b', 'a', await findLeft(watcher('b')));
    const again = open('a', 'a');
    await pass(LEASE_MS * 3);
    await adopted.close();
    const journal = await passUntil(again);
    expect(await journal.append(envelopeOf('x'))).toMatchObject({ ok: true });
    await journal.close();
  });

  it('goes back to its own replica when the adopter is gone as well', async () => {
    await (await open('a', 'a')).close();
    const left = await findLeft(watcher('b'));
    const own = createManualClock();
    seed += 1;
    const dead = await openDiskJournal(
      diskOptions(nodeFileSystem, join(root, 'a'), {
        replica: 'a',
        clock: own as never,
        random: seededRandom(seed),
        processProbe: machine('b'),
        sharing: { leaseMs: LEASE_MS, onLost: () => lost.push('b'), adoption: left },
      }),
    );
    const journal = await passUntil(open('a', 'a'));
    expect(await wasAdopted(nodeFileSystem, join(root, 'a'))).toBe(true);
    await own.advance(LEASE_MS);
    await expect.poll(() => lost, { timeout: 20_000 }).toEqual(['b']);
    await dead.close();
    await journal.close();
  });

  it('is succeeded by one of several adopters', async () => {
    await (await open('a', 'a')).close();
    const left = await findLeft(watcher('b'));
    const results = await Promise.allSettled([open('b', 'a', left), open('c', 'a', left), open('d', 'a', left)]);
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const result of results) {
      if (result.status === 'fulfilled') await result.value.close();
      else expect(isProxyError(result.reason, 'JOURNAL_OWNED')).toBe(true);
    }
  });

  it('is deleted whole, and founded anew with the next epoch', async () => {
    const journal = await open('a', 'a');
    const consumer = await journal.consumer('archive', 'start');
    await journal.append(envelopeOf('x'));
    await consumer.commit(1);
    await journal.close();
    const watch = watcher('b');
    const left = await findLeft(watch);
    expect(await watch.remove(left, 'other files')).toBe(false);
    const found = await findLeft(watch);
    expect(await watch.remove(found, await watch.fingerprint(found))).toBe(true);
    expect(await nodeFileSystem.stat(left.folder)).toBeUndefined();
  });
});
