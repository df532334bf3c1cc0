/**
 * The Codec seam: column batch ⇄ segment (one Parquet object). Same input and options, same bytes: a repeated flush writes
 * objects that are equal to the ones it may have written before a crash. All versions are readable, one is writable.
 */
import type { ColumnBatch, ColumnSchema } from '../core/columns.ts';

/** Written into the footer's key-value metadata under `FORMAT_KEY`. */
export const SEGMENT_FORMAT = '1';
export const FORMAT_KEY = 'reductrai.format';

export interface EncodeOptions {
  /** zstd level, 1 to 22. */
  level: number;
  rowGroupRowsMax: number;
  /** Key-value metadata of the footer, besides `reductrai.format`. */
  metadata: Record<string, string>;
}

export interface DecodedSegment {
  metadata: Record<string, string>;
  batch: ColumnBatch;
}

export interface Codec {
  encode(schema: readonly ColumnSchema[], batch: ColumnBatch, options: EncodeOptions): Uint8Array;
  /** Throws ProxyError SEGMENT_UNREADABLE. Columns absent from the file come back as nulls; unknown ones are left out. */
  decode(schema: readonly ColumnSchema[], segment: Uint8Array): Promise<DecodedSegment>;
}
