/**
 * One of several processes that work on one folder at once: creates keys that only one may win, and counts by replacing. Told by one
 * JSON argument, answers with one JSON line.
 *
 *   {"root", "racer", "keys", "steps"} → {"won": [keys], "counted": [values]}
 */
import { systemClock } from '../../src/core/clock.ts';
import { isProxyError } from '../../src/core/errors.ts';
import { nodeFileSystem } from '../../src/core/file-system.ts';
import { systemRandom } from '../../src/core/random.ts';
import { openLocalStore } from '../../src/store/local-store.ts';

const order = JSON.parse(process.argv[2] ?? '{}') as { root: string; racer: number; keys: number; steps: number };
const store = await openLocalStore({
  root: order.root,
  fileSystem: nodeFileSystem,
  clock: systemClock,
  random: systemRandom,
});
process.stdout.write('ready\n');
await new Promise((resolve) => process.stdin.once('data', resolve));

const won: string[] = [];
const counted: number[] = [];
for (let n = 0; n < order.keys; n++) {
  try {
    await store.put(`race/${n}`, Buffer.from(`racer ${order.racer}`), { condition: { kind: 'absent' } });
    won.push(`race/${n}`);
  } catch (error) {
    if (!isProxyError(error, 'STORE_EXISTS') && !isProxyError(error, 'STORE_CONFLICT')) throw error;
  }
}
while (counted.length < order.steps) {
  const { info, bytes } = await store.get('count');
  const next = Number.parseInt(Buffer.from(bytes).toString(), 10) + 1;
  try {
    const condition = { kind: 'unchanged', version: info.version } as const;
    await store.put('count', Buffer.from(`${next} by ${order.racer}`), { condition });
    counted.push(next);
  } catch (error) {
    if (!isProxyError(error, 'STORE_EXISTS') && !isProxyError(error, 'STORE_CONFLICT')) throw error;
  }
}
process.stdout.write(`${JSON.stringify({ won, counted })}\n`);
process.exit(0);
