/**
 * One store out of several: objects of a tier that has a store of its own are written there, everything else (journal, commit
 * records, leases, the other tiers) to the main one. What lay in the main store before its tier had one of its own is still found
 * there: a read that finds nothing asks the main store, a listing is of all, a delete is of both.
 */
import { isProxyError } from '../core/errors.ts';
import { compareKeys } from './keys.ts';
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

export interface TierStoresOptions {
  /** By tier. */
  stores: ReadonlyMap<string, ObjectStore>;
  /** The tier that an object belongs to; undefined for what is no segment. */
  tierOf: (key: string) => string | undefined;
  /** Whether objects of any tier may begin so: listings of everything else ask the main store alone. */
  mayHoldTiers: (prefix: string) => boolean;
}

/** The store itself where no tier has one of its own. */
export function withTiers(main: ObjectStore, options: TierStoresOptions): ObjectStore {
  return options.stores.size === 0 ? main : new TieredStore(main, options);
}

class TieredStore implements ObjectStore {
  readonly #main: ObjectStore;
  readonly #options: TierStoresOptions;

  constructor(main: ObjectStore, options: TierStoresOptions) {
    this.#main = main;
    this.#options = options;
  }

  get url(): string {
    const own = [...this.#options.stores].map(([tier, store]) => `${tier}: ${store.url}`);
    return `${this.#main.url} (${own.join(', ')})`;
  }

  async get(key: string, range?: ByteRange): Promise<ObjectBytes> {
    const own = this.#ownOf(key);
    if (!own) return this.#main.get(key, range);
    try {
      return await own.get(key, range);
    } catch (error) {
      if (!isProxyError(error, 'STORE_ABSENT')) throw error;
      return this.#main.get(key, range);
    }
  }

  async head(key: string): Promise<ObjectHead | undefined> {
    return (await this.#ownOf(key)?.head(key)) ?? this.#main.head(key);
  }

  put(key: string, body: ObjectBody, options?: PutOptions): Promise<ObjectInfo> {
    return (this.#ownOf(key) ?? this.#main).put(key, body, options);
  }

  /** The main one last: as long as it is there, the other was not told yet. */
  async delete(key: string): Promise<void> {
    await this.#ownOf(key)?.delete(key);
    await this.#main.delete(key);
  }

  list(prefix: string, options: ListOptions = {}): AsyncIterable<ObjectInfo> {
    const { stores, mayHoldTiers } = this.#options;
    if (!mayHoldTiers(prefix)) return this.#main.list(prefix, options);
    // A store of its own comes before the main one: of two with one key it has the object that reads give.
    const own = [...stores].map(([tier, store]) => this.#ofTier(tier, store.list(prefix, options)));
    return merged([...own, this.#main.list(prefix, options)]);
  }

  async *#ofTier(tier: string, listing: AsyncIterable<ObjectInfo>): AsyncGenerator<ObjectInfo> {
    for await (const info of listing) if (this.#options.tierOf(info.key) === tier) yield info;
  }

  async close(): Promise<void> {
    await Promise.all([this.#main, ...this.#options.stores.values()].map((store) => store.close()));
  }

  #ownOf(key: string): ObjectStore | undefined {
    const tier = this.#options.tierOf(key);
    return tier === undefined ? undefined : this.#options.stores.get(tier);
  }
}

/** Sorted listings as one sorted listing; of equal keys the first listing's. */
async function* merged(listings: readonly AsyncIterable<ObjectInfo>[]): AsyncGenerator<ObjectInfo> {
  const iterators = listings.map((listing) => listing[Symbol.asyncIterator]());
  try {
    const heads = await Promise.all(iterators.map(async (iterator) => (await iterator.next()).value));
    for (;;) {
      let least: ObjectInfo | undefined;
      for (const head of heads) if (head && (!least || compareKeys(head.key, least.key) < 0)) least = head;
      if (!least) return;
      yield least;
      for (const [i, head] of heads.entries()) {
        if (head?.key === least.key) heads[i] = (await iterators[i]!.next()).value;
      }
    }
  } finally {
    for (const iterator of iterators) await iterator.return?.();
  }
}
