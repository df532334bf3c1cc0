/**
 * The columns of every signal: what decoders fill, what segments hold, what views show. One table per signal, in
 * docs/formats/segments.md generated from here.
 *
 * How losslessness works: an item is taken apart into columns only if it can be put together again exactly. `shape` tells how
 * (key order, which form), and whatever cannot be expressed so is kept in `raw`, the item's bytes as sent, with the columns filled
 * as well as they go. A row of kind `opaque` has only `raw`. Rows of one item are told by (journal, position, item), in order of `point`.
 */
import type { ColumnSchema } from '../core/columns.ts';
import type { Signal } from '../core/envelope.ts';

/** Added by the archive to every row, from the envelope. */
export const JOURNAL_COLUMNS: readonly ColumnSchema[] = [
  {
    name: 'journal',
    kind: 'string',
    nullable: false,
    help: 'Replica and epoch, `replica-epoch`: whose journal the envelope was in.',
  },
  { name: 'position', kind: 'int64', nullable: false, help: 'Position of the envelope in that journal.' },
  { name: 'received_at', kind: 'timestampMs', nullable: false, help: 'When the request was received.' },
  { name: 'protocol', kind: 'string', nullable: false, help: 'Wire format of the body (core/envelope.ts lists them).' },
  { name: 'request_path', kind: 'string', nullable: false, help: 'Path and query of the request, without keys.' },
];

/** First columns of every signal's rows, filled by its decoder. */
const ROW_COLUMNS: readonly ColumnSchema[] = [
  { name: 'item', kind: 'int32', nullable: false, help: 'Index of the item in its request.' },
  {
    name: 'point',
    kind: 'int32',
    nullable: false,
    help: 'Index of the row in its item (points of a series); 0 elsewhere.',
  },
  {
    name: 'kind',
    kind: 'string',
    nullable: false,
    help: 'What the row is; `opaque` rows have only `raw`, `payload` rows hold what surrounds the items.',
  },
  { name: 'shape', kind: 'string', nullable: true, help: 'How the item was written, for giving it back exactly.' },
  {
    name: 'raw',
    kind: 'binary',
    nullable: true,
    help: 'The bytes as sent, where columns alone cannot give the item back exactly (first row of the item only).',
  },
];

const text = (name: string, help: string): ColumnSchema => ({ name, kind: 'string', nullable: true, help });
const json = (name: string, help: string): ColumnSchema => ({ name, kind: 'string', nullable: true, json: true, help });

const METRICS_COLUMNS: readonly ColumnSchema[] = [
  ...ROW_COLUMNS,
  {
    name: 'time',
    kind: 'timestampMs',
    nullable: false,
    help: 'Time of the point; receive time where the item has none.',
  },
  text('metric', 'Metric name.'),
  text('type', '`count`, `rate`, `gauge`, `sketch`, `distribution` or what was sent.'),
  { name: 'interval', kind: 'int64', nullable: true, help: 'Flush interval in seconds.' },
  text('unit', 'Unit.'),
  text('host', 'Host: the field, or the resource of type host.'),
  text('device', 'Device (v1).'),
  json('tags', 'Tags, JSON array of strings, in the order sent.'),
  json('resources', 'Resources, JSON array of {type,name}.'),
  text('source_type_name', 'Source type.'),
  json('metadata', 'Metadata (origin), JSON object.'),
  { name: 'value', kind: 'double', nullable: true, help: 'Value of the point.' },
  json('values', 'Values of a distribution point, JSON array of numbers.'),
  { name: 'sketch_count', kind: 'int64', nullable: true, help: 'Sketch: count.' },
  { name: 'sketch_min', kind: 'double', nullable: true, help: 'Sketch: minimum.' },
  { name: 'sketch_max', kind: 'double', nullable: true, help: 'Sketch: maximum.' },
  { name: 'sketch_avg', kind: 'double', nullable: true, help: 'Sketch: average.' },
  { name: 'sketch_sum', kind: 'double', nullable: true, help: 'Sketch: sum.' },
  json('sketch_keys', 'Sketch: bin keys, JSON array of integers.'),
  json('sketch_counts', 'Sketch: bin counts, JSON array of integers.'),
  json('attributes', 'Keys of a JSON item that have no column, JSON object in the order sent.'),
];

const LOGS_COLUMNS: readonly ColumnSchema[] = [
  ...ROW_COLUMNS,
  { name: 'time', kind: 'timestampMs', nullable: false, help: 'Time of the log; receive time where it has none.' },
  text('message', 'The message; of a message object, its JSON text.'),
  text('status', 'Status as sent.'),
  text('host', 'Host as sent (`hostname` or `host`).'),
  text('service', 'Service.'),
  text('source', 'Source (`ddsource`).'),
  text('tags', 'Tags as sent (`ddtags`): one comma-separated text.'),
  { ...text('trace_id', '`dd.trace_id` or `trace_id` attribute, for joins with spans.'), bloom: true },
  text('span_id', '`dd.span_id` or `span_id` attribute.'),
  json('attributes', 'All other keys, JSON object in the order sent, values as sent.'),
];

const TRACES_COLUMNS: readonly ColumnSchema[] = [
  ...ROW_COLUMNS,
  {
    name: 'time',
    kind: 'timestampNs',
    nullable: false,
    help: 'Start of the span; receive time for rows that are no spans.',
  },
  { name: 'payload', kind: 'int32', nullable: true, help: 'Index of the tracer payload in the request.' },
  { name: 'chunk', kind: 'int32', nullable: true, help: 'Index of the chunk (trace) in its payload.' },
  {
    name: 'trace_id',
    kind: 'int64',
    nullable: true,
    unsigned: true,
    bloom: true,
    help: 'Low 64 bits of the trace id.',
  },
  text('trace_id_high', 'High 64 bits of a 128-bit trace id, 16 hex digits (`_dd.p.tid`), where the chunk tells it.'),
  { name: 'span_id', kind: 'int64', nullable: true, unsigned: true, help: 'Span id.' },
  { name: 'parent_id', kind: 'int64', nullable: true, unsigned: true, help: 'Parent span id; 0 for a root.' },
  { name: 'duration', kind: 'int64', nullable: true, help: 'Duration in nanoseconds.' },
  { name: 'error', kind: 'int32', nullable: true, help: '1 for an error.' },
  text('service', 'Service.'),
  text('name', 'Operation.'),
  text('resource', 'Resource.'),
  text('type', 'Span type.'),
  json('meta', 'String attributes, JSON object in the order sent.'),
  json('metrics', 'Numeric attributes, JSON object; non-finite values as strings (and the span in `raw`).'),
  json('meta_struct', 'Binary attributes, JSON object of base64 texts.'),
  json('span_links', 'Span links, JSON array.'),
  json('span_events', 'Span events, JSON array.'),
  { name: 'priority', kind: 'int32', nullable: true, help: 'Sampling priority of the chunk.' },
  text('origin', 'Origin of the chunk.'),
  text('env', 'Environment of the tracer payload or agent.'),
  text('host', 'Host name of the tracer payload or agent.'),
  text('app_version', 'Application version of the tracer payload.'),
  text('language', 'Language of the tracer payload.'),
  text('container_id', 'Container of the tracer payload.'),
  text('runtime_id', 'Runtime id of the tracer payload.'),
];

const EVENTS_COLUMNS: readonly ColumnSchema[] = [
  ...ROW_COLUMNS,
  { name: 'time', kind: 'timestampMs', nullable: false, help: 'Time of the event; receive time where it has none.' },
  text('title', 'Title; of a check run, the check.'),
  text('text', 'Text; of a check run, its message.'),
  text('host', 'Host.'),
  text('status', 'Alert type of an event; `ok`, `warning`, `critical`, `unknown` of a check run.'),
  text('source', 'Source type.'),
  text('priority', 'Priority.'),
  text('aggregation_key', 'Aggregation key.'),
  json('tags', 'Tags, JSON array.'),
  json('body', 'The whole item as JSON (keys replaced by fingerprints).'),
];

export const SIGNAL_COLUMNS: Record<Signal, readonly ColumnSchema[]> = {
  metrics: METRICS_COLUMNS,
  logs: LOGS_COLUMNS,
  traces: TRACES_COLUMNS,
  events: EVENTS_COLUMNS,
};

/** Columns of a signal's segments: the archive's own first. */
export const SEGMENT_COLUMNS: Record<Signal, readonly ColumnSchema[]> = {
  metrics: [...JOURNAL_COLUMNS, ...METRICS_COLUMNS],
  logs: [...JOURNAL_COLUMNS, ...LOGS_COLUMNS],
  traces: [...JOURNAL_COLUMNS, ...TRACES_COLUMNS],
  events: [...JOURNAL_COLUMNS, ...EVENTS_COLUMNS],
};
