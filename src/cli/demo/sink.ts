/** Stands in for Datadog and for an Agent: takes every request, and counts bytes as they arrive, per signal. Keeps nothing. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SIGNALS, type Signal } from '../../core/envelope.ts';
import { ROUTES } from '../../intake/routes.ts';

export interface SinkCount {
  requests: number;
  bodyBytes: number;
}

export interface Sink {
  url: string;
  counts: Readonly<Record<Signal, SinkCount>>;
  close(): Promise<void>;
}

const SIGNAL_OF = new Map(ROUTES.map(({ path, signal }) => [path, signal]));

export async function openSink(): Promise<Sink> {
  const counts = Object.fromEntries(SIGNALS.map((signal) => [signal, { requests: 0, bodyBytes: 0 }])) as Record<
    Signal,
    SinkCount
  >;
  const server = createServer((request, response) => {
    void take(request, response, counts);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    counts,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function take(
  request: IncomingMessage,
  response: ServerResponse,
  counts: Record<Signal, SinkCount>,
): Promise<void> {
  let bodyBytes = 0;
  try {
    for await (const chunk of request) bodyBytes += (chunk as Buffer).byteLength;
  } catch {
    return; // The sender broke off: nothing arrived.
  }
  const signal = SIGNAL_OF.get(new URL(request.url ?? '/', 'http://sink').pathname);
  if (signal) {
    counts[signal].requests += 1;
    counts[signal].bodyBytes += bodyBytes;
  }
  response.writeHead(signal ? 202 : 404, { 'content-type': 'application/json' });
  response.end('{}');
}
