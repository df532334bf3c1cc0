/**
 * How a journal folder changes hands on a volume that replicas share. Its own replica takes it at its start, and asks for it (the file
 * `wanted`) where another is just finishing it; that one gives it back as soon as it sees the wish. Another takes it only from an owner
 * that has given no sign of life for longer than its lease.
 */
import { join } from 'node:path';
import { isProxyError, ProxyError } from '../core/errors.ts';
import type { FileSystem } from '../core/file-system.ts';
import { unlinkIfThere, writeSyncedFile } from './checked-file.ts';
import type { DiskJournalOptions } from './journal-options.ts';
import { isVisible, type OwnerRecord, type Ownership, ownerOf, systemProcessProbe, takeOwnership } from './owner.ts';
import { StillnessWatch } from './stillness-watch.ts';

const WANTED_FILE = 'wanted';
/** Left by who did not give the folder back in good order: it may still be at it, or be about to. */
const ADOPTED_FILE = 'adopted';
const LOOK_EVERY_MS = 200;
/** Beyond the lease: for the one that finishes it to stop what it is about. */
const GIVE_BACK_MS_MAX = 60_000;

/** Throws ProxyError JOURNAL_OWNED while somebody else holds the folder, and will not give it back. */
export async function takeFolder(options: DiskJournalOptions): Promise<Ownership> {
  const { fileSystem, folder, random, sharing } = options;
  const probe = options.processProbe ?? systemProcessProbe;
  if (!sharing) return takeOwnership(fileSystem, folder, probe, random);
  const { adoption } = sharing;
  if (adoption) {
    const isAlive = async (owner: OwnerRecord) => !adoption.isGone(owner);
    const ownership = await takeOwnership(fileSystem, folder, { self: probe.self, isAlive }, random, true);
    // Of a replica that did not live to see it. One that waits says so again.
    await unlinkIfThere(fileSystem, join(folder, WANTED_FILE));
    await writeSyncedFile(fileSystem, join(folder, ADOPTED_FILE), Buffer.from('adopted\n'));
    await fileSystem.syncDirectory(folder);
    return ownership;
  }
  return takeBack(options, sharing.leaseMs);
}

/** Whether somebody else was at it last, and may still commit. */
export async function wasAdopted(fileSystem: FileSystem, folder: string): Promise<boolean> {
  return (await fileSystem.stat(join(folder, ADOPTED_FILE))) !== undefined;
}

/** Nobody but its owner commits for it any more. */
export async function forgetAdoption(fileSystem: FileSystem, folder: string): Promise<void> {
  await unlinkIfThere(fileSystem, join(folder, ADOPTED_FILE));
}

/** Whether the folder's own replica waits for it. */
export async function isWanted(fileSystem: FileSystem, folder: string): Promise<boolean> {
  return (await fileSystem.stat(join(folder, WANTED_FILE))) !== undefined;
}

async function takeBack(options: DiskJournalOptions, leaseMs: number): Promise<Ownership> {
  const { fileSystem, folder, random, clock, log } = options;
  const probe = options.processProbe ?? systemProcessProbe;
  const watch = new StillnessWatch(fileSystem, clock, leaseMs);
  const self = await probe.self();
  const isAlive = async (owner: OwnerRecord) =>
    owner.isAdopter && !isVisible(owner, self) ? !(await watch.isStill(folder, owner)) : probe.isAlive(owner);
  const wanted = join(folder, WANTED_FILE);
  const endsAtMs = clock.monotonicMs() + leaseMs * 2 + GIVE_BACK_MS_MAX;
  let asked = false;
  for (;;) {
    try {
      const ownership = await takeOwnership(fileSystem, folder, { self: probe.self, isAlive }, random);
      await unlinkIfThere(fileSystem, wanted);
      return ownership;
    } catch (error) {
      if (!isProxyError(error, 'JOURNAL_OWNED')) throw error;
      const owner = await ownerOf(fileSystem, folder);
      if (owner && !owner.isAdopter) throw error;
      if (clock.monotonicMs() > endsAtMs) {
        throw new ProxyError(
          'JOURNAL_OWNED',
          `${folder} is being finished by another replica, which does not give it back`,
        );
      }
      if (!asked) log.warn({ folder }, 'the journal is being finished by another replica; waiting for it');
      asked = true;
      if (!(await isWanted(fileSystem, folder))) await writeSyncedFile(fileSystem, wanted, Buffer.from('wanted\n'));
      await clock.sleep(LOOK_EVERY_MS);
    }
  }
}
