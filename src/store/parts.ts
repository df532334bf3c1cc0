/** A large body in parts: how large they are, so that no store's limit on their number is met, and a few of them at once. */
import { MIB } from '../core/limits.ts';

export const PART_BYTES_DEFAULT = 8 * MIB;
export const PARTS_AT_ONCE_DEFAULT = 3;

export interface Part {
  /** 0 for the first. */
  index: number;
  offset: number;
  length: number;
}

/** Parts of at least `partBytes`, of which there are at most `partsMax`; whole MiB when they had to grow. */
export function partsOf(sizeBytes: number, partBytes: number, partsMax: number): Part[] {
  const needed = Math.ceil(sizeBytes / partsMax);
  const length = needed <= partBytes ? partBytes : Math.ceil(needed / MIB) * MIB;
  const parts: Part[] = [];
  for (let offset = 0; offset < sizeBytes; offset += length) {
    parts.push({ index: parts.length, offset, length: Math.min(length, sizeBytes - offset) });
  }
  return parts;
}

/** Runs `upload` for every part, at most so many at once. After a failure no further part is begun. */
export async function inParts<T>(
  parts: readonly Part[],
  atOnceMax: number,
  upload: (part: Part) => Promise<T>,
): Promise<T[]> {
  const results = new Array<T>(parts.length);
  let next = 0;
  let failed = false;
  const worker = async (): Promise<void> => {
    while (!failed && next < parts.length) {
      const part = parts[next++]!;
      try {
        results[part.index] = await upload(part);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: Math.min(atOnceMax, parts.length) }, worker));
  for (const end of ended) if (end.status === 'rejected') throw end.reason;
  return results;
}
