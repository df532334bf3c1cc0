/**
 * A wire between a client and the proxy that keeps what the client wrote, byte for byte, before anything of ours has seen it.
 * It knows no HTTP while the traffic runs; the requests are read off afterwards.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface TappedRequest {
  method: string;
  /** With the query. */
  target: string;
  /** Names in lower case. */
  headers: Record<string, string>;
  body: Buffer;
}

export interface Wiretap {
  url: string;
  /** All requests, connection by connection, once the client is done. Throws on bytes that are no whole requests. */
  requests(): TappedRequest[];
  /** Whether these bytes went over the wire in one piece; may be asked at any time. */
  carried(bytes: Uint8Array): boolean;
  close(): Promise<void>;
}

export async function startWiretap(targetUrl: string): Promise<Wiretap> {
  const target = new URL(targetUrl);
  const streams: Buffer[][] = [];
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const proxy = connect(Number(target.port), target.hostname);
    const stream: Buffer[] = [];
    streams.push(stream);
    client.on('data', (chunk) => stream.push(chunk));
    client.pipe(proxy).pipe(client);
    for (const [socket, other] of [
      [client, proxy],
      [proxy, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => sockets.delete(socket));
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: () => streams.flatMap((stream) => readRequests(Buffer.concat(stream))),
    carried: (bytes) => streams.some((stream) => Buffer.concat(stream).includes(Buffer.from(bytes))),
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** RFC 9112: heads end with an empty line; a body has a Content-Length or comes in chunks. */
function readRequests(bytes: Buffer): TappedRequest[] {
  const requests: TappedRequest[] = [];
  let at = 0;
  while (at < bytes.byteLength) {
    const end = bytes.indexOf('\r\n\r\n', at);
    if (end < 0) throw new Error('a request without the end of its head');
    const [first = '', ...rest] = bytes.toString('latin1', at, end).split('\r\n');
    const [method = '', target = ''] = first.split(' ');
    const headers: Record<string, string> = {};
    for (const line of rest) {
      const colon = line.indexOf(':');
      headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
    }
    at = end + 4;
    const parts: Buffer[] = [];
    if (headers['transfer-encoding'] === 'chunked') {
      for (;;) {
        const lineEnd = bytes.indexOf('\r\n', at);
        const length = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16);
        if (lineEnd < 0 || Number.isNaN(length)) throw new Error('a chunk without its length');
        parts.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + length));
        at = lineEnd + 2 + length + 2;
        if (length === 0) break;
      }
    } else {
      const length = Number(headers['content-length'] ?? 0);
      parts.push(bytes.subarray(at, at + length));
      at += length;
    }
    if (at > bytes.byteLength) throw new Error('a request that ends before its body');
    requests.push({ method, target, headers, body: Buffer.concat(parts) });
  }
  return requests;
}
