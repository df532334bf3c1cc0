/**
 * A disk that is small enough to be filled: a tmpfs of its own, mounted in a mount namespace, for which nobody needs to be root where user
 * namespaces are allowed. Where they are not, the file system that the product gets is bounded instead (small-file-system.ts).
 */
import { closeSync, mkdirSync, openSync, rmSync, statSync, truncateSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Holder, startHolder } from './holder-process.ts';
import { usedBytes } from './small-file-system.ts';
import { temporaryFolder } from './temp-folder.ts';

export interface SmallDisk {
  kind: 'tmpfs' | 'simulated';
  /** As a process on it names it, for ProxyOptions. */
  dataFolder: string;
  prefix: readonly string[];
  env: Record<string, string>;
  /** Not a byte of room is left, or `exceptBytes`. */
  fill(exceptBytes?: number): void;
  /** What `fill` took is there again. */
  free(): void;
  /** Deletes all that the product has written. */
  clear(): void;
  close(): Promise<void>;
}

const FOLDER = 'data';
const BALLAST = 'ballast';
const PIECE = Buffer.alloc(4096, 1);

/** `kind`: only that one; undefined: whichever this machine has. */
export async function openSmallDisk(sizeBytes: number, kind?: SmallDisk['kind']): Promise<SmallDisk> {
  const folder = await temporaryFolder();
  const mount = `mount -t tmpfs -o size=${sizeBytes},mode=700 none '${folder}'`;
  const holder = kind === 'simulated' ? undefined : await startHolder('mount', mount);
  if (kind === 'tmpfs' && !holder) throw new Error('BUG: looked for no namespaces before');
  return holder ? mounted(folder, holder) : simulated(folder, sizeBytes);
}

export async function canMount(): Promise<boolean> {
  const holder = await startHolder('mount', `mount -t tmpfs none '${tmpdir()}'`);
  await holder?.close();
  return holder !== undefined;
}

function mounted(folder: string, holder: Holder): SmallDisk {
  // From here the mount is seen through the process that holds it.
  const outside = `/proc/${holder.pid}/root${folder}`;
  mkdirSync(join(outside, FOLDER));
  const ballast = join(outside, BALLAST);
  return {
    kind: 'tmpfs',
    dataFolder: join(folder, FOLDER),
    prefix: holder.prefix,
    // Whatever is written for a while only goes there as well.
    env: { TMPDIR: folder },
    fill: (exceptBytes = 0) => {
      const file = openSync(ballast, 'a');
      try {
        // Ends with the disk.
        for (;;) writeSync(file, PIECE);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      } finally {
        closeSync(file);
      }
      if (exceptBytes > 0) truncateSync(ballast, Math.max(0, statSync(ballast).size - exceptBytes));
    },
    free: () => rmSync(ballast, { force: true }),
    clear: () => {
      rmSync(join(outside, FOLDER), { recursive: true, force: true });
      mkdirSync(join(outside, FOLDER));
    },
    close: () => holder.close(),
  };
}

function simulated(folder: string, sizeBytes: number): SmallDisk {
  const data = join(folder, FOLDER);
  const ballast = join(data, BALLAST);
  mkdirSync(data);
  return {
    kind: 'simulated',
    dataFolder: data,
    prefix: [],
    env: { TEST_DISK_BYTES: String(sizeBytes) },
    fill: (exceptBytes = 0) => {
      rmSync(ballast, { force: true });
      const room = Math.max(0, sizeBytes - usedBytes(data) - exceptBytes);
      closeSync(openSync(ballast, 'w'));
      // A hole: it only counts.
      truncateSync(ballast, room);
    },
    free: () => rmSync(ballast, { force: true }),
    clear: () => {
      rmSync(data, { recursive: true, force: true });
      mkdirSync(data);
    },
    close: async () => {},
  };
}
