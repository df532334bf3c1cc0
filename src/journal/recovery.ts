/**
 * What a journal folder holds after a restart: identity, files with their frames, what had to be cut or set aside. A torn
 * tail of the last file is cut and synced; other damage is copied to `quarantine/` and passed over. Whatever the files hold,
 * this never throws for it: only the file system's own failures come through.
 */
import { join } from 'node:path';
import type { EnvelopeHead, JournalIdentity, Position } from '../core/envelope.ts';
import { ProxyError } from '../core/errors.ts';
import type { FileSystem, OpenFile } from '../core/file-system.ts';
import { MIB } from '../core/limits.ts';
import type { Random } from '../core/random.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { readCheckedFile, writeCheckedFile } from './checked-file.ts';
import { decodeFileHeader, encodeFileHeader, FILE_HEADER_BYTES, type FileHeader, FRAME_PREFIX_BYTES } from './frame.ts';
import { JournalFile } from './journal-file.ts';
import { scanFrames } from './scan.ts';

const FORMAT = 1;
const FILE_PATTERN = /^(\d{16})\.journal$/;
const QUARANTINE = 'quarantine';
/** Beyond this, damage is counted and logged, but no longer copied. */
const QUARANTINE_BYTES_MAX = 256 * MIB;

export interface RecoveryContext {
  fileSystem: FileSystem;
  folder: string;
  metrics: Metrics;
  log: Log;
}

export interface KnownIdentity extends JournalIdentity {
  /** The random mark that frames of this journal begin with. */
  mark: number;
}

export interface RecoveredFiles {
  /** In order, each with at least one frame. */
  files: JournalFile[];
  /** A last file that holds no frame: its name keeps the positions, and it is written on. */
  empty: { path: string; first: Position } | undefined;
  /** No position from here on has ever been given out, as far as the files can tell. */
  next: Position;
  quarantinedFrames: number;
}

export function journalFilePath(folder: string, first: Position): string {
  return join(folder, `${String(first).padStart(16, '0')}.journal`);
}

/** Reads the identity, or founds the journal. */
export async function recoverIdentity(
  context: RecoveryContext,
  replica: string,
  newEpoch: () => Promise<number>,
  random: Random,
): Promise<KnownIdentity> {
  const { fileSystem, folder, log } = context;
  const path = join(folder, 'identity.json');
  const stored = await readCheckedFile(fileSystem, path);
  if (stored.state === 'valid') {
    const value = stored.value as Partial<KnownIdentity> & { format?: unknown };
    if (value.format !== FORMAT) {
      throw new ProxyError('CONFIG_INVALID', `${folder}: journal format ${String(value.format)} is not known`);
    }
    if (value.replica !== replica) {
      throw new ProxyError(
        'CONFIG_INVALID',
        `${folder} is the journal of '${String(value.replica)}', not '${replica}'`,
      );
    }
    return { replica, epoch: Number(value.epoch), mark: Number(value.mark) };
  }
  const header = await anyHeader(context);
  if (header) log.error({ folder }, 'the journal identity was lost; taken from a journal file');
  const identity: KnownIdentity = {
    replica,
    epoch: header?.epoch ?? (await newEpoch()),
    mark: header?.mark ?? newMark(random),
  };
  await writeCheckedFile(fileSystem, path, { format: FORMAT, ...identity });
  return identity;
}

export async function recoverFiles(
  context: RecoveryContext,
  identity: KnownIdentity,
  onFrame: (position: Position, head: EnvelopeHead) => void,
): Promise<RecoveredFiles> {
  const { fileSystem, folder, log, metrics } = context;
  const quarantine = new Quarantine(context);
  const firsts = await fileFirsts(context);
  const result: RecoveredFiles = { files: [], empty: undefined, next: 1, quarantinedFrames: 0 };
  for (const [index, first] of firsts.entries()) {
    const isLast = index === firsts.length - 1;
    const path = journalFilePath(folder, first);
    if (result.files.length > 0 && first > result.next) {
      log.error({ from: result.next, to: first - 1 }, 'journal positions are missing: a file is gone or was damaged');
    }
    const handle = await fileSystem.open(path, 'write');
    try {
      const sizeBytes = await handle.sizeBytes();
      const header = await readHeader(handle);
      const file = new JournalFile(fileSystem, path, first, sizeBytes);
      const foreign =
        header !== undefined &&
        (header.epoch !== identity.epoch || header.mark !== identity.mark || header.first !== first);
      const scan = foreign
        ? { damaged: [], validEnd: FILE_HEADER_BYTES }
        : await scanFrames(
            handle,
            sizeBytes,
            { mark: identity.mark, expected: Math.max(first, result.next), checkBodies: isLast },
            (frame) => {
              file.add(frame.position, frame.offset, frame.lengthBytes, frame.head.receivedAtMs);
              onFrame(frame.position, frame.head);
            },
          );
      if (file.entries === 0) {
        const blank = await isBlank(handle, sizeBytes);
        if (isLast && !foreign && (header !== undefined || blank)) {
          // Written on: only its name counts. A torn first group, if any, goes.
          if (sizeBytes > FILE_HEADER_BYTES) cutNoted(context, path, sizeBytes - FILE_HEADER_BYTES);
          result.empty = { path, first };
          result.next = Math.max(result.next, first);
        } else {
          if (header !== undefined && blank && !foreign) await fileSystem.unlink(path);
          else {
            await quarantine.takeFile(path, sizeBytes);
            result.quarantinedFrames += 1;
          }
          // In the last file as many positions may have been given out as frames can lie in it; others end where the next begins.
          const frames = isLast ? Math.max(0, Math.ceil((sizeBytes - FILE_HEADER_BYTES) / FRAME_PREFIX_BYTES)) : 0;
          result.next = Math.max(result.next, first + frames);
        }
        continue;
      }
      if (!header) {
        log.error({ path }, 'a journal file header is damaged; its frames are read all the same');
        await quarantine.takePiece(file, 0, FILE_HEADER_BYTES);
      }
      const stretches = [...scan.damaged];
      if (isLast) {
        if (scan.validEnd < sizeBytes) {
          await handle.truncate(scan.validEnd);
          file.sizeBytes = scan.validEnd;
          cutNoted(context, path, sizeBytes - scan.validEnd);
        }
        // Frames that were written but not synced count from now on: make it true that they are durable. After a failed
        // sync the page cache may hold them as clean; only what is written again is sure to be synced.
        await writeAgain(handle, scan.validEnd);
        await handle.sync();
      } else if (scan.validEnd < sizeBytes) {
        stretches.push({ from: scan.validEnd, to: sizeBytes, frames: 1 });
      }
      for (const stretch of stretches) {
        result.quarantinedFrames += stretch.frames;
        metrics.journalQuarantined.inc(stretch.frames);
        log.error({ path, ...stretch }, 'journal damage was set aside');
        await quarantine.takePiece(file, stretch.from, stretch.to);
      }
      result.files.push(file);
      result.next = Math.max(result.next, file.last + 1);
      await file.seal();
    } finally {
      await handle.close();
    }
  }
  await fileSystem.syncDirectory(folder);
  return result;
}

/** Creates the file of `first` with its header, durable with its entry, and gives the handle. */
export async function createJournalFile(
  fileSystem: FileSystem,
  folder: string,
  header: FileHeader,
  mode: 'create' | 'write-or-create',
): Promise<JournalFile> {
  const path = journalFilePath(folder, header.first);
  const handle = await fileSystem.open(path, mode);
  try {
    await handle.truncate(0);
    await handle.write([encodeFileHeader(header)], 0);
    await handle.sync();
    await fileSystem.syncDirectory(folder);
  } catch (error) {
    await handle.close();
    throw error;
  }
  return new JournalFile(fileSystem, path, header.first, FILE_HEADER_BYTES, handle);
}

/** Keeps damaged bytes for a human. Names are fixed by place, so that every restart finds them set aside already. */
export class Quarantine {
  readonly #context: RecoveryContext;
  readonly #folder: string;
  #bytes: number | undefined;

  constructor(context: RecoveryContext) {
    this.#context = context;
    this.#folder = join(context.folder, QUARANTINE);
  }

  /** A failure to copy is logged: it must not stand in the way of the intact frames. */
  async takePiece(file: JournalFile, from: number, to: number): Promise<void> {
    const { fileSystem, log } = this.#context;
    const target = join(this.#folder, `${String(file.first).padStart(16, '0')}-${from}-${to}.bin`);
    try {
      if (await fileSystem.stat(target)) return;
      if (!(await this.#hasRoom(to - from))) return;
      await file.copyTo(target, from, to);
    } catch (error) {
      log.error({ err: error, target }, 'damaged journal bytes could not be copied aside');
    }
  }

  async takeFile(path: string, sizeBytes: number): Promise<void> {
    const { fileSystem, log, metrics } = this.#context;
    const name = path.slice(path.lastIndexOf('/') + 1);
    log.error({ path, sizeBytes }, 'a journal file without a valid frame was set aside');
    metrics.journalQuarantined.inc();
    await fileSystem.rename(path, join(this.#folder, name));
    await fileSystem.syncDirectory(this.#folder);
  }

  async #hasRoom(bytes: number): Promise<boolean> {
    const { fileSystem } = this.#context;
    if (this.#bytes === undefined) {
      this.#bytes = 0;
      for (const name of await fileSystem.list(this.#folder)) {
        this.#bytes += (await fileSystem.stat(join(this.#folder, name)))?.sizeBytes ?? 0;
      }
    }
    if (this.#bytes + bytes > QUARANTINE_BYTES_MAX) return false;
    this.#bytes += bytes;
    return true;
  }
}

/** Never 0: zeros are what a lost write leaves. */
function newMark(random: Random): number {
  return (Buffer.from(random.bytes(4)).readUInt32LE() | 1) >>> 0;
}

async function fileFirsts(context: RecoveryContext): Promise<Position[]> {
  const firsts: Position[] = [];
  for (const name of await context.fileSystem.list(context.folder)) {
    const match = FILE_PATTERN.exec(name);
    if (match) firsts.push(Number(match[1]));
  }
  return firsts.sort((a, b) => a - b);
}

async function anyHeader(context: RecoveryContext): Promise<FileHeader | undefined> {
  for (const first of await fileFirsts(context)) {
    const handle = await context.fileSystem.open(journalFilePath(context.folder, first), 'read');
    try {
      const header = await readHeader(handle);
      if (header) return header;
    } finally {
      await handle.close();
    }
  }
  return undefined;
}

async function readHeader(handle: OpenFile): Promise<FileHeader | undefined> {
  const bytes = Buffer.alloc(FILE_HEADER_BYTES);
  return decodeFileHeader(bytes.subarray(0, await handle.read(bytes, 0)));
}

/** No longer than a header, or nothing but zeros behind it: no frame was ever durable in it. */
async function isBlank(handle: OpenFile, sizeBytes: number): Promise<boolean> {
  const piece = Buffer.alloc(Math.max(1, Math.min(MIB, sizeBytes - FILE_HEADER_BYTES)));
  for (let at = FILE_HEADER_BYTES; at < sizeBytes; at += piece.byteLength) {
    const got = await handle.read(piece, at);
    if (piece.subarray(0, got).some((byte) => byte !== 0)) return false;
  }
  return true;
}

async function writeAgain(handle: OpenFile, sizeBytes: number): Promise<void> {
  for (let at = 0; at < sizeBytes; at += MIB) {
    const piece = Buffer.allocUnsafe(Math.min(MIB, sizeBytes - at));
    const got = await handle.read(piece, at);
    await handle.write([piece.subarray(0, got)], at);
  }
}

function cutNoted(context: RecoveryContext, path: string, bytes: number): void {
  context.metrics.journalTornTails.inc();
  context.log.warn({ path, bytes }, 'a torn journal tail was cut');
}
