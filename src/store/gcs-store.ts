/**
 * Objects in Google Cloud Storage. Conditions are generation preconditions; versions are generations. Small bodies go up in one
 * request with their MD5, which the server checks; large ones in chunks of a resumable upload, of which nothing is visible before its
 * end. The library's own retries are off: with-retry.ts has them for every store.
 *
 * Source: Cloud Storage JSON API (objects.insert, get, list, delete; resumable uploads; request preconditions).
 */
import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { crc32 } from 'node:zlib';
import { type Bucket, CRC32C, type File, type FileMetadata, Storage } from '@google-cloud/storage';
import { request } from 'undici';
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
  /** Another server, e.g. a private endpoint. By plain `http:` it is spoken to without credentials. */
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
const PAGE_KEYS = 1000;
const WRITER = 'reductrai-writer';
const CHECKSUM = 'reductrai-crc32';

export async function openGcsStore(settings: GcsStoreSettings, { clock }: { clock: Clock }): Promise<ObjectStore> {
  const { projectId, keyFile, endpoint } = settings;
  const storage = new Storage({
    ...(projectId ? { projectId } : isBare(endpoint) ? { projectId: 'none' } : {}),
    ...(keyFile ? { keyFilename: keyFile } : {}),
    ...(endpoint ? { apiEndpoint: endpoint, useAuthWithCustomEndpoint: !isBare(endpoint) } : {}),
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

  /** One request: the answer's headers tell the generation whose bytes follow, which the library's own download does not. */
  async get(key: string, range?: ByteRange): Promise<ObjectBytes> {
    checkKey(key);
    try {
      if (range?.length === 0) {
        const info = this.#infoOf(key, await this.#metadataOf(this.#bucket.file(key)));
        checkRange(range.offset, 0, info.sizeBytes, key);
        return { info, bytes: new Uint8Array(0) };
      }
      const { endpoint, requestTimeoutMs = REQUEST_TIMEOUT_MS } = this.#settings;
      const { apiEndpoint, authClient } = this.#bucket.storage;
      const url = `${apiEndpoint}/storage/v1/b/${encodeURIComponent(this.#bucket.name)}/o/${encodeURIComponent(key)}?alt=media`;
      const permission = isBare(endpoint) ? {} : Object.fromEntries(await authClient.getRequestHeaders(url));
      const wanted = range && { range: `bytes=${range.offset}-${range.offset + range.length - 1}` };
      const answer = await request(url, {
        headers: { ...permission, ...wanted },
        headersTimeout: requestTimeoutMs,
        bodyTimeout: requestTimeoutMs,
      });
      if (answer.statusCode !== 200 && answer.statusCode !== 206) {
        throw Object.assign(new Error(messageIn(await answer.body.text())), { code: answer.statusCode });
      }
      const said = (name: string): string | undefined => answer.headers[name]?.toString();
      const info = this.#infoOf(key, {
        size: said('x-goog-stored-content-length') ?? said('content-length')!,
        generation: said('x-goog-generation')!,
        updated: said('last-modified')!,
      });
      const { offset, length } = range ?? { offset: 0, length: info.sizeBytes };
      try {
        checkRange(offset, length, info.sizeBytes, key);
      } catch (error) {
        answer.body.on('error', () => {}).destroy();
        throw error;
      }
      const bytes = await readAll(answer.body, length, key);
      const checksum = said(`x-goog-meta-${CHECKSUM}`);
      if (!range && checksum !== undefined && checksum !== checksumOf(bytes)) {
        throw new ProxyError('STORE_CORRUPT', `GCS get ${key}: the bytes do not match their checksum`);
      }
      return { info, bytes };
    } catch (error) {
      throw gcsErrorOf(error, 'get', key);
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
      const metadata = await this.#kept(body, options);
      let made: FileMetadata;
      if (sizeBytes <= (this.#settings.partBytes ?? PART_BYTES_DEFAULT)) {
        const bytes = Buffer.from(await wholeOf(body));
        const md5Hash = createHash('md5').update(bytes).digest('base64');
        await file.save(bytes, {
          resumable: false,
          validation: false,
          preconditionOpts,
          metadata: { ...metadata, md5Hash },
        });
        made = file.metadata;
      } else {
        made = await this.#putInChunks(file, body, preconditionOpts, metadata);
      }
      return { ...this.#infoOf(key, made), sizeBytes };
    } catch (error) {
      throw gcsErrorOf(error, 'put', key, condition?.kind === 'unchanged');
    }
  }

  /**
   * A resumable upload: a session, opened with conditions and metadata, then chunks one after the other. Only the last one makes the
   * object visible. The session's address is itself the permission, so chunks need no token.
   */
  async #putInChunks(
    file: File,
    body: ObjectBody,
    preconditionOpts: { ifGenerationMatch?: number | string },
    metadata: FileMetadata,
  ): Promise<FileMetadata> {
    const sizeBytes = sizeOf(body);
    const { partBytes = PART_BYTES_DEFAULT, requestTimeoutMs = REQUEST_TIMEOUT_MS } = this.#settings;
    const chunkBytes = Math.max(CHUNK_STEP_BYTES, Math.floor(partBytes / CHUNK_STEP_BYTES) * CHUNK_STEP_BYTES);
    const [session] = await file.createResumableUpload({ preconditionOpts, metadata });
    const limits = { headersTimeout: requestTimeoutMs, bodyTimeout: requestTimeoutMs };
    const sum = new CRC32C();
    let summed = 0;
    try {
      for (let at = 0; ; ) {
        const chunk = await pieceOf(body, at, Math.min(chunkBytes, sizeBytes - at));
        const end = at + chunk.byteLength;
        // What the server kept only a part of is sent again, but counted once.
        sum.update(Buffer.from(chunk.buffer, chunk.byteOffset + (summed - at), end - summed));
        summed = end;
        const answer = await request(session, {
          method: 'PUT',
          headers: { 'content-range': `bytes ${at}-${end - 1}/${sizeBytes}` },
          body: chunk,
          ...limits,
        });
        const said = await answer.body.text();
        if (answer.statusCode === 308) {
          const kept = Number(/-(\d+)$/.exec(String(answer.headers.range ?? ''))?.[1] ?? -1) + 1;
          if (kept <= at || kept > end || kept === sizeBytes) {
            throw new ProxyError('STORE_UNAVAILABLE', `GCS put ${file.name}: ${kept} bytes kept after ${at}-${end}`);
          }
          at = kept;
          continue;
        }
        if (answer.statusCode !== 200 && answer.statusCode !== 201) {
          throw Object.assign(new Error(messageIn(said)), { code: answer.statusCode });
        }
        if (end !== sizeBytes) throw new ProxyError('STORE_UNAVAILABLE', `GCS put ${file.name}: ended at ${end}`);
        const made = JSON.parse(said) as FileMetadata;
        if (made.crc32c !== undefined && made.crc32c !== sum.toString()) {
          await this.#bucket.file(file.name).delete({ ifGenerationMatch: Number(made.generation) });
          throw new ProxyError('STORE_UNAVAILABLE', `GCS put ${file.name}: the bytes were damaged on the way`);
        }
        return made;
      }
    } catch (error) {
      // Sessions end by themselves within a week; this one is not needed any more.
      await request(session, { method: 'DELETE', ...limits }).then(
        ({ body: rest }) => rest.dump(),
        () => {},
      );
      throw error;
    }
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

  async #kept(
    body: ObjectBody,
    { writer, storageClass = this.#settings.storageClass }: PutOptions,
  ): Promise<FileMetadata> {
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

/** Keys and tokens never go over a line that others can read. */
function isBare(endpoint: string | undefined): boolean {
  return endpoint !== undefined && !endpoint.startsWith('https:');
}

/** What an answer of the JSON API says went wrong. */
function messageIn(answer: string): string {
  try {
    return String((JSON.parse(answer) as { error?: { message?: string } }).error?.message ?? answer);
  } catch {
    return answer.slice(0, 500);
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
