/**
 * The catalogue of operating failures. Expected outcomes are values (unions), bugs are assertions; what is left, a failure
 * of the world around us, is a `ProxyError` with a stable code. `docs/reference/errors.md` is generated from this table.
 */
export const ERROR_CATALOGUE = {
  CONFIG_INVALID: { retryable: false, text: 'The configuration cannot be used; every problem is listed.' },
  JOURNAL_CLOSED: { retryable: true, text: 'The journal lane is closed (draining, or after a failed write or sync).' },
  JOURNAL_FULL: { retryable: true, text: 'The journal has reached its size budget, or its disk is full.' },
  JOURNAL_OWNED: { retryable: true, text: 'Another live process owns this journal folder.' },
  JOURNAL_FENCED: {
    retryable: false,
    text: 'Another replica has taken this journal over; this process commits nothing more.',
  },
  JOURNAL_CORRUPT: { retryable: false, text: 'A journal frame does not match its checksum; it was set aside.' },
  STORE_ABSENT: { retryable: false, text: 'The object does not exist.' },
  STORE_EXISTS: { retryable: false, text: 'The object already exists, or changed since it was read.' },
  STORE_CONFLICT: { retryable: true, text: 'Another writer was at work on the same key; nothing was written.' },
  STORE_DENIED: { retryable: false, text: 'The store refused access.' },
  STORE_THROTTLED: { retryable: true, text: 'The store asked us to slow down.' },
  STORE_UNAVAILABLE: { retryable: true, text: 'The store cannot be reached or failed.' },
  STORE_INVALID: { retryable: false, text: 'The store cannot take this request (key, range or size).' },
  STORE_CORRUPT: { retryable: true, text: 'What the store gave back does not match its checksum.' },
  SEGMENT_UNREADABLE: { retryable: false, text: 'A segment is not a Parquet file of a known version.' },
  WORKER_LOST: { retryable: true, text: 'A worker thread ended while it held work; the work is redone.' },
  SEAL_KEY_MISSING: { retryable: false, text: 'The key that sealed this value is not known to this process.' },
  QUERY_INVALID: { retryable: false, text: 'The query cannot be run as written.' },
  BUDGET_EXHAUSTED: { retryable: true, text: 'The in-flight byte budget is used up.' },
} as const;

export type ErrorCode = keyof typeof ERROR_CATALOGUE;

export class ProxyError extends Error {
  readonly code: ErrorCode;
  readonly retryable: boolean;

  constructor(code: ErrorCode, detail: string, options?: { cause?: unknown; retryable?: boolean }) {
    super(`${code}: ${detail}`, options?.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'ProxyError';
    this.code = code;
    this.retryable = options?.retryable ?? ERROR_CATALOGUE[code].retryable;
  }
}

export function isProxyError(error: unknown, code?: ErrorCode): error is ProxyError {
  return error instanceof ProxyError && (code === undefined || error.code === code);
}

/** For places that need a line of text from whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
