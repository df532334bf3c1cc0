/**
 * Objects in Google Cloud Storage. Conditions are generation preconditions; versions are generations. Small bodies go up in one
 * request with their MD5, which the server checks; large ones in chunks of a resumable upload, of which nothing is visible before its
 * end. The library's own retries are off: with-retry.ts has them for every store.
 *
 * Source: Cloud Storage JSON API (objects.insert, get, list, delete; resumable uploads; request preconditions).
 */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { crc32 } from 'node:zlib';
import { type Bucket, type File, type FileMetadata, Storage } from '@google-cloud/storage';
import type { Clock } from '../core/clock.ts';
import { isProxyError, ProxyError } from '../core/errors.ts';
import { KIB } from '../core/limits.ts';
import { pieceOf, sizeOf, wholeOf } from './byte-sources.ts';
import { gcsErrorOf } from './gcs-errors.ts';
import { canBePrefix, checkKey } from './keys.ts';
import { checkRange } from './local-files.ts';
import type {
  ByteRange,
  ListOptions,
  ObjectBody,
  ObjectBytes,
  ObjectHead,
  ObjectInfo,
  ObjectStore,
  PutCondition,
  PutOptions,
} from './object-store.ts';
import { PART_BYTES_DEFAULT } from './parts.ts';

export interface GcsStoreSettings {
  bucket: string;
  projectId?: string;
  /** Service account's key file; without it application default credentials, workload identity among them. */
  keyFile?: string;
  /** Another server; it is spoken to without credentials. */
  endpoint?: string;
  /** Of what is written, e.g. COLDLINE; default: the bucket's. */
  storageClass?: string;
  /** Resource name of a Cloud KMS key; default: the bucket's. */
  kmsKeyName?: string;
  /** Larger bodies go up in chunks of this, one at a time; a multiple of 256 KiB. Default 8 MiB. */
  partBytes?: number;
  /** Time for one request. Default 60 s. */
  requestTimeoutMs?: number;
}

const REQUEST_TIMEOUT_MS = 60_000;
const CHUNK_STEP_BYTES = 256 * KIB;
/** What a stream hands on at once. */
const PIECE_BYTES = 1024 * KIB;
const PAGE_KEYS = 1000;
/** Times that an object may be replaced between looking at it and reading it. */
const ROUNDS_MAX = 16;
const WRITER = 'reductrai-writer';
const CHECKSUM = 'reductrai-crc32';

export async function openGcsStore(settings: GcsStoreSettings, { clock }: { clock: Clock }): Promise<ObjectStore> {
  const { projectId, keyFile, endpoint } = settings;
  const storage = new Storage({
    ...(projectId ? { projectId } : endpoint ? { projectId: 'none' } : {}),
    ...(keyFile ? { keyFilename: keyFile } : {}),
    ...(endpoint ? { apiEndpoint: endpoint, useAuthWithCustomEndpoint: false } : {}),
    retryOptions: { autoRetry: false, maxRetries: 0 },
    timeout: settings.requestTimeoutMs ?? REQUEST_TIMEOUT_MS,
  });
  return new GcsStore(storage.bucket(settings.bucket), settings, clock);
}

class GcsStore implements ObjectStore {
  readonly url: string;
  readonly #bucket: Bucket;
  readonly #settings: GcsStoreSettings;
  readonly #clock: Clock;

  constructor(bucket: Bucket, settings: GcsStoreSettings, clock: Clock) {
    this.#bucket = bucket;
    this.#settings = settings;
    this.#clock = clock;
    this.url = `gs://${settings.bucket}`;
  }

  async get(key: string, range?: ByteRange): Promise<ObjectBytes> {
    checkKey(key);
    for (let round = 0; round < ROUNDS_MAX; round++) {
      const got = await this.#getVersion(key, range);
      if (got) return got;
    }
    throw new ProxyError('STORE_CONFLICT', `GCS get ${key}: replaced again and again while being read`);
  }

  /** Undefined: the version that was looked at is gone already. */
  async #getVersion(key: string, range: ByteRange | undefined): Promise<ObjectBytes | undefined> {
    let isKnown = false;
    try {
      const metadata = await this.#metadataOf(this.#bucket.file(key));
      isKnown = true;
      const info = this.#infoOf(key, metadata);
      const { offset, length } = range ?? { offset: 0, length: info.sizeBytes };
      checkRange(offset, length, info.sizeBytes, key);
      if (length === 0) return { info, bytes: new Uint8Array(0) };
      const file = this.#bucket.file(key, { generation: info.version });
      const bytes = await readAll(
        file.createReadStream({ start: offset, end: offset + length - 1, validation: false, decompress: false }),
        length,
        key,
      );
      const checksum = metadata.metadata?.[CHECKSUM];
      if (!range && checksum !== undefined && checksum !== checksumOf(bytes)) {
        throw new ProxyError('STORE_CORRUPT', `GCS get ${key}: the bytes do not match their checksum`);
      }
      return { info, bytes };
    } catch (error) {
      const failure = gcsErrorOf(error, 'get', key);
      if (isKnown && isProxyError(failure, 'STORE_ABSENT')) return undefined;
      throw failure;
    }
  }

  async head(key: string): Promise<ObjectHead | undefined> {
    checkKey(key);
    try {
      const metadata = await this.#metadataOf(this.#bucket.file(key));
      const writer = metadata.metadata?.[WRITER];
      return { ...this.#infoOf(key, metadata), ...(writer === undefined ? {} : { writer: String(writer) }) };
    } catch (error) {
      const failure = gcsErrorOf(error, 'head', key);
      if (isProxyError(failure, 'STORE_ABSENT')) return undefined;
      throw failure;
    }
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    if (!canBePrefix(prefix)) return;
    const startAfter = options.startAfter ?? '';
    let pageToken: string | undefined;
    do {
      let files: File[];
      let next: { pageToken?: string } | null;
      try {
        [files, next] = (await this.#bucket.getFiles({
          prefix,
          autoPaginate: false,
          maxResults: PAGE_KEYS,
          // Inclusive: the key itself is left out below.
          ...(startAfter ? { startOffset: startAfter } : {}),
          ...(pageToken ? { pageToken } : {}),
        })) as unknown as [File[], { pageToken?: string } | null];
      } catch (error) {
        throw gcsErrorOf(error, 'list', prefix);
      }
      for (const file of files) if (file.name !== startAfter) yield this.#infoOf(file.name, file.metadata);
      pageToken = next?.pageToken;
    } while (pageToken !== undefined);
  }

  async put(key: string, body: ObjectBody, options: PutOptions = {}): Promise<ObjectInfo> {
    checkKey(key);
    const sizeBytes = sizeOf(body);
    const { condition } = options;
    const preconditionOpts = condition ? { ifGenerationMatch: generationOf(condition) } : {};
    const { kmsKeyName } = this.#settings;
    const file = this.#bucket.file(key, kmsKeyName ? { kmsKeyName } : {});
    try {
      const metadata = await this.#kept(body, options.writer);
      if (sizeBytes <= (this.#settings.partBytes ?? PART_BYTES_DEFAULT)) {
        const bytes = Buffer.from(await wholeOf(body));
        const md5Hash = createHash('md5').update(bytes).digest('base64');
        await file.save(bytes, {
          resumable: false,
          validation: false,
          preconditionOpts,
          metadata: { ...metadata, md5Hash },
        });
      } else {
        await this.#putInChunks(file, body, preconditionOpts, metadata);
      }
      return { ...this.#infoOf(key, file.metadata), sizeBytes };
    } catch (error) {
      throw gcsErrorOf(error, 'put', key, condition?.kind === 'unchanged');
    }
  }

  async #putInChunks(
    file: File,
    body: ObjectBody,
    preconditionOpts: { ifGenerationMatch?: number | string },
    metadata: FileMetadata,
  ): Promise<void> {
    const { partBytes = PART_BYTES_DEFAULT } = this.#settings;
    const chunkSize = Math.max(CHUNK_STEP_BYTES, Math.floor(partBytes / CHUNK_STEP_BYTES) * CHUNK_STEP_BYTES);
    await pipeline(
      Readable.from(piecesOf(body), { objectMode: false, highWaterMark: PIECE_BYTES }),
      file.createWriteStream({
        resumable: true,
        chunkSize,
        // The library compares its own CRC-32C with the server's, and removes an object that differs.
        validation: 'crc32c',
        preconditionOpts,
        metadata,
      }),
    );
  }

  async delete(key: string): Promise<void> {
    checkKey(key);
    try {
      await this.#bucket.file(key).delete();
    } catch (error) {
      const failure = gcsErrorOf(error, 'delete', key);
      if (!isProxyError(failure, 'STORE_ABSENT')) throw failure;
    }
  }

  async close(): Promise<void> {
    // The library keeps connections of its own, which end by themselves.
  }

  async #metadataOf(file: File): Promise<FileMetadata> {
    const [metadata] = await file.getMetadata();
    return metadata;
  }

  #infoOf(key: string, { size, generation, updated, timeCreated }: FileMetadata): ObjectInfo {
    const time = Date.parse(String(updated ?? timeCreated ?? ''));
    return {
      key,
      sizeBytes: Number(size ?? 0),
      version: String(generation ?? ''),
      modifiedAtMs: Number.isFinite(time) ? time : this.#clock.nowMs(),
    };
  }

  async #kept(body: ObjectBody, writer: string | undefined): Promise<FileMetadata> {
    const { storageClass } = this.#settings;
    return {
      contentType: 'application/octet-stream',
      ...(storageClass ? { storageClass } : {}),
      metadata: {
        ...(writer === undefined ? {} : { [WRITER]: writer }),
        ...(body instanceof Uint8Array ? { [CHECKSUM]: checksumOf(body) } : {}),
      },
    };
  }
}

async function* piecesOf(body: ObjectBody): AsyncGenerator<Uint8Array> {
  const sizeBytes = sizeOf(body);
  for (let at = 0; at < sizeBytes; at += PIECE_BYTES) {
    yield await pieceOf(body, at, Math.min(PIECE_BYTES, sizeBytes - at));
  }
}

async function readAll(stream: Readable, length: number, key: string): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let at = 0;
  for await (const piece of stream as AsyncIterable<Buffer>) {
    if (at + piece.byteLength > length) {
      stream.destroy();
      throw new ProxyError('STORE_UNAVAILABLE', `GCS get ${key}: more came than ${length} bytes`);
    }
    bytes.set(piece, at);
    at += piece.byteLength;
  }
  if (at !== length) throw new ProxyError('STORE_UNAVAILABLE', `GCS get ${key}: ${at} of ${length} bytes came`);
  return bytes;
}

/** 0: only if there is none. What is no generation never matches. */
function generationOf(condition: PutCondition): string | number {
  if (condition.kind === 'absent') return 0;
  return /^\d+$/.test(condition.version) ? condition.version : '1';
}

function checksumOf(bytes: Uint8Array): string {
  return crc32(bytes).toString(16).padStart(8, '0');
}
