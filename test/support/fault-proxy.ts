/**
 * An HTTP proxy that misbehaves, between a client and a real server: late answers, resets before and after the server did what it was
 * asked, answers cut in the middle, 500 and 503 SlowDown. Faults are drawn from a seed; what passes is passed byte by byte.
 */
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { seededRandom } from '../../src/core/random.ts';

export const FAULTS = ['late', 'reset-before', 'reset-after', 'cut-answer', '500', '503'] as const;
export type Fault = (typeof FAULTS)[number];

export interface FaultProxyOptions {
  target: string;
  /** Where it listens. Default: 127.0.0.1. */
  host?: string;
  seed: number;
  /** Share of requests that meet a fault. */
  share: number;
  faults?: readonly Fault[];
  /** The body of a 503, as the server's protocol has it. */
  slowDown?: string;
}

export interface FaultProxy {
  url: string;
  /** How often each fault happened. */
  counts: Record<Fault, number>;
  passed: number;
  /** 0: no faults any more. */
  setShare(share: number): void;
  /** Nothing is answered, refused or passed, as behind a cut cable; what waited is lost when it ends. */
  setSilent(isSilent: boolean): void;
  close(): Promise<void>;
}

const LATE_MS = 150;

export async function startFaultProxy(options: FaultProxyOptions): Promise<FaultProxy> {
  const { faults = FAULTS, host = '127.0.0.1' } = options;
  const random = seededRandom(options.seed);
  const target = new URL(options.target);
  let share = options.share;
  const counts = Object.fromEntries(FAULTS.map((fault) => [fault, 0])) as Record<Fault, number>;
  const proxy = { passed: 0 };

  const answer = (response: ServerResponse, status: number, body = ''): void => {
    response.writeHead(status, { 'content-type': 'application/xml', 'content-length': Buffer.byteLength(body) });
    response.end(body);
  };

  const pass = (incoming: IncomingMessage, outgoing: ServerResponse, fault: Fault | undefined): void => {
    const upstream = request(
      {
        host: target.hostname,
        port: target.port,
        method: incoming.method,
        path: incoming.url,
        // The signature covers the host that the client named.
        headers: incoming.headers,
        setHost: false,
      },
      (reply) => {
        const chunks: Buffer[] = [];
        reply.on('data', (chunk: Buffer) => chunks.push(chunk));
        reply.on('end', () => {
          // Here the server has done what it was asked, and nobody knows.
          if (fault === 'reset-after') {
            incoming.socket.destroy();
            return;
          }
          const body = Buffer.concat(chunks);
          outgoing.writeHead(reply.statusCode ?? 502, reply.headers);
          if (fault === 'cut-answer' && body.byteLength > 1) {
            outgoing.write(body.subarray(0, Math.floor(body.byteLength / 2)), () => incoming.socket.destroy());
            return;
          }
          proxy.passed += 1;
          outgoing.end(body);
        });
      },
    );
    upstream.on('error', () => incoming.socket.destroy());
    incoming.pipe(upstream);
  };

  const unheard = new Set<IncomingMessage>();
  let isSilent = false;
  const server = createServer((incoming, outgoing) => {
    if (isSilent) {
      unheard.add(incoming);
      return;
    }
    const fault = random.next() < share ? faults[Math.floor(random.next() * faults.length)] : undefined;
    if (fault) counts[fault] += 1;
    switch (fault) {
      case 'reset-before':
        incoming.socket.destroy();
        return;
      case '500':
      case '503':
        // What is refused is read first, as a server does with small bodies.
        incoming.resume();
        incoming.on('end', () => answer(outgoing, Number(fault), fault === '503' ? options.slowDown : ''));
        return;
      case 'late':
        setTimeout(() => pass(incoming, outgoing, fault), LATE_MS);
        return;
      default:
        pass(incoming, outgoing, fault);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return {
    url: `http://${host}:${(server.address() as AddressInfo).port}`,
    counts,
    get passed() {
      return proxy.passed;
    },
    setSilent: (next) => {
      isSilent = next;
      for (const { socket } of unheard) socket.destroy();
      unheard.clear();
    },
    setShare: (next) => {
      share = next;
    },
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
