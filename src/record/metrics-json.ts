/**
 * Series and distribution points in JSON → rows, and back.
 *
 * `shape` of an item has one letter per member, in the order sent: m metric · t type (text) · T type (0..3, whose name is in
 * the column) · i interval · u unit · h host · d device · g tags · r resources · s source_type_name · o metadata · x the next
 * member of `attributes` (unknown keys, known ones with another type) · and for points: p [[ts,value]] · l [[ts,[values]]] ·
 * P [{timestamp,value}] · V [{value,timestamp}] · e []. An item that this cannot give back exactly has its bytes in `raw`.
 * Shape `element`: a member of `series` that is no object. Shape `body`: a body without a `series` array, or with too many rows.
 * Shape `around`: the payload row of a body with further top-level keys: its JSON, with null for the `series` array taken apart;
 * `around:N` says which member (counted from 0) that is. API keys at top level are replaced by their fingerprint in both.
 */
import { fingerprintOf } from '../core/sealer.ts';
import { JsonScanner } from '../wire/json-scanner.ts';
import type { DecodeInput, DecodeResult } from './decoder.ts';
import { JsonItemReader } from './metrics-json-item.ts';
import { MetricRows, opaqueBody } from './metrics-rows.ts';

/** A place in the body whose bytes are not kept. */
interface Replacement {
  start: number;
  end: number;
  text: string;
}

/** Throws JsonSyntaxError. */
export function decodeMetricsJson(input: DecodeInput): DecodeResult {
  const scanner = new JsonScanner(input.body);
  const start = scanner.offset;
  const rows = new MetricRows(input.receivedAtMs);
  const kind = input.protocol === 'distribution-points-json' ? 'distribution' : 'series';
  const replacements: Replacement[] = [];
  let seriesMember = -1;
  let series: Replacement | undefined;
  let members = 0;
  let hasSecret = false;
  if (scanner.type() === 'object') {
    scanner.enterObject();
    for (let key = scanner.nextKey(); key !== undefined; key = scanner.nextKey()) {
      const type = scanner.type();
      const valueStart = scanner.offset;
      if (key === 'series' && !series && type === 'array') {
        new JsonItemReader(scanner, rows, kind).readAll();
        seriesMember = members;
        series = { start: valueStart, end: scanner.offset, text: 'null' };
        replacements.push(series);
      } else {
        const secret = key === 'apiKey' || key === 'api_key' ? readSecret(scanner, type === 'string') : skip(scanner);
        if (secret !== '') {
          hasSecret = true;
          replacements.push({ start: valueStart, end: scanner.offset, text: JSON.stringify(fingerprintOf(secret)) });
        }
      }
      members += 1;
    }
  } else {
    scanner.skipValue();
  }
  const end = scanner.offset;
  if (!scanner.atEnd()) scanner.fail('content after the end of the JSON body');
  if (series && members > 1) {
    rows.addPayload(`around:${seriesMember}`, replaced(scanner.bytes, start, end, replacements), false);
  }
  if (series && !rows.overflowed) return rows.finish(hasSecret);
  const secrets = replacements.filter((replacement) => replacement !== series);
  const body = replaced(scanner.bytes, start, end, secrets);
  return opaqueBody(input.receivedAtMs, 'body', body, rows.itemCount, hasSecret);
}

function skip(scanner: JsonScanner): '' {
  scanner.skipValue();
  return '';
}

/** The key, or the JSON text of whatever stands in its place; '' where that says nothing. */
function readSecret(scanner: JsonScanner, isString: boolean): string {
  if (isString) return scanner.readString();
  const text = scanner.sliceValue().toString('utf8');
  return text === 'null' ? '' : text;
}

function replaced(bytes: Buffer, start: number, end: number, replacements: readonly Replacement[]): Uint8Array {
  const parts: Uint8Array[] = [];
  let at = start;
  for (const replacement of replacements) {
    parts.push(bytes.subarray(at, replacement.start), Buffer.from(replacement.text, 'utf8'));
    at = replacement.end;
  }
  parts.push(bytes.subarray(at, end));
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}
