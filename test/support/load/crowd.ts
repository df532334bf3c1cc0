/**
 * A crowd in a process of its own: so many senders at once, each with the largest body, so that neither their work nor their
 * memory is taken for the proxy's. Told by one JSON argument, answers with one JSON line.
 *
 *   {"url", "senders", "bodies": LargeBody[]}
 *   → {"statuses": {"202": n, "503": n, "broken": n}, "seconds": s}
 *
 * "broken": refused while the body was still on its way, and the connection closed.
 */
import { request } from 'node:http';
import { setPriority } from 'node:os';
import { argv, stdout } from 'node:process';
import { type LargeBody, largeBody, type PreparedBody } from './large-bodies.ts';

export interface CrowdOrder {
  url: string;
  senders: number;
  bodies: LargeBody[];
}

export interface CrowdReport {
  statuses: Record<string, number>;
  seconds: number;
}

function sendOne(url: string, { path, headers, body }: PreparedBody): Promise<string> {
  return new Promise((resolve) => {
    const outgoing = request(url + path, {
      method: 'POST',
      agent: false,
      headers: { ...headers, 'content-length': String(body.byteLength), 'dd-api-key': 'crowd' },
    });
    outgoing.on('response', (answer) => {
      answer.resume();
      resolve(String(answer.statusCode));
      // A refusal may come before the body is sent; the rest of it is of no use to anybody.
      answer.once('end', () => outgoing.destroy());
    });
    outgoing.on('error', () => resolve('broken'));
    outgoing.end(body);
  });
}

async function run(order: CrowdOrder): Promise<CrowdReport> {
  const prepared = order.bodies.map((body) => largeBody(body));
  // Senders are other machines: on this one they must not take the processor from what is measured.
  setPriority(19);
  stdout.write('ready\n');
  const startedMs = performance.now();
  const statuses: Record<string, number> = {};
  await Promise.all(
    Array.from({ length: order.senders }, async (_, index) => {
      const status = await sendOne(order.url, prepared[index % prepared.length]!);
      statuses[status] = (statuses[status] ?? 0) + 1;
    }),
  );
  return { statuses, seconds: (performance.now() - startedMs) / 1000 };
}

const report = await run(JSON.parse(argv[2] ?? '{}') as CrowdOrder);
stdout.write(`${JSON.stringify(report)}\n`);
process.exit(0);
