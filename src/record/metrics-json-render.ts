/** An item of series or distribution points in JSON, put together again as its `shape` says (metrics-json.ts lists the letters). */
import { textOfDouble } from '../wire/json-number.ts';
import { JsonScanner } from '../wire/json-scanner.ts';
import type { Row } from './decoder.ts';
import { TYPE_NAMES } from './metrics-rows.ts';

const QUOTE = 0x22;

/** An item of JSON as it was sent, from its columns (`raw` is null). */
export function renderJsonItem(rows: readonly Row[]): string {
  const first = rows[0]!;
  const attributes = first.attributes === null ? [] : membersOf(first.attributes as string);
  let nextAttribute = 0;
  const members: string[] = [];
  for (const letter of first.shape as string) {
    switch (letter) {
      case 'm':
        members.push(`"metric":${JSON.stringify(first.metric)}`);
        break;
      case 't':
        members.push(`"type":${JSON.stringify(first.type)}`);
        break;
      case 'T':
        members.push(`"type":${TYPE_NAMES.indexOf(first.type as string)}`);
        break;
      case 'i':
        members.push(`"interval":${first.interval}`);
        break;
      case 'u':
        members.push(`"unit":${JSON.stringify(first.unit)}`);
        break;
      case 'h':
        members.push(`"host":${JSON.stringify(first.host)}`);
        break;
      case 'd':
        members.push(`"device":${JSON.stringify(first.device)}`);
        break;
      case 'g':
        members.push(`"tags":${first.tags}`);
        break;
      case 'r':
        members.push(`"resources":${first.resources}`);
        break;
      case 's':
        members.push(`"source_type_name":${JSON.stringify(first.source_type_name)}`);
        break;
      case 'o':
        members.push(`"metadata":${first.metadata}`);
        break;
      case 'x':
        members.push(attributes[nextAttribute]!);
        nextAttribute += 1;
        break;
      case 'e':
        members.push('"points":[]');
        break;
      default:
        members.push(`"points":[${rows.map((row) => pointText(letter, row)).join(',')}]`);
    }
  }
  return `{${members.join(',')}}`;
}

function pointText(letter: string, row: Row): string {
  const time = textOfDouble(Number(row.time) / 1000);
  if (letter === 'l') return `[${time},${row.values}]`;
  const value = textOfDouble(row.value as number);
  if (letter === 'P') return `{"timestamp":${time},"value":${value}}`;
  if (letter === 'V') return `{"value":${value},"timestamp":${time}}`;
  if (letter === 'p') return `[${time},${value}]`;
  throw new Error(`BUG: no form of points is called ${letter}`);
}

/** `"key": value` of each member of an object, as written. */
function membersOf(object: string): string[] {
  const scanner = new JsonScanner(Buffer.from(object, 'utf8'));
  const members: string[] = [];
  scanner.enterObject();
  for (;;) {
    const before = scanner.offset;
    if (scanner.nextKey() === undefined) return members;
    scanner.skipValue();
    members.push(scanner.bytes.toString('utf8', scanner.bytes.indexOf(QUOTE, before), scanner.offset));
  }
}
