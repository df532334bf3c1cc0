/** Times and counts the operations of a store. A conflict is no failure: it is how writers find out who won. */
import type { Clock } from '../core/clock.ts';
import { isProxyError } from '../core/errors.ts';
import type { Metrics } from '../telemetry/metrics.ts';
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

type StoreMetrics = Pick<Metrics, 'storeOperationSeconds' | 'storeFailures' | 'storageConnected'>;

export function withStoreMetrics(store: ObjectStore, metrics: StoreMetrics, clock: Clock): ObjectStore {
  return new MeasuredStore(store, metrics, clock);
}

class MeasuredStore implements ObjectStore {
  readonly #store: ObjectStore;
  readonly #metrics: StoreMetrics;
  readonly #clock: Clock;

  constructor(store: ObjectStore, metrics: StoreMetrics, clock: Clock) {
    this.#store = store;
    this.#metrics = metrics;
    this.#clock = clock;
  }

  get url(): string {
    return this.#store.url;
  }

  get(key: string, range?: ByteRange): Promise<ObjectBytes> {
    return this.#measured('get', () => this.#store.get(key, range));
  }

  head(key: string): Promise<ObjectHead | undefined> {
    return this.#measured('head', () => this.#store.head(key));
  }

  /** One listing is one operation; only the store's own share of the time counts, not what is done with each object. */
  async *list(prefix: string, options?: ListOptions): AsyncGenerator<ObjectInfo> {
    const steps = this.#store.list(prefix, options)[Symbol.asyncIterator]();
    let storeMs = 0;
    let ended = false;
    try {
      for (;;) {
        const startedMs = this.#clock.monotonicMs();
        let step: IteratorResult<ObjectInfo>;
        try {
          step = await steps.next();
        } catch (error) {
          ended = true;
          this.#countFailure('list', error);
          throw error;
        } finally {
          storeMs += this.#clock.monotonicMs() - startedMs;
        }
        if (step.done) {
          ended = true;
          this.#metrics.storageConnected.set(1);
          return;
        }
        yield step.value;
      }
    } finally {
      this.#metrics.storeOperationSeconds.observe({ operation: 'list' }, storeMs / 1000);
      if (!ended) await steps.return?.();
    }
  }

  put(key: string, body: ObjectBody, options?: PutOptions): Promise<ObjectInfo> {
    return this.#measured('put', () => this.#store.put(key, body, options));
  }

  delete(key: string): Promise<void> {
    return this.#measured('delete', () => this.#store.delete(key));
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  async #measured<T>(operation: string, act: () => Promise<T>): Promise<T> {
    const startedMs = this.#clock.monotonicMs();
    try {
      const result = await act();
      this.#metrics.storageConnected.set(1);
      return result;
    } catch (error) {
      this.#countFailure(operation, error);
      throw error;
    } finally {
      this.#metrics.storeOperationSeconds.observe({ operation }, (this.#clock.monotonicMs() - startedMs) / 1000);
    }
  }

  #countFailure(operation: string, error: unknown): void {
    const code = isProxyError(error) ? error.code : 'BUG';
    if (code === 'STORE_EXISTS' || code === 'STORE_ABSENT') {
      this.#metrics.storageConnected.set(1);
      return;
    }
    this.#metrics.storeFailures.inc({ operation, code });
    if (code === 'STORE_UNAVAILABLE' || code === 'STORE_DENIED') this.#metrics.storageConnected.set(0);
  }
}
