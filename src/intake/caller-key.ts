/**
 * The caller's API key: where clients put it, and how it is kept out of everything that is stored. Look-up order: path
 * (`/v1/input/<key>`), query (`api_key`, `dd-api-key`), header (`DD-API-KEY`). Source: datadog-intake.md §4.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';

const KEY_PARAMETERS = new Set(['api_key', 'dd-api-key', 'application_key', 'dd-application-key']);
const INPUT_KEY_PATH = /^(\/v1\/input)\/([^/?]+)/;
const hasKeyInPath = (url: string): boolean => url.startsWith('/v1/input/');

/** '' when the request carries none. */
export function callerKey(url: string, headers: IncomingHttpHeaders): string {
  const inPath = hasKeyInPath(url) ? INPUT_KEY_PATH.exec(url) : null;
  if (inPath) return decoded(inPath[2]!).trim();
  const query = url.indexOf('?');
  if (query >= 0) {
    const parameters = new URLSearchParams(url.slice(query + 1));
    const inQuery = parameters.get('api_key') ?? parameters.get('dd-api-key');
    if (inQuery) return inQuery.trim();
  }
  const header = headers['dd-api-key'];
  return (Array.isArray(header) ? (header[0] ?? '') : (header ?? '')).trim();
}

/** Path and query without any key. Other parameters keep their order and spelling. */
export function pathWithoutKeys(url: string): string {
  const query = url.indexOf('?');
  const whole = query < 0 ? url : url.slice(0, query);
  const path = hasKeyInPath(url) ? whole.replace(INPUT_KEY_PATH, '$1') : whole;
  if (query < 0) return path;
  const kept = url
    .slice(query + 1)
    .split('&')
    .filter((part) => part !== '' && !KEY_PARAMETERS.has(decodeName(part)));
  return kept.length === 0 ? path : `${path}?${kept.join('&')}`;
}

function decodeName(part: string): string {
  return decoded(part.split('=', 1)[0]!).toLowerCase();
}

/** As it is where its escapes are none. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export type KeyCheck = (key: string) => boolean;

/** Compares hashes of fixed length in constant time, against every allowed key; an empty list allows everyone. */
export function createKeyCheck(allowedKeys: readonly string[]): KeyCheck {
  const digestOf = (text: string): Buffer => createHash('sha256').update(text).digest();
  const allowed = allowedKeys.map(digestOf);
  if (allowed.length === 0) return () => true;
  return (key) => {
    const digest = digestOf(key);
    let found = false;
    for (const candidate of allowed) found = timingSafeEqual(candidate, digest) || found;
    return found && key !== '';
  };
}

const RELAYED_PREFIXES = ['dd-', 'datadog-', 'x-datadog-', 'x-dd-', 'x-metrics-request-'];
const NEVER_RELAYED = new Set(['dd-api-key', 'dd-application-key', 'x-datadog-api-key', 'x-dd-api-key']);

/** Headers that go on to the upstream with the body. Never a key, a cookie or an authorization. */
export function relayedHeaders(headers: IncomingHttpHeaders): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || NEVER_RELAYED.has(name)) continue;
    const wanted = name === 'user-agent' || RELAYED_PREFIXES.some((prefix) => name.startsWith(prefix));
    if (wanted) kept[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  return kept;
}
