/** Sizes and counts that no setting changes. Each bounds a loop, a queue or an allocation. */
export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;

/** Nesting of JSON or msgpack beyond which a body is refused: no sender nests telemetry this deep. */
export const NESTING_MAX = 512;
/** Rows one envelope may yield; a body with more is kept whole as one opaque row. */
export const ROWS_PER_ENVELOPE_MAX = 1_000_000;
/** Content-Encodings that may be stacked on one body. */
export const ENCODINGS_STACKED_MAX = 4;
/** Largest zstd window that is accepted (2^27 = 128 MiB is what `zstd --long` writes; agents use 2^21 and less). */
export const ZSTD_WINDOW_LOG_MAX = 25;
/** Worker threads stand back behind the thread that serves callers. As `nice`. */
export const WORKER_NICENESS = 5;
/** An encoder that falls behind decoding costs memory, and what there is no room for is decoded twice: it comes before decoders. */
export const ENCODE_NICENESS = 1;

/** Rows of one row group of a segment: what a reader must take at once. */
export const ROW_GROUP_ROWS_MAX = 256 * 1024;
/** Decoded rows of one output of a merge; reading, sorting and encoding take some three times as much. */
export const MERGE_DECODED_BYTES_MAX = 64 * MIB;
export const MERGE_ROWS_MAX = 1_000_000;
/** Hours of one flush that get a segment of their own: old and odd timestamps cannot make thousands of small objects. */
export const HOURS_PER_FLUSH_MAX = 6;

/** Of a worker thread's young objects. What a body leaves behind is soon gone: more room would be memory that is touched in turn. */
export const WORKER_YOUNG_HEAP_MIB = 12;
