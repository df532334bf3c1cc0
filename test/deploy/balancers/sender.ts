/** One request at a time, with what an agent may do to it: any address of this machine, TLS, chunks, asking first. */
import { type IncomingHttpHeaders, type RequestOptions, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';

export interface Sending {
  body: Uint8Array | string;
  path?: string;
  headers?: Record<string, string>;
  /** Of 127.0.0.0/8: who the sender is. */
  from?: string;
  /** In pieces, without saying how many bytes there will be. */
  chunked?: boolean;
  /** `Expect: 100-continue`, as curl does with large bodies: sends nothing before it is asked to. */
  asksFirst?: boolean;
  tls?: { ca: string; cert?: string; key?: string };
}

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
}

const PIECE_BYTES = 100_000;
const TIMEOUT_MS = 30_000;

/** On a connection of its own. Rejects where there is no answer. */
export function send(url: string, sending: Sending): Promise<Answer> {
  const { from, chunked, asksFirst, tls, path = '/api/v2/logs' } = sending;
  const body = Buffer.from(sending.body as Uint8Array);
  const options: RequestOptions = {
    method: 'POST',
    agent: false,
    timeout: TIMEOUT_MS,
    headers: {
      'content-type': 'application/json',
      ...(chunked ? {} : { 'content-length': body.byteLength }),
      ...(asksFirst ? { expect: '100-continue' } : {}),
      ...sending.headers,
    },
    ...(from ? { localAddress: from } : {}),
  };
  return new Promise((resolve, reject) => {
    const target = new URL(path, url);
    const request = tls ? requestHttps(target, { ...options, ...tls }) : requestHttp(target, options);
    request.once('error', reject);
    request.once('timeout', () => request.destroy(new Error(`no answer in ${TIMEOUT_MS} ms`)));
    request.once('response', (response) => {
      response.once('error', reject).resume();
      response.once('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers }));
    });
    const write = (): void => {
      for (let at = 0; at < body.byteLength; at += PIECE_BYTES) request.write(body.subarray(at, at + PIECE_BYTES));
      request.end();
    };
    if (asksFirst) {
      request.once('continue', write);
      request.flushHeaders();
    } else write();
  });
}
