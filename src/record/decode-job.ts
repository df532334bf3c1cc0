/**
 * What intake and archive ask of the decode workers: a body as received goes in, its columns come out, and the body with them.
 */

import type { Protocol } from '../core/envelope.ts';
import type { TravellingBatch } from '../core/travelling-batch.ts';

export interface DecodeJob {
  /** As received (still compressed), in an ArrayBuffer of its own: whoever asks has it again with the verdict, and not before. */
  body: Uint8Array<ArrayBuffer>;
  contentEncoding: string;
  protocol: Protocol;
  contentType: string;
  path: string;
  receivedAtMs: number;
  keyFingerprint: string;
  /** Was refused for want of memory so often that it must be decoded whatever the in-flight budget says. */
  isOverdue?: true;
  /** Was accepted before, and is read back by an archive that is behind: half of the decoding is for those. */
  isAgain?: true;
}

/** A body and what is in it. Whoever has it lets go of both, and of what is reserved. */
export interface DecodedBody {
  ok: true;
  body: Uint8Array<ArrayBuffer>;
  batch: TravellingBatch;
  itemCount: number;
  opaqueCount: number;
  /** Size of the body once decompressed. */
  rawBytes: number;
  /** SHA-256 (hex) over path, key fingerprint and body as received. */
  bodyHash: string;
  /** CRC-32 of the body as received, for the journal. */
  bodyCrc: number;
  holdsSecret: boolean;
  /** The body is empty or `{}`: a probe, answered with success and not kept. */
  isProbe: boolean;
  /** Reserved in the byte budget for the batch (`ByteBudget.rounded`); whoever lets go of the batch releases it. */
  reservedBytes: number;
}

export type DecodeVerdict =
  | DecodedBody
  | {
      ok: false;
      /** `malformed` 400 · `too-large` 413 · `unsupported-encoding` 415 · `busy` 503. */
      kind: 'malformed' | 'too-large' | 'unsupported-encoding' | 'busy';
      reason: string;
      /** Byte offset in the decompressed body; -1 where there is none. */
      offset: number;
    };

/** Decodes off the main thread. Resolves, never rejects: a lost worker is `busy`. */
export type DecodeElsewhere = (job: DecodeJob) => Promise<DecodeVerdict>;
