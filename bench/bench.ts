/**
 * `npm run bench`: what the hot path costs and what the archive weighs. One table of stages, one of sizes beside baselines; every case in
 * a process of its own. `--load` is the whole proxy instead (load/load.ts). README.md explains each number.
 */
import { writeFile } from 'node:fs/promises';
import { SIGNALS } from '../src/core/envelope.ts';
import { MIB } from '../src/core/limits.ts';
import { sizeElsewhere, stagesElsewhere } from './case-process.ts';
import { runLoad } from './load/load.ts';
import { machineFacts, machineLine } from './machine.ts';
import { type BenchOptions, parseOptions, USAGE } from './options.ts';
import { HOT_LEVEL } from './pipeline.ts';
import type { SizeResult } from './size.ts';
import { corpusSources, generatorSources, NO_CORPUS, payloadSources, type Source } from './sources.ts';
import { type StageResult, stageNames } from './stages.ts';
import { formTable, mb, sizeTable, stageTable } from './tables.ts';

const say = (text: string): void => {
  process.stdout.write(`${text}\n`);
};
/** What is under way, for those who watch. */
const note = (text: string): void => {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${text}`);
};

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2));
  if (typeof options === 'string') {
    const isHelp = options === 'help';
    (isHelp ? process.stdout : process.stderr).write(isHelp ? USAGE : `${options}\n\n${USAGE}`);
    return isHelp ? 0 : 2;
  }
  if (options.load) return runLoad(options, { say, note });
  const machine = machineFacts();
  say(`${machineLine(machine)}\n`);
  const stages = options.payloads === undefined ? await runStages(options) : [];
  const { sizes, skipped } = await runSizes(options);
  if (stages.length + sizes.length === 0) throw new Error(`no case contains ${JSON.stringify(options.filter)}`);
  if (options.json !== undefined) {
    // Of one's own bodies: the list alone, one element a file.
    const results =
      options.payloads === undefined
        ? { machine, options: { ...options, hotLevel: HOT_LEVEL }, stages, sizes, skipped }
        : sizes;
    await writeFile(options.json, `${JSON.stringify(results, null, 2)}\n`);
  }
  const problems = sizes.flatMap(({ name, roundTripProblem, forms = [] }) => [
    ...(roundTripProblem === undefined ? [] : [`${name}: ${roundTripProblem}`]),
    ...forms.flatMap((one) =>
      one.roundTripProblem === undefined ? [] : [`${name} ${one.protocol}: ${one.roundTripProblem}`],
    ),
  ]);
  for (const problem of problems) process.stderr.write(`not exact: ${problem}\n`);
  return problems.length > 0 ? 1 : 0;
}

async function runStages(options: BenchOptions): Promise<StageResult[]> {
  const { seed, seconds, filter, quick } = options;
  const results: StageResult[] = [];
  for (const signal of SIGNALS) {
    // No process for nothing.
    if (!stageNames(signal).some((name) => name.includes(filter))) continue;
    note(`stages of ${signal} …`);
    results.push(
      ...(await stagesElsewhere(signal, {
        seed,
        filter,
        seconds,
        samplesMin: quick ? 3 : 5,
        bytesPerProtocol: quick ? 64 * 1024 : MIB,
      })),
    );
  }
  note('');
  if (results.length > 0) {
    say(`Stages on one thread, generator seed ${seed}; MB of raw bodies; items are points, logs, spans, events`);
    say(`${stageTable(results)}\n`);
  }
  return results;
}

async function runSizes(options: BenchOptions): Promise<{ sizes: SizeResult[]; skipped: string[] }> {
  const { seconds, quick, duckdb, forms, capBytes, filter } = options;
  const { sources, skipped } = findSources(options);
  const wanted = sources.filter(({ name, signal }) => `${signal}/${name}`.includes(filter));
  const sizes: SizeResult[] = [];
  for (const source of wanted) {
    note(`${source.name} (${sizes.length + 1} of ${wanted.length}) …`);
    sizes.push(await sizeElsewhere(source, { capBytes, seconds, samplesMin: quick ? 2 : 5, duckdb, forms }));
  }
  note('');
  for (const reason of skipped) say(`skipped: ${reason}`);
  if (sizes.length > 0) {
    say(
      'Sizes as ratios raw to stored: ours as first written by level, once cold by layout, then baselines; vs -19: bytes of zstd -19 --long=27 to ours once cold',
    );
    say(
      `Speeds at level ${HOT_LEVEL} on one core: raw JSON to Parquet bytes (encode), Parquet bytes to columns (decode)`,
    );
    if (sizes.some(({ isCapped }) => isCapped)) say(`* the first ${mb(capBytes)} MB of a larger source (--cap-mib)`);
    say(sizeTable(sizes));
    if (sizes.some((one) => one.forms && one.forms.length > 0)) {
      say(`\nThe same items in binary forms, at level ${HOT_LEVEL} on one core: body to Parquet bytes`);
      say(formTable(sizes));
    }
    for (const { name, formsProblem } of sizes) {
      if (formsProblem !== undefined) say(`no binary forms of ${name}: ${formsProblem}`);
    }
    for (const { name, duckdbProblem } of sizes) {
      if (duckdb && duckdbProblem !== undefined) say(`no DuckDB baseline for ${name}: ${duckdbProblem}`);
    }
  }
  return { sizes, skipped };
}

function findSources(options: BenchOptions): { sources: Source[]; skipped: string[] } {
  if (options.payloads !== undefined) return { sources: payloadSources(options.payloads), skipped: [] };
  const generator = generatorSources(options.seed);
  const corpus = corpusSources();
  if (corpus) return { sources: [...corpus, ...generator], skipped: [] };
  return { sources: generator, skipped: [`the corpus: ${NO_CORPUS}`] };
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
