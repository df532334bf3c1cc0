/**
 * The store of the configuration in force, for commands. Segments of a bucket (or encrypted ones) are fetched into a cache on this
 * machine's disk, because the query engine reads files.
 */
import { join, resolve } from 'node:path';
import { isSegmentKey } from '../archive/partition.ts';
import type { Settings } from '../config/registry.ts';
import { storeSettingsOf } from '../config/storage.ts';
import { systemClock } from '../core/clock.ts';
import { nodeFileSystem } from '../core/file-system.ts';
import { systemRandom } from '../core/random.ts';
import { openStore, type StoreSettings } from '../store/open.ts';
import { openReadCache } from '../store/read-cache.ts';
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

export async function openStoreToRead(settings: Settings): Promise<OpenedStore> {
  const { store, pathOf } = await openStoreOf({ ...storeSettingsOf(settings), readOnly: true });
  const dataFolder = resolve(settings.server.dataDir);
  const common = { tempFolder: join(dataFolder, 'tmp'), memoryLimit: MEMORY_LIMIT };
  if (pathOf) return { store, pathOf, close: () => store.close(), ...common };
  const cache = await openReadCache(store, {
    folder: join(dataFolder, 'cache'),
    bytesMax: settings.storage.cacheBytesMax,
    isImmutable: isSegmentKey,
    fileSystem: nodeFileSystem,
    random: systemRandom,
  });
  return {
    store: cache,
    pathOf: (key) => cache.pathOf(key),
    ready: (keys) => cache.ready(keys),
    release: (keys) => cache.release(keys),
    close: () => cache.close(),
    ...common,
  };
}
