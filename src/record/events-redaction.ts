/**
 * API keys in the bodies of events, check runs and the Agent's `/intake/`: found by their key, replaced by their fingerprint before
 * anything else reads the body, so that no column and no raw bytes can hold them. Everything else stays the bytes as sent.
 *
 * A key is the value of a top-level member named `apiKey` or `api_key` (any case, with `-` or a `dd` in front too) of the document,
 * of an element of a top-level array, or of an event inside `/intake/`. Where its text comes again, inside any other string of
 * the body, in whatever escapes, it is replaced there as well.
 */
import { fingerprintOf } from '../core/sealer.ts';
import { JsonScanner } from '../wire/json-scanner.ts';

/** Shorter texts are replaced where they stand as a key only: they would occur by chance. Datadog's keys have 32 characters. */
const SEARCHED_KEY_CHARS_MIN = 16;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

interface KeyValue {
  /** The JSON value, quotes included. */
  start: number;
  end: number;
  secret: string;
}

export interface Redacted {
  /** The body itself where it holds no key. */
  body: Uint8Array;
  holdsSecret: boolean;
}

/** Checks the whole document on the way: throws JsonSyntaxError where it is malformed or something follows it. */
export function redactKeys(body: Uint8Array): Redacted {
  const scanner = new JsonScanner(body);
  const found: KeyValue[] = [];
  const type = scanner.type();
  const start = scanner.offset;
  if (type === 'object') collectFromObject(scanner, found, 'document');
  else if (type === 'array') collectFromArray(scanner, found);
  else scanner.skipValue();
  if (!scanner.atEnd()) scanner.fail('content after the end of the JSON document');
  return found.length === 0
    ? { body, holdsSecret: false }
    : { body: replaced(scanner.bytes, start, found), holdsSecret: true };
}

function collectFromArray(scanner: JsonScanner, found: KeyValue[]): void {
  scanner.enterArray();
  while (scanner.nextElement()) {
    if (scanner.type() === 'object') collectFromObject(scanner, found, 'item');
    else scanner.skipValue();
  }
}

function collectFromObject(scanner: JsonScanner, found: KeyValue[], where: 'document' | 'item'): void {
  scanner.enterObject();
  for (let key = scanner.nextKey(); key !== undefined; key = scanner.nextKey()) {
    if (isKeyName(key)) collectValue(scanner, found);
    else if (where === 'document' && key === 'events') collectFromEvents(scanner, found);
    else scanner.skipValue();
  }
}

/** `"events": {"source": [event, …]}`. */
function collectFromEvents(scanner: JsonScanner, found: KeyValue[]): void {
  if (scanner.type() !== 'object') {
    scanner.skipValue();
    return;
  }
  scanner.enterObject();
  while (scanner.nextKey() !== undefined) {
    if (scanner.type() === 'array') collectFromArray(scanner, found);
    else scanner.skipValue();
  }
}

function isKeyName(key: string): boolean {
  if (key.length > 16) return false;
  const plain = key.toLowerCase().replace(/[-_]/g, '');
  return plain === 'apikey' || plain === 'ddapikey';
}

function collectValue(scanner: JsonScanner, found: KeyValue[]): void {
  const type = scanner.type();
  const start = scanner.offset;
  if (type === 'string') {
    const secret = scanner.readString();
    if (secret !== '') found.push({ start, end: scanner.offset, secret });
    return;
  }
  const secret = scanner.sliceValue().toString('latin1');
  if (type !== 'null') found.push({ start, end: scanner.offset, secret });
}

function replaced(bytes: Buffer, from: number, found: readonly KeyValue[]): Buffer {
  const parts: Uint8Array[] = [];
  // Longest first: of a key that begins with another one, nothing may be left over.
  const searched = [...new Set(found.map((value) => value.secret))]
    .filter((secret) => secret.length >= SEARCHED_KEY_CHARS_MIN)
    .sort((a, b) => b.length - a.length)
    .map((secret) => ({
      text: secret,
      latin1: Buffer.from(secret, 'utf8').toString('latin1'),
      fingerprint: fingerprintOf(secret),
    }));
  let kept = from;
  let at = from;
  const replace = (start: number, end: number, by: Buffer): void => {
    parts.push(bytes.subarray(kept, start), by);
    kept = end;
    at = end;
  };
  let next = 0;
  while (at < bytes.byteLength) {
    const key = found[next];
    if (key && at === key.start) {
      replace(key.start, key.end, Buffer.from(`"${fingerprintOf(key.secret)}"`));
      next += 1;
      continue;
    }
    if (bytes[at] !== QUOTE) {
      at += 1;
      continue;
    }
    const end = endOfString(bytes, at);
    const by = stringWithout(bytes, at + 1, end - 1, searched);
    if (by) replace(at, end, by);
    else at = end;
  }
  parts.push(bytes.subarray(kept));
  return Buffer.concat(parts);
}

/** Past the closing quote. The grammar has been checked. */
function endOfString(bytes: Buffer, start: number): number {
  let at = start + 1;
  while (bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1;
  return at + 1;
}

/** The JSON string without the keys in it; undefined where it holds none. */
function stringWithout(
  bytes: Buffer,
  start: number,
  end: number,
  searched: readonly { text: string; latin1: string; fingerprint: string }[],
): Buffer | undefined {
  const asSent = bytes.toString('latin1', start, end);
  if (asSent.includes('\\')) {
    const text = JSON.parse(`"${bytes.toString('utf8', start, end)}"`) as string;
    let clean = text;
    for (const key of searched) clean = clean.replaceAll(key.text, key.fingerprint);
    return clean === text ? undefined : Buffer.from(JSON.stringify(clean), 'utf8');
  }
  // As Latin-1, so that whatever else is in the string stays byte for byte.
  let clean = asSent;
  for (const { latin1, fingerprint } of searched) clean = clean.replaceAll(latin1, fingerprint);
  return clean === asSent ? undefined : Buffer.from(`"${clean}"`, 'latin1');
}
