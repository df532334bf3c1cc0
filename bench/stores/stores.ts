/**
 * `npm run bench:stores`: upload and range reads of each store beside its bare SDK doing the same against the same server, in turns
 * in one run; and the memory that uploading one large object takes, in a process of its own.
 *
 *   --mib N      size of an object (default 8)     --rounds N   turns (default 7)
 *   --large-mib  size of the large object (default 1024)         --json FILE
 */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { MIB } from '../../src/core/limits.ts';
import { seededRandom } from '../../src/core/random.ts';
import { PROJECT } from '../../test/support/proxy-process.ts';
import { HOW_TO_INSTALL } from '../../test/support/servers/server-process.ts';
import { machineFacts, machineLine } from '../machine.ts';
import { formatTable, short } from '../tables.ts';
import { type Client, PAIRS, type StorePair } from './clients.ts';

const OBJECTS_PER_TURN = 6;
const AT_ONCE = 3;
const RANGE_BYTES = MIB;

const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '8' },
    rounds: { type: 'string', default: '7' },
    'large-mib': { type: 'string', default: '1024' },
    json: { type: 'string' },
  },
});

async function secondsOf(act: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await act();
  return (performance.now() - startedMs) / 1000;
}

async function atOnce(count: number, act: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (next < count) await act(next++);
    }),
  );
}

const median = (list: number[]): number => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]!;

interface StoreResult {
  name: string;
  what: 'upload' | 'range reads';
  oursMbPerSecond: number;
  bareMbPerSecond: number;
  ratio: number;
}

async function measurePair(pair: StorePair, sizeBytes: number, rounds: number): Promise<StoreResult[]> {
  const bytes = seededRandom(1).bytes(sizeBytes);
  const upload = (client: Client, name: string) => () =>
    atOnce(OBJECTS_PER_TURN, (index) => client.put(`${name}/${index}`, bytes));
  const ranges = (client: Client, name: string) => () =>
    atOnce(OBJECTS_PER_TURN * 4, (index) =>
      client.read(
        `${name}/${index % OBJECTS_PER_TURN}`,
        (index * RANGE_BYTES) % Math.max(1, sizeBytes - RANGE_BYTES),
        Math.min(RANGE_BYTES, sizeBytes),
      ),
    );
  const results: StoreResult[] = [];
  for (const [what, make, moved] of [
    ['upload', upload, OBJECTS_PER_TURN * sizeBytes],
    ['range reads', ranges, OBJECTS_PER_TURN * 4 * Math.min(RANGE_BYTES, sizeBytes)],
  ] as const) {
    const times = { ours: [] as number[], bare: [] as number[] };
    for (let round = -1; round < rounds; round++) {
      // Turns change places, so that neither always comes second.
      for (const side of round % 2 === 0 ? (['ours', 'bare'] as const) : (['bare', 'ours'] as const)) {
        const seconds = await secondsOf(make(pair[side], side));
        if (round >= 0) times[side].push(seconds);
      }
    }
    const ours = moved / median(times.ours) / 1e6;
    const bare = moved / median(times.bare) / 1e6;
    results.push({ name: pair.name, what, oursMbPerSecond: ours, bareMbPerSecond: bare, ratio: ours / bare });
  }
  return results;
}

interface MemoryResult {
  name: string;
  idleMiB: number;
  peakMiB: number;
  seconds: number;
}

async function measureMemory(pair: StorePair, sizeBytes: number): Promise<MemoryResult> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [join(PROJECT, 'bench/stores/upload-case.ts'), JSON.stringify({ settings: pair.settings, sizeBytes })],
    {
      env: {
        ...process.env,
        MALLOC_ARENA_MAX: '2',
        MALLOC_MMAP_THRESHOLD_: '1048576',
        MALLOC_TRIM_THRESHOLD_: '1048576',
      },
    },
  );
  return { name: pair.name, ...(JSON.parse(stdout) as Omit<MemoryResult, 'name'>) };
}

const machine = machineFacts();
process.stdout.write(`${machineLine(machine)}\n\n`);
const speeds: StoreResult[] = [];
const memory: MemoryResult[] = [];
for (const { name, isThere, open } of PAIRS) {
  if (!isThere()) {
    process.stdout.write(`skipped: ${name}: its server is not installed; ${HOW_TO_INSTALL}\n`);
    continue;
  }
  const pair = await open();
  try {
    speeds.push(...(await measurePair(pair, Number(values.mib) * MIB, Number(values.rounds))));
    memory.push(await measureMemory(pair, Number(values['large-mib']) * MIB));
  } finally {
    await pair.close();
  }
}
const speedRows = speeds.map(({ name, what, oursMbPerSecond, bareMbPerSecond, ratio }) => [
  `${name}, ${what}`,
  short(oursMbPerSecond),
  short(bareMbPerSecond),
  short(ratio),
]);
process.stdout.write(
  `${formatTable([`objects of ${values.mib} MiB, ${AT_ONCE} at once`, 'our MB/s', 'bare SDK', 'ratio'], speedRows)}\n\n`,
);
const memoryRows = memory.map(({ name, idleMiB, peakMiB, seconds }) => [
  name,
  short(idleMiB),
  short(peakMiB),
  short(peakMiB - idleMiB),
  short(seconds),
]);
process.stdout.write(
  `${formatTable([`uploading one of ${values['large-mib']} MiB`, 'idle MiB', 'peak MiB', 'above idle', 'seconds'], memoryRows)}\n`,
);
if (values.json) await writeFile(values.json, `${JSON.stringify({ machine, speeds, memory }, null, 2)}\n`);
