/** What is common to all ways of writing the values of a column chunk. */
import type { ByteWriter } from './byte-writer.ts';
import { bitWidth, ENCODING, RUN_MIN, writeHybrid, writeRun } from './encodings.ts';

/** Uncompressed size at which a page is closed. Large: compression sees more, and nothing is read row by row. */
export const PAGE_ROWS_MAX = 128 * 1024;

/** Values of one row group of one column, nulls taken out, with what its pages need. */
export interface Values {
  encoding: number;
  /** Non-null values before each row, to find a page's share. */
  write(page: ByteWriter, start: number, end: number): void;
  /** The dictionary page, if there is one. */
  dictionary?: { bytes: Uint8Array; count: number };
  /** Of all values; undefined where there are none, or readers would leave out values by it that they should not (column-values.ts). */
  bounds?: Bounds | undefined;
  /** The same of a stretch of at least one value, wherever there are `bounds`. */
  boundsOf?: (start: number, end: number) => Bounds | undefined;
  /** Ends a page before its values grow beyond the bound. */
  pageValuesMax: number;
}

/** Smallest and largest value, plainly encoded, in the order of the column's type. */
export interface Bounds {
  min: Uint8Array;
  max: Uint8Array;
  /** Of texts: whether the bound is a value itself, and none that was shortened. */
  isExact?: { min: boolean; max: boolean };
}

export interface Presence {
  /** By row, 1 where there is a value; undefined: there is none, or no null. */
  isPresent: Uint8Array | undefined;
  nullCount: number;
}

/** Bits of an id: as few as it takes, and the next whole byte. */
export function widthsOf(count: number): number[] {
  const width = bitWidth(count - 1);
  const aligned = (width + 7) & ~7;
  return aligned === width ? [width] : [width, aligned];
}

export function ofDictionary(ids: Uint32Array, width: number, dictionary: NonNullable<Values['dictionary']>) {
  return {
    encoding: ENCODING.rleDictionary,
    dictionary,
    write: (page: ByteWriter, from: number, to: number) => {
      page.byte(width);
      // All are the one entry.
      if (width === 0 && to - from >= RUN_MIN) writeRun(page, 0, to - from, 0);
      else writeHybrid(page, ids.subarray(from, to), to - from, width);
    },
    pageValuesMax: PAGE_ROWS_MAX,
  };
}
