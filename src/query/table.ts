/**
 * Rows as text: aligned columns for people, NDJSON, JSON and CSV for programs. What was kept is not to be trusted on a terminal:
 * control characters (escape sequences) are shown, never sent.
 */
export { cellOf, jsonOf, jsonOfFields } from './values.ts';

const CELL_CHARACTERS_MAX = 80;
const CELL_CHARACTERS_MIN = 8;
const GAP = '  ';
const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
const NUMBER = /^(-?[\d.,]+(e[+-]?\d+)?( ?[KMGT]?i?B|x)?|-?Infinity|NaN|)$/i;

export function humanBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit]}`;
}

/** Fits `columns` characters by clipping the widest cells first. Right-aligned where every cell is a number. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[], columns: number): string {
  const names = header.map(printable);
  const cells = rows.map((row) => names.map((_, i) => printable(row[i] ?? '')));
  const natural = names.map((name, i) => cells.reduce((most, row) => Math.max(most, widthOf(row[i]!)), widthOf(name)));
  const widths = fitted(natural, columns);
  const isNumber = names.map((_, i) => cells.length > 0 && cells.every((row) => NUMBER.test(row[i]!)));
  const line = (row: readonly string[]) => row.map((text, i) => padded(text, widths[i]!, isNumber[i]!)).join(GAP);
  const rule = widths.map((width) => '─'.repeat(width)).join(GAP);
  return [line(names), rule, ...cells.map(line)].map((text) => `${text.trimEnd()}\n`).join('');
}

/** Widths as they are if they fit, else the widest cut down together; never below a few characters. */
function fitted(natural: readonly number[], columns: number): number[] {
  const room = columns - GAP.length * Math.max(0, natural.length - 1);
  const cut = (limit: number) => natural.map((width) => Math.min(width, limit));
  let limit = CELL_CHARACTERS_MAX;
  while (limit > CELL_CHARACTERS_MIN && cut(limit).reduce((sum, width) => sum + width, 0) > room) limit -= 1;
  return cut(limit);
}

/** On one line; control and direction characters as their escapes. */
function printable(text: string): string {
  const start = text.length > 4 * CELL_CHARACTERS_MAX ? `${text.slice(0, 4 * CELL_CHARACTERS_MAX)}…` : text;
  return start
    .replace(/[\r\n\t]+/g, ' ')
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

const WIDE = /[\p{Extended_Pictographic}\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/u;
const ASCII = /^[\x20-\x7e]*$/;

function characterWidth(character: string): number {
  if (/^\p{M}$/u.test(character)) return 0;
  return WIDE.test(character) && character > '\u00ff' ? 2 : 1;
}

function widthOf(text: string): number {
  if (ASCII.test(text)) return text.length;
  let width = 0;
  for (const character of text) width += characterWidth(character);
  return width;
}

function padded(text: string, width: number, isNumber: boolean): string {
  const shown = clipped(text, width);
  const fill = ' '.repeat(Math.max(0, width - widthOf(shown)));
  return isNumber ? fill + shown : shown + fill;
}

function clipped(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  let kept = '';
  let used = 0;
  for (const character of text) {
    used += characterWidth(character);
    if (used > width - 1) break;
    kept += character;
  }
  return `${kept}…`;
}

/** One CSV field (RFC 4180). */
export function csvOf(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
