/**
 * Opens (or founds) the journal in a folder: ownership first, then identity, consumers, files, confirmations. Throws only for
 * a live owner, a foreign folder, or a failing file system; damage is set aside and told.
 */
import { dirname, join } from 'node:path';
import type { Position } from '../core/envelope.ts';
import { isFileError } from '../core/file-system.ts';
import { MIB } from '../core/limits.ts';
import { isNoSpace, readCheckedFile, TEMPORARY_SUFFIX, unlinkIfThere } from './checked-file.ts';
import { Confirmations } from './confirmations.ts';
import { ConsumerStore } from './consumer-store.ts';
import { DiskDoubts } from './disk-doubts.ts';
import { DiskJournal, UNCONFIRMED_FILE } from './disk-lane.ts';
import { takeFolder } from './folder-taking.ts';
import type { Journal, UnconfirmedEnvelope } from './journal.ts';
import type { JournalFile } from './journal-file.ts';
import { type DiskJournalOptions, RETRY_WINDOW_MS } from './journal-options.ts';
import type { Ownership } from './owner.ts';
import { OwnerBeat } from './owner-beat.ts';
import { createJournalFile, type KnownIdentity, recoverFiles, recoverIdentity } from './recovery.ts';
import { Reserve } from './reserve.ts';
import { UnconfirmedSet, unconfirmedOf } from './unconfirmed-set.ts';

const RESERVE_BYTES = MIB;

/** Throws ProxyError JOURNAL_OWNED while another live process owns the folder. */
export async function openDiskJournal(options: DiskJournalOptions): Promise<Journal> {
  const { random } = options;
  await makeFolders(options);
  const ownership = await takeFolder(options);
  try {
    const identity = await recoverIdentity(options, options.replica, options.newEpoch, random);
    return await openOwned(options, identity, ownership);
  } catch (error) {
    await ownership.release().catch(() => undefined);
    throw error;
  }
}

async function openOwned(options: DiskJournalOptions, identity: KnownIdentity, ownership: Ownership): Promise<Journal> {
  const { fileSystem, folder, clock, random, log } = options;
  await removeTemporaries(options);
  const nowMs = clock.nowMs();
  const retryWindowMs = options.retryWindowMs ?? RETRY_WINDOW_MS;

  const remembered = await readRemembered(options);
  const confirmations = new Confirmations(fileSystem, folder, identity.mark, log);
  const confirmed = await confirmations.load(await firstOfInterest(options, remembered));
  const unconfirmed = new UnconfirmedSet(retryWindowMs);
  const doubts = new DiskDoubts(clock, identity.epoch);
  for (const envelope of remembered) {
    if (!confirmed.has(envelope.position)) unconfirmed.add(envelope, nowMs);
  }
  const found = await recoverFiles(options, identity, (position, head) => {
    if (confirmed.has(position)) return;
    const envelope = unconfirmedOf(position, head);
    if (nowMs - head.receivedAtMs <= retryWindowMs) unconfirmed.add(envelope, nowMs);
    doubts.add(envelope);
  });

  const fallback = () => (found.files[0]?.first ?? found.next) - 1;
  const consumersFolder = join(folder, 'consumers');
  const reader = new ConsumerStore(fileSystem, consumersFolder, log, IDLE_HOST);
  await reader.load(fallback);
  doubts.resume(reader.furthest());
  // A position that a consumer has done was given out, even where its frame is lost.
  const next = Math.max(found.next, reader.furthest() + 1);

  const active = await openActive(options, identity, found.empty, next);
  const files = active ? [...found.files, active] : found.files;
  await confirmations.rotate(next);
  const reserve = new Reserve(fileSystem, folder, options.reserveBytes ?? RESERVE_BYTES, random, log);
  await reserve.fill();
  const { sharing } = options;
  const beat = sharing && new OwnerBeat({ ...options, ...sharing, ownership });
  await beat?.start();
  const journal = new DiskJournal(options, {
    identity,
    ownership,
    beat,
    files,
    active,
    next,
    doubts,
    quarantinedFrames: found.quarantinedFrames,
    confirmations,
    unconfirmed,
    unconfirmedAtOpen: unconfirmed.list(nowMs),
    remembered: remembered.length > 0,
    reserve,
    consumers: (host) => new ConsumerStore(fileSystem, consumersFolder, log, host),
  });
  await journal.consumerStore.load(fallback);
  await journal.trim();
  return journal;
}

/** Only for reading positions before there is a journal. */
const IDLE_HOST = {
  start: () => 1,
  end: () => 0,
  assertOpen: () => undefined,
  withReserve: (write: () => Promise<void>) => write(),
  moved: () => undefined,
};

/** The empty last file when its name fits, else a new one; undefined when the disk is full: the first append tries again. */
async function openActive(
  options: DiskJournalOptions,
  identity: KnownIdentity,
  empty: { path: string; first: Position } | undefined,
  next: Position,
): Promise<JournalFile | undefined> {
  const { fileSystem, folder, log } = options;
  const header = { mark: identity.mark, epoch: identity.epoch, first: next };
  try {
    const reuse = empty?.first === next;
    const file = await createJournalFile(fileSystem, folder, header, reuse ? 'write-or-create' : 'create');
    if (empty && !reuse) {
      await unlinkIfThere(fileSystem, empty.path);
      await fileSystem.syncDirectory(folder);
    }
    return file;
  } catch (error) {
    if (!isNoSpace(error)) throw error;
    log.error({ err: error }, 'the disk is full: the journal opens without a file to append to');
    return undefined;
  }
}

async function makeFolders({ fileSystem, folder, log }: DiskJournalOptions): Promise<void> {
  for (const name of ['consumers', 'quarantine']) await fileSystem.makeDirectory(join(folder, name));
  const parent = dirname(folder);
  // From the inside out, up to the folder that holds `journal`.
  for (const path of [folder, parent, dirname(parent)]) {
    try {
      await fileSystem.syncDirectory(path);
    } catch (error) {
      if (!isFileError(error, 'EACCES') && !isFileError(error, 'EPERM')) throw error;
      log.warn({ path }, 'a folder above the journal cannot be synced');
    }
  }
}

async function removeTemporaries({ fileSystem, folder }: DiskJournalOptions): Promise<void> {
  for (const place of [folder, join(folder, 'consumers')]) {
    for (const name of await fileSystem.list(place)) {
      if (name.endsWith(TEMPORARY_SUFFIX)) await unlinkIfThere(fileSystem, join(place, name));
    }
  }
}

async function readRemembered({ fileSystem, folder, log }: DiskJournalOptions): Promise<UnconfirmedEnvelope[]> {
  const stored = await readCheckedFile(fileSystem, join(folder, UNCONFIRMED_FILE));
  if (stored.state === 'damaged') log.error('the list of unconfirmed envelopes was damaged; it starts anew');
  return stored.state === 'valid' && Array.isArray(stored.value) ? (stored.value as UnconfirmedEnvelope[]) : [];
}

async function firstOfInterest(
  { fileSystem, folder }: DiskJournalOptions,
  remembered: UnconfirmedEnvelope[],
): Promise<Position> {
  let first = Number.MAX_SAFE_INTEGER;
  for (const name of await fileSystem.list(folder)) {
    if (name.endsWith('.journal')) first = Math.min(first, Number.parseInt(name, 10) || first);
  }
  for (const envelope of remembered) first = Math.min(first, envelope.position);
  return first;
}
