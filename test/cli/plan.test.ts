/** `reductrai plan`: its arithmetic, every option, what it refuses, and the form of its JSON. */
import { Writable } from 'node:stream';
import { expect, test } from 'vitest';
import type { Plan } from '../../src/cli/capacity/arithmetic.ts';
import { CPU_SECONDS } from '../../src/cli/capacity/figures.ts';
import { FIGURE_OPTIONS, FLEET_OPTIONS, LOAD_OPTIONS, PRICE_OPTIONS } from '../../src/cli/capacity/options.ts';
import type { CliIo } from '../../src/cli/io.ts';
import { runPlan } from '../../src/cli/plan.ts';
import { runCli } from '../support/proxy-process.ts';

type Env = Record<string, string>;
interface Told {
  format: number;
  load: Record<string, number>;
  plan: Plan;
  assumptions: Record<string, unknown>;
  notes: string[];
}

async function run(text: string, env: Env = {}): Promise<{ code: number; stdout: string; stderr: string }> {
  const out = { stdout: '', stderr: '' };
  const streamOf = (name: 'stdout' | 'stderr') =>
    new Writable({
      decodeStrings: false,
      write: (part: string, _, done) => {
        out[name] += part;
        done();
      },
    });
  const io: CliIo = {
    stdout: streamOf('stdout'),
    stderr: streamOf('stderr'),
    stdoutIsTerminal: false,
    stderrIsTerminal: false,
    columns: 120,
  };
  const args = text.split(' ').filter((word) => word !== '');
  return { code: await runPlan(args, args, { env }, io), ...out };
}

async function told(text: string, env: Env = {}): Promise<Told> {
  const { code, stdout, stderr } = await run(`${text} --json`, env);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout) as Told;
}

const LOAD = '--points-per-second 50000 --logs-mb-per-second 2 --spans-per-second 5000 --sketches-per-second 500';

test('more of anything never needs less of anything', async () => {
  for (const { name } of LOAD_OPTIONS) {
    let before: Plan | undefined;
    for (const rate of ['0.001', '1', '3', '10', '100', '1e3', '1e4', '2e4', '1e5', '1e6', '1e7']) {
      const { plan } = await told(`${LOAD} --${name} ${rate} --cloud s3`, { DATADOG_API_KEY: 'k' });
      const figures = (one: Plan): number[] => [
        one.replicas.needed,
        one.replicas.count,
        one.replicas.cpuBusyAtPeak,
        ...Object.values(one.bytes.byKind),
        one.bytes.raw,
        one.bytes.received,
        one.keptBytes,
        ...one.tiers.map(({ bytes }) => bytes),
        ...Object.values(one.requests),
        one.vendor.bytesPerMonth,
        one.cost!.total,
      ];
      if (before) {
        const last = figures(before);
        for (const [i, figure] of figures(plan).entries()) {
          expect(figure, `figure ${i} of --${name} ${rate}`).toBeGreaterThanOrEqual(last[i]!);
        }
      }
      before = plan;
    }
  }
});

test('units: what comes in by the second is kept by the day, and paid by the month', async () => {
  const figures = '--bytes-per-point 2 --cpu-per-million-points 10 --wire-ratio 4 --peak 3 --cpu-share 0.5 --zones 3';
  const prices =
    '--price-storage-gb-month 0.1 --price-million-puts 10 --price-million-gets 1 --price-egress-gb 0.5 --price-cpu-hour 0.1';
  const { plan, assumptions } = await told(
    `--points-per-second 1e5 ${figures} --cloud s3 ${prices} --retention-hot-days 10 --retention-warm-days 30 --retention-cold-days 100`,
    { DATADOG_API_KEY: 'k' },
  );
  // 0.1 M points/s at 10 s a million is 1 processor, 3 at the peak; of 2 processors 1 may be busy.
  expect(plan.replicas).toMatchObject({ cpuBusyAtPeak: 3, needed: 3, count: 5, zones: 3 });
  expect(plan.bytes.stored).toBe(1e5 * 2 * 86_400 * 30);
  expect(plan.tiers.map(({ tier, fromDays, toDays, bytes }) => [tier, fromDays, toDays, bytes])).toEqual([
    ['hot', 0, 10, 2e5 * 86_400 * 10],
    ['warm', 10, 30, 2e5 * 86_400 * 20],
    ['cold', 30, 100, 2e5 * 86_400 * 70],
  ]);
  expect(plan.keptBytes).toBe(2e5 * 86_400 * 100);
  expect(plan.bytes.received).toBe(plan.bytes.raw / 4);
  expect(plan.vendor.bytesPerMonth).toBe(plan.bytes.received);
  expect(plan.vendor.backlogBytesMax).toBeCloseTo(plan.bytes.received / 30, -3);
  // Of 5 replicas in 3 zones 3 are left.
  expect(plan.journal.bytesPerSecondEach).toBeCloseTo(plan.bytes.received / (30 * 86_400), 3);
  // As check-config counts them: 4 chunks a second, 3 renewals in 15 s.
  expect(plan.requests).toMatchObject({
    chunks: 5 * 4 * 86_400 * 30,
    leases: 5 * 0.2 * 86_400 * 30,
    lists: 5 * 0.4 * 86_400 * 30,
  });
  const { puts, lists, gets, chunks, segments, upkeep, leases } = plan.requests;
  expect(puts).toBe(chunks + segments + upkeep + leases);
  const cost = plan.cost!;
  expect(cost.storage).toBeCloseTo((plan.keptBytes / 1e9) * 0.1, 6);
  expect(cost.requests).toBeCloseTo(((puts + lists) / 1e6) * 10 + gets / 1e6, 6);
  expect(cost.cpu).toBeCloseTo(5 * 2 * 720 * 0.1, 6);
  expect(cost.egress).toBeCloseTo((plan.bytes.received / 1e9) * 0.5, 6);
  expect(cost.total).toBeCloseTo(cost.storage + cost.requests + cost.cpu + cost.egress, 6);
  expect((assumptions.prices as { source: string }).source).toContain('--price-million-puts');
});

test('one zone loses a replica, several lose the fullest', async () => {
  const counts = async (zones: number): Promise<number> =>
    (await told(`--points-per-second 1e6 --peak 1 --cpu-share 1 --zones ${zones}`)).plan.replicas.count;
  // Replicas of two processors.
  const needed = Math.ceil(CPU_SECONDS.perMillionPoints / 2);
  const fewest = (zones: number): number => {
    for (let count = zones; ; count++) if (count - Math.ceil(count / zones) >= needed) return count;
  };
  expect(needed).toBeLessThan(15);
  expect([await counts(1), await counts(2), await counts(3), await counts(16)]).toEqual([
    ...[needed + 1, fewest(2), fewest(3), 16],
  ]);
});

test('the journal on disk holds the outage; what else the settings say is followed', async () => {
  const disk = await told(
    '--logs-mb-per-second 9 --durability disk --outage-hours 10 --wire-ratio 3 --peak 1 --zones 1',
  );
  const { count } = disk.plan.replicas;
  expect(disk.plan.journal.diskBytesEach).toBeCloseTo((3e6 * 36_000) / (count - 1), 3);
  expect(disk.plan.requests).toMatchObject({ chunks: 0, leases: 0, lists: 0 });
  const text = await run('--logs-mb-per-second 9 --durability disk --outage-hours 10');
  expect(text.stdout).toMatch(/set REDUCTRAI_JOURNAL_BUDGET_BYTES=\d+GiB/);
  expect((await told(LOAD, { STORAGE_URL: 'gs://b/p' })).plan).toMatchObject({
    journal: { durability: 'store', diskBytesEach: 0 },
    cost: { cloud: 'gcs' },
  });
  expect((await told(`${LOAD} --cloud none`, { STORAGE_URL: 'gs://b/p' })).plan.cost).toBeUndefined();
  expect((await told(LOAD)).plan.journal.durability).toBe('disk');
  expect((await told(`${LOAD} --cloud azure`)).plan.journal.durability).toBe('store');
  expect((await told(`${LOAD} --durability memory`)).plan.journal.durability).toBe('memory');
  const twice = await told(`${LOAD} --cloud s3`, { WORKERS: '2' });
  const once = await told(`${LOAD} --cloud s3`);
  expect(twice.plan.requests.chunks).toBe(2 * once.plan.requests.chunks);
  expect(twice.plan.replicas.memoryBytesEach).toBeGreaterThan(once.plan.replicas.memoryBytesEach);
  expect((await told(`${LOAD} --cloud s3`, { REDUCTRAI_JOURNAL_CHUNK_AFTER: '1s' })).plan.requests.chunks).toBe(
    once.plan.requests.chunks / 4,
  );
  const noWarm = await told(LOAD, { STORAGE_WARM_ENABLED: 'false' });
  expect(noWarm.plan.tiers.map(({ tier, fromDays }) => `${tier} ${fromDays}`)).toEqual(['hot 0', 'cold 7']);
  const short = await told(LOAD, { STORAGE_RETENTION: 'logs=10d' });
  expect(short.plan.tiers.map(({ byKind }) => byKind.logs > 0)).toEqual([true, true, false]);
  const plain = await told(LOAD, { STORAGE_COLD_LAYOUT: 'plain' });
  expect(plain.plan.tiers[2]!.bytes).toBeGreaterThan((await told(LOAD)).plan.tiers[2]!.bytes);
  const only = await told(LOAD, { PROXY_MODE: 'forward-only', DATADOG_API_KEY: 'k' });
  expect(only.plan).toMatchObject({ keptBytes: 0, bytes: { stored: 0 } });
  expect(only.plan.vendor.bytesPerMonth).toBeGreaterThan(0);
  expect((await told(LOAD)).plan.vendor.bytesPerMonth).toBe(0);
});

test('every option changes something', async () => {
  const base = `${LOAD} --cloud s3 --durability disk`;
  const before = JSON.stringify(await told(base, { DATADOG_API_KEY: 'k' }));
  const other: Record<string, string> = { 'cpu-share': '0.05', zones: '5' };
  for (const { name, isPerTier } of [...LOAD_OPTIONS, ...FLEET_OPTIONS, ...FIGURE_OPTIONS, ...PRICE_OPTIONS]) {
    const value = other[name] ?? (isPerTier ? '11,7,5' : '17');
    const { plan, load } = await told(`${base} --${name} ${value}`, { DATADOG_API_KEY: 'k' });
    const first = JSON.parse(before) as Told;
    expect(JSON.stringify({ plan, load }), name).not.toBe(JSON.stringify({ plan: first.plan, load: first.load }));
  }
  const [hot, warm, cold] = (await told(`${base} --bytes-per-span 11,7,5`)).plan.tiers.map(
    ({ byKind, fromDays, toDays }) => byKind.spans / (toDays - fromDays) / 86_400 / 5000,
  );
  expect([hot, warm, cold].map((each) => Math.round(each!))).toEqual([11, 7, 5]);
});

test.each([
  ['', /How much comes in\?/],
  ['--points-per-second 0', /How much comes in\?/],
  ['--points-per-second 100k', /--points-per-second: "100k" is not a plain number; for example .* 100000/],
  ['--points-per-second=-5', /"-5" is not a plain number/],
  ['--points-per-second NaN', /"NaN" is not a plain number/],
  ['--point-per-second 5', /not an option of plan; did you mean --points-per-second\?/],
  ['--spans-per-second 5 --zones 2.5', /--zones takes a whole number, not 2.5/],
  ['--spans-per-second 5 --cpu-share 2', /--cpu-share: 2 is out of bounds; from 0.05 to 1/],
  ['--spans-per-second 5 --bytes-per-span 1,2', /--bytes-per-span takes one number, or three: hot,warm,cold/],
  ['--spans-per-second 5 --durability raid', /--durability raid: one of store, disk, memory/],
  ['--spans-per-second 5 --cloud aws', /--cloud aws: one of s3, gcs, azure, none/],
  ['--spans-per-second', /spans-per-second/],
])('%j is refused', async (text, reason) => {
  const { code, stdout, stderr } = await run(text);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(reason);
});

test('settings that cannot be used are told', async () => {
  const { code, stderr } = await run(LOAD, { STORAGE_HOT_RETENTION_DAYS: 'a week' });
  expect(code).toBe(2);
  expect(stderr).toMatch(/STORAGE_HOT_RETENTION_DAYS/);
});

test('the JSON keeps its form', async () => {
  const { format, plan, load, assumptions, notes } = await told(`${LOAD} --cloud s3`);
  const keys = (value: object): string => Object.keys(value).join(' ');
  expect(format).toBe(1);
  expect(keys(load)).toBe('points logs spans sketches');
  expect(keys(plan)).toBe('replicas journal bytes requests tiers keptBytes vendor cost');
  expect(keys(plan.replicas)).toBe('needed count zones cpuBusyAtPeak cpuEach memoryBytesEach');
  expect(keys(plan.journal)).toBe('durability bytesPerSecondEach outageHours diskBytesEach');
  expect(keys(plan.bytes)).toBe('raw received stored byKind');
  expect(keys(plan.requests)).toBe('chunks segments upkeep leases puts lists gets');
  expect(keys(plan.tiers[0]!)).toBe('tier fromDays toDays bytes byKind');
  expect(keys(plan.vendor)).toBe('bytesPerMonth backlogBytesMax');
  expect(keys(plan.cost!)).toBe('cloud currency storage requests cpu egress total');
  expect(assumptions).toMatchObject({
    peak: 2,
    wireRatio: 3,
    sources: { load: expect.stringMatching(/^bench\/results\//) },
  });
  expect(notes.length).toBeGreaterThan(3);
});

test('as a command: text, and help with every option', async () => {
  const { code, stdout } = await runCli(['plan', ...LOAD.split(' '), '--cloud', 's3']);
  expect(code).toBe(0);
  for (const word of ['replicas', 'journal', 'requests', 'tier', 'USD (s3)', 'An estimate.'])
    expect(stdout).toContain(word);
  const help = await runCli(['plan', '--help']);
  for (const { name } of [...LOAD_OPTIONS, ...FLEET_OPTIONS, ...FIGURE_OPTIONS, ...PRICE_OPTIONS]) {
    expect(help.stdout).toContain(`--${name} `);
  }
});
