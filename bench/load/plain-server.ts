/**
 * What the proxy is measured beside, a process of its own: `bare` reads the body and answers 202, `inflating` also decompresses it and
 * checks that it parses, `sink` counts what is forwarded to it (GET /count tells). Prints its URL.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gunzipSync, inflateSync, zstdDecompressSync } from 'node:zlib';
import { parses } from './parsing.ts';

export type PlainMode = 'bare' | 'inflating' | 'sink';

const INFLATE: Record<string, (bytes: Buffer) => Buffer> = {
  gzip: gunzipSync,
  deflate: inflateSync,
  zstd: zstdDecompressSync,
};

const mode = process.argv[2] as PlainMode;
let requests = 0;
const server = createServer((request, response) => {
  if (request.url === '/count') {
    response.end(String(requests));
    return;
  }
  const parts: Buffer[] = [];
  request.on('error', () => {});
  request.on('data', (chunk: Buffer) => {
    if (mode !== 'sink') parts.push(chunk);
  });
  request.on('end', () => {
    requests += 1;
    let isFine = true;
    if (mode === 'inflating') {
      const body = Buffer.concat(parts);
      const inflate = INFLATE[request.headers['content-encoding'] ?? ''];
      isFine = parses(inflate ? inflate(body) : body, request.url ?? '', request.headers['content-type'] ?? '');
    }
    response.statusCode = isFine ? 202 : 400;
    response.setHeader('content-type', 'application/json');
    response.end('{}');
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`http://127.0.0.1:${(server.address() as AddressInfo).port}\n`);
});
