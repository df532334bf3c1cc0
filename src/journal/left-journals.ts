/**
 * Journals on this volume whose replica is gone: a container that came back under another name, a node that was lost, a worker that is
 * no more. Found by their owner's stillness, finished by another replica (volume-takeover.ts), and deleted once no sender can come back
 * with a retry of what is in them.
 */
import { join } from 'node:path';
import type { Clock } from '../core/clock.ts';
import { type FileSystem, isFileError } from '../core/file-system.ts';
import type { Random } from '../core/random.ts';
import { unlinkIfThere } from './checked-file.ts';
import { isVisible, type OwnerRecord, ownerOf, type ProcessProbe, systemProcessProbe, takeOwnership } from './owner.ts';
import { StillnessWatch } from './stillness-watch.ts';

export interface LeftJournal {
  replica: string;
  folder: string;
  /** Whether it may be succeeded: true of the owner that was seen to be still, false of any that came after. */
  isGone: (owner: OwnerRecord) => boolean;
}

export interface LeftJournalsOptions {
  fileSystem: FileSystem;
  /** `<data folder>/journal`. */
  root: string;
  /** Not to be looked at. */
  isOwn: (replica: string) => boolean;
  leaseMs: number;
  clock: Clock;
  random: Random;
  processProbe?: ProcessProbe;
}

const IDENTITY_FILE = 'identity.json';
const OWNER_FILE = 'owner';
const FOLDERS_MAX = 1_000;

export class LeftJournals {
  readonly #options: LeftJournalsOptions;
  readonly #probe: ProcessProbe;
  readonly #watch: StillnessWatch;

  constructor(options: LeftJournalsOptions) {
    this.#options = options;
    this.#probe = options.processProbe ?? systemProcessProbe;
    this.#watch = new StillnessWatch(options.fileSystem, options.clock, options.leaseMs);
  }

  /** Only what was looked at for longer than a lease is found. */
  async find(): Promise<LeftJournal[]> {
    const { fileSystem, root, isOwn } = this.#options;
    const found: LeftJournal[] = [];
    const self = await this.#probe.self();
    for (const name of (await fileSystem.list(root)).slice(0, FOLDERS_MAX)) {
      const folder = join(root, name);
      if (isOwn(name) || !(await fileSystem.stat(folder))?.isDirectory) continue;
      const owner = await ownerOf(fileSystem, folder);
      if (owner && isVisible(owner, self) && (await this.#probe.isAlive(owner))) continue;
      if (!(await this.#watch.isStill(folder, owner))) continue;
      found.push({ replica: name, folder, isGone: ({ token }) => token === owner?.token });
    }
    return found;
  }

  /** What the journal's files are, to tell whether anything has happened to it. */
  async fingerprint({ folder }: LeftJournal): Promise<string> {
    const { fileSystem } = this.#options;
    const parts: string[] = [];
    for (const name of await fileSystem.list(folder)) {
      if (name.endsWith('.journal')) parts.push(`${name}:${(await fileSystem.stat(join(folder, name)))?.sizeBytes}`);
    }
    return parts.join(' ');
  }

  /** Deletes a journal with nothing left to do, if its files are still those of `fingerprint`. False: something speaks against it. */
  async remove(left: LeftJournal, fingerprint: string): Promise<boolean> {
    const { fileSystem, random } = this.#options;
    const { folder } = left;
    // What was damaged is somebody's to look at.
    if ((await fileSystem.list(join(folder, 'quarantine'))).length > 0) return false;
    const isAlive = async (owner: OwnerRecord) => !left.isGone(owner);
    const ownership = await takeOwnership(fileSystem, folder, { self: this.#probe.self, isAlive }, random, true);
    if ((await this.fingerprint(left)) !== fingerprint) {
      await ownership.release();
      return false;
    }
    // The identity first: whoever founds a journal here takes the next epoch. Positions last, so that none is given out twice before.
    await unlinkIfThere(fileSystem, join(folder, IDENTITY_FILE));
    await fileSystem.syncDirectory(folder);
    const names = (await fileSystem.list(folder)).filter((name) => name.endsWith('.journal'));
    for (const name of names) await unlinkIfThere(fileSystem, join(folder, name));
    await fileSystem.syncDirectory(folder);
    const consumers = join(folder, 'consumers');
    for (const name of await fileSystem.list(consumers)) await unlinkIfThere(fileSystem, join(consumers, name));
    for (const name of ['consumers', 'quarantine']) await fileSystem.removeDirectory(join(folder, name));
    for (const name of await fileSystem.list(folder)) {
      if (name !== OWNER_FILE) await unlinkIfThere(fileSystem, join(folder, name));
    }
    await ownership.release();
    try {
      await fileSystem.removeDirectory(folder);
    } catch (error) {
      // Somebody has just come back.
      if (!isFileError(error, 'ENOTEMPTY') && !isFileError(error, 'EEXIST')) throw error;
    }
    return true;
  }
}
