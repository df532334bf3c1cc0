/** What Azure Blob Storage answers → STORE_* codes. */
import { messageOf, ProxyError } from '../core/errors.ts';

/** A RestError of the SDK. */
interface AzureFailure {
  name?: string;
  code?: string;
  statusCode?: number;
  message?: string;
  details?: { errorCode?: string; message?: string };
}

/** The bytes were damaged on the way: sending them again helps. */
const DAMAGED = /^(Md5Mismatch|Crc64Mismatch|IncompleteBody|OperationTimedOut)$/;
const BUSY = /^(ServerBusy|TooManyRequests|AccountBandwidthLimitExceeded|IngressLimitExceeded|EgressLimitExceeded)$/;

/** `isConditional`: a 404 then means that there was nothing to replace. */
export function azureErrorOf(error: unknown, action: string, key: string, isConditional = false): ProxyError {
  if (error instanceof ProxyError) return error;
  const failure = error as AzureFailure;
  const status = failure.statusCode ?? 0;
  const code = failure.details?.errorCode ?? failure.code ?? failure.name ?? 'Error';
  // The first line; what follows are request and response in full.
  const said = messageOf(error).split('\n', 1)[0] ?? '';
  const detail = `Azure ${action} ${key}: ${code}${status > 0 ? ` (${status})` : ''}: ${said}`;
  const make = (kind: ConstructorParameters<typeof ProxyError>[0], text = detail) =>
    new ProxyError(kind, text, { cause: error });
  if (code === 'ContainerNotFound' || code === 'ContainerBeingDeleted') {
    return make('STORE_INVALID', `no such container: ${detail}`);
  }
  if (code === 'BlobArchived' || code === 'BlobBeingRehydrated') {
    return make('STORE_INVALID', `${key} rests in the archive tier: rehydrate it first (set its tier to Cool or Hot)`);
  }
  if (status === 412 || status === 304 || code === 'BlobAlreadyExists') return make('STORE_EXISTS');
  if (status === 404) return make(isConditional ? 'STORE_EXISTS' : 'STORE_ABSENT');
  if (status === 409) return make('STORE_CONFLICT');
  if (status === 416) return make('STORE_INVALID');
  if (status === 429 || BUSY.test(code)) return make('STORE_THROTTLED');
  if (status === 403 && /AuthenticationFailed/.test(code) && /date|time|clock/i.test(messageOf(error))) {
    return make('STORE_DENIED', `the clock of this machine may be off: ${detail}`);
  }
  if (status === 401 || status === 403 || /Credential|Authentication/.test(failure.name ?? ''))
    return make('STORE_DENIED');
  if (DAMAGED.test(code)) return make('STORE_UNAVAILABLE');
  if (status === 0 || status >= 500 || status === 408) return make('STORE_UNAVAILABLE');
  if (status >= 200 && status < 300) return make('STORE_UNAVAILABLE');
  return make('STORE_INVALID');
}
