/**
 * Documented output against what was printed. Compared are words, keys of JSON and columns, not figures, times, sizes or ids: every documented line
 * must have been printed, in this order; others may stand between. A line that is only `…` stands for any.
 */

/** For commands that say the same everywhere: only widths of columns may differ. */
const spacesOf = (line: string): string => line.replace(/\s+/g, ' ').trim();

/** The line as it is on any day and any machine. */
export function shapeOf(line: string): string {
  const json = jsonShapeOf(line.trim());
  if (json !== undefined) return json;
  return line
    .replace(/[─-]{3,}/g, '─')
    .replace(/\d{4}-\d\d-\d\d([T ][\d:.]+Z?)?/g, 'TIME')
    .replace(/https?:\/\/(localhost|127\.0\.0\.1)(:\d+)?/g, 'URL')
    .replace(/\b[0-9a-f]{16,}\b/g, 'ID')
    .replace(/\d[\d,]*(\.\d+)?(e[+-]?\d+)?/gi, '0')
    .replace(/\b0 ([kMGT]i?B|KiB|B)\b/g, '0 B')
    .replace(/\s+/g, ' ')
    .trim();
}

/** `{a: text, b: number, c: {d: …}}`: texts without digits count as they are. */
function jsonShapeOf(text: string): string | undefined {
  if (!/^[[{]/.test(text)) return undefined;
  try {
    return JSON.stringify(shapeOfValue(JSON.parse(text)));
  } catch {
    return undefined;
  }
}

function shapeOfValue(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shapeOfValue);
  if (typeof value === 'number') return 0;
  if (typeof value === 'string') return /\d/.test(value) ? shapeOf(value) : value;
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, shapeOfValue(one)]));
}

/** The first documented line that was not printed, or undefined. */
export function missingLine(documented: string, printed: string, isExact = false): string | undefined {
  const shape = isExact ? spacesOf : shapeOf;
  const shapes = printed.split('\n').map(shape);
  let from = 0;
  for (const line of documented.split('\n')) {
    const wanted = shape(line);
    if (wanted === '' || wanted === '…') continue;
    const open = wanted.endsWith(' …') ? wanted.slice(0, -2) : undefined;
    const at = shapes.findIndex(
      (shape, i) => i >= from && (open === undefined ? shape === wanted : shape.startsWith(open)),
    );
    if (at === -1) return line;
    from = at + 1;
  }
  return undefined;
}
