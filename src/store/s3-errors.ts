/** What S3 and the servers that speak its protocol answer → STORE_* codes. Messages carry the server's code and request id. */
import { messageOf, ProxyError } from '../core/errors.ts';

/** As the SDK throws it; errors of the network have no status. */
interface S3Failure {
  name?: string;
  message?: string;
  $metadata?: { httpStatusCode?: number; requestId?: string };
  code?: string;
}

const THROTTLED = /^(SlowDown|Throttl|TooManyRequests|RequestLimitExceeded|BandwidthLimitExceeded|RequestThrottled)/i;
/** The bytes were damaged on the way: sending them again helps. */
const DAMAGED =
  /^(BadDigest|XAmzContentSHA256Mismatch|InvalidDigest|XAmzContentChecksumMismatch|IncompleteBody|RequestTimeout)$/;
const CREDENTIALS =
  /^(CredentialsProviderError|TokenProviderError|ExpiredToken|InvalidAccessKeyId|SignatureDoesNotMatch)$/;

/** `isConditional`: a 404 then means that there was nothing to replace. */
export function s3ErrorOf(error: unknown, action: string, key: string, isConditional = false): ProxyError {
  if (error instanceof ProxyError) return error;
  const failure = error as S3Failure;
  const status = failure.$metadata?.httpStatusCode ?? 0;
  const name = failure.name ?? 'Error';
  const id = failure.$metadata?.requestId;
  const said = `${name}${status > 0 ? ` (${status})` : ''}${failure.message ? `: ${failure.message}` : ''}`;
  const detail = `S3 ${action} ${key}: ${said}${id ? ` [request ${id}]` : ''}`;
  const make = (code: ConstructorParameters<typeof ProxyError>[0], text = detail) =>
    new ProxyError(code, text, { cause: error });
  if (name === 'NoSuchBucket') return make('STORE_INVALID', `no such bucket: ${detail}`);
  if (status === 412 || name === 'PreconditionFailed') return make('STORE_EXISTS');
  if (status === 304) return make('STORE_EXISTS');
  if (name === 'ConditionalRequestConflict' || name === 'OperationAborted' || status === 409)
    return make('STORE_CONFLICT');
  if (name === 'NoSuchUpload') return make('STORE_CONFLICT', `the upload was aborted by another: ${detail}`);
  if (status === 404 || name === 'NoSuchKey' || name === 'NotFound') {
    return make(isConditional ? 'STORE_EXISTS' : 'STORE_ABSENT');
  }
  if (name === 'RequestTimeTooSkewed' || name === 'RequestExpired') {
    return make('STORE_DENIED', `the clock of this machine is off: ${detail}`);
  }
  if (status === 416 || name === 'InvalidRange') return make('STORE_INVALID');
  if (THROTTLED.test(name) || status === 429) return make('STORE_THROTTLED');
  if (DAMAGED.test(name)) return make('STORE_UNAVAILABLE');
  if (status === 401 || status === 403 || CREDENTIALS.test(name)) return make('STORE_DENIED');
  // A proxy in between that is told to slow down says only 503.
  if (status === 503 && /reduce your request rate/i.test(failure.message ?? '')) return make('STORE_THROTTLED');
  if (status === 0 || status >= 500 || status === 408) {
    return make(
      'STORE_UNAVAILABLE',
      status === 0 ? `S3 ${action} ${key}: ${failure.code ?? name}: ${messageOf(error)}` : detail,
    );
  }
  if (status >= 200 && status < 300) return make('STORE_UNAVAILABLE');
  return make('STORE_INVALID');
}
