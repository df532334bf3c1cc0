/**
 * Tiers that are kept elsewhere than the rest: by a URL, a folder beside the main folder, or a bucket behind it. Whatever says the
 * same place as the main store means nothing of its own.
 */
import { resolve, sep } from 'node:path';
import { ProxyError } from '../core/errors.ts';
import type { StoreSettings } from '../store/open.ts';
import { parseStoreUrl, type StoreTarget, urlOf } from '../store/store-url.ts';
import type { Settings } from './registry.ts';
import { bucketTarget, settingsOf, storeSettingsAt, targetOf } from './storage.ts';

export type LaterTier = 'warm' | 'cold';

/** By tier, only those with a store of their own. STORE_INVALID when one cannot be, or lies inside another's folder. */
export function tierStoreSettingsOf(settings: Settings): Map<LaterTier, StoreSettings> {
  const main = targetOf(settings);
  const found = new Map<LaterTier, StoreSettings>();
  for (const tier of ['warm', 'cold'] as const) {
    const own = ownSettings(settings, tier, main);
    if (own && placeOf(own.target) !== placeOf(main)) found.set(tier, own);
  }
  refuseNested([main, ...[...found.values()].map(({ target }) => target)]);
  return found;
}

/** Words that mean nothing as things are. */
export function tierStoreWarnings(settings: Settings): string[] {
  const { storageWarm, storageCold } = settings;
  const paths = [storageWarm.path && 'STORAGE_WARM_PATH', storageCold.path && 'STORAGE_COLD_PATH'].filter(Boolean);
  if (paths.length === 0 || targetOf(settings).kind === 'local') return [];
  return [
    `${paths.join(' and ')}: not used, because everything is kept in a bucket that replicas share; for a folder they share too say STORAGE_WARM_URL or STORAGE_COLD_URL=file:///…`,
  ];
}

function ownSettings(settings: Settings, tier: LaterTier, main: StoreTarget): StoreSettings | undefined {
  const { url, path, type, enabled } = tier === 'warm' ? settings.storageWarm : settings.storageCold;
  if (url !== undefined) return storeSettingsAt(settings, url);
  if (type === 'local') {
    const isOwn = path !== undefined && main.kind === 'local';
    return isOwn ? settingsOf(settings, { kind: 'local', root: resolve(path), prefix: '' }) : undefined;
  }
  // A URL for everything says it best; a tier elsewhere has one, too.
  if (!enabled || settings.storage.url !== undefined) return undefined;
  return settingsOf(settings, bucketTarget(type, settings));
}

function placeOf(target: StoreTarget | string): string {
  const one = typeof target === 'string' ? parseStoreUrl(target) : target;
  return one.kind === 's3' ? `${urlOf(one)} ${one.endpoint ?? ''}` : urlOf(one);
}

/** What lies in one would be seen as lying in the other, too. */
function refuseNested(targets: readonly (StoreTarget | string)[]): void {
  const roots = new Set<string>();
  for (const target of targets) if (typeof target !== 'string' && target.kind === 'local') roots.add(target.root);
  for (const one of roots) {
    for (const other of roots) {
      if (one !== other && other.startsWith(one.endsWith(sep) ? one : one + sep)) {
        throw new ProxyError('STORE_INVALID', `the folder of one tier lies in that of another: ${other} in ${one}`);
      }
    }
  }
}
