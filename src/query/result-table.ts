/** Results for people (aligned columns) and for programs (NDJSON, CSV). */
import type { DuckDBValue } from '@duckdb/node-api';
import { textOfDouble } from '../wire/json-number.ts';

const CELL_CHARACTERS_MAX = 80;
const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

export function humanBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit]}`;
}

/** Columns are right-aligned where every cell is a number. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[], columns: number): string {
  const clipped = rows.map((row) => row.map(clip));
  const widths = header.map((name, i) => Math.max(name.length, ...clipped.map((row) => row[i]?.length ?? 0)));
  const isNumber = header.map(
    (_, i) => clipped.length > 0 && clipped.every((row) => /^-?[\d.,]*( ?[KMGT]?i?B|x)?$/.test(row[i] ?? '')),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => (isNumber[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd()
      .slice(0, Math.max(columns, 40));
  const rule = widths.map((width) => '─'.repeat(width)).join('  ');
  return [line(header), rule.slice(0, Math.max(columns, 40)), ...clipped.map(line)].map((text) => `${text}\n`).join('');
}

function clip(cell: string): string {
  const oneLine = cell.replaceAll(/[\r\n\t]+/g, ' ');
  return oneLine.length > CELL_CHARACTERS_MAX ? `${oneLine.slice(0, CELL_CHARACTERS_MAX - 1)}…` : oneLine;
}

export function cellOf(value: DuckDBValue): string {
  return value === null || value === undefined ? '' : String(value);
}

/** JSON text of a value: big integers as number literals, bytes as base64, times as DuckDB writes them. */
export function jsonOf(value: DuckDBValue): string {
  if (value === null || value === undefined) return 'null';
  switch (typeof value) {
    case 'bigint':
      return String(value);
    case 'number':
      return Number.isFinite(value) ? textOfDouble(value) : `"${value}"`;
    case 'boolean':
      return String(value);
    case 'string':
      return JSON.stringify(value);
  }
  if ('items' in value && Array.isArray(value.items)) return `[${value.items.map(jsonOf).join(',')}]`;
  if ('bytes' in value) return JSON.stringify(Buffer.from(value.bytes as Uint8Array).toString('base64'));
  return JSON.stringify(String(value));
}

export function csvOf(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
