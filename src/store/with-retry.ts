/**
 * Repeats operations that failed in passing, with exponential back-off and full jitter, a bounded number of times. A
 * conditional put that failed may yet have happened; when its repetition then meets an object with the very same bytes,
 * it was ours. Callers' bytes that decide a race therefore say who wrote them.
 */
import type { Clock } from '../core/clock.ts';
import { isProxyError } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import type { ByteRange, ListOptions, ObjectBytes, ObjectInfo, ObjectStore, PutOptions } from './object-store.ts';

export interface RetryOptions {
  clock: Clock;
  random: Random;
  /** Including the first. */
  attemptsMax: number;
  /** The n-th wait is drawn from [0, min(delayMaxMs, firstDelayMs · 2ⁿ)). */
  firstDelayMs: number;
  delayMaxMs: number;
}

export function withRetry(store: ObjectStore, options: RetryOptions): ObjectStore {
  return new RetryingStore(store, options);
}

class RetryingStore implements ObjectStore {
  readonly #store: ObjectStore;
  readonly #options: RetryOptions;

  constructor(store: ObjectStore, options: RetryOptions) {
    this.#store = store;
    this.#options = options;
  }

  get url(): string {
    return this.#store.url;
  }

  get(key: string, range?: ByteRange): Promise<ObjectBytes> {
    return this.#repeat(() => this.#store.get(key, range));
  }

  head(key: string): Promise<ObjectInfo | undefined> {
    return this.#repeat(() => this.#store.head(key));
  }

  /** Goes on after the last key it gave; the attempts count anew with each object. */
  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    let from = options;
    for (let attempt = 1; ; attempt++) {
      try {
        for await (const info of this.#store.list(prefix, from)) {
          attempt = 1;
          from = { startAfter: info.key };
          yield info;
        }
        return;
      } catch (error) {
        await this.#waitOrThrow(error, attempt);
      }
    }
  }

  put(key: string, bytes: Uint8Array, options?: PutOptions): Promise<ObjectInfo> {
    let mayHaveHappened = false;
    return this.#repeat(async () => {
      try {
        return await this.#store.put(key, bytes, options);
      } catch (error) {
        if (mayHaveHappened && isProxyError(error, 'STORE_EXISTS')) {
          const own = await this.#readIfEqual(key, bytes);
          if (own) return own;
        }
        mayHaveHappened ||= isProxyError(error, 'STORE_UNAVAILABLE');
        throw error;
      }
    });
  }

  delete(key: string): Promise<void> {
    return this.#repeat(() => this.#store.delete(key));
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  async #readIfEqual(key: string, bytes: Uint8Array): Promise<ObjectInfo | undefined> {
    const found = await this.#store.head(key);
    if (found?.sizeBytes !== bytes.byteLength) return undefined;
    try {
      const read = await this.#store.get(key);
      return Buffer.compare(read.bytes, bytes) === 0 ? read.info : undefined;
    } catch (error) {
      if (isProxyError(error, 'STORE_ABSENT')) return undefined;
      throw error;
    }
  }

  async #repeat<T>(act: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await act();
      } catch (error) {
        await this.#waitOrThrow(error, attempt);
      }
    }
  }

  async #waitOrThrow(error: unknown, attempt: number): Promise<void> {
    const { clock, random, attemptsMax, firstDelayMs, delayMaxMs } = this.#options;
    if (!isProxyError(error) || !error.retryable || attempt >= attemptsMax) throw error;
    await clock.sleep(random.next() * Math.min(delayMaxMs, firstDelayMs * 2 ** (attempt - 1)));
  }
}
