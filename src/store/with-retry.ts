/**
 * Repeats operations that failed in passing, with exponential back-off and full jitter, a bounded number of times. A
 * conditional put that failed may yet have happened; when its repetition then meets an object with this write's own name
 * (or, where the store keeps no names, with the very same bytes), it was ours.
 */
import type { Clock } from '../core/clock.ts';
import { isProxyError } from '../core/errors.ts';
import { MIB } from '../core/limits.ts';
import type { Random } from '../core/random.ts';
import { pieceOf, sizeOf } from './byte-sources.ts';
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

const COMPARED_BYTES = 4 * MIB;

export interface RetryOptions {
  clock: Clock;
  random: Random;
  /** Including the first. */
  attemptsMax: number;
  /** The n-th wait is drawn from [0, min(delayMaxMs, firstDelayMs · 2ⁿ)). */
  firstDelayMs: number;
  delayMaxMs: number;
  /**
   * Retries over all operations that a store in trouble gets before failures are told at once: each takes one, each success gives a
   * tenth back. Default 500.
   */
  budgetMax?: number;
}

const BUDGET_MAX = 500;
const BUDGET_PER_SUCCESS = 0.1;
/** A store that says "slow down" is asked later than one that just failed. */
const THROTTLED_FACTOR = 8;

export function withRetry(store: ObjectStore, options: RetryOptions): ObjectStore {
  return new RetryingStore(store, options);
}

class RetryingStore implements ObjectStore {
  readonly #store: ObjectStore;
  readonly #options: RetryOptions;
  #budget: number;

  constructor(store: ObjectStore, options: RetryOptions) {
    this.#store = store;
    this.#options = options;
    this.#budget = options.budgetMax ?? BUDGET_MAX;
  }

  get url(): string {
    return this.#store.url;
  }

  get(key: string, range?: ByteRange): Promise<ObjectBytes> {
    return this.#repeat(() => this.#store.get(key, range));
  }

  head(key: string): Promise<ObjectHead | undefined> {
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

  put(key: string, body: ObjectBody, options: PutOptions = {}): Promise<ObjectInfo> {
    const writer = options.writer ?? Buffer.from(this.#options.random.bytes(16)).toString('hex');
    let mayHaveHappened = false;
    return this.#repeat(async () => {
      try {
        return await this.#store.put(key, body, { ...options, writer });
      } catch (error) {
        if (mayHaveHappened && isProxyError(error, 'STORE_EXISTS')) {
          const own = await this.#findOwn(key, body, writer);
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

  /** The object, if it is what this write made: by its writer, or by its bytes where the store keeps no writer. */
  async #findOwn(key: string, body: ObjectBody, writer: string): Promise<ObjectInfo | undefined> {
    const found = await this.#store.head(key);
    if (found?.sizeBytes !== sizeOf(body)) return undefined;
    if (found.writer !== undefined) return found.writer === writer ? found : undefined;
    try {
      for (let at = 0; at < found.sizeBytes; at += COMPARED_BYTES) {
        const length = Math.min(COMPARED_BYTES, found.sizeBytes - at);
        const { bytes, info } = await this.#store.get(key, { offset: at, length });
        if (info.version !== found.version || Buffer.compare(bytes, await pieceOf(body, at, length)) !== 0)
          return undefined;
      }
      return found;
    } catch (error) {
      if (isProxyError(error, 'STORE_ABSENT') || isProxyError(error, 'STORE_INVALID')) return undefined;
      throw error;
    }
  }

  async #repeat<T>(act: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        const result = await act();
        this.#budget = Math.min(this.#options.budgetMax ?? BUDGET_MAX, this.#budget + BUDGET_PER_SUCCESS);
        return result;
      } catch (error) {
        await this.#waitOrThrow(error, attempt);
      }
    }
  }

  async #waitOrThrow(error: unknown, attempt: number): Promise<void> {
    const { clock, random, attemptsMax, firstDelayMs, delayMaxMs } = this.#options;
    if (!isProxyError(error) || !error.retryable || attempt >= attemptsMax || this.#budget < 1) throw error;
    this.#budget -= 1;
    const firstMs = error.code === 'STORE_THROTTLED' ? firstDelayMs * THROTTLED_FACTOR : firstDelayMs;
    await clock.sleep(random.next() * Math.min(delayMaxMs, firstMs * 2 ** (attempt - 1)));
  }
}
