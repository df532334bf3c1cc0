/** A store whose keys all lie under one prefix of another store: several tiers or installations in one bucket. */
import { checkKey } from './keys.ts';
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

/** `prefix` without leading or trailing slash: `team-a/reductrai`. '' gives the store itself. */
export function withPrefix(store: ObjectStore, prefix: string): ObjectStore {
  if (prefix === '') return store;
  checkKey(prefix);
  return new PrefixedStore(store, `${prefix}/`);
}

class PrefixedStore implements ObjectStore {
  readonly #store: ObjectStore;
  readonly #prefix: string;

  constructor(store: ObjectStore, prefix: string) {
    this.#store = store;
    this.#prefix = prefix;
  }

  get url(): string {
    return `${this.#store.url.replace(/\/$/, '')}/${this.#prefix.slice(0, -1)}`;
  }

  async get(key: string, range?: ByteRange): Promise<ObjectBytes> {
    const { info, bytes } = await this.#store.get(this.#inner(key), range);
    return { info: this.#outer(info), bytes };
  }

  async head(key: string): Promise<ObjectHead | undefined> {
    const info = await this.#store.head(this.#inner(key));
    return info && this.#outer(info);
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    const inner = options.startAfter === undefined ? {} : { startAfter: this.#prefix + options.startAfter };
    for await (const info of this.#store.list(this.#prefix + prefix, inner)) yield this.#outer(info);
  }

  async put(key: string, body: ObjectBody, options?: PutOptions): Promise<ObjectInfo> {
    return this.#outer(await this.#store.put(this.#inner(key), body, options));
  }

  async delete(key: string): Promise<void> {
    await this.#store.delete(this.#inner(key));
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  /** Checked before it is joined: an empty key or `..` must not reach what lies beside the prefix. */
  #inner(key: string): string {
    checkKey(key);
    return this.#prefix + key;
  }

  #outer<T extends ObjectInfo>(info: T): T {
    return { ...info, key: info.key.slice(this.#prefix.length) };
  }
}
