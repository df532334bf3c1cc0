/**
 * Opens the store that the settings name, with its wrappers stacked in one visible place, from the store outwards: a limit on what
 * really runs at once, metrics per attempt, retries, encryption (inside it everything is opaque), and the prefix outermost, so that
 * keys in messages are full.
 *
 * Each cloud's SDK is imported by its one file, and that file only when its store is opened.
 */
import type { Clock } from '../core/clock.ts';
import type { FileSystem } from '../core/file-system.ts';
import type { Random } from '../core/random.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { checkKey } from './keys.ts';
import { openLocalStore } from './local-store.ts';
import { createMemoryStore } from './memory-store.ts';
import type { ObjectStore } from './object-store.ts';
import { parseStoreUrl, type StoreTarget } from './store-url.ts';
import { withEncryption } from './with-encryption.ts';
import { withLimit } from './with-limit.ts';
import { withStoreMetrics } from './with-metrics.ts';
import { withPrefix } from './with-prefix.ts';
import { withRetry } from './with-retry.ts';

/** Without those of a cloud its own chain is used. */
export interface StoreCredentials {
  s3?: { accessKeyId: string; secretAccessKey: string; sessionToken?: string };
  gcs?: { keyFile?: string; projectId?: string };
  azure?: { accountKey?: string; connectionString?: string; sasToken?: string };
}

export interface StoreSettings {
  /** Where; or the URL that says so (store-url.ts). */
  target: StoreTarget | string;
  credentials?: StoreCredentials;
  /** 32 bytes: objects are encrypted before they leave this machine. */
  encryptionKey?: Uint8Array;
  /** Nothing is made or cleaned at open, and every write is STORE_DENIED (local stores). */
  readOnly?: boolean;
  /** Default 64, with 4096 waiting. */
  concurrentMax?: number;
  waitingMax?: number;
  /** Default 5 attempts, waits from 50 ms up to 2 s. */
  attemptsMax?: number;
  firstDelayMs?: number;
  delayMaxMs?: number;
}

export interface StoreDependencies {
  fileSystem: FileSystem;
  clock: Clock;
  random: Random;
  metrics: Metrics;
}

export interface OpenedStore {
  store: ObjectStore;
  /** Where a never-replaced object lies as a file, for local tools such as the query engine; undefined for other stores, and for an
   * object that another one has. */
  pathOf: ((key: string) => string | undefined) | undefined;
}

/** STORE_INVALID for a URL that cannot be; STORE_DENIED or STORE_UNAVAILABLE when a local root cannot be used. */
export async function openStore(settings: StoreSettings, dependencies: StoreDependencies): Promise<OpenedStore> {
  const { clock, random, metrics } = dependencies;
  const target = typeof settings.target === 'string' ? parseStoreUrl(settings.target) : settings.target;
  const { base, pathOf } = await openBase(target, settings, dependencies);
  const limited = withLimit(base, {
    concurrentMax: settings.concurrentMax ?? 64,
    waitingMax: settings.waitingMax ?? 4096,
  });
  const measured = withStoreMetrics(limited, metrics, clock);
  const retrying = withRetry(measured, {
    clock,
    random,
    attemptsMax: settings.attemptsMax ?? 5,
    firstDelayMs: settings.firstDelayMs ?? 50,
    delayMaxMs: settings.delayMaxMs ?? 2000,
  });
  const key = settings.encryptionKey;
  const { prefix } = target;
  return {
    store: withPrefix(key ? withEncryption(retrying, { key, random }) : retrying, prefix),
    // An encrypted file is of no use to a tool.
    pathOf: key ? undefined : pathOf && ((name) => pathOf(prefix === '' ? name : `${prefix}/${checked(name)}`)),
  };
}

async function openBase(
  target: StoreTarget,
  settings: StoreSettings,
  { fileSystem, clock, random }: StoreDependencies,
): Promise<{ base: ObjectStore; pathOf: ((key: string) => string) | undefined }> {
  const { credentials = {} } = settings;
  switch (target.kind) {
    case 'memory':
      return { base: createMemoryStore({ clock }), pathOf: undefined };
    case 'local': {
      const readOnly = settings.readOnly ?? false;
      const local = await openLocalStore({ root: target.root, fileSystem, clock, random, readOnly });
      return { base: local, pathOf: (key) => local.pathOf(key) };
    }
    case 's3': {
      const { openS3Store } = await import('./s3-store.ts');
      return { base: await openS3Store({ ...target, ...credentials.s3 }, { clock }), pathOf: undefined };
    }
    case 'gcs': {
      const { openGcsStore } = await import('./gcs-store.ts');
      return { base: await openGcsStore({ ...target, ...credentials.gcs }, { clock }), pathOf: undefined };
    }
    case 'azure': {
      const { openAzureStore } = await import('./azure-store.ts');
      return { base: await openAzureStore({ ...target, ...credentials.azure }, { clock }), pathOf: undefined };
    }
  }
}

function checked(key: string): string {
  checkKey(key);
  return key;
}
