/**
 * Copies every object of one store to another: create-only, verified by reading back, a few at once, in the order of keys. What is
 * there already and has the same size is left alone, so that an interrupted copy goes on where it was. Checkpoints and commit records
 * go last: a copy that ends early shows less, never something that is not there.
 */
import { crc32 } from 'node:zlib';
import { isProxyError, ProxyError } from '../core/errors.ts';
import { MIB } from '../core/limits.ts';
import { CHECKPOINT_PREFIX } from './checkpoints.ts';
import { COMMIT_PREFIX } from './commit-records.ts';
import type { ByteSource, ObjectInfo, ObjectReader, ObjectStore } from './object-store.ts';

export interface CopyOptions {
  /** Objects copied at once. */
  concurrentMax: number;
  /** Also what was there before is read on both sides and compared, not only its size. */
  checkPresent: boolean;
  onProgress?: (progress: CopyProgress) => void;
}

export interface CopyProgress {
  objects: number;
  bytes: number;
  copied: number;
  copiedBytes: number;
  /** Were there already. */
  present: number;
}

const PIECE_BYTES = 4 * MIB;
/** Larger objects are read piece by piece, and again to check the copy. */
const WHOLE_BYTES_MAX = 64 * MIB;

/** STORE_EXISTS when the target has another object under a key. */
export async function copyStore(from: ObjectReader, to: ObjectStore, options: CopyOptions): Promise<CopyProgress> {
  const progress: CopyProgress = { objects: 0, bytes: 0, copied: 0, copiedBytes: 0, present: 0 };
  const copyAll = async (objects: AsyncIterable<ObjectInfo>): Promise<void> => {
    const iterator = objects[Symbol.asyncIterator]();
    let ended = false;
    const worker = async (): Promise<void> => {
      while (!ended) {
        const step = await iterator.next();
        if (step.done) {
          ended = true;
          return;
        }
        try {
          await copyOne(from, to, step.value, options, progress);
        } catch (error) {
          ended = true;
          throw error;
        }
        options.onProgress?.(progress);
      }
    };
    await Promise.all(Array.from({ length: options.concurrentMax }, worker));
  };
  await copyAll(objectsOf(from));
  // Records that a checkpoint holds may not be there any more.
  await copyAll(from.list(CHECKPOINT_PREFIX));
  await copyAll(from.list(COMMIT_PREFIX));
  return progress;
}

async function* objectsOf(store: ObjectReader): AsyncGenerator<ObjectInfo> {
  for await (const info of store.list('')) {
    if (!info.key.startsWith(CHECKPOINT_PREFIX) && !info.key.startsWith(COMMIT_PREFIX)) yield info;
  }
}

async function copyOne(
  from: ObjectReader,
  to: ObjectStore,
  info: ObjectInfo,
  { checkPresent }: CopyOptions,
  progress: CopyProgress,
): Promise<void> {
  const { key, sizeBytes } = info;
  progress.objects += 1;
  progress.bytes += sizeBytes;
  // Read once where that is possible: reading out of a cloud costs money.
  const source = sizeBytes <= WHOLE_BYTES_MAX ? await wholeSource(from, info) : sourceOf(from, info);
  const isNew = !(await to.head(key)) && (await create(to, key, source));
  const copy = await to.head(key);
  if (copy?.sizeBytes !== sizeBytes) throw different(key, to);
  if ((isNew || checkPresent) && (await checksumOf(sourceOf(to, copy))) !== (await checksumOf(source))) {
    throw different(key, to);
  }
  if (!isNew) {
    progress.present += 1;
    return;
  }
  progress.copied += 1;
  progress.copiedBytes += sizeBytes;
}

/** False: it is there already; another copy of the same may run beside this one. */
async function create(to: ObjectStore, key: string, source: ByteSource): Promise<boolean> {
  try {
    const { sizeBytes } = source;
    const body = sizeBytes <= WHOLE_BYTES_MAX ? await source.read(0, sizeBytes) : source;
    await to.put(key, body, { condition: { kind: 'absent' } });
    return true;
  } catch (error) {
    if (isProxyError(error, 'STORE_EXISTS')) return false;
    throw error;
  }
}

function different(key: string, to: ObjectStore): ProxyError {
  return new ProxyError('STORE_EXISTS', `${key} is another object in ${to.url}; nothing was overwritten`);
}

async function wholeSource(store: ObjectReader, { key, sizeBytes }: ObjectInfo): Promise<ByteSource> {
  const { bytes } = await store.get(key);
  if (bytes.byteLength !== sizeBytes) throw new ProxyError('STORE_CONFLICT', `${key} was replaced meanwhile`);
  return { sizeBytes, read: async (offset, length) => bytes.subarray(offset, offset + length) };
}

/** An object as a body that is read piece by piece; STORE_CONFLICT when it is replaced meanwhile. */
function sourceOf(store: ObjectReader, info: ObjectInfo): ByteSource {
  return {
    sizeBytes: info.sizeBytes,
    read: async (offset, length) => {
      const { info: found, bytes } = await store.get(info.key, { offset, length });
      if (found.version !== info.version) throw new ProxyError('STORE_CONFLICT', `${info.key} was replaced meanwhile`);
      return bytes;
    },
  };
}

async function checksumOf(source: ByteSource): Promise<number> {
  let checksum = 0;
  for (let at = 0; at < source.sizeBytes; at += PIECE_BYTES) {
    checksum = crc32(await source.read(at, Math.min(PIECE_BYTES, source.sizeBytes - at)), checksum);
  }
  return checksum;
}
