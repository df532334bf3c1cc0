/**
 * The Codec seam: column batch ⇄ segment (one Parquet object). Same input and options, same bytes: a repeated flush writes
 * objects that are equal to the ones it may have written before a crash. All versions are readable, one is writable.
 */
import type { ColumnBatch, ColumnSchema, GroupColumn } from '../core/columns.ts';
import type { Layout } from './packed/layout.ts';

export type { Layout } from './packed/layout.ts';

/** Written into the footer's key-value metadata under `FORMAT_KEY`. */
export const SEGMENT_FORMAT = '1';
export const FORMAT_KEY = 'reductrai.format';

export interface EncodeOptions {
  /** zstd level, 1 to 22. */
  level: number;
  rowGroupRowsMax: number;
  /** Key-value metadata of the footer, besides `reductrai.format`. */
  metadata: Record<string, string>;
  /**
   * `plain` where not set. `packed`: texts as templates and what varies in them, which costs time; where there is nothing to pack, and where it
   * would not be smaller by `PACKED_GAIN_MIN`, the segment is plain all the same.
   */
  layout?: Layout;
}

/** What packing must save of the plain size. */
export const PACKED_GAIN_MIN = 0.1;

export interface DecodedSegment {
  metadata: Record<string, string>;
  batch: ColumnBatch;
}

/** Rows of one row group, whose columns are made when they are written. */
export interface RowGroupSource {
  rowCount: number;
  /** Asked for once per column of the schema, in its order. Its buffers are the group's alone, and let go of as soon as it is written. */
  column(schema: ColumnSchema): GroupColumn;
}

export interface Codec {
  /** Plain, with a row group for each of `groups`. Never holds more than a few columns of one group. */
  encodeGroups(
    schema: readonly ColumnSchema[],
    groups: Iterable<RowGroupSource>,
    options: Omit<EncodeOptions, 'layout' | 'rowGroupRowsMax'>,
  ): Uint8Array;
  /** The batch stays as it is. */
  encode(schema: readonly ColumnSchema[], batch: ColumnBatch, options: EncodeOptions): Uint8Array;
  /**
   * Throws ProxyError SEGMENT_UNREADABLE. Rows of a packed segment come in the order in which they were received, whatever that was in the
   * batch it was made of. Columns absent from the file come back as nulls; unknown ones are left out. */
  decode(schema: readonly ColumnSchema[], segment: Uint8Array): Promise<DecodedSegment>;
}
