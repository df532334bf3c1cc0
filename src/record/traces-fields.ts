/** A span's fields, by the numbers that stand for them here. To be imported as a whole: `SPAN.SERVICE`. */

/** A span's fields by index, named as v0.4 names them; `LETTERS[i]` stands for field i in a shape. */
export const FIELDS = [
  'service',
  'name',
  'resource',
  'trace_id',
  'span_id',
  'parent_id',
  'start',
  'duration',
  'error',
  'meta',
  'metrics',
  'type',
  'meta_struct',
  'span_links',
  'span_events',
] as const;
export const SHAPE_LETTERS = 'snrtipbdemxyzlv';

export const SERVICE = 0;
export const NAME = 1;
export const RESOURCE = 2;
export const TRACE_ID = 3;
export const SPAN_ID = 4;
export const PARENT_ID = 5;
export const START = 6;
export const DURATION = 7;
export const ERROR = 8;
export const META = 9;
export const METRICS = 10;
export const TYPE = 11;
export const META_STRUCT = 12;
export const SPAN_LINKS = 13;
export const SPAN_EVENTS = 14;

/** The meta key (of the first span of a chunk) that holds the high 64 bits of the trace id. */
export const TRACE_ID_HIGH_KEY = '_dd.p.tid';
