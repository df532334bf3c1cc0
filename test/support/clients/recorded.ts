/**
 * Datadog requests that others recorded (corpus/datadog), as requests to send: those to routes that this proxy serves. Of the API
 * cassettes the bodies are the recorded bytes; of the AWS forwarder's snapshots the recorder kept the decoded body and the encoding,
 * so that the bytes are made again from these.
 */
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { createGunzip, deflateSync } from 'node:zlib';
import { lines } from '../corpus/sources.ts';

export interface RecordedRequest {
  /** The file it was recorded in, and its number there. */
  label: string;
  method: string;
  /** With the query as recorded. */
  target: string;
  path: string;
  headers: Record<string, string>;
  body: Buffer;
  /** The body before compression. */
  text: string;
}

/** What the proxy serves and these recordings hold. */
const SERVED =
  /^\/(api\/v[12]\/(series|events)|api\/v1\/(check_run|distribution_points)|api\/v2\/logs|v1\/input(\/[^/]+)?)$/;
/** What a header is needed for: meaning of the body, identity of the sender. The rest belongs to one connection. */
const RELEVANT = /^(accept|content-type|content-encoding|dd-.*|user-agent)$/;
const KEY = '0123456789abcdef0123456789abcdef';

interface Har {
  log: {
    entries: {
      request: {
        method: string;
        url: string;
        headers: { name: string; value: string }[];
        postData?: { text?: string };
      };
    }[];
  };
}
interface ForwarderSnapshot {
  events: { verb: string; path: string; data: unknown; headers?: Record<string, string>; 'content-type'?: string }[];
}

export async function readRecorded(root: string): Promise<RecordedRequest[]> {
  const requests: RecordedRequest[] = [];
  for await (const { file, raw } of filesOf(root, 'api-cassettes/recordings.ndjson.gz')) {
    const { log } = JSON.parse(raw) as Har;
    for (const [i, { request }] of log.entries.entries()) {
      const headers = Object.fromEntries(request.headers.map(({ name, value }) => [name, value]));
      add(requests, `${file}#${i}`, request.method, request.url, headers, request.postData?.text ?? '');
    }
  }
  for await (const { file, raw } of filesOf(root, 'aws-forwarder/snapshots.ndjson.gz')) {
    // The trace forwarder's snapshots are dumps of Go values, not of requests.
    if (!file.endsWith('~snapshot') || !file.includes('integration_tests')) continue;
    const { events } = JSON.parse(raw) as ForwarderSnapshot;
    for (const [i, event] of events.entries()) {
      const headers = event.headers ?? { 'content-type': event['content-type'] ?? 'application/json' };
      add(requests, `${file}#${i}`, event.verb, `http://recorder${event.path}`, headers, JSON.stringify(event.data));
    }
  }
  return requests;
}

function add(
  requests: RecordedRequest[],
  label: string,
  method: string,
  address: string,
  recordedHeaders: Record<string, string>,
  text: string,
): void {
  const url = new URL(address);
  if (method !== 'POST' || !SERVED.test(url.pathname)) return;
  const headers: Record<string, string> = { 'dd-api-key': KEY };
  for (const [name, value] of Object.entries(recordedHeaders)) {
    const lower = name.toLowerCase();
    if (RELEVANT.test(lower) && !value.includes('redacted')) headers[lower] = value;
  }
  const encoding = headers['content-encoding'] ?? '';
  if (!['', 'identity', 'deflate'].includes(encoding)) throw new Error(`${label}: recorded with ${encoding}`);
  const plain = Buffer.from(text);
  const body = encoding === 'deflate' ? deflateSync(plain) : plain;
  requests.push({ label, method, target: url.pathname + url.search, path: url.pathname, headers, body, text });
}

/** Files of a fixture tree: NDJSON of `{"file","raw"}`. */
async function* filesOf(root: string, name: string): AsyncGenerator<{ file: string; raw: string }> {
  const stream = createReadStream(join(root, 'corpus', 'datadog', name)).pipe(createGunzip());
  for await (const line of lines(stream)) yield JSON.parse(line.toString('utf8')) as { file: string; raw: string };
}
