/**
 * The packed layout (codec/packed/layout.ts) undone in SQL: a template cut at its marks, each piece behind one begins with a placeholder, whose value
 * takes its place. Byte for byte what the codec gives back; a test compares the two.
 */
import {
  COLUMN_LETTERS,
  COLUMNS_MAX,
  PACKED_TEXTS,
  PARENT_BACK,
  packedColumns,
  type SlotFamily,
  slotColumn,
  templateColumn,
  VALUE_DIGITS,
  VALUE_SCALE,
} from '../codec/packed/layout.ts';
import { TIME_FORMS } from '../codec/packed/time-forms.ts';
import type { ColumnSchema } from '../core/columns.ts';

const TIME_MS = '_time_ms';
const PARENT_SPAN = '_parent_span';
const listName = (text: string, family: SlotFamily): string => `_${text}_${family}`;

/** Columns that a packed file may have besides those of the signal, with their types in DuckDB. */
export function packedSqlColumns(columns: readonly ColumnSchema[]): { name: string; type: string }[] {
  const texts = textsOf(columns).flatMap((text) =>
    packedColumns(text).map(({ name, family }) => ({
      name,
      type: family === 's' || family === 'template' ? 'VARCHAR' : 'BIGINT',
    })),
  );
  const scaled = [
    { name: VALUE_DIGITS, type: 'BIGINT' },
    { name: VALUE_SCALE, type: 'INTEGER' },
  ];
  return [
    ...texts,
    ...(hasParents(columns) ? [{ name: PARENT_BACK, type: 'INTEGER' }] : []),
    ...(hasValues(columns) ? scaled : []),
  ];
}

/**
 * `relation`: rows as they rest, with all packed columns, and of which file and row of it each is (`filename`, `file_row_number`). What comes of it has
 * the signal's columns alone.
 */
export function unpackedSql(columns: readonly ColumnSchema[], relation: string): string {
  const texts = textsOf(columns);
  const parents = hasParents(columns);
  const names = columns.map(({ name }) => {
    if (parents && name === 'parent_id') return `${PARENT_SQL} AS "parent_id"`;
    if (name === 'value' && hasValues(columns)) return `${VALUE_SQL} AS "value"`;
    if (!texts.includes(name)) return `"${name}"`;
    return `CASE WHEN ${templateColumn(name)} IS NULL THEN "${name}" ELSE ${textSql(name)} END AS "${name}"`;
  });
  if (parents) return `SELECT ${names.join(', ')} FROM (${withParents(relation)})`;
  if (texts.length === 0) return `SELECT ${names.join(', ')} FROM (${relation})`;
  const lists = texts.flatMap((text) =>
    (Object.keys(COLUMNS_MAX) as SlotFamily[]).map((family) => {
      const own = Array.from({ length: COLUMNS_MAX[family] }, (_, index) => slotColumn(text, family, index));
      return `[${own.join(', ')}] AS ${listName(text, family)}`;
    }),
  );
  const prepared = `SELECT *, epoch_ms("time") AS ${TIME_MS}, ${lists.join(', ')} FROM (${relation})`;
  return `SELECT ${names.join(', ')} FROM (${prepared})`;
}

/**
 * Each row beside the one so many rows before it (behind it where the number is below zero) in its file and trace. By trace, because DuckDB then takes a
 * condition on `trace_id` to the files on both sides: behind a window over a file it would read all rows of all files.
 */
function withParents(relation: string): string {
  const parents = `SELECT filename AS _parent_file, trace_id AS _parent_trace, file_row_number AS _parent_row, span_id AS ${PARENT_SPAN} FROM (${relation})`;
  return `SELECT * FROM (${relation}) LEFT JOIN (${parents})
    ON _parent_file = filename AND _parent_trace = trace_id AND _parent_row = file_row_number - ${PARENT_BACK}`;
}

const PARENT_SQL = `CASE WHEN ${PARENT_BACK} IS NULL THEN parent_id ELSE coalesce(${PARENT_SPAN}, error('a parent that is not there')) END`;

/** Both are doubles, and the quotient the one nearest to the decimal. */
const VALUE_SQL = `CASE WHEN ${VALUE_DIGITS} IS NULL THEN "value" ELSE CAST(${VALUE_DIGITS} AS DOUBLE) / [${Array.from({ length: 16 }, (_, scale) => `1e${scale}`).join(', ')}][${VALUE_SCALE} + 1] END`;

function hasValues(columns: readonly ColumnSchema[]): boolean {
  return columns.some(({ name, kind }) => name === 'value' && kind === 'double');
}

function hasParents(columns: readonly ColumnSchema[]): boolean {
  return columns.some(({ name }) => name === 'parent_id');
}

/** Signals whose time is in nanoseconds have no packed texts. */
function textsOf(columns: readonly ColumnSchema[]): string[] {
  if (!columns.some(({ name, kind }) => name === 'time' && kind === 'timestampMs')) return [];
  return columns.filter(({ name, kind }) => kind === 'string' && PACKED_TEXTS.includes(name)).map(({ name }) => name);
}

function textSql(text: string): string {
  const value = (family: SlotFamily, letterAt: number): string =>
    `${listName(text, family)}[strpos('${COLUMN_LETTERS}', substr(p, ${letterAt}, 1))]`;
  const pieces = [
    `WHEN i = 1 THEN p`,
    `WHEN substr(p, 1, 1) = 's' THEN ${value('s', 2)} || substr(p, 3)`,
    `WHEN substr(p, 1, 1) = 'n' THEN CAST(${value('n', 2)} AS VARCHAR) || substr(p, 3)`,
    `WHEN substr(p, 1, 1) = 'x' THEN format('{:x}', ${value('n', 2)}) || substr(p, 3)`,
    `WHEN substr(p, 1, 1) = 't' THEN ${timeSql(TIME_MS)} || substr(p, 3)`,
    `WHEN substr(p, 1, 1) = 'd' THEN ${timeSql(`(${TIME_MS} + ${value('d', 3)})`)} || substr(p, 4)`,
    `ELSE error('a template that is not understood')`,
  ];
  const split = `string_split(${templateColumn(text)}, chr(1))`;
  return `array_to_string(list_transform(${split}, lambda p, i: CASE ${pieces.join(' ')} END), '')`;
}

/** Milliseconds in the form whose letter is the second character of `p`. */
function timeSql(ms: string): string {
  const forms = TIME_FORMS.map(({ letter, strftime }) => `WHEN '${letter}' THEN ${formSql(strftime, ms)}`);
  return `CASE substr(p, 2, 1) ${forms.join(' ')} END`;
}

function formSql(form: string, ms: string): string {
  if (form === '{seconds}') return `CAST(${ms} // 1000 AS VARCHAR)`;
  if (form === '{milliseconds}') return `CAST(${ms} AS VARCHAR)`;
  const time = `make_timestamp(${ms} * 1000)`;
  const [before, after] = form.split('{day}');
  if (after === undefined) return `strftime(${time}, '${form}')`;
  return `strftime(${time}, '${before}') || lpad(strftime(${time}, '%-d'), 2, ' ') || strftime(${time}, '${after}')`;
}
