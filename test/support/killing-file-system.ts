/**
 * A real file system that ends its own process with SIGKILL at a named point: before or after the n-th operation of one kind on a
 * path of one kind. How the crash tests reach every point of the journey without a hook in the product.
 */
import type { FileSystem, OpenFile } from '../../src/core/file-system.ts';

export const KILL_POINTS = [
  'journal-append',
  'journal-sync',
  'confirm-write',
  'segment-write',
  'segment-sync',
  'segment-link',
  'commit-link',
  'position-rename',
  'journal-delete',
  'spill-link',
  'dead-letter-link',
  'directory-sync',
] as const;
export type KillPoint = (typeof KILL_POINTS)[number];

export interface KillSpec {
  point: KillPoint;
  when: 'before' | 'after';
  /** Which occurrence kills; 1 is the first. */
  count: number;
}

export function parseKillSpec(text: string): KillSpec {
  const [point, when, count] = text.split(':');
  if (!KILL_POINTS.includes(point as KillPoint) || (when !== 'before' && when !== 'after')) {
    throw new Error(`bad kill spec ${text}`);
  }
  return { point: point as KillPoint, when, count: Number(count) };
}

const isJournal = (path: string) => path.endsWith('.journal');
const isSegment = (path: string) => path.includes('/tier=');
const isCommit = (path: string) => path.includes('/commits/');

export function killingFileSystem(inner: FileSystem, spec: KillSpec): FileSystem {
  let seen = 0;
  const at = async <T>(point: KillPoint | undefined, operation: () => Promise<T>): Promise<T> => {
    if (point !== spec.point) return operation();
    seen += 1;
    if (seen !== spec.count) return operation();
    if (spec.when === 'before') process.kill(process.pid, 'SIGKILL');
    const result = await operation();
    process.kill(process.pid, 'SIGKILL');
    return result;
  };
  const wrap = (path: string, file: OpenFile): OpenFile => {
    // Objects are written under temporary names, so that any write that is no journal's counts as one of a segment.
    const other = path.includes('/store/');
    return {
      read: (target, offset) => file.read(target, offset),
      truncate: (sizeBytes) => file.truncate(sizeBytes),
      sizeBytes: () => file.sizeBytes(),
      close: () => file.close(),
      write: (chunks, offset) =>
        at(isJournal(path) ? 'journal-append' : other ? 'segment-write' : undefined, () => file.write(chunks, offset)),
      sync: () => at(isJournal(path) ? 'journal-sync' : other ? 'segment-sync' : undefined, () => file.sync()),
      writeSync: (chunk, offset) => {
        const counts = spec.point === 'confirm-write' && ++seen === spec.count;
        if (counts && spec.when === 'before') process.kill(process.pid, 'SIGKILL');
        file.writeSync(chunk, offset);
        if (counts) process.kill(process.pid, 'SIGKILL');
      },
    };
  };
  return {
    open: async (path, mode) => wrap(path, await inner.open(path, mode)),
    rename: (from, to) => at(to.includes('/consumers/') ? 'position-rename' : undefined, () => inner.rename(from, to)),
    link: (from, to) => {
      const point = isCommit(to)
        ? 'commit-link'
        : isSegment(to)
          ? 'segment-link'
          : to.includes('/spill/')
            ? 'spill-link'
            : to.includes('/dead-letters/')
              ? 'dead-letter-link'
              : undefined;
      return at(point, () => inner.link(from, to));
    },
    unlink: (path) => at(isJournal(path) ? 'journal-delete' : undefined, () => inner.unlink(path)),
    makeDirectory: (path) => inner.makeDirectory(path),
    removeDirectory: (path) => inner.removeDirectory(path),
    list: (path) => inner.list(path),
    stat: (path) => inner.stat(path),
    syncDirectory: (path) => at('directory-sync', () => inner.syncDirectory(path)),
  };
}
