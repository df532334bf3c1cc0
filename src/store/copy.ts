/**
 * Copies every object of one store to another: create-only, verified by reading back, a few at once. What is there already and has the
 * same size is left alone, so that an interrupted copy goes on where it was.
 *
 * The store may be in use meanwhile. Journals come first: what was acknowledged before is then in a copied chunk, or its commit record was there
 * before the chunk was deleted. Then it is noted which checkpoints and commit records there are; these, and none of later, are copied last, so that
 * the copy never names a segment that the listing had passed by. A copy that ends early shows less, never something that is not there.
 */
import { crc32 } from 'node:zlib';
import { isProxyError, ProxyError } from '../core/errors.ts';
import { MIB } from '../core/limits.ts';
import { CHECKPOINT_PREFIX } from './checkpoints.ts';
import { COMMIT_PREFIX } from './commit-records.ts';
import { LEASE_PREFIX } from './leases.ts';
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
  /** Were deleted before they could be read: chunks and segments that others have taken the place of. */
  gone: number;
}

const JOURNAL_PREFIX = 'journal/';
/** They name the URLs of the store they lie in, and are made anew by the next run of upkeep. */
const LISTS_PREFIX = 'lists/';

const PIECE_BYTES = 4 * MIB;
/** Larger objects are read piece by piece, and again to check the copy. */
const WHOLE_BYTES_MAX = 64 * MIB;

/** STORE_EXISTS when the target has another object under a key. */
export async function copyStore(from: ObjectReader, to: ObjectStore, options: CopyOptions): Promise<CopyProgress> {
  const progress: CopyProgress = { objects: 0, bytes: 0, copied: 0, copiedBytes: 0, present: 0, gone: 0 };
  const copyAll = async (objects: AsyncIterable<ObjectInfo> | Iterable<ObjectInfo>, mayGo: boolean): Promise<void> => {
    const iterator = Symbol.asyncIterator in objects ? objects[Symbol.asyncIterator]() : objects[Symbol.iterator]();
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
          if (mayGo && isProxyError(error, 'STORE_ABSENT') && !(await from.head(step.value.key))) progress.gone += 1;
          else {
            ended = true;
            throw error;
          }
        }
        options.onProgress?.(progress);
      }
    };
    await Promise.all(Array.from({ length: options.concurrentMax }, worker));
  };
  await copyAll(from.list(JOURNAL_PREFIX), true);
  const checkpoints = await allOf(from.list(CHECKPOINT_PREFIX));
  // After the checkpoints: records that one of them holds may be there no more.
  const records = await allOf(from.list(COMMIT_PREFIX));
  await copyAll(objectsBetween(from), true);
  await copyAll(checkpoints, false);
  await copyAll(records, false);
  return progress;
}

async function allOf(objects: AsyncIterable<ObjectInfo>): Promise<ObjectInfo[]> {
  const found: ObjectInfo[] = [];
  for await (const info of objects) found.push(info);
  return found;
}

async function* objectsBetween(store: ObjectReader): AsyncGenerator<ObjectInfo> {
  const others = [JOURNAL_PREFIX, CHECKPOINT_PREFIX, COMMIT_PREFIX, LISTS_PREFIX];
  for await (const info of store.list('')) {
    if (!others.some((prefix) => info.key.startsWith(prefix))) yield info;
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
  if (key.startsWith(LEASE_PREFIX)) return copyLease(from, to, info, progress);
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

/**
 * A lease is replaced with every renewal. The later one stays: that of a store that goes on from what was copied earlier, or what has come to the
 * source since, with the epochs in it.
 */
async function copyLease(from: ObjectReader, to: ObjectStore, info: ObjectInfo, progress: CopyProgress): Promise<void> {
  const { key, modifiedAtMs } = info;
  const there = await to.head(key);
  if (there && there.modifiedAtMs >= modifiedAtMs) {
    progress.present += 1;
    return;
  }
  const { bytes } = await from.get(key);
  const condition = there ? ({ kind: 'unchanged', version: there.version } as const) : ({ kind: 'absent' } as const);
  await to.put(key, bytes, { condition });
  progress.copied += 1;
  progress.copiedBytes += bytes.byteLength;
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
