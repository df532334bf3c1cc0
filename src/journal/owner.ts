/**
 * One owner per journal folder. The file `owner` names the owning process; a dead owner is succeeded, a live one refuses us.
 * Succession is a create-only link named after the predecessor's token, so of several successors exactly one wins, and a
 * successor that dies half-way is succeeded in turn. Processes in another PID namespace or on another host are not seen:
 * a replica id must be used by one process only, this guard catches the slip on one machine. Who takes a folder that is not
 * its own (an adopter) goes by the owner's beat instead (owner-beat.ts, left-journals.ts).
 */
import { readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { ProxyError } from '../core/errors.ts';
import { type FileSystem, isFileError } from '../core/file-system.ts';
import type { Random } from '../core/random.ts';
import { isNoSpace, readSmallFile, unlinkIfThere, writeSyncedFile } from './checked-file.ts';

export interface OwnerRecord {
  pid: number;
  /** Start of the process in clock ticks since boot; '' where the system does not tell. */
  startTime: string;
  /** '' where the system does not tell. */
  bootId: string;
  /** Of process ids; '' where the system does not tell. */
  namespace?: string;
  /** Finishes the journal of a replica that is gone, and gives it back when that returns. */
  isAdopter?: boolean;
  /** Unique for each taking of ownership. */
  token: string;
}

export interface ProcessProbe {
  self(): Promise<Omit<OwnerRecord, 'token' | 'isAdopter'>>;
  isAlive(owner: OwnerRecord): Promise<boolean>;
}

export interface Ownership {
  readonly token: string;
  /** False once another process has taken the folder. */
  holds(): Promise<boolean>;
  release(): Promise<void>;
}

const OWNER_FILE = 'owner';
export const RESERVE_FILE = 'reserve';
const SUCCESSION_ROUNDS_MAX = 1000;
const TOKEN_BYTES = 8;
/** Stands for a record that cannot be read: after a power cut only, for it is linked into place complete. */
const UNREADABLE_TOKEN = 'unreadable';

export const systemProcessProbe: ProcessProbe = {
  self: async () => ({
    pid: process.pid,
    startTime: (await processState(process.pid))?.startTime ?? '',
    bootId: await bootIdentity(),
    namespace: await pidNamespace(),
  }),
  isAlive: async (owner) => {
    const boot = await bootIdentity();
    if (boot !== '' && owner.bootId !== '' && boot !== owner.bootId) return false;
    const namespace = await pidNamespace();
    if (namespace !== '' && owner.namespace && namespace !== owner.namespace) return false;
    try {
      process.kill(owner.pid, 0);
    } catch (error) {
      if (isFileError(error, 'ESRCH')) return false;
    }
    const state = await processState(owner.pid);
    if (!state) return true;
    // A killed process stays in the table as a zombie until its parent looks; its files are closed.
    if (state.letter === 'Z' || state.letter === 'X') return false;
    return owner.startTime === '' || state.startTime === owner.startTime;
  },
};

/** Throws ProxyError JOURNAL_OWNED when a live process holds the folder. */
export async function takeOwnership(
  fileSystem: FileSystem,
  folder: string,
  probe: ProcessProbe,
  random: Random,
  isAdopter = false,
): Promise<Ownership> {
  const token = Buffer.from(random.bytes(TOKEN_BYTES)).toString('hex');
  const record: OwnerRecord = { ...(await probe.self()), ...(isAdopter ? { isAdopter } : {}), token };
  const ownerPath = join(folder, OWNER_FILE);
  const draft = join(folder, `${OWNER_FILE}-${token}.tmp`);
  await writeDraft(fileSystem, folder, probe, draft, Buffer.from(JSON.stringify(record)));
  try {
    await succeed(fileSystem, folder, probe, draft);
  } catch (error) {
    await unlinkIfThere(fileSystem, draft);
    // A rival that has become the owner tidies drafts away.
    if (isFileError(error, 'ENOENT')) throw new ProxyError('JOURNAL_OWNED', `${folder} was taken meanwhile`);
    throw error;
  }
  // Both the first owner and a successor end with the draft's content under the owner's name. Renaming one link of a file
  // onto another does nothing (rename(2)), hence the unlink.
  await fileSystem.rename(draft, ownerPath);
  await unlinkIfThere(fileSystem, draft);
  for (const name of await fileSystem.list(folder)) {
    if (name.startsWith(`${OWNER_FILE}-after-`)) await unlinkIfThere(fileSystem, join(folder, name));
  }
  const holds = async () => (await readOwner(fileSystem, ownerPath))?.token === token;
  return {
    token,
    holds,
    release: async () => {
      if (await holds()) await unlinkIfThere(fileSystem, ownerPath);
    },
  };
}

/** On a full disk a dead owner's reserve makes room: whoever cannot start cannot make room otherwise. */
async function writeDraft(
  fileSystem: FileSystem,
  folder: string,
  probe: ProcessProbe,
  draft: string,
  bytes: Uint8Array,
): Promise<void> {
  try {
    await writeSyncedFile(fileSystem, draft, bytes);
  } catch (error) {
    await unlinkIfThere(fileSystem, draft);
    const owner = isNoSpace(error) ? await ownerOf(fileSystem, folder) : undefined;
    if (!isNoSpace(error) || (owner && (await probe.isAlive(owner)))) throw error;
    await unlinkIfThere(fileSystem, join(folder, RESERVE_FILE));
    await writeSyncedFile(fileSystem, draft, bytes);
  }
}

/** Whether its process id says anything here. */
export function isVisible(owner: OwnerRecord, self: Omit<OwnerRecord, 'token' | 'isAdopter'>): boolean {
  return owner.bootId !== '' && owner.bootId === self.bootId && !!owner.namespace && owner.namespace === self.namespace;
}

/** Of a folder; undefined when nobody owns it. */
export function ownerOf(fileSystem: FileSystem, folder: string): Promise<OwnerRecord | undefined> {
  return readOwner(fileSystem, join(folder, OWNER_FILE));
}

/** Returns once `draft` is the one rightful claim to the folder. */
async function succeed(fileSystem: FileSystem, folder: string, probe: ProcessProbe, draft: string): Promise<void> {
  const ownerPath = join(folder, OWNER_FILE);
  for (let round = 0; round < SUCCESSION_ROUNDS_MAX; round += 1) {
    const head = await readOwner(fileSystem, ownerPath);
    if (!head) {
      if (await linkIfFree(fileSystem, draft, ownerPath)) return;
      continue;
    }
    // Walk from the named owner along those that succeeded it, to the last.
    let last = head;
    let claim = '';
    for (let step = 0; step < SUCCESSION_ROUNDS_MAX; step += 1) {
      if (last.token !== UNREADABLE_TOKEN && (await probe.isAlive(last))) {
        throw new ProxyError('JOURNAL_OWNED', `${folder} is owned by process ${last.pid}`);
      }
      claim = join(folder, `${OWNER_FILE}-after-${last.token}`);
      const next = await readOwner(fileSystem, claim);
      if (!next) break;
      if (next.token === last.token) {
        // Two unreadable records in a row: left by a power cut, so nobody alive wrote them.
        await unlinkIfThere(fileSystem, claim);
        break;
      }
      last = next;
    }
    if (!(await linkIfFree(fileSystem, draft, claim))) continue;
    // The link may have been free because another successor has finished and tidied up: then the owner has changed.
    const now = await readOwner(fileSystem, ownerPath);
    if (now?.token === head.token) return;
    await unlinkIfThere(fileSystem, claim);
  }
  throw new ProxyError('JOURNAL_OWNED', `${folder}: its ownership keeps changing`);
}

async function linkIfFree(fileSystem: FileSystem, from: string, to: string): Promise<boolean> {
  try {
    await fileSystem.link(from, to);
    return true;
  } catch (error) {
    if (isFileError(error, 'EEXIST')) return false;
    throw error;
  }
}

async function readOwner(fileSystem: FileSystem, path: string): Promise<OwnerRecord | undefined> {
  const bytes = await readSmallFile(fileSystem, path);
  if (!bytes) return undefined;
  try {
    const record = JSON.parse(bytes.toString('utf8')) as Partial<OwnerRecord>;
    if (typeof record.pid === 'number' && record.pid > 0 && typeof record.token === 'string') {
      return {
        pid: record.pid,
        startTime: String(record.startTime ?? ''),
        bootId: String(record.bootId ?? ''),
        namespace: String(record.namespace ?? ''),
        ...(record.isAdopter === true ? { isAdopter: true } : {}),
        token: record.token.replaceAll(/[^0-9a-z]/g, ''),
      };
    }
  } catch {
    // Unreadable: see below.
  }
  return { pid: 0, startTime: '', bootId: '', token: UNREADABLE_TOKEN };
}

/** State letter and start time: fields 3 and 22 of `/proc/<pid>/stat` (proc_pid_stat(5)). */
async function processState(pid: number): Promise<{ letter: string; startTime: string } | undefined> {
  const text = await textOf(`/proc/${pid}/stat`);
  // The name in field 2 may hold spaces and brackets; the fields go on behind its last bracket.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const letter = fields[0];
  const startTime = fields[19];
  return letter && startTime ? { letter, startTime } : undefined;
}

/** As `pid:[4026531836]` (pid_namespaces(7)); the same on all hosts for processes outside of containers, hence never without the boot. */
async function pidNamespace(): Promise<string> {
  try {
    return await readlink('/proc/self/ns/pid');
  } catch {
    return '';
  }
}

async function bootIdentity(): Promise<string> {
  return (await textOf('/proc/sys/kernel/random/boot_id')).trim();
}

async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return '';
  }
}
