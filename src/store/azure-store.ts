/**
 * Objects in Azure Blob Storage, as block blobs. Conditions and versions are ETags. Small bodies go up in one request with their MD5,
 * which the service checks; large ones as staged blocks, each with its MD5, of which nothing is visible before the list of blocks is
 * committed, under the condition. The SDK's own retries are off: with-retry.ts has them for every store. Every request ends in a
 * bounded time: the SDK's limit is only a wish to the server, so what it does not answer is given up here.
 *
 * Source: Azure Blob Storage REST API (Put Blob, Put Block, Put Block List, Get Blob, List Blobs; conditional headers).
 */
import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { crc32 } from 'node:zlib';
import {
  AnonymousCredential,
  type BlobRequestConditions,
  BlobServiceClient,
  type BlockBlobClient,
  type ContainerClient,
  type StoragePipelineOptions,
  StorageSharedKeyCredential,
} from '@azure/storage-blob';
import type { Clock } from '../core/clock.ts';
import { isProxyError, ProxyError } from '../core/errors.ts';
import { azureErrorOf } from './azure-errors.ts';
import { pieceOf, sizeOf, wholeOf } from './byte-sources.ts';
import { canBePrefix, checkKey, compareKeys } from './keys.ts';
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
import { inParts, PART_BYTES_DEFAULT, PARTS_AT_ONCE_DEFAULT, partsOf } from './parts.ts';

export interface AzureStoreSettings {
  account: string;
  container: string;
  /** Default https://<account>.blob.core.windows.net; for a sovereign cloud or a test server. */
  endpoint?: string;
  /** One of the three; without any, the identity of the machine or workload (DefaultAzureCredential). */
  accountKey?: string;
  connectionString?: string;
  sasToken?: string;
  /** Of what is written: Hot, Cool, Cold, Archive; default: the account's. */
  accessTier?: string;
  encryptionScope?: string;
  /** Bodies above go up in blocks of at least this. Default 8 MiB. */
  partBytes?: number;
  /** Blocks of one body on their way, each in memory. Default 3. */
  partsAtOnceMax?: number;
  /** Time for one request, more for large ones on slow lines; of a download, time without a byte. Default 60 s. */
  requestTimeoutMs?: number;
}

const REQUEST_TIMEOUT_MS = 60_000;
/** A line that is slower than this (128 KiB/s) is taken for a dead one. */
const SLOWEST_BYTES_PER_MS = 131;
/** The service's limit. */
const BLOCKS_MAX = 50_000;
const PAGE_KEYS = 1000;
// Names of metadata are C# identifiers here: no dashes.
const WRITER = 'reductrai_writer';
const CHECKSUM = 'reductrai_crc32';

/** Of this process: two uploads at one instant differ. */
let uploads = 0;

export async function openAzureStore(settings: AzureStoreSettings, { clock }: { clock: Clock }): Promise<ObjectStore> {
  const service = await serviceOf(settings, { retryOptions: { maxTries: 1 } });
  return new AzureStore(service.getContainerClient(settings.container), settings, clock);
}

async function serviceOf(settings: AzureStoreSettings, options: StoragePipelineOptions): Promise<BlobServiceClient> {
  const { account, accountKey, connectionString, sasToken } = settings;
  if (connectionString !== undefined) return BlobServiceClient.fromConnectionString(connectionString, options);
  const url = settings.endpoint ?? `https://${account}.blob.core.windows.net`;
  if (accountKey !== undefined) {
    return new BlobServiceClient(url, new StorageSharedKeyCredential(account, accountKey), options);
  }
  if (sasToken !== undefined) {
    return new BlobServiceClient(`${url}?${sasToken.replace(/^\?/, '')}`, new AnonymousCredential(), options);
  }
  const { DefaultAzureCredential } = await import('@azure/identity');
  return new BlobServiceClient(url, new DefaultAzureCredential(), options);
}

class AzureStore implements ObjectStore {
  readonly url: string;
  readonly #container: ContainerClient;
  readonly #settings: AzureStoreSettings;
  readonly #clock: Clock;
  readonly #timeoutMs: number;

  constructor(container: ContainerClient, settings: AzureStoreSettings, clock: Clock) {
    this.#container = container;
    this.#settings = settings;
    this.#clock = clock;
    this.#timeoutMs = settings.requestTimeoutMs ?? REQUEST_TIMEOUT_MS;
    this.url = `azblob://${settings.account}/${settings.container}`;
  }

  async get(key: string, range?: ByteRange): Promise<ObjectBytes> {
    checkKey(key);
    if (range && (range.length === 0 || !isWhole(range))) return this.#getNothing(key, range);
    try {
      const blob = this.#blob(key);
      const answer = await this.#inTime('get', key, (abortSignal) =>
        blob.download(range?.offset ?? 0, range?.length, { maxRetryRequests: 0, abortSignal }),
      );
      const stream = answer.readableStreamBody as Readable | undefined;
      const total = Number(/\/(\d+)$/.exec(answer.contentRange ?? '')?.[1] ?? answer.contentLength ?? 0);
      const wanted = range?.length ?? total;
      if (range && range.offset + wanted > total) stream?.destroy(); // Else it would hold its connection.
      if (range) checkRange(range.offset, range.length, total, key);
      const bytes = await this.#readAll(stream, wanted, key);
      const checksum = answer.metadata?.[CHECKSUM];
      if (!range && checksum !== undefined && checksum !== checksumOf(bytes)) {
        throw new ProxyError('STORE_CORRUPT', `Azure get ${key}: the bytes do not match their checksum`);
      }
      return { info: infoOf(key, total, answer.etag, answer.lastModified), bytes };
    } catch (error) {
      const failure = this.#errorOf(error, 'get', key);
      // An empty blob has no range, not even the whole.
      if (!range && isProxyError(failure, 'STORE_INVALID') && (error as { statusCode?: number }).statusCode === 416) {
        return this.#getNothing(key, { offset: 0, length: 0 });
      }
      throw failure;
    }
  }

  /** An empty range cannot be asked for, and one that is none must not be. */
  async #getNothing(key: string, { offset, length }: ByteRange): Promise<ObjectBytes> {
    const head = await this.head(key);
    if (!head) throw new ProxyError('STORE_ABSENT', key);
    checkRange(offset, length, head.sizeBytes, key);
    const { writer: _, ...info } = head;
    return { info, bytes: new Uint8Array(0) };
  }

  async head(key: string): Promise<ObjectHead | undefined> {
    checkKey(key);
    try {
      const answer = await this.#inTime('head', key, (abortSignal) => this.#blob(key).getProperties({ abortSignal }));
      const writer = answer.metadata?.[WRITER];
      return {
        ...infoOf(key, answer.contentLength ?? 0, answer.etag, answer.lastModified),
        ...(writer === undefined ? {} : { writer }),
      };
    } catch (error) {
      const failure = this.#errorOf(error, 'head', key);
      if (isProxyError(failure, 'STORE_ABSENT')) return undefined;
      throw failure;
    }
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    if (!canBePrefix(prefix)) return;
    const startAfter = options.startAfter ?? '';
    // Services that know `startFrom` begin there (inclusive; it must lie within the prefix); others from the start, and what comes
    // before is left out below. Their order is that of UTF-16: a key with units beyond the surrogates may come after others that ours
    // puts behind it.
    const canStart = startAfter !== '' && startAfter.startsWith(prefix) && !/[\ud800-\uffff]/.test(startAfter);
    const abort = new AbortController();
    const pages = this.#container
      .listBlobsFlat({ prefix, abortSignal: abort.signal, ...(canStart ? { startFrom: startAfter } : {}) })
      .byPage({ maxPageSize: PAGE_KEYS });
    for (;;) {
      let step: Awaited<ReturnType<typeof pages.next>>;
      try {
        step = await this.#inTime('list', prefix, (late) => {
          late.addEventListener('abort', () => abort.abort());
          return pages.next();
        });
      } catch (error) {
        throw this.#errorOf(error, 'list', prefix);
      }
      if (step.done) return;
      for (const { name, properties } of step.value.segment.blobItems) {
        if (startAfter !== '' && compareKeys(name, startAfter) <= 0) continue;
        yield infoOf(name, properties.contentLength ?? 0, properties.etag, properties.lastModified);
      }
    }
  }

  async put(key: string, body: ObjectBody, options: PutOptions = {}): Promise<ObjectInfo> {
    checkKey(key);
    const sizeBytes = sizeOf(body);
    if (sizeBytes > (this.#settings.partBytes ?? PART_BYTES_DEFAULT)) return this.#putInBlocks(key, body, options);
    const { condition } = options;
    try {
      const bytes = await wholeOf(body);
      const kept = {
        ...this.#kept(options, body instanceof Uint8Array ? bytes : undefined),
        conditions: conditionsOf(condition),
        transactionalContentMD5: md5Of(bytes),
      };
      const answer = await this.#inTime(
        'put',
        key,
        (abortSignal) => this.#blob(key).upload(bytes, sizeBytes, { ...kept, abortSignal }),
        sizeBytes,
      );
      return infoOf(key, sizeBytes, answer.etag, answer.lastModified ?? new Date(this.#clock.nowMs()));
    } catch (error) {
      throw this.#errorOf(error, 'put', key, condition?.kind === 'unchanged');
    }
  }

  async #putInBlocks(key: string, body: ObjectBody, options: PutOptions): Promise<ObjectInfo> {
    const { condition, writer } = options;
    const sizeBytes = sizeOf(body);
    // The condition counts when the blocks are committed; what cannot succeed is not begun.
    if (condition) await this.#checkBefore(key, condition);
    const { partBytes = PART_BYTES_DEFAULT, partsAtOnceMax = PARTS_AT_ONCE_DEFAULT, encryptionScope } = this.#settings;
    // Blocks are encrypted as they come: with the very scope of the blob, or they cannot become part of it.
    const scope = encryptionScope ? { encryptionScope } : {};
    const blob = this.#blob(key);
    // Two writers of one key must not use each other's blocks; ids of one blob are all of one length.
    const instant = `${this.#clock.nowMs()} ${this.#clock.monotonicMs()} ${++uploads}`;
    const upload = createHash('sha256').update(`${writer ?? ''} ${instant}`);
    const mark = upload.digest('hex').slice(0, 24);
    try {
      const ids = await inParts(partsOf(sizeBytes, partBytes, BLOCKS_MAX), partsAtOnceMax, async (part) => {
        const id = Buffer.from(`${mark}-${String(part.index).padStart(6, '0')}`).toString('base64');
        const bytes = await pieceOf(body, part.offset, part.length);
        const kept = { ...scope, transactionalContentMD5: md5Of(bytes) };
        await this.#inTime(
          'put',
          key,
          (abortSignal) => blob.stageBlock(id, bytes, part.length, { ...kept, abortSignal }),
          part.length,
        );
        return id;
      });
      const kept = {
        ...this.#kept(options, body instanceof Uint8Array ? body : undefined),
        conditions: conditionsOf(condition),
      };
      const answer = await this.#inTime('put', key, (abortSignal) =>
        blob.commitBlockList(ids, { ...kept, abortSignal }),
      );
      return infoOf(key, sizeBytes, answer.etag, answer.lastModified ?? new Date(this.#clock.nowMs()));
    } catch (error) {
      // Blocks that are not committed are never visible; the service removes them after a week.
      throw this.#errorOf(error, 'put', key, condition?.kind === 'unchanged');
    }
  }

  async #checkBefore(key: string, condition: PutCondition): Promise<void> {
    const found = await this.head(key);
    const holds = condition.kind === 'absent' ? !found : found?.version === condition.version;
    if (!holds) throw new ProxyError('STORE_EXISTS', `Azure put ${key}: the condition does not hold`);
  }

  async delete(key: string): Promise<void> {
    checkKey(key);
    try {
      await this.#inTime('delete', key, (abortSignal) => this.#blob(key).delete({ abortSignal }));
    } catch (error) {
      const failure = this.#errorOf(error, 'delete', key);
      if (!isProxyError(failure, 'STORE_ABSENT')) throw failure;
    }
  }

  async close(): Promise<void> {
    // The SDK keeps connections of its own, which end by themselves.
  }

  #errorOf(error: unknown, action: string, key: string, isConditional = false): ProxyError {
    return azureErrorOf(error, action, key, { isConditional, nowMs: this.#clock.nowMs() });
  }

  /** What gets no answer in time is given up; it may yet happen. Covers getting a token, too. */
  async #inTime<T>(
    action: string,
    key: string,
    act: (abortSignal: AbortSignal) => Promise<T>,
    sentBytes = 0,
  ): Promise<T> {
    const withinMs = Math.ceil(this.#timeoutMs + sentBytes / SLOWEST_BYTES_PER_MS);
    const abort = new AbortController();
    const { promise: late, reject } = Promise.withResolvers<never>();
    const cancel = this.#clock.after(withinMs, () => {
      reject(new ProxyError('STORE_UNAVAILABLE', `Azure ${action} ${key}: no answer within ${withinMs} ms`));
      abort.abort();
    });
    try {
      return await Promise.race([act(abort.signal), late]);
    } finally {
      cancel();
    }
  }

  async #readAll(stream: Readable | undefined, length: number, key: string): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    const failed = (what: string) => new ProxyError('STORE_UNAVAILABLE', `Azure get ${key}: ${what}`);
    let at = 0;
    if (stream) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      let piecesAtLook = -1;
      let pieces = 0;
      let cancel = (): void => {};
      const look = (): void => {
        if (pieces === piecesAtLook) {
          stream.destroy(failed(`nothing for ${this.#timeoutMs} ms after ${at} of ${length} bytes`));
          return;
        }
        piecesAtLook = pieces;
        cancel = this.#clock.after(this.#timeoutMs, look);
      };
      look();
      stream.on('data', (piece: Buffer) => {
        pieces += 1;
        if (at + piece.byteLength > length) {
          stream.destroy(failed(`more came than ${length} bytes`));
          return;
        }
        bytes.set(piece, at);
        at += piece.byteLength;
      });
      stream.once('end', resolve);
      stream.once('error', reject);
      stream.once('close', () => reject(failed(`${at} of ${length} bytes came`)));
      try {
        await promise;
      } finally {
        cancel();
      }
    }
    if (at !== length) throw failed(`${at} of ${length} bytes came`);
    return bytes;
  }

  #blob(key: string): BlockBlobClient {
    return this.#container.getBlockBlobClient(key);
  }

  /** How it rests: tier, encryption, and what we write beside it. */
  #kept({ writer, storageClass = this.#settings.accessTier }: PutOptions, bytes: Uint8Array | undefined) {
    const { encryptionScope } = this.#settings;
    return {
      metadata: {
        ...(writer === undefined ? {} : { [WRITER]: writer }),
        ...(bytes === undefined ? {} : { [CHECKSUM]: checksumOf(bytes) }),
      },
      ...(storageClass ? { tier: storageClass } : {}),
      ...(encryptionScope ? { encryptionScope } : {}),
    };
  }
}

function conditionsOf(condition: PutCondition | undefined): BlobRequestConditions {
  if (!condition) return {};
  return condition.kind === 'absent' ? { ifNoneMatch: '*' } : { ifMatch: `"${condition.version}"` };
}

function isWhole({ offset, length }: ByteRange): boolean {
  return Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
}

/** Listings give etags without their quotes. */
function infoOf(key: string, sizeBytes: number, etag: string | undefined, modifiedAt: Date | undefined): ObjectInfo {
  return { key, sizeBytes, version: (etag ?? '').replaceAll('"', ''), modifiedAtMs: modifiedAt?.getTime() ?? 0 };
}

function md5Of(bytes: Uint8Array): Uint8Array {
  return createHash('md5').update(bytes).digest();
}

function checksumOf(bytes: Uint8Array): string {
  return crc32(bytes).toString(16).padStart(8, '0');
}
