/**
 * A log put together again from its row: the same JSON value as sent, with the same key order, duplicates and decimals. Of a
 * text body it is the line. Where the row holds `raw`, it is those bytes (as text: bytes that are no UTF-8 must be taken from
 * `raw` itself).
 */
import { JsonScanner } from '../wire/json-scanner.ts';
import type { Row } from './decoder.ts';
import { EMPTY_SHAPE, SHAPE_MEMBERS, TEXT_SHAPE } from './logs-shape.ts';

export function renderLog(rows: Row[]): string {
  const row = rows[0];
  if (!row) throw new Error('BUG: a log has one row');
  if (row.raw instanceof Uint8Array) return Buffer.from(row.raw).toString('utf8');
  const shape = row.shape;
  if (typeof shape !== 'string') throw new Error('BUG: a log has a shape or raw bytes');
  if (shape === TEXT_SHAPE) return String(row.message);
  if (shape === EMPTY_SHAPE) return '{}';
  const attributes = membersOf(row.attributes);
  const members: string[] = [];
  let taken = 0;
  for (const [part] of shape.matchAll(/\d+|\D/g)) {
    const known = SHAPE_MEMBERS[part];
    if (known) {
      members.push(`"${known.key}":${valueText(row, known.column, known.form)}`);
      continue;
    }
    const count = Number(part);
    if (!(count > 0) || taken + count > attributes.length) throw new Error(`BUG: shape ${shape} does not fit its row`);
    for (let i = 0; i < count; i++) members.push(attributes[taken + i]!);
    taken += count;
  }
  return `{${members.join(',')}}`;
}

function valueText(row: Row, column: string, form: 'string' | 'json' | 'ms'): string {
  const value = row[column];
  return form === 'string' ? JSON.stringify(value) : String(value);
}

/** `"key":value` texts of a JSON object, as written. */
function membersOf(attributes: Row[string] | undefined): string[] {
  if (typeof attributes !== 'string') return [];
  const scanner = new JsonScanner(Buffer.from(attributes, 'utf8'));
  const members: string[] = [];
  scanner.enterObject();
  for (;;) {
    const start = scanner.offset;
    if (scanner.nextKey() === undefined) return members;
    scanner.skipValue();
    const member = scanner.bytes.toString('utf8', start, scanner.offset);
    members.push(member.slice(member.indexOf('"')));
  }
}
