/**
 * `npm run bench:load`: the whole proxy under load, beside two plain servers under the same load. One table; exits with 1 when an
 * acknowledged item is not stored or not delivered.
 */
import { open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MIB } from '../../src/core/limits.ts';
import { machineFacts, machineLine } from '../machine.ts';
import { quantile } from '../measure.ts';
import type { BenchOptions } from '../options.ts';
import { NO_CORPUS } from '../sources.ts';
import { formatTable, short } from '../tables.ts';
import { canRun, type LoadOptions, type LoadResult, runLoadCase, SERVERS, type ServerKind } from './load-case.ts';
import { hasCorpus, mixesFor } from './mixes.ts';

export interface Voice {
  say: (text: string) => void;
  /** What is under way. */
  note: (text: string) => void;
}

const TEMPLATES = 600;
const CORPUS_BYTES = 48 * MIB;
const QUICK_CORPUS_BYTES = 4 * MIB;

export async function runLoad(options: BenchOptions, { say, note }: Voice): Promise<number> {
  if (options.payloads !== undefined)
    throw new Error('--payloads goes with the size table; --load makes its own bodies');
  const { seed, seconds, quick, connections, filter } = options;
  const load: LoadOptions = {
    seed,
    seconds: quick ? Math.max(1, seconds) : seconds,
    warmUpSeconds: quick ? 0.5 : Math.min(5, seconds / 2),
    connections,
    templates: quick ? 60 : TEMPLATES,
    corpusBytes: quick ? QUICK_CORPUS_BYTES : CORPUS_BYTES,
  };
  const withCorpus = hasCorpus();
  const cases = casesFor(filter, withCorpus);
  if (!withCorpus) say(`skipped: mixes of the corpus: ${NO_CORPUS}`);
  if (cases.length === 0) throw new Error(`no case contains ${JSON.stringify(filter)}`);
  const machine = machineFacts();
  say(machineLine(machine));
  const fdatasyncs = await fdatasyncsPerSecond(tmpdir(), quick ? 0.2 : 1);
  const results: LoadResult[] = [];
  for (const { mix, server } of cases) {
    note(`${mix}/${server} (${results.length + 1} of ${cases.length}) …`);
    results.push(await runLoadCase(mix, server, load));
  }
  note('');
  say(
    `${load.seconds} s each after ${load.warmUpSeconds} s of warm-up, ${connections} connections, seed ${seed}; ${short(fdatasyncs)} fdatasync/s here`,
  );
  say(
    'of bare, of inflating: requests/s as a share of the plain servers; CPU s per M items and GB include storing and delivering',
  );
  say(loadTable(results));
  if (options.json !== undefined) {
    const file = {
      machine,
      options: { ...load, filter },
      fdatasyncsPerSecond: fdatasyncs,
      cases: results,
    };
    await writeFile(options.json, `${JSON.stringify(file, null, 2)}\n`);
  }
  const incomplete = results.filter(({ proxy }) => proxy && !proxy.isComplete);
  for (const { name, proxy } of incomplete) process.stderr.write(`${name}: ${JSON.stringify(proxy)}\n`);
  return incomplete.length > 0 ? 1 : 0;
}

/** A case of ours brings its baselines with it. */
export function casesFor(filter: string, withCorpus: boolean): { mix: string; server: ServerKind }[] {
  return mixesFor(filter, withCorpus).flatMap((mix) => {
    const wanted = SERVERS.filter((server) => canRun(server) && `${mix}/${server}`.includes(filter));
    if (wanted.length === 0) return [];
    return SERVERS.filter((server) => wanted.includes(server) || isPlain(server)).map((server) => ({ mix, server }));
  });
}

const isPlain = (server: ServerKind): boolean => server === 'bare' || server === 'inflating';

export function loadTable(results: readonly LoadResult[]): string {
  const share = (one: LoadResult, of: ServerKind): string => {
    const plain = results.find(({ mix, server }) => mix === one.mix && server === of);
    return plain && one !== plain ? `${Math.round((100 * one.requestsPerSecond) / plain.requestsPerSecond)}%` : '–';
  };
  return formatTable(
    [
      'case',
      'req/s',
      'of bare',
      'of inflating',
      'items/s',
      'raw MB/s',
      'p50 ms',
      'p99',
      'p99.9',
      'CPU/s',
      'CPU s/M items',
      'CPU s/GB',
      'peak MiB',
      'gen CPU/s',
      'refused',
      'backlog',
      'drain s',
      'complete',
    ],
    results.map((one) => [
      one.name,
      short(one.requestsPerSecond),
      share(one, 'bare'),
      share(one, 'inflating'),
      short(one.itemsPerSecond),
      short(one.rawMBps),
      short(one.p50Ms),
      short(one.p99Ms),
      short(one.p999Ms),
      short(one.cpuPerSecond),
      short(one.cpuSecondsPerMillionItems),
      short(one.cpuSecondsPerRawGB),
      short(one.peakRssMiB),
      short(one.generatorCpu),
      String(Object.values(one.refused).reduce((sum, count) => sum + count, 0)),
      one.proxy ? `${one.proxy.backlogAtEnd.archive}+${one.proxy.backlogAtEnd.upstreams}` : '–',
      one.proxy ? short(one.proxy.drainSeconds + one.proxy.deliverySeconds) : '–',
      one.proxy ? (one.proxy.isComplete ? 'yes' : 'NO') : '–',
    ]),
  );
}

/** What the disk below the journal allows: one 4 KiB append and sync after another. Median over tenths of the time. */
async function fdatasyncsPerSecond(folder: string, seconds: number): Promise<number> {
  const path = join(folder, `reductrai-fdatasync-${process.pid}`);
  const file = await open(path, 'w');
  try {
    const block = Buffer.alloc(4096, 1);
    const took: number[] = [];
    const endMs = performance.now() + seconds * 1000;
    while (performance.now() < endMs) {
      const startedMs = performance.now();
      await file.write(block);
      await file.datasync();
      took.push(performance.now() - startedMs);
    }
    return (
      1000 /
      quantile(
        took.sort((a, b) => a - b),
        0.5,
      )
    );
  } finally {
    await file.close();
    await rm(path, { force: true });
  }
}
