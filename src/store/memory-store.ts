/** Objects in memory: for `memory` durability, tests and the demo. Holds copies, so callers may reuse their buffers. */
import type { Clock } from '../core/clock.ts';
import { ProxyError } from '../core/errors.ts';
import { wholeOf } from './byte-sources.ts';
import { checkKey, compareKeys } from './keys.ts';
import { checkRange } from './local-files.ts';
import type {
  ByteRange,
  ListOptions,
  ObjectBody,
  ObjectBytes,
  ObjectHead,
  ObjectInfo,
  ObjectStore,
  PutOptions,
} from './object-store.ts';

export function createMemoryStore(options: { clock: Clock }): ObjectStore {
  return new MemoryStore(options.clock);
}

class MemoryStore implements ObjectStore {
  readonly url = 'memory:';
  readonly #clock: Clock;
  readonly #objects = new Map<string, ObjectBytes & { writer: string | undefined }>();
  #writes = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async get(key: string, range?: ByteRange): Promise<ObjectBytes> {
    checkKey(key);
    const found = this.#objects.get(key);
    if (!found) throw new ProxyError('STORE_ABSENT', key);
    const { offset, length } = range ?? { offset: 0, length: found.bytes.byteLength };
    checkRange(offset, length, found.bytes.byteLength, key);
    return { info: { ...found.info }, bytes: found.bytes.slice(offset, offset + length) };
  }

  async head(key: string): Promise<ObjectHead | undefined> {
    checkKey(key);
    const found = this.#objects.get(key);
    return found && { ...found.info, ...(found.writer === undefined ? {} : { writer: found.writer }) };
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    const startAfter = options.startAfter ?? '';
    const keys = [...this.#objects.keys()].filter((key) => key.startsWith(prefix) && compareKeys(key, startAfter) > 0);
    for (const key of keys.sort(compareKeys)) {
      const found = this.#objects.get(key);
      if (found) yield { ...found.info };
    }
  }

  async put(key: string, body: ObjectBody, options: PutOptions = {}): Promise<ObjectInfo> {
    checkKey(key);
    const bytes = (await wholeOf(body)).slice();
    const found = this.#objects.get(key);
    const condition = options.condition;
    if (condition?.kind === 'absent' && found) throw new ProxyError('STORE_EXISTS', key);
    if (condition?.kind === 'unchanged' && found?.info.version !== condition.version) {
      throw new ProxyError('STORE_EXISTS', key);
    }
    this.#writes++;
    const info = {
      key,
      sizeBytes: bytes.byteLength,
      version: String(this.#writes),
      modifiedAtMs: this.#clock.nowMs(),
    };
    this.#objects.set(key, { info, bytes, writer: options.writer });
    return { ...info };
  }

  async delete(key: string): Promise<void> {
    checkKey(key);
    this.#objects.delete(key);
  }

  async close(): Promise<void> {
    this.#objects.clear();
  }
}
