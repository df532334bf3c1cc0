/**
 * The `shape` of a log: how its members were written, in their order. One letter per member that has a column of its own, and a
 * decimal count for each run of members that stand in `attributes` (in the same order there). `msThvd2t` is the log of an
 * Agent with two further attributes before `ddtags`. A log of a text body has TEXT_SHAPE, an empty object EMPTY_SHAPE.
 */
export const TEXT_SHAPE = 'text';
export const EMPTY_SHAPE = '0';

/** `message`, where it is a string. */
export const MESSAGE_TEXT = 'm';
/** `message`, where it is anything else: the column holds its JSON text. */
export const MESSAGE_JSON = 'M';
export const STATUS = 's';
export const HOSTNAME = 'h';
export const HOST = 'H';
export const SERVICE = 'v';
export const DDSOURCE = 'd';
export const SOURCE = 'S';
export const DDTAGS = 't';
/** `timestamp` as a whole number of milliseconds: it is in `time`. */
export const TIMESTAMP = 'T';

/** Key and column by letter. */
export const SHAPE_MEMBERS: Record<string, { key: string; column: string; form: 'string' | 'json' | 'ms' }> = {
  [MESSAGE_TEXT]: { key: 'message', column: 'message', form: 'string' },
  [MESSAGE_JSON]: { key: 'message', column: 'message', form: 'json' },
  [STATUS]: { key: 'status', column: 'status', form: 'string' },
  [HOSTNAME]: { key: 'hostname', column: 'host', form: 'string' },
  [HOST]: { key: 'host', column: 'host', form: 'string' },
  [SERVICE]: { key: 'service', column: 'service', form: 'string' },
  [DDSOURCE]: { key: 'ddsource', column: 'source', form: 'string' },
  [SOURCE]: { key: 'source', column: 'source', form: 'string' },
  [DDTAGS]: { key: 'ddtags', column: 'tags', form: 'string' },
  [TIMESTAMP]: { key: 'timestamp', column: 'time', form: 'ms' },
};
