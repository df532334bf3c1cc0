/**
 * Every setting of the product, declared once. Loading, messages, `--help` and docs/reference/configuration.md all come from here.
 *
 * A setting's path in the YAML file is its group and its name in snake case, without a trailing unit of time (`flushAfterMs`
 * is `archive.flush_after`, as the value tells its unit). Without `env` its variable is REDUCTRAI_<GROUP>_<NAME>.
 */
import { GIB, MIB } from '../core/limits.ts';
import { boolean, bytes, choice, duration, fraction, integer, secret, secretList, text, url } from './kinds.ts';

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const WORKERS_MAX = 64;

/** What must be restored first can be neither queried nor merged. Google's ARCHIVE is read at once. */
const STORAGE_CLASS = {
  pattern: /^(?!(?:GLACIER|DEEP_ARCHIVE|[Aa]rchive)$)[A-Za-z0-9_]{1,64}$/,
  form: 'a class that is read without being restored first: not GLACIER, DEEP_ARCHIVE, Archive',
};
const AGGREGATION = { pattern: /^(none|raw|[1-9]\d{0,5}(s|m|h|d))$/, form: '`none` or an interval such as `5m`' };
/** Of each: tenant, signal, or both; and days. */
const RETENTION = /^[^=,\s]+=[1-9]\d{0,4}d(\s*,\s*[^=,\s]+=[1-9]\d{0,4}d)*$/;
const SEAL_KEY_FORM = 'must be 32 bytes in base64';

function checkSealKey(value: string): string | undefined {
  const isBase64 = /^[A-Za-z0-9+/_-]{43}=?$/.test(value);
  return isBase64 && Buffer.from(value, 'base64').byteLength === 32 ? undefined : SEAL_KEY_FORM;
}

/** A replica id is part of keys and folder names: lower-case letters, digits and dashes, at most 63. */
export function replicaIdOf(hostname: string): string {
  const id = hostname
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+/, '')
    .slice(0, 63)
    .replace(/-+$/, '');
  return id === '' ? 'replica' : id;
}

/** Five fields of a cron schedule: numbers, `*`, lists, ranges, steps, names of months and days. */
const CRON = /^(@(hourly|daily|weekly|monthly)|([\dA-Za-z*,/-]+\s+){4}[\dA-Za-z*,/-]+)$/;

const LATER = 'accepted' as const;

export const SETTINGS = {
  server: {
    host: text({ env: ['REDUCTRAI_HOST'], default: '0.0.0.0', help: 'Address to listen on.' }),
    port: integer({
      env: ['REDUCTRAI_PORT'],
      default: 8080,
      min: 0,
      max: 65535,
      help: 'Port to listen on; 0 takes a free one.',
    }),
    adminPort: integer({
      env: ['REDUCTRAI_ADMIN_PORT'],
      min: 0,
      max: 65535,
      help: 'Own port for /health, /livez, /readyz, /metrics and /status; they are on the main port when it is not set.',
    }),
    dataDir: text({
      env: ['DATA_DIR', 'REDUCTRAI_DATA_DIR'],
      default: './data',
      help: 'Folder of the journal and, without other storage, of what is kept.',
    }),
    replicaId: text({
      env: ['REPLICA_ID', 'REDUCTRAI_REPLICA_ID'],
      pattern: /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
      form: 'at most 63 of a-z, 0-9 and -, beginning and ending with a letter or digit',
      defaultFrom: { text: 'the host name', of: ({ hostname }) => replicaIdOf(hostname) },
      help: 'Name of this replica; no two running replicas may share one.',
    }),
    workers: text({
      env: ['WORKERS', 'REDUCTRAI_WORKERS'],
      pattern: /^(auto|[1-9]|[1-5]\d|6[0-4])$/,
      form: '1 to 64, or `auto`: one per processor',
      default: '1',
      help: 'Processes that serve callers, each with a journal of its own (`<replica id>`, `<replica id>-w1` …); budgets of bytes are divided among them.',
    }),
    logLevel: choice(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], {
      env: ['LOG_LEVEL', 'REDUCTRAI_LOG_LEVEL'],
      default: 'info',
      help: 'Least severe log lines that are written.',
    }),
    connectionAgeMaxMs: duration({
      default: 5 * MINUTE_MS,
      min: SECOND_MS,
      max: DAY_MS,
      help: "Age at which a client's connection is closed (with jitter), so that agents spread over new replicas.",
    }),
    drainNoticeMs: duration({
      env: ['REDUCTRAI_DRAIN_NOTICE'],
      default: 5 * SECOND_MS,
      min: 0,
      max: HOUR_MS,
      help: 'After SIGTERM: how long requests are still served while /health says 503, until every balancer has noticed.',
    }),
    drainDeadlineMs: duration({
      env: ['REDUCTRAI_DRAIN_DEADLINE'],
      default: 30 * SECOND_MS,
      min: SECOND_MS,
      max: HOUR_MS,
      help: 'Time to finish after SIGTERM, the notice included.',
    }),
    licenseKey: secret({
      env: ['REDUCTRAI_LICENSE_KEY'],
      status: 'ignored',
      help: 'Accepted for old manifests; nothing is gated.',
    }),
  },
  intake: {
    apiKeysAllowed: secretList({
      env: ['API_KEYS_ALLOWED', 'REDUCTRAI_API_KEYS_ALLOWED'],
      default: [],
      help: 'API keys that callers may use; empty allows any.',
    }),
    bodyBytesMax: bytes({ default: 64 * MIB, min: 64 * 1024, max: GIB, help: 'Largest body as received.' }),
    decompressedBytesMax: bytes({
      default: 100 * MIB,
      min: 64 * 1024,
      max: GIB,
      help: 'Largest body once decompressed.',
    }),
    inflightBytesMax: bytes({
      default: 256 * MIB,
      min: MIB,
      max: 1024 * GIB,
      help: 'Bytes of bodies being read, inflated and decoded, over the whole process; above it callers get 503.',
    }),
    decodeWorkers: integer({
      min: 1,
      max: WORKERS_MAX,
      defaultFrom: {
        text: 'one less than the processors, 1 to 8',
        of: ({ cpuCount }) => Math.min(8, Math.max(1, cpuCount - 1)),
      },
      help: 'Threads that decompress and decode bodies.',
    }),
  },
  journal: {
    durability: choice(['auto', 'memory', 'disk', 'store'], {
      env: ['DURABILITY', 'REDUCTRAI_DURABILITY'],
      default: 'auto',
      help: 'What an acknowledgement means: `store` an object in the shared store (another replica can finish it), `disk` synced to the journal on disk, `memory` received and decoded (development only); `auto` is `store` where the archive is a bucket, else `disk`.',
    }),
    chunkAfterMs: duration({
      default: 250,
      min: 1,
      max: MINUTE_MS,
      help: 'With `store`: age of the oldest waiting request at which a chunk is put. Shorter: callers wait less, and more PUTs are paid for.',
    }),
    chunkBytesMax: bytes({
      default: 8 * MIB,
      min: 64 * 1024,
      max: 256 * MIB,
      help: 'With `store`: size at which a chunk is put before it is due.',
    }),
    leaseMs: duration({
      default: 15 * SECOND_MS,
      min: 300,
      max: DAY_MS,
      help: 'A replica without a sign of life for so long is taken over by another (`disk`: of those that share the volume).',
    }),
    budgetBytes: bytes({
      default: 4 * GIB,
      min: 8 * MIB,
      max: 64 * 1024 * GIB,
      help: 'Size of the journal; when it is full callers get 503.',
    }),
    fileBytesMax: bytes({
      default: 64 * MIB,
      min: MIB,
      max: 4 * GIB,
      help: 'A journal file larger than this is followed by a new one.',
    }),
    ageMaxMs: duration({
      status: LATER,
      default: 3 * DAY_MS,
      min: MINUTE_MS,
      max: 365 * DAY_MS,
      help: 'Age of the oldest envelope at which the journal is reported as stuck.',
    }),
    retryWindowMs: duration({
      default: 15 * MINUTE_MS,
      min: SECOND_MS,
      max: DAY_MS,
      help: "How long a sender's retry of an unconfirmed request is recognised.",
    }),
    sealKey: secret({
      env: ['SEAL_KEY', 'REDUCTRAI_SEAL_KEY'],
      check: checkSealKey,
      help: 'Key that seals secrets at rest, 32 bytes in base64; without it one is generated into the data folder.',
    }),
    sealKeysOld: secretList({
      env: ['SEAL_KEYS_OLD', 'REDUCTRAI_SEAL_KEYS_OLD'],
      check: checkSealKey,
      default: [],
      help: 'Earlier seal keys, which still open what they sealed.',
    }),
  },
  archive: {
    compression: choice(['light', 'medium', 'heavy'], {
      env: ['REDUCTRAI_COMPRESSION_LEVEL'],
      default: 'medium',
      help: 'How hard new segments are compressed (zstd level 1, 3 or 9).',
    }),
    flushAfterMs: duration({
      default: 5 * MINUTE_MS,
      min: 100,
      max: DAY_MS,
      help: 'Age of the oldest unflushed envelope that starts a flush.',
    }),
    flushBytesMax: bytes({ default: 128 * MIB, min: 64 * 1024, max: 16 * GIB, help: 'Raw bytes that start a flush.' }),
    flushRowsMax: integer({ default: 2_000_000, min: 1, max: 100_000_000, help: 'Rows that start a flush.' }),
    heldBytesMax: bytes({
      default: 128 * MIB,
      min: MIB,
      max: 1024 * GIB,
      help: 'Decoded batches held in memory; what comes on top is decoded again from the journal.',
    }),
  },
  forward: {
    mode: choice(['all', 'store-only', 'forward-only'], {
      env: ['PROXY_MODE', 'REDUCTRAI_PROXY_MODE'],
      default: 'all',
      refused: { sample: 'is `sample`, which is not available yet: use `all`, `store-only` or `forward-only`' },
      help: 'What becomes of accepted data: kept and forwarded, only kept, or only forwarded. With no setting of `forward` at all, `store-only`.',
    }),
    sampleRate: fraction({
      env: ['SAMPLE_RATE'],
      status: LATER,
      default: 1,
      min: 0,
      max: 1,
      help: 'Share that `sample` forwards.',
    }),
    datadogApiKey: secret({
      env: ['DATADOG_API_KEY', 'DD_API_KEY'],
      help: "Datadog API key that everything is forwarded with; without it the callers' own keys are used, sealed at rest.",
    }),
    datadogSite: text({
      env: ['DD_SITE'],
      pattern: /^[a-z0-9-]+(\.[a-z0-9-]+)+$/i,
      form: 'a domain such as datadoghq.eu',
      default: 'datadoghq.com',
      help: 'Datadog site; the host of each signal follows from it.',
    }),
    datadogEndpoint: url({
      env: ['DATADOG_ENDPOINT'],
      help: "Datadog's API as a URL, in place of the site: of a Datadog host the site is taken, any other host gets everything.",
    }),
    forwardTo: url({
      env: ['FORWARD_TO'],
      help: 'One URL that gets everything, whatever the site (another proxy, a test).',
    }),
    agentUrl: url({
      env: ['AGENT_URL'],
      help: "Datadog Agent that tracers' requests are relayed to, such as http://agent:8126.",
    }),
    concurrency: integer({ default: 16, min: 1, max: 1024, help: 'Requests to one upstream at a time.' }),
    ageMaxMs: duration({
      default: DAY_MS,
      min: MINUTE_MS,
      max: 365 * DAY_MS,
      help: 'Age at which an undelivered envelope becomes a dead letter.',
    }),
    spillShare: fraction({
      default: 0.5,
      min: 0.01,
      max: 0.95,
      help: "Share of the journal's budget that an upstream's backlog may hold before it moves to spill objects.",
    }),
    newRelicApiKey: secret({ env: ['NEW_RELIC_API_KEY'], status: LATER, help: 'New Relic licence key.' }),
    otlpEndpoint: url({ env: ['OTLP_ENDPOINT'], status: LATER, help: 'OTLP/HTTP endpoint to forward to.' }),
    prometheusEndpoint: url({
      env: ['PROMETHEUS_ENDPOINT'],
      status: LATER,
      help: 'Prometheus remote-write endpoint to forward to.',
    }),
  },
  storage: {
    url: text({
      env: ['REDUCTRAI_STORAGE_URL', 'STORAGE_URL'],
      help: 'Where everything is kept, as one URL: s3://bucket/prefix?region=…, gs://…, azblob://account/container/…, file:///…',
    }),
    encryptionKey: secret({
      env: ['REDUCTRAI_STORAGE_ENCRYPTION_KEY'],
      check: checkSealKey,
      help: 'Key (32 bytes, base64) to encrypt objects with before they leave this machine: AES-256-GCM.',
    }),
    cacheBytesMax: bytes({
      default: 10 * GIB,
      min: 64 * MIB,
      max: 64 * 1024 * GIB,
      help: 'Disk space for segments that queries fetched from a bucket.',
    }),
  },
  storageHot: {
    enabled: boolean({ env: ['STORAGE_HOT_ENABLED'], default: true, help: 'Keep a hot tier.' }),
    retentionDays: integer({
      env: ['STORAGE_HOT_RETENTION_DAYS'],
      default: 7,
      min: 1,
      max: 36500,
      help: 'Age in days, from receipt, up to which data is hot.',
    }),
    path: text({
      env: ['STORAGE_HOT_PATH'],
      help: 'Folder that segments are kept in; `store` in the data folder when it is not set.',
    }),
    aggregation: text({
      ...AGGREGATION,
      env: ['STORAGE_HOT_AGGREGATION'],
      default: 'none',
      help: 'Roll-up of metrics beside the points, made when small segments are merged; `none` or a window such as `1m`.',
    }),
    layout: choice(['plain', 'packed'], {
      env: ['STORAGE_HOT_LAYOUT'],
      default: 'plain',
      help: 'Of segments that are merged in the hot tier; new ones are always `plain`. `packed`: texts of logs as templates and what varies in them, parents of spans as references; where that is smaller by a tenth.',
    }),
    type: choice(['local', 's3', 'gcs', 'azure'], {
      env: ['STORAGE_HOT_TYPE'],
      default: 'local',
      help: 'Backend of the hot tier.',
    }),
  },
  storageWarm: {
    enabled: boolean({ env: ['STORAGE_WARM_ENABLED'], default: true, help: 'Keep a warm tier.' }),
    retentionDays: integer({
      env: ['STORAGE_WARM_RETENTION_DAYS'],
      default: 30,
      min: 1,
      max: 36500,
      help: 'Age in days up to which data is warm.',
    }),
    storageClass: text({
      ...STORAGE_CLASS,
      env: ['STORAGE_WARM_CLASS'],
      help: 'Storage class or access tier of the warm tier in a bucket, in the words of its cloud; default: as of the rest.',
    }),
    url: text({ env: ['STORAGE_WARM_URL'], help: 'Where the warm tier is kept, as a URL; default: with the rest.' }),
    path: text({ env: ['STORAGE_WARM_PATH'], help: 'Folder of the warm tier, where the rest is kept in a folder.' }),
    aggregation: text({
      ...AGGREGATION,
      env: ['STORAGE_WARM_AGGREGATION'],
      default: '5m',
      help: 'Window of the roll-up of metrics (view `rollups`) beside the points; or `none`.',
    }),
    layout: choice(['plain', 'packed'], {
      env: ['STORAGE_WARM_LAYOUT'],
      default: 'plain',
      help: 'Of segments that come into the warm tier. `packed`: texts of logs as templates and what varies in them, parents of spans as references; where that is smaller by a tenth.',
    }),
    raw: boolean({
      env: ['STORAGE_WARM_RAW'],
      default: true,
      help: 'Keep the points of metrics as they were sent; `false` keeps roll-ups only, and what cannot be rolled up.',
    }),
    type: choice(['local', 's3', 'gcs', 'azure'], {
      env: ['STORAGE_WARM_TYPE'],
      default: 'local',
      help: 'Backend of the warm tier; `local` is where the hot tier is.',
    }),
  },
  storageCold: {
    enabled: boolean({ env: ['STORAGE_COLD_ENABLED'], default: true, help: 'Keep a cold tier.' }),
    retentionDays: integer({
      env: ['STORAGE_COLD_RETENTION_DAYS'],
      default: 365,
      min: 1,
      max: 36500,
      help: 'Age in days up to which data is kept; what is older than the last tier keeps is deleted.',
    }),
    storageClass: text({
      ...STORAGE_CLASS,
      env: ['STORAGE_COLD_CLASS'],
      help: 'Storage class or access tier of the cold tier in a bucket, in the words of its cloud; default: as of the rest.',
    }),
    url: text({ env: ['STORAGE_COLD_URL'], help: 'Where the cold tier is kept, as a URL; default: with the rest.' }),
    path: text({ env: ['STORAGE_COLD_PATH'], help: 'Folder of the cold tier, where the rest is kept in a folder.' }),
    aggregation: text({
      ...AGGREGATION,
      env: ['STORAGE_COLD_AGGREGATION'],
      default: '1h',
      help: 'Window of the roll-up of metrics (view `rollups`) beside the points; or `none`.',
    }),
    layout: choice(['plain', 'packed'], {
      env: ['STORAGE_COLD_LAYOUT'],
      default: 'packed',
      help: 'Of segments that come into the cold tier. `packed`: texts of logs as templates and what varies in them, parents of spans as references; where that is smaller by a tenth.',
    }),
    raw: boolean({
      env: ['STORAGE_COLD_RAW'],
      default: true,
      help: 'Keep the points of metrics as they were sent; `false` keeps roll-ups only, and what cannot be rolled up.',
    }),
    type: choice(['local', 's3', 'gcs', 'azure'], {
      env: ['STORAGE_COLD_TYPE'],
      default: 'local',
      help: 'Backend of the cold tier. A bucket here, and no word of where the hot tier is: all tiers are kept in it.',
    }),
    compressionLevel: integer({
      env: ['COLD_COMPRESSION_LEVEL'],
      default: 19,
      min: 1,
      max: 22,
      help: 'zstd level of the cold tier.',
    }),
  },
  s3: {
    bucket: text({ env: ['S3_BUCKET'], help: 'Bucket.' }),
    prefix: text({ env: ['S3_PREFIX'], help: 'Put before every key in the bucket.' }),
    region: text({ env: ['S3_REGION', 'AWS_REGION'], help: 'Region.' }),
    accessKey: secret({ env: ['S3_ACCESS_KEY'], help: "Access key id; without it the SDK's own chain is used." }),
    secretKey: secret({ env: ['S3_SECRET_KEY'], help: 'Secret access key.' }),
    sessionToken: secret({ env: ['S3_SESSION_TOKEN'], help: 'Session token of temporary keys.' }),
    endpoint: url({ env: ['S3_ENDPOINT'], help: 'Endpoint of an S3-compatible store (MinIO, R2, Wasabi, Spaces …).' }),
    pathStyle: boolean({
      env: ['S3_PATH_STYLE'],
      help: 'Bucket in the path instead of the host name; on when an endpoint is set.',
    }),
    storageClass: text({ ...STORAGE_CLASS, env: ['S3_STORAGE_CLASS'], help: 'Storage class of what is written.' }),
    encryption: choice(['s3', 'kms'], {
      env: ['S3_SSE'],
      help: "Encryption by the server: S3's own keys, or KMS; the bucket's default when it is not set.",
    }),
    kmsKeyId: text({ env: ['S3_KMS_KEY_ID'], help: 'Key of KMS.' }),
  },
  gcs: {
    bucket: text({ env: ['GCS_BUCKET'], help: 'Bucket.' }),
    prefix: text({ env: ['GCS_PREFIX'], help: 'Put before every key in the bucket.' }),
    projectId: text({ env: ['GCS_PROJECT_ID'], help: 'Project.' }),
    credentialsPath: text({
      env: ['GCS_CREDENTIALS_PATH'],
      help: "Service account's key file; without it application default credentials are used.",
    }),
    endpoint: url({
      env: ['GCS_ENDPOINT'],
      help: 'Another endpoint; by plain http without credentials, for test servers.',
    }),
    storageClass: text({ ...STORAGE_CLASS, env: ['GCS_STORAGE_CLASS'], help: 'Storage class of what is written.' }),
    kmsKey: text({ env: ['GCS_KMS_KEY'], help: 'Resource name of a Cloud KMS key.' }),
  },
  azure: {
    storageAccount: text({ env: ['AZURE_STORAGE_ACCOUNT'], help: 'Storage account.' }),
    storageKey: secret({
      env: ['AZURE_STORAGE_KEY'],
      help: "Storage account's key; without any of the three the identity of the machine or workload is used.",
    }),
    connectionString: secret({ env: ['AZURE_STORAGE_CONNECTION_STRING'], help: 'Connection string.' }),
    sasToken: secret({ env: ['AZURE_STORAGE_SAS_TOKEN'], help: 'Shared access signature of the container.' }),
    container: text({ env: ['AZURE_CONTAINER'], help: 'Container.' }),
    prefix: text({ env: ['AZURE_PREFIX'], help: 'Put before every key in the container.' }),
    endpoint: url({ env: ['AZURE_ENDPOINT'], help: 'Another endpoint: a sovereign cloud, or a test server.' }),
    accessTier: text({ ...STORAGE_CLASS, env: ['AZURE_ACCESS_TIER'], help: 'Access tier of what is written.' }),
    encryptionScope: text({ env: ['AZURE_ENCRYPTION_SCOPE'], help: 'Encryption scope of what is written.' }),
  },
  cleanup: {
    autoEnabled: boolean({
      env: ['AUTO_CLEANUP_ENABLED'],
      default: true,
      help: 'Merge, move and expire data by age, on schedule; one of all replicas does it. Else only `reductrai tier run`.',
    }),
    schedule: text({
      env: ['CLEANUP_SCHEDULE'],
      pattern: CRON,
      form: 'a cron schedule of five fields',
      default: '0 2 * * *',
      help: 'When to do so, in UTC. Hourly keeps the number of small objects low.',
    }),
    retention: text({
      env: ['STORAGE_RETENTION'],
      pattern: RETENTION,
      form: 'a list such as `logs=30d,team-a/traces=90d,team-b=400d`',
      help: 'How long signals, tenants (`team-b=…`) or signals of tenants are kept, where that is not as long as the last tier keeps.',
    }),
    lists: boolean({
      env: ['STORAGE_LISTS'],
      default: false,
      help: 'Keep lists of the live segments of each day under `lists/`, for engines that read Parquet by themselves (docs/tiers.md).',
    }),
    compactAfterMs: duration({
      default: 2 * HOUR_MS,
      min: 0,
      max: 36500 * DAY_MS,
      help: 'Age from which the small segments of one hour are merged although they are still hot.',
    }),
    graceMs: duration({
      default: HOUR_MS,
      min: 0,
      max: 365 * DAY_MS,
      help: 'Merged and expired segments are deleted so much later, when queries that still read them have ended.',
    }),
  },
};

/** zstd level of new segments by `archive.compression`. */
export const ZSTD_LEVELS = { light: 1, medium: 3, heavy: 9 } as const;
