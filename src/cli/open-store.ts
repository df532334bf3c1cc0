/**
 * The store of the configuration in force, for commands. Segments of a bucket (or encrypted ones) are fetched into a cache on this
 * machine's disk, because the query engine reads files.
 */
import { join, resolve } from 'node:path';
import type { Settings } from '../config/registry.ts';
import { storeSettingsOf } from '../config/storage.ts';
import { tierStoreSettingsOf } from '../config/tier-stores.ts';
import { systemClock } from '../core/clock.ts';
import { nodeFileSystem } from '../core/file-system.ts';
import { systemRandom } from '../core/random.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { openStore, type StoreSettings } from '../store/open.ts';
import { openReadCache } from '../store/read-cache.ts';
import { isSegmentKey, mayHoldSegments, tierOfKey } from '../store/segment-keys.ts';
import { claimTierStores } from '../store/tier-claim.ts';
import { withTiers } from '../store/with-tiers.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import type { OpenedStore } from './io.ts';

const MEMORY_LIMIT = '1GB';

/** With the product's wrappers. Errors as `openStore`'s. */
export async function openStoreOf(settings: StoreSettings): Promise<ReturnType<typeof openStore>> {
  const dependencies = {
    fileSystem: nodeFileSystem,
    clock: systemClock,
    random: systemRandom,
    metrics: createMetrics(),
  };
  return openStore(settings, dependencies);
}

export interface TieredStore extends OpenedStoreOf {
  /** Whether every object is a file of the main folder. */
  isOneFolder: boolean;
  /** Before anything is written to a tier's own store: it must be this main store's. STORE_INVALID when it is another's. */
  claim(): Promise<void>;
}

type OpenedStoreOf = Awaited<ReturnType<typeof openStore>>;

/** All that is kept, as one store, wherever its tiers are. */
export async function openTieredStore(settings: Settings, readOnly: boolean): Promise<TieredStore> {
  const main = await openStoreOf({ ...storeSettingsOf(settings), readOnly });
  const stores = new Map<string, ObjectStore>();
  try {
    for (const [tier, own] of tierStoreSettingsOf(settings)) {
      stores.set(tier, (await openStoreOf({ ...own, readOnly })).store);
    }
  } catch (error) {
    await Promise.all([main.store, ...stores.values()].map((store) => store.close()));
    throw error;
  }
  const { pathOf } = main;
  const hasOwnStore = (key: string): boolean => stores.has(tierOfKey(key) ?? '');
  return {
    store: withTiers(main.store, { stores, tierOf: tierOfKey, mayHoldTiers: mayHoldSegments }),
    pathOf: pathOf && ((key) => (hasOwnStore(key) ? undefined : pathOf(key))),
    isOneFolder: pathOf !== undefined && stores.size === 0,
    claim: () => (stores.size === 0 ? Promise.resolve() : claimTierStores(main.store, stores.values(), systemRandom)),
  };
}

export async function openStoreToRead(settings: Settings): Promise<OpenedStore> {
  const { store, pathOf, isOneFolder } = await openTieredStore(settings, true);
  const dataFolder = resolve(settings.server.dataDir);
  const common = { tempFolder: join(dataFolder, 'tmp'), memoryLimit: MEMORY_LIMIT };
  if (isOneFolder) return { store, pathOf: (key) => pathOf!(key)!, close: () => store.close(), ...common };
  const cache = await openReadCache(store, {
    folder: join(dataFolder, 'cache'),
    bytesMax: settings.storage.cacheBytesMax,
    isImmutable: isSegmentKey,
    ...(pathOf ? { fileOf: pathOf } : {}),
    fileSystem: nodeFileSystem,
    random: systemRandom,
  });
  return {
    store: cache,
    pathOf: (key) => cache.pathOf(key),
    ready: (keys) => cache.ready(keys),
    release: (keys) => cache.release(keys),
    peek: (key, range) => cache.peek(key, range),
    close: () => cache.close(),
    ...common,
  };
}
