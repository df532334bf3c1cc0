/**
 * Objects encrypted before they leave this machine: AES-256-GCM in chunks, so that ranges are read without the whole. Keys, sizes
 * and times stay visible. Drawn in docs/storage.md.
 *
 *   object  magic "RDXENC1\n" 8 | chunk bytes u32 LE | salt 16 | zero 4 | chunk…        (header 32 bytes)
 *   chunk   ciphertext | tag 16
 *
 * Each object has a key of its own (HKDF-SHA256 of the master key with its salt); the nonce is the number of the chunk, and the
 * authenticated data is the header and whether the chunk is the last: nothing can be cut off, swapped or moved to another object.
 */
import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto';
import { ProxyError } from '../core/errors.ts';
import { KIB } from '../core/limits.ts';
import type { Random } from '../core/random.ts';
import { isByteSource, pieceOf, sizeOf } from './byte-sources.ts';
import { checkRange } from './local-files.ts';
import type {
  ByteRange,
  ByteSource,
  ListOptions,
  ObjectBody,
  ObjectBytes,
  ObjectHead,
  ObjectInfo,
  ObjectStore,
  PutOptions,
} from './object-store.ts';

const MAGIC = Buffer.from('RDXENC1\n', 'latin1');
const HEADER_BYTES = 32;
const SALT_BYTES = 16;
const TAG_BYTES = 16;
const CHUNK_BYTES = 64 * KIB;
const CHUNK_BYTES_MAX = 1024 * KIB;
const SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES;

export interface EncryptionOptions {
  /** 32 bytes. */
  key: Uint8Array;
  random: Random;
}

export function withEncryption(store: ObjectStore, options: EncryptionOptions): ObjectStore {
  if (options.key.byteLength !== 32) throw new Error('BUG: an encryption key that is not 32 bytes');
  return new EncryptedStore(store, options);
}

class EncryptedStore implements ObjectStore {
  readonly #store: ObjectStore;
  readonly #options: EncryptionOptions;

  constructor(store: ObjectStore, options: EncryptionOptions) {
    this.#store = store;
    this.#options = options;
  }

  get url(): string {
    return this.#store.url;
  }

  async get(key: string, range?: ByteRange): Promise<ObjectBytes> {
    if (!range) {
      const { info, bytes } = await this.#store.get(key);
      const object = this.#open(key, bytes);
      const sizeBytes = plainBytes(key, info.sizeBytes);
      return { info: { ...info, sizeBytes }, bytes: object.open(bytes.subarray(HEADER_BYTES), 0, chunksOf(sizeBytes)) };
    }
    for (;;) {
      const head = await this.#store.head(key);
      if (!head) throw new ProxyError('STORE_ABSENT', key);
      const sizeBytes = plainBytes(key, head.sizeBytes);
      checkRange(range.offset, range.length, sizeBytes, key);
      const chunks = chunksOf(sizeBytes);
      const first = Math.min(chunks - 1, Math.floor(range.offset / CHUNK_BYTES));
      const end = Math.min(chunks, Math.max(first + 1, Math.ceil((range.offset + range.length) / CHUNK_BYTES)));
      const header = await this.#store.get(key, { offset: 0, length: HEADER_BYTES });
      const from = HEADER_BYTES + first * SEALED_CHUNK_BYTES;
      const to = Math.min(head.sizeBytes, HEADER_BYTES + end * SEALED_CHUNK_BYTES);
      const sealed = await this.#store.get(key, { offset: from, length: to - from });
      // Replaced in between: once more, from one version.
      if (header.info.version !== head.version || sealed.info.version !== head.version) continue;
      const plain = this.#open(key, header.bytes).open(sealed.bytes, first, chunks);
      const at = range.offset - first * CHUNK_BYTES;
      return { info: { ...sealed.info, sizeBytes }, bytes: plain.slice(at, at + range.length) };
    }
  }

  async head(key: string): Promise<ObjectHead | undefined> {
    const found = await this.#store.head(key);
    return found && { ...found, sizeBytes: plainBytes(key, found.sizeBytes) };
  }

  async *list(prefix: string, options?: ListOptions): AsyncGenerator<ObjectInfo> {
    for await (const info of this.#store.list(prefix, options)) {
      yield { ...info, sizeBytes: plainBytes(info.key, info.sizeBytes) };
    }
  }

  async put(key: string, body: ObjectBody, options?: PutOptions): Promise<ObjectInfo> {
    const salt = Buffer.from(this.#options.random.bytes(SALT_BYTES));
    const object = new SealedObject(key, this.#options.key, headerOf(salt));
    const sealed = new SealedSource(object, body);
    const whole = isByteSource(body) ? sealed : await sealed.read(0, sealed.sizeBytes);
    const info = await this.#store.put(key, whole, options);
    return { ...info, sizeBytes: sizeOf(body) };
  }

  delete(key: string): Promise<void> {
    return this.#store.delete(key);
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  #open(key: string, bytes: Uint8Array): SealedObject {
    const header = Buffer.from(bytes.subarray(0, HEADER_BYTES));
    if (header.compare(MAGIC, 0, MAGIC.byteLength, 0, MAGIC.byteLength) !== 0) {
      throw new ProxyError('STORE_INVALID', `${key} is not encrypted: it was written without an encryption key`);
    }
    const chunkBytes = header.readUInt32LE(MAGIC.byteLength);
    if (chunkBytes !== CHUNK_BYTES || chunkBytes > CHUNK_BYTES_MAX) {
      throw new ProxyError('STORE_INVALID', `${key} was encrypted by another version (chunks of ${chunkBytes} bytes)`);
    }
    return new SealedObject(key, this.#options.key, header);
  }
}

function headerOf(salt: Buffer): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(header);
  header.writeUInt32LE(CHUNK_BYTES, MAGIC.byteLength);
  salt.copy(header, MAGIC.byteLength + 4);
  return header;
}

/** An empty object has one (empty) chunk, so that it too is authentic. */
function chunksOf(sizeBytes: number): number {
  return Math.max(1, Math.ceil(sizeBytes / CHUNK_BYTES));
}

function sealedBytes(sizeBytes: number): number {
  return HEADER_BYTES + sizeBytes + chunksOf(sizeBytes) * TAG_BYTES;
}

function plainBytes(key: string, storedBytes: number): number {
  const body = storedBytes - HEADER_BYTES;
  const chunks = Math.max(1, Math.ceil(body / SEALED_CHUNK_BYTES));
  const plain = body - chunks * TAG_BYTES;
  if (plain < 0) throw new ProxyError('STORE_INVALID', `${key} is not encrypted: it is too short`);
  return plain;
}

class SealedObject {
  readonly header: Buffer;
  readonly #key: string;
  readonly #secret: Buffer;

  constructor(key: string, master: Uint8Array, header: Buffer) {
    this.#key = key;
    this.header = header;
    const salt = header.subarray(MAGIC.byteLength + 4, MAGIC.byteLength + 4 + SALT_BYTES);
    this.#secret = Buffer.from(hkdfSync('sha256', master, salt, 'reductrai-store', 32));
  }

  seal(plain: Uint8Array, chunk: number, isLast: boolean): Buffer[] {
    const cipher = createCipheriv('aes-256-gcm', this.#secret, nonceOf(chunk)).setAAD(this.#aad(isLast));
    return [cipher.update(plain), cipher.final(), cipher.getAuthTag()];
  }

  /** `sealed`: whole chunks from `first` on. */
  open(sealed: Uint8Array, first: number, chunks: number): Uint8Array {
    const pieces: Buffer[] = [];
    for (let at = 0, chunk = first; at < sealed.byteLength; at += SEALED_CHUNK_BYTES, chunk += 1) {
      const piece = sealed.subarray(at, at + SEALED_CHUNK_BYTES);
      const end = piece.byteLength - TAG_BYTES;
      try {
        const decipher = createDecipheriv('aes-256-gcm', this.#secret, nonceOf(chunk))
          .setAAD(this.#aad(chunk === chunks - 1))
          .setAuthTag(piece.subarray(end));
        pieces.push(decipher.update(piece.subarray(0, end)), decipher.final());
      } catch (cause) {
        throw new ProxyError('STORE_CORRUPT', `${this.#key} was encrypted with another key, or is damaged`, {
          cause,
          retryable: false,
        });
      }
    }
    return Buffer.concat(pieces);
  }

  #aad(isLast: boolean): Buffer {
    return Buffer.concat([this.header, Buffer.from([isLast ? 1 : 0])]);
  }
}

function nonceOf(chunk: number): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32BE(chunk, 8);
  return nonce;
}

/** The encrypted form of a body; the same bytes whenever it is read. */
class SealedSource implements ByteSource {
  readonly sizeBytes: number;
  readonly #object: SealedObject;
  readonly #body: ObjectBody;

  constructor(object: SealedObject, body: ObjectBody) {
    this.#object = object;
    this.#body = body;
    this.sizeBytes = sealedBytes(sizeOf(body));
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const total = sizeOf(this.#body);
    const chunks = chunksOf(total);
    const pieces: Uint8Array[] = [];
    if (offset < HEADER_BYTES) pieces.push(this.#object.header);
    const bodyFrom = Math.max(0, offset - HEADER_BYTES);
    const bodyTo = offset + length - HEADER_BYTES;
    const first = Math.floor(bodyFrom / SEALED_CHUNK_BYTES);
    for (let chunk = first; chunk * SEALED_CHUNK_BYTES < bodyTo; chunk += 1) {
      const at = chunk * CHUNK_BYTES;
      const plain = await pieceOf(this.#body, at, Math.min(CHUNK_BYTES, total - at));
      pieces.push(...this.#object.seal(plain, chunk, chunk === chunks - 1));
    }
    const from = offset < HEADER_BYTES ? offset : bodyFrom - first * SEALED_CHUNK_BYTES;
    return Buffer.concat(pieces).subarray(from, from + length);
  }
}
