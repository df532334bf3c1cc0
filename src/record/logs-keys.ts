/** The keys of a log that mean something here, by number, and the letters that stand for them in a shape. */
import * as letters from './logs-shape.ts';

/** Keys that mean something here; those below TIMESTAMP go to a text column when they are strings. */
const KEYS = [
  'message',
  'status',
  'hostname',
  'host',
  'service',
  'ddsource',
  'source',
  'ddtags',
  'timestamp',
  '@timestamp',
  'date',
  'dd.trace_id',
  'dd.span_id',
  'trace_id',
  'span_id',
  'dd',
] as const;
export const KEY = Object.fromEntries(KEYS.map((key, i) => [key, i])) as Record<(typeof KEYS)[number], number>;
export const OTHER_KEY = KEYS.length;
export const KEY_NUMBERS = new Map<string, number>(KEYS.map((key, i) => [key, i]));

/** Letter of the shape by key, as a character code, for the keys below TIMESTAMP. */
export const TEXT_LETTERS = [
  letters.MESSAGE_TEXT,
  letters.STATUS,
  letters.HOSTNAME,
  letters.HOST,
  letters.SERVICE,
  letters.DDSOURCE,
  letters.SOURCE,
  letters.DDTAGS,
].map((letter) => letter.charCodeAt(0));
export const MESSAGE_JSON = letters.MESSAGE_JSON.charCodeAt(0);
export const TIMESTAMP = letters.TIMESTAMP.charCodeAt(0);
