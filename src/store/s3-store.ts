/**
 * Objects in S3, or in a server that speaks its protocol. Conditions are If-None-Match and If-Match, on completing an upload in
 * parts too; versions are ETags. Every body carries a CRC-32 that the server checks; it rests beside the object, and a whole read is
 * checked against it. The SDK's own retries are off: with-retry.ts has them for every store.
 *
 * Source: Amazon S3 API reference (PutObject, GetObject, ListObjectsV2, CompleteMultipartUpload; conditional writes; checksums).
 */
import { crc32 } from 'node:zlib';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  PutObjectCommand,
  S3Client,
  type ServerSideEncryption,
  type StorageClass,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import type { Clock } from '../core/clock.ts';
import { isProxyError, ProxyError } from '../core/errors.ts';
import { pieceOf, sizeOf, wholeOf } from './byte-sources.ts';
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
import { inParts, PART_BYTES_DEFAULT, PARTS_AT_ONCE_DEFAULT, partsOf } from './parts.ts';
import { s3ErrorOf } from './s3-errors.ts';

export interface S3StoreSettings {
  bucket: string;
  /** Default us-east-1, which servers of other makes accept. */
  region?: string;
  /** Another server than Amazon's. */
  endpoint?: string;
  /** The bucket in the path instead of the host name. */
  pathStyle?: boolean;
  /** Without keys the SDK's default chain: environment, profile, web identity (IRSA), container, instance. */
  accessKeyId?: string;
  secretAccessKey?: string;
  sessionToken?: string;
  /** Of what is written, e.g. GLACIER_IR; default: the server's. */
  storageClass?: string;
  /** `s3`: SSE-S3. `kms`: SSE-KMS, with the bucket's default key unless `kmsKeyId` is given. Default: the bucket's. */
  encryption?: 's3' | 'kms';
  kmsKeyId?: string;
  /** Bodies above go up in parts of at least this; S3's least is 5 MiB. Default 8 MiB. */
  partBytes?: number;
  /** Parts of one body on their way, each in memory. Default 3. */
  partsAtOnceMax?: number;
  /** Silence on a connection that ends a request. Default 60 s. */
  requestTimeoutMs?: number;
  /** Connections at once. Default 64. */
  connectionsMax?: number;
}

const REGION_DEFAULT = 'us-east-1';
const REQUEST_TIMEOUT_MS = 60_000;
const CONNECT_TIMEOUT_MS = 10_000;
const CONNECTIONS_MAX = 64;
/** S3's limit. */
const PARTS_MAX = 10_000;
const PAGE_KEYS = 1000;
const WRITER = 'reductrai-writer';
const CHECKSUM = 'reductrai-crc32';

export async function openS3Store(settings: S3StoreSettings, { clock }: { clock: Clock }): Promise<ObjectStore> {
  const { accessKeyId, secretAccessKey, sessionToken } = settings;
  const timeoutMs = settings.requestTimeoutMs ?? REQUEST_TIMEOUT_MS;
  const agent = { keepAlive: true, maxSockets: settings.connectionsMax ?? CONNECTIONS_MAX };
  const client = new S3Client({
    region: settings.region ?? REGION_DEFAULT,
    ...(settings.endpoint ? { endpoint: settings.endpoint } : {}),
    forcePathStyle: settings.pathStyle ?? false,
    ...(accessKeyId && secretAccessKey
      ? { credentials: { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) } }
      : {}),
    maxAttempts: 1,
    // We compute them ourselves, natively, and some servers refuse the SDK's trailers.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: {
      connectionTimeout: CONNECT_TIMEOUT_MS,
      socketTimeout: timeoutMs,
      httpAgent: agent,
      httpsAgent: agent,
      // Many waiting at once is with-limit.ts' matter.
      socketAcquisitionWarningTimeout: 10 * timeoutMs,
    },
  });
  return new S3Store(client, settings, clock);
}

class S3Store implements ObjectStore {
  readonly url: string;
  readonly #client: S3Client;
  readonly #settings: S3StoreSettings;
  readonly #clock: Clock;

  constructor(client: S3Client, settings: S3StoreSettings, clock: Clock) {
    this.#client = client;
    this.#settings = settings;
    this.#clock = clock;
    this.url = `s3://${settings.bucket}`;
  }

  async get(key: string, range?: ByteRange): Promise<ObjectBytes> {
    checkKey(key);
    if (range?.length === 0 || (range && !isWhole(range))) return this.#getNothing(key, range);
    try {
      const answer = await this.#client.send(
        new GetObjectCommand({
          ...this.#at(key),
          ...(range ? { Range: `bytes=${range.offset}-${range.offset + range.length - 1}` } : {}),
        }),
      );
      const bytes = (await answer.Body?.transformToByteArray()) ?? new Uint8Array(0);
      const total = Number(/\/(\d+)$/.exec(answer.ContentRange ?? '')?.[1] ?? answer.ContentLength ?? bytes.byteLength);
      if (range) checkRange(range.offset, range.length, total, key);
      const wanted = range?.length ?? total;
      if (bytes.byteLength !== wanted) {
        throw new ProxyError('STORE_UNAVAILABLE', `S3 get ${key}: ${bytes.byteLength} of ${wanted} bytes came`);
      }
      const checksum = answer.Metadata?.[CHECKSUM];
      if (!range && checksum !== undefined && checksum !== checksumOf(bytes)) {
        throw new ProxyError('STORE_CORRUPT', `S3 get ${key}: the bytes do not match their checksum`);
      }
      return { info: infoOf(key, total, answer.ETag, answer.LastModified), bytes };
    } catch (error) {
      throw s3ErrorOf(error, 'get', key);
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
      const answer = await this.#client.send(new HeadObjectCommand(this.#at(key)));
      const writer = answer.Metadata?.[WRITER];
      return {
        ...infoOf(key, answer.ContentLength ?? 0, answer.ETag, answer.LastModified),
        ...(writer === undefined ? {} : { writer }),
      };
    } catch (error) {
      const failure = s3ErrorOf(error, 'head', key);
      if (isProxyError(failure, 'STORE_ABSENT')) return undefined;
      throw failure;
    }
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    // Some servers refuse a prefix that looks like a way out, though keys may begin so.
    const asked = prefix.replace(/(^|\/)\.{1,2}$/, '$1');
    if (!canBePrefix(asked)) return;
    let token: string | undefined;
    do {
      let page: ListObjectsV2CommandOutput;
      try {
        page = await this.#page(asked, token, options.startAfter);
      } catch (error) {
        throw s3ErrorOf(error, 'list', prefix);
      }
      for (const { Key, Size, ETag, LastModified } of page.Contents ?? []) {
        if (Key?.startsWith(prefix)) yield infoOf(Key, Size ?? 0, ETag, LastModified);
      }
      token = page.IsTruncated ? page.NextContinuationToken : undefined;
    } while (token !== undefined);
  }

  #page(prefix: string, token: string | undefined, startAfter: string | undefined) {
    return this.#client.send(
      new ListObjectsV2Command({
        Bucket: this.#settings.bucket,
        Prefix: prefix,
        MaxKeys: PAGE_KEYS,
        ...(token === undefined ? {} : { ContinuationToken: token }),
        ...(startAfter ? { StartAfter: startAfter } : {}),
      }),
    );
  }

  async put(key: string, body: ObjectBody, options: PutOptions = {}): Promise<ObjectInfo> {
    checkKey(key);
    const { condition } = options;
    const sizeBytes = sizeOf(body);
    if (sizeBytes > (this.#settings.partBytes ?? PART_BYTES_DEFAULT)) return this.#putInParts(key, body, options);
    try {
      const bytes = await wholeOf(body);
      const checksum = crc32(bytes);
      const answer = await this.#client.send(
        new PutObjectCommand({
          ...this.#at(key),
          ...this.#kept(options, body instanceof Uint8Array ? bytes : undefined),
          ...headersOf(condition),
          Body: bytes,
          ContentLength: sizeBytes,
          ChecksumCRC32: base64Of(checksum),
        }),
      );
      return this.#written(key, sizeBytes, answer.ETag);
    } catch (error) {
      throw s3ErrorOf(error, 'put', key, condition?.kind === 'unchanged');
    }
  }

  async #putInParts(key: string, body: ObjectBody, options: PutOptions): Promise<ObjectInfo> {
    const { condition } = options;
    const sizeBytes = sizeOf(body);
    // The condition counts when the upload is completed; what cannot succeed is not begun.
    if (condition) await this.#checkBefore(key, condition);
    const { partBytes = PART_BYTES_DEFAULT, partsAtOnceMax = PARTS_AT_ONCE_DEFAULT } = this.#settings;
    let uploadId: string | undefined;
    try {
      const created = await this.#client.send(
        new CreateMultipartUploadCommand({
          ...this.#at(key),
          ...this.#kept(options, body instanceof Uint8Array ? body : undefined),
          ChecksumAlgorithm: 'CRC32',
        }),
      );
      uploadId = created.UploadId;
      const parts = await inParts(partsOf(sizeBytes, partBytes, PARTS_MAX), partsAtOnceMax, async (part) => {
        const bytes = await pieceOf(body, part.offset, part.length);
        const checksum = base64Of(crc32(bytes));
        const answer = await this.#client.send(
          new UploadPartCommand({
            ...this.#at(key),
            UploadId: uploadId,
            PartNumber: part.index + 1,
            Body: bytes,
            ContentLength: part.length,
            ChecksumCRC32: checksum,
          }),
        );
        return { PartNumber: part.index + 1, ETag: answer.ETag, ChecksumCRC32: checksum };
      });
      const answer = await this.#client.send(
        new CompleteMultipartUploadCommand({
          ...this.#at(key),
          ...headersOf(condition),
          UploadId: uploadId,
          MultipartUpload: { Parts: parts },
        }),
      );
      return this.#written(key, sizeBytes, answer.ETag);
    } catch (error) {
      if (uploadId !== undefined) await this.#abort(key, uploadId);
      throw s3ErrorOf(error, 'put', key, condition?.kind === 'unchanged');
    }
  }

  async #checkBefore(key: string, condition: PutCondition): Promise<void> {
    const found = await this.head(key);
    const holds = condition.kind === 'absent' ? !found : found?.version === condition.version;
    if (!holds) throw new ProxyError('STORE_EXISTS', `S3 put ${key}: the condition does not hold`);
  }

  /** Parts that nobody completes cost money; what cannot be removed now, the bucket's lifecycle rule does. */
  async #abort(key: string, uploadId: string): Promise<void> {
    try {
      await this.#client.send(new AbortMultipartUploadCommand({ ...this.#at(key), UploadId: uploadId }));
    } catch {
      // The failure that led here is the one to tell.
    }
  }

  async delete(key: string): Promise<void> {
    checkKey(key);
    try {
      await this.#client.send(new DeleteObjectCommand(this.#at(key)));
    } catch (error) {
      const failure = s3ErrorOf(error, 'delete', key);
      if (!isProxyError(failure, 'STORE_ABSENT')) throw failure;
    }
  }

  async close(): Promise<void> {
    this.#client.destroy();
  }

  #at(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.#settings.bucket, Key: key };
  }

  /** How it rests: class, encryption, and what we write beside it. */
  #kept({ writer, storageClass = this.#settings.storageClass }: PutOptions, bytes: Uint8Array | undefined) {
    const { encryption, kmsKeyId } = this.#settings;
    const algorithm: ServerSideEncryption = encryption === 'kms' ? 'aws:kms' : 'AES256';
    return {
      Metadata: {
        ...(writer === undefined ? {} : { [WRITER]: writer }),
        ...(bytes === undefined ? {} : { [CHECKSUM]: checksumOf(bytes) }),
      },
      ...(storageClass ? { StorageClass: storageClass as StorageClass } : {}),
      ...(encryption ? { ServerSideEncryption: algorithm } : {}),
      ...(encryption === 'kms' && kmsKeyId ? { SSEKMSKeyId: kmsKeyId } : {}),
    };
  }

  #written(key: string, sizeBytes: number, etag: string | undefined): ObjectInfo {
    return { key, sizeBytes, version: etag ?? '', modifiedAtMs: this.#clock.nowMs() };
  }
}

function headersOf(condition: PutCondition | undefined): { IfNoneMatch?: string; IfMatch?: string } {
  if (!condition) return {};
  return condition.kind === 'absent' ? { IfNoneMatch: '*' } : { IfMatch: condition.version };
}

function isWhole({ offset, length }: ByteRange): boolean {
  return Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
}

function infoOf(key: string, sizeBytes: number, etag: string | undefined, modifiedAt: Date | undefined): ObjectInfo {
  return { key, sizeBytes, version: etag ?? '', modifiedAtMs: modifiedAt?.getTime() ?? 0 };
}

function checksumOf(bytes: Uint8Array): string {
  return crc32(bytes).toString(16).padStart(8, '0');
}

/** Big endian, as in the header x-amz-checksum-crc32. */
function base64Of(checksum: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(checksum);
  return bytes.toString('base64');
}
