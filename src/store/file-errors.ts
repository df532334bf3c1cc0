/** What a failed file operation means for an object: Node's error codes as STORE_* errors. */
import { type ErrorCode, isProxyError, ProxyError } from '../core/errors.ts';

const CODES: Record<string, ErrorCode> = {
  EACCES: 'STORE_DENIED',
  EPERM: 'STORE_DENIED',
  EROFS: 'STORE_DENIED',
  ENAMETOOLONG: 'STORE_INVALID',
  ENOTDIR: 'STORE_INVALID',
  EISDIR: 'STORE_INVALID',
  ELOOP: 'STORE_INVALID',
  EILSEQ: 'STORE_INVALID',
  ENOENT: 'STORE_ABSENT',
  EEXIST: 'STORE_EXISTS',
};

/** Everything else (ENOSPC, EDQUOT, EIO, ESTALE, EMFILE, …) may pass: STORE_UNAVAILABLE. Bugs are handed through. */
export function storeErrorOf(error: unknown, operation: string, key: string): Error {
  if (isProxyError(error)) return error;
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  if (typeof code !== 'string') return error instanceof Error ? error : new Error(String(error));
  return new ProxyError(CODES[code] ?? 'STORE_UNAVAILABLE', `${operation} ${key}: ${code}`, { cause: error });
}
