/**
 * The columns of metric roll-ups: what the points of one series say in one window of time. Several rows of one series and window add up
 * (they come of several segments); the view `rollups` does that.
 */
import type { ColumnSchema } from '../core/columns.ts';

const text = (name: string, help: string): ColumnSchema => ({ name, kind: 'string', nullable: true, help });
const json = (name: string, help: string): ColumnSchema => ({ name, kind: 'string', nullable: true, json: true, help });

/** Texts that tell one series from another, as in raw rows. */
export const SERIES_TEXTS = [
  'kind',
  'metric',
  'type',
  'unit',
  'host',
  'device',
  'tags',
  'resources',
  'source_type_name',
] as const;

export const ROLLUP_COLUMNS: readonly ColumnSchema[] = [
  { name: 'time', kind: 'timestampMs', nullable: false, help: 'Start of the window; a multiple of its length.' },
  { name: 'kind', kind: 'string', nullable: false, help: '`series`, `distribution` or `sketch`.' },
  text('metric', 'Metric name.'),
  text('type', 'As in the raw rows.'),
  { name: 'interval', kind: 'int64', nullable: true, help: 'Flush interval of the sender, in seconds.' },
  text('unit', 'Unit.'),
  text('host', 'Host.'),
  text('device', 'Device (v1).'),
  json('tags', 'Tags, JSON array of strings, in the order sent.'),
  json('resources', 'Resources, JSON array of {type,name}.'),
  text('source_type_name', 'Source type.'),
  { name: 'count', kind: 'int64', nullable: false, help: 'Values; of a sketch what it counts.' },
  { name: 'min', kind: 'double', nullable: false, help: 'The least value.' },
  { name: 'max', kind: 'double', nullable: false, help: 'The largest value.' },
  { name: 'sum', kind: 'double', nullable: false, help: 'Sum of the values.' },
  { name: 'last', kind: 'double', nullable: true, help: 'The latest value; of a sketch null.' },
  { name: 'last_time', kind: 'timestampMs', nullable: false, help: 'When that was.' },
  json('sketch_keys', 'Sketch: keys of the bins of all its sketches together, ascending, JSON array.'),
  json('sketch_counts', 'Sketch: counts of these bins, JSON array.'),
];
