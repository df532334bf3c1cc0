/**
 * The Decoder seam: decompressed body → column batch with opaque rows, or a rejection that names the place. Never throws on
 * bad input. A rejection means "cannot be framed" (broken JSON, protobuf or msgpack); well-framed but odd content is accepted.
 */
import type { ColumnBatch } from '../core/columns.ts';
import type { Protocol } from '../core/envelope.ts';

export interface DecodeInput {
  protocol: Protocol;
  /** Decompressed. */
  body: Uint8Array;
  contentType: string;
  /** Path and query as received (without keys): library log requests put tags there. */
  path: string;
  receivedAtMs: number;
}

export type DecodeResult =
  | {
      ok: true;
      batch: ColumnBatch;
      /** Series, logs, spans or events: what the caller would count. */
      itemCount: number;
      /** Rows kept opaque, because they are not (wholly) understood. */
      opaqueCount: number;
      /** The body holds an API key: it must rest sealed. The batch holds only its fingerprint. */
      holdsSecret: boolean;
    }
  | { ok: false; reason: string; offset: number };

export type Decode = (input: DecodeInput) => DecodeResult;

/** One row read back: column name → value; strings, bytes, doubles, 64-bit as bigint, int32 as number. */
export type RowValue = string | Uint8Array | number | bigint | null;
export type Row = Record<string, RowValue>;
