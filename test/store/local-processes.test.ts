/** One folder, several processes, as replicas on NFS or one host have it: conditions are won by exactly one of them. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { nodeFileSystem } from '../../src/core/file-system.ts';
import { systemRandom } from '../../src/core/random.ts';
import { openLocalStore } from '../../src/store/local-store.ts';
import { PROJECT } from '../support/proxy-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const RACERS = 4;
const KEYS = 60;
const STEPS = 15;

it(`has one winner per key and loses no step of a count among ${RACERS} processes`, async () => {
  const root = await temporaryFolder();
  const store = await openLocalStore({
    root,
    fileSystem: nodeFileSystem,
    clock: systemClock,
    random: systemRandom,
  });
  await store.put('count', Buffer.from('0'));
  const racers = await Promise.all(
    Array.from({ length: RACERS }, async (_, racer) => {
      const order = JSON.stringify({ root, racer, keys: KEYS, steps: STEPS });
      const child = spawn(
        join(PROJECT, 'node_modules/node/bin/node'),
        [join(PROJECT, 'test/support/store-racer.ts'), order],
        { stdio: ['pipe', 'pipe', 'inherit'] },
      );
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      expect((await lines.next()).value).toBe('ready');
      return { child, lines };
    }),
  );
  for (const { child } of racers) child.stdin.write('go\n');
  const results = await Promise.all(
    racers.map(
      async ({ lines }) => JSON.parse((await lines.next()).value ?? '{}') as { won: string[]; counted: number[] },
    ),
  );
  const winners = results.flatMap(({ won }, racer) => won.map((key) => ({ key, racer })));
  expect(winners.map(({ key }) => key).sort()).toEqual(Array.from({ length: KEYS }, (_, n) => `race/${n}`).sort());
  for (const { key, racer } of winners) {
    expect(Buffer.from((await store.get(key)).bytes).toString()).toBe(`racer ${racer}`);
  }
  const steps = results.flatMap(({ counted }) => counted).sort((a, b) => a - b);
  expect(steps).toEqual(Array.from({ length: RACERS * STEPS }, (_, n) => n + 1));
}, 60_000);
