/**
 * Content-Encoding undone within bounds. Every byte of output is reserved in the process-wide budget before it is made, an absolute
 * cap ends a bomb, and the zstd window is capped. There is no cap on the ratio: honest telemetry compresses thousands to one.
 *
 * Accepted, in any case, stacked as a comma list (undone right to left): identity, gzip, x-gzip, deflate and x-deflate (zlib;
 * raw deflate leniently), zstd and zstd1 (several frames in a row too). Source: datadog-intake.md §2.1.
 */
import { gunzipSync, inflateRawSync, inflateSync } from 'node:zlib';
import zstd from 'zstd-napi/binding.js';
import type { ByteBudget } from '../core/byte-budget.ts';
import { ENCODINGS_STACKED_MAX, KIB, MIB, ZSTD_WINDOW_LOG_MAX } from '../core/limits.ts';

export type Decompressed =
  | {
      ok: true;
      bytes: Uint8Array;
      /** Reserved in the budget for `bytes`; the caller releases it. 0 for a body that was not compressed. */
      reservedBytes: number;
      /** `bytes` lie in memory that the next body is written to: whoever keeps any of them copies them, and nobody lets go of them. */
      isShared?: true;
    }
  | { ok: false; kind: 'malformed' | 'too-large' | 'unsupported-encoding' | 'busy'; reason: string };

type Step = 'gzip' | 'deflate' | 'zstd';

const STEPS: Record<string, Step | 'identity'> = {
  '': 'identity',
  identity: 'identity',
  gzip: 'gzip',
  'x-gzip': 'gzip',
  deflate: 'deflate',
  'x-deflate': 'deflate',
  zstd: 'zstd',
  zstd1: 'zstd',
};

/** Output that is tried first when the size is not known beforehand: so many times the input, within bounds. */
const FIRST_GRANT_RATIO = 16;
const FIRST_GRANT_BYTES_MIN = 64 * KIB;
const FIRST_GRANT_BYTES_MAX = 1 * MIB;
/** Grown by this while it does not suffice. */
const GRANT_GROWTH = 8;

export function decompress(
  body: Uint8Array,
  contentEncoding: string,
  bytesMax: number,
  budget: ByteBudget,
): Decompressed {
  const names = contentEncoding.toLowerCase().split(',');
  if (names.length > ENCODINGS_STACKED_MAX) {
    return { ok: false, kind: 'unsupported-encoding', reason: `more than ${ENCODINGS_STACKED_MAX} content encodings` };
  }
  let bytes = body;
  let reservedBytes = 0;
  let isShared = false;
  for (const name of names.reverse()) {
    const step = STEPS[name.trim()];
    if (step === undefined) {
      budget.release(reservedBytes);
      return {
        ok: false,
        kind: 'unsupported-encoding',
        reason: `unsupported content encoding ${JSON.stringify(name.trim())}`,
      };
    }
    if (step === 'identity' || bytes.byteLength === 0) continue;
    // Of several encodings each one reads what the one before has written.
    const undone =
      step === 'zstd' ? undoZstd(bytes, bytesMax, budget, names.length === 1) : undoZlib(step, bytes, bytesMax, budget);
    budget.release(reservedBytes);
    if (!undone.ok) return undone;
    bytes = undone.bytes;
    reservedBytes = undone.reservedBytes;
    isShared = undone.isShared === true;
  }
  if (bytes.byteLength > bytesMax) {
    budget.release(reservedBytes);
    return tooLarge(bytesMax);
  }
  return { ok: true, bytes, reservedBytes, ...(isShared ? { isShared } : {}) };
}

function tooLarge(bytesMax: number): Decompressed {
  return { ok: false, kind: 'too-large', reason: `body is larger than ${bytesMax} bytes once decompressed` };
}

const BUSY: Decompressed = { ok: false, kind: 'busy', reason: 'the in-flight byte budget is used up' };

/**
 * Runs `attempt` with growing output limits. zlib tells the size only by running; a repeat costs at most an eighth more, and
 * the reservation always comes before the memory.
 */
function withGrants(
  step: string,
  inputBytes: number,
  bytesMax: number,
  budget: ByteBudget,
  attempt: (limitBytes: number) => Uint8Array | 'more',
): Decompressed {
  const first = Math.min(FIRST_GRANT_BYTES_MAX, Math.max(FIRST_GRANT_BYTES_MIN, inputBytes * FIRST_GRANT_RATIO));
  for (let grant = Math.min(first, bytesMax); ; grant = Math.min(grant * GRANT_GROWTH, bytesMax)) {
    if (!budget.tryReserve(grant)) return BUSY;
    let made: Uint8Array | 'more';
    try {
      made = attempt(grant);
    } catch (error) {
      budget.release(grant);
      return {
        ok: false,
        kind: 'malformed',
        reason: `body is not valid ${step}: ${error instanceof Error ? error.message : 'unknown'}`,
      };
    }
    if (made !== 'more') {
      // Keep only what is used; counts of 1 KiB are rounded up on both sides alike.
      budget.release(grant);
      if (!budget.tryReserve(made.byteLength)) return BUSY;
      return { ok: true, bytes: made, reservedBytes: made.byteLength };
    }
    budget.release(grant);
    if (grant >= bytesMax) return tooLarge(bytesMax);
  }
}

function undoZlib(step: 'gzip' | 'deflate', body: Uint8Array, bytesMax: number, budget: ByteBudget): Decompressed {
  const run = step === 'gzip' ? gunzipSync : isZlibWrapped(body) ? inflateSync : inflateRawSync;
  return withGrants(step, body.byteLength, bytesMax, budget, (limitBytes) => {
    try {
      // One chunk, one buffer: several would be copied into one.
      return run(body, { maxOutputLength: limitBytes, chunkSize: Math.max(64, limitBytes) });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') return 'more';
      throw error;
    }
  });
}

/** RFC 1950: method 8 in the low nibble, and the first two bytes are a multiple of 31. */
function isZlibWrapped(body: Uint8Array): boolean {
  const first = body[0]!;
  const second = body[1] ?? 0;
  return (first & 0x0f) === 8 && ((first << 8) | second) % 31 === 0;
}

const context = new zstd.DCtx();
context.setParameter(zstd.DParameter.windowLogMax, ZSTD_WINDOW_LOG_MAX);

/** To touch fresh memory for each body takes as long as to decompress into it. */
const SHARED_BYTES_MAX = 4 * MIB;
let shared = Buffer.allocUnsafeSlow(64 * KIB);

function sharedBytes(size: number): Buffer {
  if (size > shared.byteLength) shared = Buffer.allocUnsafeSlow(Math.min(SHARED_BYTES_MAX, size + (size >>> 2)));
  return shared.subarray(0, size);
}

function undoZstd(body: Uint8Array, bytesMax: number, budget: ByteBudget, mayShare: boolean): Decompressed {
  let size: number | undefined;
  try {
    size = zstdContentBytes(body, bytesMax);
  } catch (error) {
    return {
      ok: false,
      kind: 'malformed',
      reason: `body is not valid zstd: ${error instanceof Error ? error.message : 'unknown'}`,
    };
  }
  if (size !== undefined && size > bytesMax) return tooLarge(bytesMax);
  if (size === undefined) {
    return withGrants('zstd', body.byteLength, bytesMax, budget, (limitBytes) => streamZstd(body, limitBytes));
  }
  if (!budget.tryReserve(size)) return BUSY;
  try {
    const isShared = mayShare && size <= SHARED_BYTES_MAX;
    const bytes = isShared ? sharedBytes(size) : Buffer.allocUnsafeSlow(size);
    const made = context.decompress(bytes, body);
    if (made !== size) throw new Error('wrong content size');
    return { ok: true, bytes, reservedBytes: size, ...(isShared ? { isShared } : {}) };
  } catch (error) {
    budget.release(size);
    return {
      ok: false,
      kind: 'malformed',
      reason: `body is not valid zstd: ${error instanceof Error ? error.message : 'unknown'}`,
    };
  }
}

/** Sum of the frames' declared sizes; undefined when one does not tell. Stops counting above `bytesMax`. */
function zstdContentBytes(body: Uint8Array, bytesMax: number): number | undefined {
  let total = 0;
  let rest = body;
  while (rest.byteLength > 0) {
    const frame = zstd.getFrameContentSize(rest);
    if (frame === null) return undefined;
    total += frame;
    if (total > bytesMax) return total;
    rest = rest.subarray(zstd.findFrameCompressedSize(rest));
  }
  return total;
}

function streamZstd(body: Uint8Array, limitBytes: number): Uint8Array | 'more' {
  context.reset(zstd.ResetDirective.sessionOnly);
  let output = Buffer.allocUnsafeSlow(Math.min(limitBytes, Math.max(64 * 1024, body.byteLength * 4)));
  let filled = 0;
  let rest = body;
  let frameLeft = 1;
  while (rest.byteLength > 0 || frameLeft !== 0) {
    if (filled === output.byteLength) {
      if (filled >= limitBytes) return 'more';
      const grown = Buffer.allocUnsafeSlow(Math.min(limitBytes, output.byteLength * 2));
      output.copy(grown, 0, 0, filled);
      output = grown;
    }
    const [left, produced, consumed] = context.decompressStream(output.subarray(filled), rest);
    filled += produced;
    rest = rest.subarray(consumed);
    frameLeft = left;
    // Neither input nor output moved although there is room: the last frame is cut short.
    if (produced === 0 && consumed === 0 && filled < output.byteLength) throw new Error('truncated frame');
  }
  return output.subarray(0, filled);
}
