/** The text of one member of a JSON object, found by brackets and quotes alone. The text must be JSON. */

/** Undefined when the object has no such key, or another value is at the top. */
export function memberText(text: string, key: string): string | undefined {
  let at = skipSpace(text, 0);
  if (text[at] !== '{') return undefined;
  at = skipSpace(text, at + 1);
  while (text[at] === '"') {
    const keyEnd = valueEnd(text, at);
    const isWanted = JSON.parse(text.slice(at, keyEnd)) === key;
    const start = skipSpace(text, skipSpace(text, keyEnd) + 1);
    const end = valueEnd(text, start);
    if (isWanted) return text.slice(start, end);
    at = skipSpace(text, end);
    if (text[at] !== ',') return undefined;
    at = skipSpace(text, at + 1);
  }
  return undefined;
}

function skipSpace(text: string, start: number): number {
  let at = start;
  while (at < text.length && ' \t\r\n'.includes(text[at]!)) at += 1;
  return at;
}

function valueEnd(text: string, start: number): number {
  if (!'"[{'.includes(text[start]!)) {
    const end = text.slice(start).search(/[,\]}\s]/);
    return end < 0 ? text.length : start + end;
  }
  let depth = 0;
  for (let i = start; i < text.length; i++) {
    const mark = text[i];
    if (mark === '"') {
      for (i++; i < text.length && text[i] !== '"'; i++) if (text[i] === '\\') i++;
    } else if (mark === '[' || mark === '{') depth += 1;
    else if (mark === ']' || mark === '}') depth -= 1;
    if (depth === 0) return i + 1;
  }
  return text.length;
}
