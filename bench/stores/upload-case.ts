/** Uploads one large object from a source that is never in memory, and prints idle and peak RSS as one JSON line. */
import { readFileSync } from 'node:fs';
import { MIB } from '../../src/core/limits.ts';
import { openByKind, type StorePair, sourceOf } from './clients.ts';

const { settings, sizeBytes } = JSON.parse(process.argv[2] ?? '{}') as {
  settings: StorePair['settings'];
  sizeBytes: number;
};
const rssMiB = (): number =>
  Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 0) / 1024;

const store = await openByKind(settings);
// The SDK's own code and connections belong to what is idle.
await store.put('warm', Buffer.alloc(64 * 1024));
await store.put('warm', new Uint8Array(9 * MIB));
const piece = new Uint8Array(8 * MIB);
globalThis.gc?.();
await new Promise((resolve) => setTimeout(resolve, 500));
const idleMiB = rssMiB();
let peakMiB = idleMiB;
const watch = setInterval(() => {
  peakMiB = Math.max(peakMiB, rssMiB());
}, 10);
const startedMs = performance.now();
await store.put('large', sourceOf(sizeBytes, piece));
clearInterval(watch);
process.stdout.write(`${JSON.stringify({ idleMiB, peakMiB, seconds: (performance.now() - startedMs) / 1000 })}\n`);
process.exit(0);
