/**
 * Which store the settings mean. One URL says it best; else the type of the hot tier; else, when only the cold tier is remote, its
 * bucket, with all tiers in it, because replicas share no disk (design.md, section 3); else a folder.
 */
import { join, resolve } from 'node:path';
import { ProxyError } from '../core/errors.ts';
import type { StoreSettings } from '../store/open.ts';
import { parseStoreUrl, type StoreTarget } from '../store/store-url.ts';
import type { Settings } from './registry.ts';

/** STORE_INVALID when the settings name no store. */
export function storeSettingsOf(settings: Settings): StoreSettings {
  return settingsOf(settings, targetOf(settings));
}

/** The store of a URL, with the credentials and defaults of the settings. STORE_INVALID when it cannot be used. */
export function storeSettingsAt(settings: Settings, url: string): StoreSettings {
  return settingsOf(settings, withDefaults(parseStoreUrl(url), settings));
}

/** The same store with other words for where. */
export function settingsOf(settings: Settings, target: StoreTarget): StoreSettings {
  const { s3, gcs, azure, storage } = settings;
  const { accessKey, secretKey, sessionToken } = s3;
  if ((accessKey === undefined) !== (secretKey === undefined)) {
    throw new ProxyError('STORE_INVALID', 'S3_ACCESS_KEY and S3_SECRET_KEY go together');
  }
  return {
    target,
    credentials: {
      ...(accessKey && secretKey
        ? {
            s3: {
              accessKeyId: accessKey.reveal(),
              secretAccessKey: secretKey.reveal(),
              ...(sessionToken ? { sessionToken: sessionToken.reveal() } : {}),
            },
          }
        : {}),
      gcs: {
        ...(gcs.credentialsPath ? { keyFile: resolve(gcs.credentialsPath) } : {}),
        ...(gcs.projectId ? { projectId: gcs.projectId } : {}),
      },
      azure: {
        ...(azure.storageKey ? { accountKey: azure.storageKey.reveal() } : {}),
        ...(azure.connectionString ? { connectionString: azure.connectionString.reveal() } : {}),
        ...(azure.sasToken ? { sasToken: azure.sasToken.reveal() } : {}),
      },
    },
    ...(storage.encryptionKey ? { encryptionKey: Buffer.from(storage.encryptionKey.reveal(), 'base64') } : {}),
  };
}

/** Of the main store, which has the hot tier, the journal and all that coordinates. */
export function targetOf(settings: Settings): StoreTarget {
  const { storage, storageHot, storageCold } = settings;
  if (storage.url !== undefined) return withDefaults(parseStoreUrl(storage.url), settings);
  const type = mainType(storageHot, storageCold);
  if (type === 'local') return { kind: 'local', root: storeFolder(settings), prefix: '' };
  return bucketTarget(type, settings);
}

function mainType(hot: Settings['storageHot'], cold: Settings['storageCold']): Settings['storageHot']['type'] {
  return hot.type === 'local' && hot.path === undefined && cold.enabled ? cold.type : hot.type;
}

/** The folder of a local store. */
export function storeFolder({ storageHot, server }: Settings): string {
  return resolve(storageHot.path ?? join(server.dataDir, 'store'));
}

export function bucketTarget(type: 's3' | 'gcs' | 'azure', settings: Settings): StoreTarget {
  return withDefaults(bareBucketTarget(type, settings), settings);
}

function bareBucketTarget(type: 's3' | 'gcs' | 'azure', { s3, gcs, azure }: Settings): StoreTarget {
  switch (type) {
    case 's3':
      return { kind: 's3', bucket: needed(s3.bucket, 'S3_BUCKET', 's3'), prefix: trimmed(s3.prefix) };
    case 'gcs':
      return { kind: 'gcs', bucket: needed(gcs.bucket, 'GCS_BUCKET', 'gcs'), prefix: trimmed(gcs.prefix) };
    case 'azure': {
      const account = azure.storageAccount ?? accountOf(azure.connectionString?.reveal());
      return {
        kind: 'azure',
        account: needed(account, 'AZURE_STORAGE_ACCOUNT', 'azure'),
        container: needed(azure.container, 'AZURE_CONTAINER', 'azure'),
        prefix: trimmed(azure.prefix),
      };
    }
  }
}

/** What the URL does not say, the settings of its cloud do. */
function withDefaults(target: StoreTarget, { s3, gcs, azure }: Settings): StoreTarget {
  switch (target.kind) {
    case 's3': {
      const endpoint = target.endpoint ?? s3.endpoint;
      const encryption = target.encryption ?? s3.encryption;
      const pathStyle = target.pathStyle ?? s3.pathStyle ?? endpoint !== undefined;
      return { ...target, ...picked({ ...s3, ...target, endpoint, encryption }, S3_NAMES), pathStyle } as StoreTarget;
    }
    case 'gcs':
      return { ...picked({ ...gcs, kmsKeyName: gcs.kmsKey }, GCS_NAMES), ...target };
    case 'azure':
      return { ...picked(azure, AZURE_NAMES), ...target };
    default:
      return target;
  }
}

const S3_NAMES = ['region', 'endpoint', 'storageClass', 'encryption', 'kmsKeyId'] as const;
const GCS_NAMES = ['endpoint', 'storageClass', 'kmsKeyName'] as const;
const AZURE_NAMES = ['endpoint', 'accessTier', 'encryptionScope'] as const;

function picked<T extends object, N extends keyof T>(values: T, names: readonly N[]): { [K in N]?: NonNullable<T[K]> } {
  const found: { [K in N]?: NonNullable<T[K]> } = {};
  for (const name of names) {
    const value = values[name];
    if (value !== undefined && value !== null) found[name] = value;
  }
  return found;
}

function needed(value: string | undefined, name: string, type: string): string {
  if (value === undefined || value === '') {
    throw new ProxyError('STORE_INVALID', `storage of type ${type} needs ${name}`);
  }
  return value;
}

function trimmed(prefix: string | undefined): string {
  return (prefix ?? '').replace(/^\/+|\/+$/g, '');
}

function accountOf(connectionString: string | undefined): string | undefined {
  return /(?:^|;)AccountName=([^;]+)/.exec(connectionString ?? '')?.[1];
}
