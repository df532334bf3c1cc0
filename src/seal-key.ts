/** Which key seals what rests in the journal and in spill objects. */
import { hkdfSync } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Settings } from './config/registry.ts';
import { isFileError } from './core/file-system.ts';
import type { Random } from './core/random.ts';
import { createSealer, type Sealer } from './core/sealer.ts';

/**
 * The configured seal key; else, where other replicas must open what this one seals, one that follows from the vendor's key, which they
 * all have; else one of this data folder's own (mode 0600), made at the first start.
 */
export function openSealer(settings: Settings, dataFolder: string, random: Random, isShared: boolean): Sealer {
  const old = settings.journal.sealKeysOld.map((key) => Buffer.from(key.reveal(), 'base64'));
  const configured = settings.journal.sealKey;
  if (configured) return createSealer([Buffer.from(configured.reveal(), 'base64'), ...old], random);
  const vendorKey = settings.forward.datadogApiKey;
  if (isShared && vendorKey) {
    const derived = hkdfSync('sha256', vendorKey.reveal(), '', 'reductrai seal key', 32);
    return createSealer([new Uint8Array(derived), ...old], random);
  }
  const path = join(dataFolder, 'seal.key');
  try {
    writeFileSync(path, Buffer.from(random.bytes(32)).toString('base64'), { mode: 0o600, flag: 'wx', flush: true });
  } catch (error) {
    if (!isFileError(error, 'EEXIST')) throw error;
  }
  return createSealer([Buffer.from(readFileSync(path, 'utf8').trim(), 'base64'), ...old], random);
}
