/**
 * The Agent's multiplexed `/intake/` body, taken apart: `{"events": {"<source>": [event, …], …}, …everything else}`. The events
 * become rows of their own; the rest is one row, whose `shape` says where the events stood, so that the whole can be put
 * together again: `[index of the events member, [source, count], …]` as JSON.
 *
 * A body whose `events` is anything else, or comes twice, is left whole: its shape is null.
 */
import { JsonScanner } from '../wire/json-scanner.ts';
import type { Row } from './decoder.ts';

export interface IntakeParts {
  /** JSON text of the body without its events. */
  rest: Buffer;
  shape: string | null;
  events: { start: number; end: number; source: string }[];
}

interface Member {
  start: number;
  end: number;
}

/** The object at the cursor. */
export function readIntake(scanner: JsonScanner): IntakeParts {
  const start = scanner.offset;
  const members: Member[] = [];
  const events: IntakeParts['events'] = [];
  let layout: (number | [string, number])[] | undefined;
  let isPlain = true;
  scanner.enterObject();
  while (scanner.passKey()) {
    const member = { start: scanner.keyStart, end: 0 };
    if (keyOf(scanner) === 'events') {
      const groups = readGroups(scanner, events);
      if (groups && !layout) {
        layout = [members.length, ...groups];
        continue;
      }
      isPlain = false;
    } else {
      scanner.skipValue();
    }
    member.end = scanner.offset;
    members.push(member);
  }
  const { bytes } = scanner;
  if (!isPlain || !layout) return { rest: bytes.subarray(start, scanner.offset), shape: null, events: [] };
  return {
    rest: objectOf(members.map((member) => bytes.subarray(member.start, member.end))),
    shape: JSON.stringify(layout),
    events,
  };
}

/** The key that `passKey` went over. */
function keyOf(scanner: JsonScanner): string {
  const after = scanner.offset;
  scanner.offset = scanner.keyStart;
  const key = scanner.readString();
  scanner.offset = after;
  return key;
}

/** Adds the events found; undefined where the value (which is passed anyway) is no object of arrays. */
function readGroups(scanner: JsonScanner, events: IntakeParts['events']): [string, number][] | undefined {
  if (scanner.type() !== 'object') {
    scanner.skipValue();
    return undefined;
  }
  const groups: [string, number][] = [];
  let isPlain = true;
  scanner.enterObject();
  for (let source = scanner.nextKey(); source !== undefined; source = scanner.nextKey()) {
    if (!scanner.stringExact) isPlain = false;
    if (scanner.type() !== 'array') {
      isPlain = false;
      scanner.skipValue();
      continue;
    }
    let count = 0;
    scanner.enterArray();
    while (scanner.nextElement()) {
      const start = scanner.offset;
      scanner.skipValue();
      events.push({ start, end: scanner.offset, source });
      count += 1;
    }
    groups.push([source, count]);
  }
  return isPlain ? groups : undefined;
}

function objectOf(members: readonly Uint8Array[]): Buffer {
  const parts: Uint8Array[] = [Buffer.from('{')];
  members.forEach((member, i) => {
    if (i > 0) parts.push(Buffer.from(','));
    parts.push(member);
  });
  parts.push(Buffer.from('}'));
  return Buffer.concat(parts);
}

/** The whole `/intake/` body from all its rows (the `intake` row and its events), keys as fingerprints. */
export function renderIntake(rows: readonly Row[]): string {
  const rest = rows.find((row) => row.kind === 'intake');
  if (!rest) throw new Error('BUG: no intake row');
  const events = rows.filter((row) => row.kind === 'event').sort((a, b) => Number(a.item) - Number(b.item));
  if (typeof rest.shape !== 'string') return renderEvent([rest]);
  const [at, ...groups] = JSON.parse(rest.shape) as [number, ...[string, number][]];
  let next = 0;
  const texts = groups.map(([source, count]) => {
    const items = events.slice(next, next + count).map((row) => renderEvent([row]));
    next += count;
    return `${JSON.stringify(source)}:[${items.join(',')}]`;
  });
  const members = membersOf(renderEvent([rest]));
  members.splice(at, 0, `"events":{${texts.join(',')}}`);
  return `{${members.join(',')}}`;
}

function membersOf(object: string): string[] {
  const scanner = new JsonScanner(Buffer.from(object, 'utf8'));
  const members: string[] = [];
  scanner.enterObject();
  while (scanner.passKey()) {
    const start = scanner.keyStart;
    scanner.skipValue();
    members.push(scanner.bytes.toString('utf8', start, scanner.offset));
  }
  return members;
}

/** One event, check run or intake rest as JSON text; keys as fingerprints. Bytes that are no UTF-8 must be taken from `raw`. */
export function renderEvent(rows: readonly Row[]): string {
  const row = rows[0];
  if (!row) throw new Error('BUG: an event has one row');
  if (typeof row.body === 'string') return row.body;
  if (row.raw instanceof Uint8Array) return Buffer.from(row.raw).toString('utf8');
  throw new Error('BUG: an event has a body or raw bytes');
}
