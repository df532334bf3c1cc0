/**
 * Where a store is, as one URL: `file:///path` or a plain path, `memory:`, `s3://bucket/prefix?region=…`, `gs://bucket/prefix`,
 * `azblob://account/container/prefix`. Options are query parameters; credentials never are: they come from settings or from the
 * cloud's own chain. An unknown option is an error that names the known ones.
 */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ProxyError } from '../core/errors.ts';
import { keyProblem } from './keys.ts';

export interface LocalTarget {
  kind: 'local';
  /** Absolute. */
  root: string;
}

export interface S3Target {
  kind: 's3';
  bucket: string;
  region?: string;
  endpoint?: string;
  pathStyle?: boolean;
  storageClass?: string;
  /** `s3`: keys of S3's own; `kms`: a key of KMS, the bucket's default one without `kmsKeyId`. */
  encryption?: 's3' | 'kms';
  kmsKeyId?: string;
}

export interface GcsTarget {
  kind: 'gcs';
  bucket: string;
  endpoint?: string;
  storageClass?: string;
  kmsKeyName?: string;
}

export interface AzureTarget {
  kind: 'azure';
  account: string;
  container: string;
  endpoint?: string;
  accessTier?: string;
  encryptionScope?: string;
}

export interface MemoryTarget {
  kind: 'memory';
}

export type StoreTarget = (LocalTarget | S3Target | GcsTarget | AzureTarget | MemoryTarget) & {
  /** Put before every key; '' for none. */
  prefix: string;
};

const OPTIONS = {
  s3: ['region', 'endpoint', 'path_style', 'storage_class', 'sse', 'kms_key_id'],
  gs: ['endpoint', 'storage_class', 'kms_key'],
  azblob: ['endpoint', 'access_tier', 'encryption_scope'],
} as const;

/** STORE_INVALID with what is wrong. */
export function parseStoreUrl(url: string): StoreTarget {
  if (url === 'memory:') return { kind: 'memory', prefix: '' };
  const scheme = /^([a-z][a-z0-9+.-]+):/i.exec(url)?.[1]?.toLowerCase();
  if (scheme === undefined) return { kind: 'local', root: resolve(url), prefix: '' };
  switch (scheme) {
    case 'file':
      return { kind: 'local', root: fileRootOf(url), prefix: '' };
    case 's3':
      return s3Target(partsOf(url, OPTIONS.s3));
    case 'gs':
      return gcsTarget(partsOf(url, OPTIONS.gs));
    case 'azblob':
      return azureTarget(partsOf(url, OPTIONS.azblob));
    default:
      throw invalid(`no store for '${scheme}:' URLs; use a path, file:///…, s3://…, gs://… or azblob://…`);
  }
}

function fileRootOf(url: string): string {
  try {
    return fileURLToPath(url);
  } catch (cause) {
    throw invalid(`${url} is no file URL of this machine: file:///path has three slashes`, cause);
  }
}

interface UrlParts {
  host: string;
  /** Of the path, decoded, without empty ones. */
  parts: string[];
  option(name: string): string | undefined;
}

function partsOf(url: string, known: readonly string[]): UrlParts {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch (cause) {
    throw invalid('it cannot be read', cause);
  }
  if (parsed.username !== '' || parsed.password !== '') {
    throw invalid('credentials do not belong in it; use the settings for them');
  }
  if (parsed.hash !== '') throw invalid("it holds '#'; write %23 for it");
  for (const name of parsed.searchParams.keys()) {
    if (!known.includes(name)) throw invalid(`unknown option ${name}; known are ${known.join(', ')}`);
  }
  return {
    host: decodeURIComponent(parsed.host),
    parts: parsed.pathname
      .split('/')
      .filter((part) => part !== '')
      .map((part) => decodeURIComponent(part)),
    option: (name) => parsed.searchParams.get(name) ?? undefined,
  };
}

function s3Target({ host, parts, option }: UrlParts): StoreTarget {
  const sse = option('sse');
  if (sse !== undefined && !['s3', 'kms', 'AES256', 'aws:kms'].includes(sse)) throw invalid('sse is s3 or kms');
  const kmsKeyId = option('kms_key_id');
  const encryption: S3Target['encryption'] =
    sse === 'kms' || sse === 'aws:kms' || kmsKeyId !== undefined ? 'kms' : sse ? 's3' : undefined;
  const pathStyle = option('path_style');
  if (pathStyle !== undefined && !['true', 'false'].includes(pathStyle)) throw invalid('path_style is true or false');
  return {
    kind: 's3',
    bucket: bucketOf(host),
    prefix: prefixOf(parts),
    ...defined({
      region: option('region'),
      endpoint: endpointOf(option('endpoint')),
      pathStyle: pathStyle === undefined ? undefined : pathStyle === 'true',
      storageClass: option('storage_class'),
      encryption,
      kmsKeyId,
    }),
  };
}

function gcsTarget({ host, parts, option }: UrlParts): StoreTarget {
  return {
    kind: 'gcs',
    bucket: bucketOf(host),
    prefix: prefixOf(parts),
    ...defined({
      endpoint: endpointOf(option('endpoint')),
      storageClass: option('storage_class'),
      kmsKeyName: option('kms_key'),
    }),
  };
}

function azureTarget({ host, parts, option }: UrlParts): StoreTarget {
  const [container, ...rest] = parts;
  if (host === '' || container === undefined) throw invalid('it is azblob://account/container/prefix');
  return {
    kind: 'azure',
    account: host,
    container,
    prefix: prefixOf(rest),
    ...defined({
      endpoint: endpointOf(option('endpoint')),
      accessTier: option('access_tier'),
      encryptionScope: option('encryption_scope'),
    }),
  };
}

function bucketOf(host: string): string {
  if (host === '') throw invalid('it names no bucket');
  return host;
}

function prefixOf(parts: readonly string[]): string {
  const prefix = parts.join('/');
  const problem = prefix === '' ? undefined : keyProblem(prefix);
  if (problem !== undefined) throw invalid(`its prefix has ${problem}`);
  return prefix;
}

function endpointOf(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  if (!/^https?:\/\/[^/?#]+/.test(text)) throw invalid('endpoint is no http(s) URL');
  return text;
}

/** What a store is called in status and messages: never with credentials, which targets do not hold. */
export function urlOf(target: StoreTarget): string {
  const under = target.prefix === '' ? '' : `/${target.prefix}`;
  switch (target.kind) {
    case 'memory':
      return 'memory:';
    case 'local':
      return target.root;
    case 's3':
      return `s3://${target.bucket}${under}`;
    case 'gcs':
      return `gs://${target.bucket}${under}`;
    case 'azure':
      return `azblob://${target.account}/${target.container}${under}`;
  }
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

function defined<T extends object>(values: T): Defined<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Defined<T>;
}

function invalid(reason: string, cause?: unknown): ProxyError {
  return new ProxyError('STORE_INVALID', `the storage URL cannot be used: ${reason}`, { cause });
}

/** Of an object, as engines that read Parquet know it: an absolute path, `s3://`, `gs://`, `abfss://`. */
export function objectUrlOf(target: StoreTarget, key: string): string {
  if (target.kind !== 'azure') return `${urlOf(target)}/${key}`;
  const under = target.prefix === '' ? '' : `${target.prefix}/`;
  return `abfss://${target.container}@${target.account}.dfs.core.windows.net/${under}${key}`;
}
