/**
 * A liveness probe in a process of its own: asks /livez on one keep-alive connection, every so often, until its input ends. Then it
 * prints what it saw as one JSON line: count, failures, and latencies in milliseconds.
 *
 *   argv: base URL, interval in milliseconds
 */
import { Agent, request } from 'node:http';
import { argv, stdin, stdout } from 'node:process';

export interface ProbeReport {
  count: number;
  failures: number;
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
}

const url = `${argv[2]}/livez`;
const everyMs = Number(argv[3] ?? 20);
const agent = new Agent({ keepAlive: true, maxSockets: 1 });
const latencies: number[] = [];
let failures = 0;
let isOver = false;

function ask(): Promise<void> {
  const startedMs = performance.now();
  return new Promise((resolve) => {
    const outgoing = request(url, { agent });
    outgoing.on('response', (answer) => {
      answer.resume();
      answer.once('end', () => {
        latencies.push(performance.now() - startedMs);
        if (answer.statusCode !== 200) failures++;
        resolve();
      });
    });
    outgoing.on('error', () => {
      failures++;
      resolve();
    });
    outgoing.end();
  });
}

stdin.on('end', () => {
  isOver = true;
});
stdin.resume();
await ask();
// The first one opens the connection and compiles our own code.
latencies.length = 0;
stdout.write('ready\n');
while (!isOver) {
  await ask();
  await new Promise((resolve) => setTimeout(resolve, everyMs));
}
latencies.sort((a, b) => a - b);
const at = (share: number): number =>
  latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? 0;
const report: ProbeReport = {
  count: latencies.length,
  failures,
  p50Ms: at(0.5),
  p99Ms: at(0.99),
  maxMs: at(1),
};
stdout.write(`${JSON.stringify(report)}\n`);
process.exit(0);
