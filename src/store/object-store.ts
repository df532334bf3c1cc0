/**
 * The ObjectStore seam. Everything that is kept lives behind it, and all coordination is a conditional write through it.
 * Failures are thrown as `ProxyError` with a STORE_* code: ABSENT, EXISTS, CONFLICT, DENIED, THROTTLED, UNAVAILABLE, INVALID,
 * CORRUPT.
 *
 * Keys are `/`-separated, UTF-8, at most 900 bytes, parts at most 240, without empty, `.` or `..` parts, backslashes or control
 * characters (all rules: keys.ts); anything else is STORE_INVALID. No key is a folder of another key (`a` beside `a/b`).
 * An implementation must hold: a put is all or nothing (no reader ever sees half an object); after it resolves the object is
 * durable and every later get, head and list sees it; deletes are idempotent; lists are in byte order of the keys (Azure's
 * differ for characters beyond the BMP, of which our own keys have none).
 */
export interface ObjectInfo {
  key: string;
  sizeBytes: number;
  /**
   * Etag, generation or version: changes with the content; where it is an etag, writing equal bytes again may keep it, so that what
   * is replaced under conditions says who wrote it, and when. Only compare for equality.
   */
  version: string;
  /** Of a put: about now, where the server does not tell. */
  modifiedAtMs: number;
}

/** What only asking for the one object tells. */
export interface ObjectHead extends ObjectInfo {
  /** As given to `put`; absent where the store keeps none (local files). */
  writer?: string;
}

/** Bytes that need not be in memory at once. May be read from any offset again: a failed attempt is repeated. */
export interface ByteSource {
  readonly sizeBytes: number;
  /** Exactly `length` bytes; never called beyond the end. */
  read(offset: number, length: number): Promise<Uint8Array>;
}

export type ObjectBody = Uint8Array | ByteSource;

export interface ObjectBytes {
  info: ObjectInfo;
  bytes: Uint8Array;
}

/** `absent`: create only. `unchanged`: replace only if the object still has that version. */
export type PutCondition = { kind: 'absent' } | { kind: 'unchanged'; version: string };

export interface PutOptions {
  condition?: PutCondition;
  /**
   * Names this one write, whatever its attempts: kept with the object (buckets), so that a writer whose answer was lost finds out
   * whether what is there is its own. At most 64 characters of [0-9a-zA-Z-].
   */
  writer?: string;
  /** Storage class or access tier, in the words of the bucket's cloud; default: that of the store. Folders have none. */
  storageClass?: string;
}

export interface ByteRange {
  offset: number;
  length: number;
}

export interface ListOptions {
  /** Only keys greater than this one: how a listing is resumed. */
  startAfter?: string;
}

export interface ObjectReader {
  /** STORE_ABSENT when there is none; STORE_INVALID when the range does not lie inside the object (a short read is an error). */
  get(key: string, range?: ByteRange): Promise<ObjectBytes>;
  head(key: string): Promise<ObjectHead | undefined>;
  list(prefix: string, options?: ListOptions): AsyncIterable<ObjectInfo>;
}

export interface ObjectWriter {
  /**
   * STORE_EXISTS when the condition does not hold (also `unchanged` on an absent object). Large bodies go up in parts; whatever
   * interrupts that, nothing is visible before all is there.
   */
  put(key: string, body: ObjectBody, options?: PutOptions): Promise<ObjectInfo>;
  /** Absent counts as done. */
  delete(key: string): Promise<void>;
}

export interface ObjectStore extends ObjectReader, ObjectWriter {
  /** For status and messages, without secrets: `file:///data/store`. */
  readonly url: string;
  close(): Promise<void>;
}
