/** What Azure Blob Storage answers → STORE_* codes. Messages carry the server's code and request id, never what was signed. */
import { messageOf, ProxyError } from '../core/errors.ts';

/** A RestError of the SDK; `details` are the answer's headers and what its XML says. */
interface AzureFailure {
  name?: string;
  code?: string;
  statusCode?: number;
  message?: string;
  details?: {
    errorCode?: string;
    /** Why a 403: names the dates that do not fit. */
    authenticationErrorDetail?: string;
    date?: string;
    'x-ms-request-id'?: string;
  };
}

export interface AzureErrorContext {
  /** A 404 then means that there was nothing to replace. */
  isConditional?: boolean;
  /** This machine's time, to be compared with the server's when access is refused. */
  nowMs?: number;
}

/** The bytes were damaged on the way: sending them again helps. */
const DAMAGED = /^(Md5Mismatch|Crc64Mismatch|IncompleteBody|OperationTimedOut)$/;
const BUSY = /^(ServerBusy|TooManyRequests|AccountBandwidthLimitExceeded|IngressLimitExceeded|EgressLimitExceeded)$/;
/** A commit of the same blob throws away every block that is not part of it: another writer's came first. */
const BLOCKS_GONE = /^(InvalidBlockList|InvalidBlobOrBlock)$/;
/** Conflicts with what the blob is, which no repetition ends. */
const UNFIT = /^(SnapshotsPresent|InvalidBlobType|PathConflict|ResourceTypeMismatch)$/;
/** The service refuses dates that are more than 15 minutes off. */
const SKEW_MS = 10 * 60_000;

export function azureErrorOf(
  error: unknown,
  action: string,
  key: string,
  { isConditional = false, nowMs }: AzureErrorContext = {},
): ProxyError {
  if (error instanceof ProxyError) return error;
  const failure = error as AzureFailure;
  const status = failure.statusCode ?? 0;
  const code = failure.details?.errorCode ?? failure.code ?? failure.name ?? 'Error';
  const id = failure.details?.['x-ms-request-id'];
  // The first line; what follows are request and response in full.
  const said = messageOf(error).split('\n', 1)[0] ?? '';
  const answered = `Azure ${action} ${key}: ${code}${status > 0 ? ` (${status})` : ''}`;
  const detail = `${answered}${said ? `: ${said}` : ''}${id ? ` [request ${id}]` : ''}`;
  const make = (kind: ConstructorParameters<typeof ProxyError>[0], text = detail) =>
    new ProxyError(kind, text, { cause: error });
  if (code === 'ContainerNotFound' || code === 'ContainerBeingDeleted') {
    return make('STORE_INVALID', `no such container: ${detail}`);
  }
  if (code === 'BlobArchived' || code === 'BlobBeingRehydrated') {
    return make('STORE_INVALID', `${key} rests in the archive tier: rehydrate it first (set its tier to Cool or Hot)`);
  }
  if (BLOCKS_GONE.test(code)) return make('STORE_CONFLICT', `another writer was at work: ${detail}`);
  // Also a 412, but it says nothing about the condition.
  if (code.startsWith('Lease')) return make('STORE_CONFLICT', `someone holds a lease: ${detail}`);
  if (status === 412 || status === 304 || code === 'BlobAlreadyExists') return make('STORE_EXISTS');
  if (status === 404) return make(isConditional ? 'STORE_EXISTS' : 'STORE_ABSENT');
  if (code === 'BlobImmutableDueToPolicy') return make('STORE_DENIED');
  if (UNFIT.test(code)) return make('STORE_INVALID');
  if (status === 409) return make('STORE_CONFLICT');
  if (status === 416) return make('STORE_INVALID');
  if (status === 429 || BUSY.test(code)) return make('STORE_THROTTLED');
  if (status === 401 || status === 403) return make('STORE_DENIED', `${timeProblem(failure, nowMs)}${detail}`);
  if (/Credential|Authentication/.test(failure.name ?? '')) return make('STORE_DENIED');
  if (DAMAGED.test(code)) return make('STORE_UNAVAILABLE');
  if (status === 0 || status >= 500 || status === 408) return make('STORE_UNAVAILABLE');
  if (status >= 200 && status < 300) return make('STORE_UNAVAILABLE');
  return make('STORE_INVALID');
}

/**
 * Whether time is why access was refused. Every such answer bears a time, so only the server's reason and its clock tell; the answer
 * to a HEAD has no reason.
 */
function timeProblem({ details }: AzureFailure, nowMs: number | undefined): string {
  const serverMs = Date.parse(details?.date ?? '');
  const offMs = nowMs === undefined || Number.isNaN(serverMs) ? 0 : nowMs - serverMs;
  if (Math.abs(offMs) > SKEW_MS) {
    const minutes = Math.round(Math.abs(offMs) / 60_000);
    return `the clock of this machine is off, ${minutes} minutes ${offMs > 0 ? 'ahead of' : 'behind'} the server's: `;
  }
  const reason = details?.authenticationErrorDetail ?? '';
  if (/date header/i.test(reason)) return 'the clock of this machine is off: ';
  if (/time frame/i.test(reason)) return 'the shared access signature is not valid at this time (expired?): ';
  return '';
}
