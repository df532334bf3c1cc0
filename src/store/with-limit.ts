/**
 * At most so many operations of a store at once; others wait in order, and beyond a bound they are refused with
 * STORE_THROTTLED. Of a listing each step counts as one operation, so a listing that nobody pulls holds no place.
 */
import { ProxyError } from '../core/errors.ts';
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

export interface StoreLimits {
  concurrentMax: number;
  waitingMax: number;
}

export function withLimit(store: ObjectStore, limits: StoreLimits): ObjectStore {
  return new LimitedStore(store, limits);
}

class LimitedStore implements ObjectStore {
  readonly #store: ObjectStore;
  readonly #limits: StoreLimits;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(store: ObjectStore, limits: StoreLimits) {
    if (limits.concurrentMax < 1) throw new Error('BUG: a store limit that lets nothing through');
    this.#store = store;
    this.#limits = limits;
  }

  get url(): string {
    return this.#store.url;
  }

  get(key: string, range?: ByteRange): Promise<ObjectBytes> {
    return this.#limited(() => this.#store.get(key, range));
  }

  head(key: string): Promise<ObjectHead | undefined> {
    return this.#limited(() => this.#store.head(key));
  }

  async *list(prefix: string, options?: ListOptions): AsyncGenerator<ObjectInfo> {
    const steps = this.#store.list(prefix, options)[Symbol.asyncIterator]();
    let ended = false;
    try {
      for (;;) {
        const step = await this.#limited(() => steps.next());
        if (step.done) {
          ended = true;
          return;
        }
        yield step.value;
      }
    } finally {
      if (!ended) await steps.return?.();
    }
  }

  put(key: string, body: ObjectBody, options?: PutOptions): Promise<ObjectInfo> {
    return this.#limited(() => this.#store.put(key, body, options));
  }

  delete(key: string): Promise<void> {
    return this.#limited(() => this.#store.delete(key));
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  async #limited<T>(act: () => Promise<T>): Promise<T> {
    if (this.#running < this.#limits.concurrentMax) this.#running++;
    else {
      if (this.#waiting.length >= this.#limits.waitingMax) {
        throw new ProxyError('STORE_THROTTLED', `${this.#waiting.length} operations are waiting for the store`);
      }
      // Whoever ends hands its place on, so the count stays as it is.
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    try {
      return await act();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#running--;
    }
  }
}
