/**
 * Opens the store that a setting names, with its wrappers stacked in one visible place: prefix outermost (so that keys in
 * messages are full), then retry, metrics per attempt, and the limit on what really runs at once.
 */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Clock } from '../core/clock.ts';
import { ProxyError } from '../core/errors.ts';
import type { FileSystem } from '../core/file-system.ts';
import type { Random } from '../core/random.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { checkKey } from './keys.ts';
import { openLocalStore } from './local-store.ts';
import { createMemoryStore } from './memory-store.ts';
import type { ObjectStore } from './object-store.ts';
import { withLimit } from './with-limit.ts';
import { withStoreMetrics } from './with-metrics.ts';
import { withPrefix } from './with-prefix.ts';
import { withRetry } from './with-retry.ts';

export interface StoreSettings {
  /** A path, `file:///path` or `memory:`. */
  url: string;
  /** Put before every key; default ''. */
  prefix?: string;
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
  /** Where a never-replaced object lies as a file, for local tools such as the query engine; undefined for other stores. */
  pathOf: ((key: string) => string) | undefined;
}

/** STORE_INVALID for a URL of unknown kind; STORE_DENIED or STORE_UNAVAILABLE when the root cannot be used. */
export async function openStore(settings: StoreSettings, dependencies: StoreDependencies): Promise<OpenedStore> {
  const { clock, random, metrics } = dependencies;
  const { base, pathOf } = await openBase(settings, dependencies);
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
  const prefix = settings.prefix ?? '';
  return {
    store: withPrefix(retrying, prefix),
    pathOf: pathOf && ((key) => pathOf(prefix === '' ? key : `${prefix}/${checked(key)}`)),
  };
}

async function openBase(
  settings: StoreSettings,
  { fileSystem, clock, random }: StoreDependencies,
): Promise<{ base: ObjectStore; pathOf: ((key: string) => string) | undefined }> {
  const { url } = settings;
  if (url === 'memory:') return { base: createMemoryStore({ clock }), pathOf: undefined };
  const scheme = /^([a-z][a-z0-9+.-]+):/i.exec(url)?.[1]?.toLowerCase();
  if (scheme !== undefined && scheme !== 'file') {
    throw new ProxyError('STORE_INVALID', `no store for '${scheme}:' URLs; use a path, file:///… or memory:`);
  }
  const root = scheme === 'file' ? fileURLToPath(url) : resolve(url);
  const readOnly = settings.readOnly ?? false;
  const local = await openLocalStore({ root, fileSystem, clock, random, readOnly });
  return { base: local, pathOf: (key) => local.pathOf(key) };
}

function checked(key: string): string {
  checkKey(key);
  return key;
}
