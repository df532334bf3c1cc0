/** What Google Cloud Storage answers → STORE_* codes. */
import { messageOf, ProxyError } from '../core/errors.ts';

/** As the library throws it: `code` is the HTTP status, or the name of a network failure. */
interface GcsFailure {
  code?: number | string;
  status?: number;
  message?: string;
  errors?: { reason?: string; message?: string }[];
}

const THROTTLED = /rateLimitExceeded|userRateLimitExceeded|quotaExceeded|slow ?down/i;
/** Of an object that is not there it says `No such object: <bucket>/<key>`, and either may have any name. */
const BUCKET_GONE = /^(the specified bucket does not exist|no such bucket)|bucket not found/i;
/** The bytes were damaged on the way: sending them again helps. */
const DAMAGED = /(md5|crc32c|checksum|hash).*(match|differ)|FILE_NO_UPLOAD|CONTENT_DOWNLOAD_MISMATCH/i;

/** `isConditional`: a 404 then means that there was nothing to replace. */
export function gcsErrorOf(error: unknown, action: string, key: string, isConditional = false): ProxyError {
  if (error instanceof ProxyError) return error;
  const failure = error as GcsFailure;
  const status = Number(failure.code ?? failure.status ?? 0) || 0;
  const reason = failure.errors?.[0]?.reason ?? '';
  const text = messageOf(error);
  const detail = `GCS ${action} ${key}: ${status > 0 ? `${status} ` : `${failure.code ?? ''} `}${reason} ${text}`
    .replace(/\s+/g, ' ')
    .trim();
  const make = (code: ConstructorParameters<typeof ProxyError>[0], said = detail) =>
    new ProxyError(code, said, { cause: error });
  if (status === 412 || status === 304) return make('STORE_EXISTS');
  if (status === 404) {
    // To write one needs no object, only the bucket.
    if (BUCKET_GONE.test(text) || (action === 'put' && !isConditional))
      return make('STORE_INVALID', `no such bucket: ${detail}`);
    return make(isConditional ? 'STORE_EXISTS' : 'STORE_ABSENT');
  }
  if (status === 409) return make('STORE_CONFLICT');
  if (status === 416) return make('STORE_INVALID');
  if (status === 429 || THROTTLED.test(reason) || THROTTLED.test(text)) return make('STORE_THROTTLED');
  if (/clock|token (used too early|must be a short-lived)|iat/i.test(text) && (status === 400 || status === 401)) {
    return make('STORE_DENIED', `the clock of this machine may be off: ${detail}`);
  }
  if (status === 401 || status === 403 || /default credentials|invalid_grant/i.test(text)) return make('STORE_DENIED');
  if (DAMAGED.test(text) || DAMAGED.test(String(failure.code ?? ''))) return make('STORE_UNAVAILABLE');
  if (status === 0 || status >= 500 || status === 408) return make('STORE_UNAVAILABLE');
  return make('STORE_INVALID');
}
