/**
 * One attempt over HTTP: the body goes out byte for byte as it came in, under its own Content-Type and Content-Encoding, with
 * the relayed headers. Connections are kept alive and bounded per host; redirects are not followed; the answer is read up to a
 * bound. Whatever the network does comes back as a `retry`.
 */
import { Agent, type Dispatcher } from 'undici';
import type { Clock } from '../core/clock.ts';
import type { Envelope, EnvelopeHead } from '../core/envelope.ts';
import { messageOf } from '../core/errors.ts';
import { KIB } from '../core/limits.ts';
import { outcomeOf } from './outcome.ts';
import type { SendOutcome, Upstream } from './upstream.ts';

export interface HttpUpstreamOptions {
  clock: Clock;
  /** Connections per host. */
  connectionsMax: number;
  /** One attempt, from connecting to the end of the answer. */
  timeoutMs: number;
  /** Sent where the caller named none. */
  userAgent?: string;
}

interface HttpUpstreamParts extends HttpUpstreamOptions {
  name: string;
  /** Base URL without a trailing slash, for this envelope. */
  baseOf: (head: EnvelopeHead) => string;
  /** Name of the header that carries the key; undefined: none is ever sent. */
  keyHeader: string | undefined;
}

const ANSWER_BYTES_MAX = 64 * KIB;
const DETAIL_CHARACTERS_MAX = 300;
const CONNECT_MS_MAX = 10_000;
const IDLE_MS = 30_000;

export function createHttpUpstream(parts: HttpUpstreamParts): Upstream {
  const agent = new Agent({
    connections: parts.connectionsMax,
    pipelining: 1,
    keepAliveTimeout: IDLE_MS,
    keepAliveMaxTimeout: IDLE_MS,
    connect: { timeout: Math.min(CONNECT_MS_MAX, parts.timeoutMs) },
    // One deadline for the whole attempt is kept below, on the clock that is passed in.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  const { clock, name, timeoutMs } = parts;

  const exchange = async (
    envelope: Envelope,
    apiKey: string | undefined,
    signal: AbortSignal,
  ): Promise<SendOutcome> => {
    const { head, body } = envelope;
    const base = new URL(parts.baseOf(head));
    const answer = await agent.request({
      origin: base.origin,
      path: base.pathname.replace(/\/+$/, '') + head.path,
      method: head.method,
      headers: headersOf(head, parts, apiKey),
      body: body.byteLength === 0 ? null : body,
      signal,
    });
    const text = await readHead(answer.body);
    const isOk = answer.statusCode >= 200 && answer.statusCode < 300;
    return outcomeOf(head.signal, answer.statusCode, answer.headers, isOk ? '' : detailOf(text, apiKey), clock.nowMs());
  };

  return {
    name,
    laneOf: parts.baseOf,
    send: async (envelope, apiKey, signal) => {
      const attempt = new AbortController();
      const onAbort = (): void => attempt.abort(new Error('stopped'));
      if (signal.aborted) onAbort();
      signal.addEventListener('abort', onAbort, { once: true });
      const cancel = clock.after(timeoutMs, () => attempt.abort(new Error(`no answer within ${timeoutMs} ms`)));
      try {
        return await exchange(envelope, apiKey, attempt.signal);
      } catch (error) {
        return { kind: 'retry', status: undefined, reason: networkReason(error), afterMs: undefined };
      } finally {
        cancel();
        signal.removeEventListener('abort', onAbort);
      }
    },
    close: () => agent.destroy(),
  };
}

function headersOf(head: EnvelopeHead, parts: HttpUpstreamParts, apiKey: string | undefined): Record<string, string> {
  const headers: Record<string, string> = {};
  if (parts.userAgent !== undefined) headers['user-agent'] = parts.userAgent;
  Object.assign(headers, head.headers);
  if (head.contentType !== '') headers['content-type'] = head.contentType;
  if (head.contentEncoding !== '') headers['content-encoding'] = head.contentEncoding;
  if (parts.keyHeader !== undefined) {
    delete headers[parts.keyHeader];
    if (apiKey !== undefined && apiKey !== '') headers[parts.keyHeader] = apiKey;
  }
  return headers;
}

/** The answer's first bytes; what lies beyond the bound costs the connection, not memory. */
async function readHead(body: Dispatcher.ResponseData['body']): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  // Leaving the loop early destroys the stream.
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    bytes += chunk.byteLength;
    chunks.push(chunk);
    if (bytes > ANSWER_BYTES_MAX) break;
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** One short line. The vendor may echo the key. */
function detailOf(text: string, apiKey: string | undefined): string {
  const clean = apiKey ? text.replaceAll(apiKey, '[key]') : text;
  return clean.replaceAll(/\s+/g, ' ').trim().slice(0, DETAIL_CHARACTERS_MAX);
}

function networkReason(error: unknown): string {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' ? `${code}: ${messageOf(error)}` : messageOf(error);
}
