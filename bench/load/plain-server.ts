/**
 * What the proxy is measured beside, a process of its own: `bare` reads the body and answers 202, `inflating` also decompresses it and
 * checks that it parses, `sink` counts what is forwarded to it (GET /count tells). Prints its URL.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gunzipSync, inflateSync, zstdDecompressSync } from 'node:zlib';
import { unpack } from 'msgpackr';

export type PlainMode = 'bare' | 'inflating' | 'sink';

const INFLATE: Record<string, (bytes: Buffer) => Buffer> = {
  gzip: gunzipSync,
  deflate: inflateSync,
  zstd: zstdDecompressSync,
};

function parses(bytes: Buffer, contentType: string): boolean {
  try {
    if (contentType.includes('json')) JSON.parse(bytes.toString('utf8'));
    else if (contentType.includes('msgpack')) unpack(bytes);
    else return isProtobuf(bytes);
    return true;
  } catch {
    return false;
  }
}

/** Only the outermost fields: less than a server would have to do. */
function isProtobuf(bytes: Buffer): boolean {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 1; at < bytes.length; shift *= 128) {
      const byte = bytes[at++]!;
      value += (byte & 0x7f) * shift;
      if (byte < 0x80) return value;
    }
    return Number.POSITIVE_INFINITY;
  };
  while (at < bytes.length) {
    const wire = varint() % 8;
    if (wire === 0) varint();
    else if (wire === 1) at += 8;
    else if (wire === 2) {
      // Read first: the length lies before what it counts.
      const length = varint();
      at += length;
    } else if (wire === 5) at += 4;
    else return false;
  }
  return at === bytes.length;
}

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
      isFine = parses(inflate ? inflate(body) : body, request.headers['content-type'] ?? '');
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
