/** Data ages: hot, warm, cold, gone. Nothing is lost, doubled or seen twice on the way, whoever dies when. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { planUpkeep } from '../../../src/archive/upkeep/plan.ts';
import { UPKEEP_JOURNAL } from '../../../src/archive/upkeep/upkeep.ts';
import { seededRandom } from '../../../src/core/random.ts';
import { type Catalogue, openCatalogue } from '../../../src/query/catalogue.ts';
import { type EngineOptions, openEngine } from '../../../src/query/engine.ts';
import { exportItems } from '../../../src/query/export.ts';
import { verifyStore } from '../../../src/query/verify.ts';
import type { CommitRecord } from '../../../src/store/commit-log.ts';
import { appendCommit } from '../../../src/store/commit-records.ts';
import { readLiveSegments } from '../../../src/store/live-segments.ts';
import { createMemoryStore } from '../../../src/store/memory-store.ts';
import type { ObjectReader, ObjectStore, PutOptions } from '../../../src/store/object-store.ts';
import { createManualClock } from '../../support/manual-clock.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';
import { AgingArchive, DAY_MS, GRACE_MS, liveRows, RULES } from './aging-archive.ts';

const CLASSES = { hot: {}, warm: { storageClass: 'STANDARD_IA' }, cold: { storageClass: 'GLACIER_IR' } };
const HOUR_MS = 3_600_000;
const SEEDS = Number(process.env.SIMULATION_SEEDS ?? 1024) / 64;

function memoryArchive(): AgingArchive {
  const clock = createManualClock();
  return new AgingArchive(createMemoryStore({ clock }), clock);
}

async function findings(store: ObjectReader, nowMs: number): Promise<string[]> {
  const found: string[] = [];
  await verifyStore(store, {
    ...{ isDeep: true, nowMs, concurrentMax: 4 },
    onFinding: ({ kind, key }) => {
      found.push(`${kind} ${key}`);
    },
  });
  return found;
}

const segmentKeys = (store: ObjectReader): Promise<string[]> => keysUnder(store, 'default/');

async function keysUnder(store: ObjectReader, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(prefix)) keys.push(key);
  return keys;
}

/** In each tier the view says of each series and window what the points of that tier say. */
async function expectRollups(options: EngineOptions): Promise<void> {
  const { catalogue } = options;
  for (const [tier, seconds] of [
    ['warm', 300],
    ['cold', 3600],
  ] as const) {
    const segments: Catalogue['segments'] = (filter) => catalogue.segments(filter).filter((one) => one.tier === tier);
    const engine = await openEngine({ ...options, catalogue: { ...catalogue, segments } });
    const answer = async (sql: string): Promise<unknown[]> => {
      const rows: unknown[] = [];
      for await (const batch of (await engine.run(sql)).rows) rows.push(...batch.map((row) => row.map(String)));
      return rows;
    };
    const rolled = await answer(
      'SELECT metric, every_s, epoch_ms(time) AS t, count, min, max, sum, avg, last FROM rollups ORDER BY ALL',
    );
    const start = `epoch_ms(time) // ${seconds * 1000} * ${seconds * 1000}`;
    const points = await answer(
      `SELECT metric, ${seconds}, ${start} AS t, count(*), min(value), max(value), sum(value), avg(value), arg_max(value, time)
       FROM metrics GROUP BY metric, t ORDER BY ALL`,
    );
    expect(rolled).toEqual(points);
    expect(rolled.length > 0).toBe(segments({}).length > 0);
    await engine.close();
  }
}

describe('upkeep', () => {
  it('a month goes hot, warm, cold and away, and every answer on the way is that of the ledger', async () => {
    const folder = await temporaryFolder();
    const archive = memoryArchive();
    const { store, clock } = archive;
    // The query engine reads files.
    const pathOf = (key: string): string => join(folder, key);
    const ready = async (keys: readonly string[]): Promise<void> => {
      for (const key of keys) {
        await mkdir(dirname(pathOf(key)), { recursive: true });
        await writeFile(pathOf(key), (await store.get(key)).bytes);
      }
    };
    const told: Record<string, unknown>[] = [];
    for (let day = 1; day <= 24; day++) {
      for (let flush = 0; flush < 2; flush++) {
        await archive.flush(flush === 1 ? 'r-2' : 'r-1', 2);
        clock.jumpTo(clock.nowMs() + 300_000);
      }
      clock.jumpTo(clock.nowMs() + DAY_MS - 2 * 300_000);
      const decodedBytesMax = day % 2 === 0 ? 20_000 : 64 << 20;
      const summary = await archive.upkeep({ decodedBytesMax, recordsPerCheckpointMin: 40 });
      expect(summary).toMatchObject({ state: 'done', skipped: [] });
      const { live, commitCount } = await readLiveSegments(store);
      const records = (await keysUnder(store, 'commits/')).length;
      const count = (tier: string) => [...live.values()].filter(({ entry }) => entry.tier === tier).length;
      told.push({
        day,
        hot: count('hot'),
        warm: count('warm'),
        cold: count('cold'),
        deleted: summary.deletedObjects,
        records,
        commitCount,
      });
      if (![4, 9, 24].includes(day)) continue;
      expect(await findings(store, clock.nowMs())).toEqual([]);
      const catalogue = await openCatalogue(store);
      for (const signal of ['logs', 'metrics', 'traces'] as const) {
        const found: string[] = [];
        const options = { catalogue, pathOf, ready, tempFolder: join(folder, 'tmp'), memoryLimit: '300MB', signal };
        for await (const text of exportItems(options)) found.push(text);
        const kept = archive.ledger.filter((item) => item.signal === signal);
        // A segment goes when the last of its rows is old enough, and late rows of the next day may be in it.
        const nowMs = clock.nowMs();
        const must = kept.filter(({ receivedAtMs }) => receivedAtMs > nowMs - 20 * DAY_MS).map(({ text }) => text);
        // Of an item whose points lie in several days one may go before the other: it is told by its name.
        const nameOf = (text: string): string => /r-\d-\d+-\d+/.exec(text)![0];
        const may = new Set(
          kept.filter(({ receivedAtMs }) => receivedAtMs > nowMs - 22 * DAY_MS).map(({ text }) => nameOf(text)),
        );
        expect(new Set(found).size).toBe(found.length);
        expect(must.filter((text) => !found.includes(text))).toEqual([]);
        expect(found.filter((text) => !may.has(nameOf(text)))).toEqual([]);
        expect(must.length).toBeGreaterThan(0);
      }
      await expectRollups({ catalogue, pathOf, ready, tempFolder: join(folder, 'tmp'), memoryLimit: '300MB' });
    }
    console.table(told);
    // What is read to know what is live does not grow with the age of the archive.
    expect(Math.max(...told.map(({ records }) => Number(records)))).toBeLessThan(120);
    expect(Number(told.at(-1)?.commitCount)).toBeGreaterThan(200);
    // Few objects a day, although small bounds cut every second run's.
    const { live } = await readLiveSegments(store);
    const cold = [...live.values()].filter(({ entry }) => entry.tier === 'cold' && entry.signal === 'logs');
    expect(cold.length).toBeGreaterThan(10);
    expect(cold.length).toBeLessThanOrEqual(3 * 16);
  }, 400_000);

  it('where points are not kept roll-ups alone grow old and expire', async () => {
    const archive = memoryArchive();
    const { store, clock } = archive;
    const [hot, warm, cold] = RULES.tiers;
    const instead = (everyMs: number) => ({ rollup: { everyMs, keepsRaw: false } });
    const rules = { ...RULES, tiers: [hot!, { ...warm!, ...instead(300_000) }, { ...cold!, ...instead(3_600_000) }] };
    for (let n = 0; n < 4; n++) await archive.flush(n % 2 ? 'r-1' : 'r-2', 2);
    const points = archive.ledger.filter(({ signal }) => signal === 'metrics').length * 3;
    const rollupRows = async (everyMs: number): Promise<number> => {
      const { segments } = await openCatalogue(store);
      const entries = segments({ kind: 'rollup' });
      expect(entries.map(({ rollup }) => rollup)).toEqual(entries.map(() => ({ everyMs })));
      return entries.reduce((sum, { rowCount }) => sum + rowCount, 0);
    };
    clock.jumpTo(clock.nowMs() + 3 * DAY_MS);
    await archive.upkeep({ rules });
    // Each series has its own name and a point an hour.
    expect(await rollupRows(300_000)).toBe(points);
    expect((await openCatalogue(store)).segments({ signal: 'metrics' })).toEqual([]);
    await archive.flush('r-1', 2);
    clock.jumpTo(clock.nowMs() + 10 * DAY_MS);
    await archive.upkeep({ rules });
    expect(await rollupRows(3_600_000)).toBe(points + 2 * 3);
    expect(await findings(store, clock.nowMs())).toEqual([]);
    clock.jumpTo(clock.nowMs() + 20 * DAY_MS);
    expect(await archive.upkeep({ rules })).toMatchObject({ state: 'done', skipped: [] });
    expect((await readLiveSegments(store)).live.size).toBe(0);
  });

  it('lets go of envelopes in doubt that are there a second time, merges the others once they are settled', async () => {
    const archive = memoryArchive();
    const { store, clock } = archive;
    const flushed = async (replica: string, doubts: number[]): Promise<void> => archive.flush(replica, 1, doubts);
    // The same bodies to two replicas; of the first nobody knows whether it was answered.
    archive.repeatsBodies = true;
    await flushed('r-1', [1, 3]);
    await flushed('r-2', []);
    archive.repeatsBodies = false;
    await flushed('r-1', [4]);
    const { live, leftOut } = await readLiveSegments(store);
    const doubtsOf = (keys: Iterable<string>): Set<string> =>
      new Set([...keys].map((key) => live.get(key)!.entry.doubt!).map((one) => `${one.journal}/${one.position}`));
    expect(doubtsOf(leftOut)).toEqual(new Set(['r-1-1/1', 'r-1-1/3']));
    const seen = (await openCatalogue(store)).segments();
    expect(seen.length).toBe(live.size - leftOut.size);
    clock.jumpTo(clock.nowMs() + HOUR_MS);
    const first = await archive.upkeep({ rules: { ...RULES, compactAfterMs: 0, compactInputsMin: 1 } });
    // All of them wait: one may still be sent again, another be heard of.
    expect(first).toMatchObject({ state: 'done', doubledSegments: 0 });
    const after = await readLiveSegments(store);
    expect(after.leftOut).toEqual(leftOut);
    const waiting = [...after.live.values()].filter(({ entry }) => entry.doubt);
    expect(new Set(waiting.map(({ entry }) => entry.doubt!.position))).toEqual(new Set([1, 3, 4]));
    expect(await keysUnder(store, 'hashes/')).toHaveLength(3);
    clock.jumpTo(clock.nowMs() + 2 * HOUR_MS);
    const second = await archive.upkeep({ rules: { ...RULES, compactAfterMs: 0, compactInputsMin: 1 } });
    expect(second).toMatchObject({ doubledSegments: leftOut.size });
    expect((await readLiveSegments(store)).leftOut.size).toBe(0);
    clock.jumpTo(clock.nowMs() + 4 * HOUR_MS);
    await archive.upkeep({ rules: { ...RULES, compactAfterMs: 0, compactInputsMin: 1 } });
    expect([...(await readLiveSegments(store)).live.values()].filter(({ entry }) => entry.doubt)).toEqual([]);
    expect(await keysUnder(store, 'hashes/')).toEqual([]);
    expect([...(await liveRows(store)).values()].every((times) => times === 1)).toBe(true);
    expect(await findings(store, clock.nowMs())).toEqual([]);
  });

  it('small segments of one hour become one, once, and the inputs go after the grace period', async () => {
    const archive = memoryArchive();
    const { store, clock } = archive;
    for (let n = 0; n < 5; n++) await archive.flush(n % 2 ? 'r-1' : 'r-2', 1);
    const before = await liveRows(store);
    const inputs = await segmentKeys(store);
    clock.jumpTo(clock.nowMs() + 3 * HOUR_MS);
    expect(await archive.upkeep()).toMatchObject({ state: 'done', writtenSegments: 5, mergedSegments: 25 });
    expect(await liveRows(store)).toEqual(before);
    expect((await readLiveSegments(store)).live.size).toBe(5);
    // Readers that began before still find their files.
    for (const key of inputs) await store.head(key).then((found) => expect(found).toBeDefined());
    clock.jumpTo(clock.nowMs() + GRACE_MS + 1);
    expect(await archive.upkeep()).toMatchObject({ merges: 0, deletedObjects: 25 });
    expect((await segmentKeys(store)).length).toBe(5);
    expect(await archive.upkeep()).toMatchObject({ merges: 0, deletedObjects: 0 });
    expect(await liveRows(store)).toEqual(before);
  });

  it('commit records give way to a checkpoint, but for the last of each journal', async () => {
    const archive = memoryArchive();
    const { store, clock } = archive;
    const options = { recordsPerCheckpointMin: 5 };
    for (let n = 0; n < 6; n++) await archive.flush('r-1', 1);
    await archive.flush('r-2', 1);
    const before = await liveRows(store);
    expect(await archive.upkeep(options)).toMatchObject({ state: 'done', deletedRecords: 0 });
    expect(await keysUnder(store, 'checkpoints/')).toEqual(['checkpoints/000000000001.json.gz']);
    await archive.flush('r-1', 1);
    // Readers that began before come to their end: not yet.
    expect(await archive.upkeep(options)).toMatchObject({ deletedRecords: 0 });
    clock.jumpTo(clock.nowMs() + GRACE_MS);
    expect(await archive.upkeep(options)).toMatchObject({ deletedRecords: 6 });
    expect(await keysUnder(store, 'commits/')).toEqual([
      'commits/r-1/0000000001/000000000007.json',
      'commits/r-2/0000000001/000000000001.json',
    ]);
    await archive.flush('r-2', 1);
    const rows = await liveRows(store);
    expect(rows.size).toBeGreaterThan(before.size);
    for (const key of before.keys()) expect(rows.get(key)).toBe(1);
    expect((await readLiveSegments(store)).commitCount).toBe(9);
    expect(await findings(store, clock.nowMs())).toEqual([]);
    // The next one: what was replaced and deleted meanwhile is in it no more.
    clock.jumpTo(clock.nowMs() + 3 * HOUR_MS);
    expect(await archive.upkeep(options)).toMatchObject({ writtenSegments: 5 });
    expect(await liveRows(store)).toEqual(rows);
    clock.jumpTo(clock.nowMs() + GRACE_MS);
    await archive.upkeep(options);
    await archive.flush('r-2', 1);
    await archive.upkeep({ recordsPerCheckpointMin: 1 });
    const { checkpoint } = await readLiveSegments(store);
    expect(checkpoint).toMatchObject({ replaced: [], unseen: [], recordCount: 15 });
    const now = await liveRows(store);
    expect([...rows.keys()].filter((key) => now.get(key) !== 1)).toEqual([]);
    expect(await findings(store, clock.nowMs())).toEqual([]);
  });

  it('what moves to a tier gets the storage class of that tier', async () => {
    const archive = memoryArchive();
    const { store, clock } = archive;
    await archive.flush('r-1', 1);
    const rules = { ...RULES, tiers: RULES.tiers.map((rule) => ({ ...rule, ...CLASSES[rule.tier] })) };
    const classes: string[] = [];
    const seen = Object.assign(Object.create(store) as ObjectStore, {
      get: store.get.bind(store),
      head: store.head.bind(store),
      list: store.list.bind(store),
      delete: store.delete.bind(store),
      put: (key: string, body: Uint8Array, options?: PutOptions) => {
        const tier = /tier=(\w+)/.exec(key)?.[1];
        if (tier) classes.push(`${tier} ${options?.storageClass}`);
        else expect(options?.storageClass).toBeUndefined();
        return store.put(key, body, options);
      },
    });
    for (const days of [3, 4]) {
      clock.jumpTo(clock.nowMs() + days * DAY_MS);
      await archive.upkeep({ store: seen, rules });
    }
    expect([...new Set(classes)]).toEqual(['warm STANDARD_IA', 'cold GLACIER_IR']);
  });

  it('a damaged input is left as it is, and told; the rest goes on', async () => {
    const archive = memoryArchive();
    const { store, clock } = archive;
    for (let n = 0; n < 3; n++) await archive.flush('r-1', 1);
    const logs = (await segmentKeys(store)).find((key) => key.includes('/logs/'))!;
    const { bytes } = await store.get(logs);
    bytes[bytes.byteLength >> 1]! ^= 1;
    await store.put(logs, bytes);
    clock.jumpTo(clock.nowMs() + 3 * DAY_MS);
    const summary = await archive.upkeep();
    expect(summary.skipped).toEqual([expect.stringContaining('default/logs/tier=hot/')]);
    const { live } = await readLiveSegments(store);
    expect([...live.values()].filter(({ entry }) => entry.tier === 'hot').map(({ entry }) => entry.signal)).toEqual([
      'logs',
      'logs',
      'logs',
    ]);
  });

  it('a clock that is far from the store’s moves and deletes nothing', async () => {
    const archive = memoryArchive();
    await archive.flush('r-1', 1);
    const before = await liveRows(archive.store);
    const fast = createManualClock(archive.clock.nowMs() + 800 * DAY_MS);
    const astray = new AgingArchive(archive.store, fast);
    await expect(astray.upkeep()).rejects.toThrow('ahead of the store');
    expect(await liveRows(archive.store)).toEqual(before);
  });

  it('a replica whose clock was years behind loses nothing', async () => {
    const archive = memoryArchive();
    const past = new AgingArchive(archive.store, createManualClock(archive.clock.nowMs() - 800 * DAY_MS));
    await past.flush('r-1', 1);
    const before = await liveRows(archive.store);
    expect(await archive.upkeep()).toMatchObject({ state: 'done', expiredSegments: 0 });
    expect(await liveRows(archive.store)).toEqual(before);
    // It goes when it is old by the store's clock.
    archive.clock.jumpTo(archive.clock.nowMs() + 21 * DAY_MS);
    expect(await archive.upkeep()).toMatchObject({ expiredSegments: 5 });
  });

  it('one process at a time; one that lives is left alone', async () => {
    const archive = memoryArchive();
    for (let n = 0; n < 3; n++) await archive.flush('r-1', 1);
    archive.clock.jumpTo(archive.clock.nowMs() + 3 * DAY_MS);
    const states = (await Promise.all([archive.upkeep({ replica: 'a' }), archive.upkeep({ replica: 'b' })])).map(
      ({ state }) => state,
    );
    expect(states).toContain('done');
    expect((await readLiveSegments(archive.store)).live.size).toBeGreaterThan(0);
  });

  it('a holder that was taken for gone commits nothing more', async () => {
    const archive = memoryArchive();
    const { store, clock } = archive;
    for (let n = 0; n < 4; n++) await archive.flush('r-1', 1);
    const before = await liveRows(store);
    clock.jumpTo(clock.nowMs() + 3 * DAY_MS);
    // It stands still with its first commit on the way, and renews nothing.
    const resume = Promise.withResolvers<void>();
    const reached = Promise.withResolvers<void>();
    let isStanding = false;
    const slow = wrapped(store, async (operation, key) => {
      if (operation === 'put' && key.startsWith(`commits/${UPKEEP_JOURNAL}/`)) {
        isStanding = true;
        reached.resolve();
      }
      if (isStanding) await resume.promise;
    });
    const zombie = archive.upkeep({ store: slow, replica: 'zombie' });
    await reached.promise;
    expect(await archive.upkeep({ replica: 'b' })).toMatchObject({ state: 'done' });
    const after = await liveRows(store);
    resume.resolve();
    expect(await zombie).toMatchObject({ state: 'lost', writtenSegments: 0 });
    expect(after).toEqual(before);
    expect(await liveRows(store)).toEqual(before);
    expect(await findings(store, clock.nowMs())).toEqual([]);
    // What it had written without a record goes, too.
    clock.jumpTo(clock.nowMs() + GRACE_MS + 1);
    await archive.upkeep({ replica: 'c' });
    expect((await segmentKeys(store)).length).toBe((await readLiveSegments(store)).live.size);
  });

  it('over schedules of flushes, runs and deaths at any step every row stays live exactly once', async () => {
    let deaths = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const random = seededRandom(seed).next;
      const archive = memoryArchive();
      const { store, clock } = archive;
      for (let step = 0; step < 14; step++) {
        const dice = random();
        if (dice < 0.45) {
          await archive.flush(random() < 0.5 ? 'r-1' : 'r-2', 1 + Math.floor(random() * 2));
        } else if (dice < 0.6) {
          clock.jumpTo(clock.nowMs() + Math.floor(random() * 2 * DAY_MS));
        } else {
          // Dies before or after an effect; from then on nothing it does is seen.
          let left = random() < 0.7 ? Math.floor(random() * 40) : Number.POSITIVE_INFINITY;
          const happensFirst = random() < 0.5;
          const dying = wrapped(store, async (_operation, _key, effect) => {
            left -= 1;
            if (left > 0) return;
            if (left === 0 && happensFirst) await effect();
            throw new Error('dead');
          });
          const decodedBytesMax = random() < 0.5 ? 3000 : 64 << 20;
          await archive.upkeep({ store: dying, decodedBytesMax, recordsPerCheckpointMin: 3 }).catch((error: Error) => {
            expect(error.message).toBe('dead');
            deaths += 1;
          });
        }
        const rows = await liveRows(store);
        expect([...rows.values()].filter((times) => times !== 1)).toEqual([]);
        const spans = [...rows.keys()].filter((key) => key.startsWith('traces') && key.endsWith('/span')).length;
        const young = archive.ledger.filter(({ receivedAtMs }) => receivedAtMs > clock.nowMs() - 20 * DAY_MS);
        expect(spans).toBeGreaterThanOrEqual(young.filter(({ signal }) => signal === 'traces').length);
      }
      // What the dead left goes with the next run that lives long enough.
      clock.jumpTo(clock.nowMs() + GRACE_MS + 1);
      expect(await archive.upkeep()).toMatchObject({ state: 'done' });
      expect(await findings(store, clock.nowMs())).toEqual([]);
    }
    expect(deaths).toBeGreaterThan(SEEDS / 2);
  }, 300_000);

  it('however many holders died before they committed, none of them can afterwards', async () => {
    const archive = memoryArchive();
    const { store, clock } = archive;
    await archive.flush('r-1', 1);
    clock.jumpTo(clock.nowMs() + 3 * DAY_MS);
    for (let life = 1; life <= 3; life++) {
      let leasesPut = 0;
      const dying = wrapped(store, async (operation, key) => {
        if (key.startsWith('leases/') && (operation === 'get' || leasesPut++ === 0)) return;
        throw new Error('dead');
      });
      await expect(archive.upkeep({ store: dying })).rejects.toThrow('dead');
    }
    expect(await archive.upkeep()).toMatchObject({ state: 'done', writtenSegments: 8 });
    for (let epoch = 1; epoch <= 3; epoch++) {
      const late: CommitRecord = {
        ...{ format: 1, replica: UPKEEP_JOURNAL, epoch, number: 1, first: 1, last: 0, envelopes: {}, rawBytes: {} },
        ...{ committedAtMs: clock.nowMs(), adds: [], replaces: ['x'] },
      };
      await expect(appendCommit(store, late)).rejects.toMatchObject({ code: 'STORE_EXISTS' });
    }
    expect(await findings(store, clock.nowMs())).toEqual([]);
  });
});

describe('plan', () => {
  const entry = (tier: 'hot' | 'warm' | 'cold', ageDays: number, name = 'r-1-1-000000000001-000000000002') => ({
    committedAtMs: -ageDays * DAY_MS,
    entry: {
      ...{
        key: `t/logs/tier=${tier}/dt=2026-01-01/hour=07/${name}.parquet`,
        tenant: 't',
        signal: 'logs' as const,
        tier,
      },
      ...{ rowCount: 1, sizeBytes: 10, timeMinMs: 0, timeMaxMs: 1 },
    },
  });

  it('lets go of signals and tenants at their own age', () => {
    const kept = [
      { tenant: 't', signal: 'logs' as const, days: 3 },
      { tenant: 'u', days: 50 },
      { signal: 'logs' as const, days: 30 },
    ];
    const expiredAt = (tenant: string, ageDays: number): boolean => {
      const one = entry('cold', ageDays);
      const live = { ...one, entry: { ...one.entry, tenant } };
      const { expired, merges } = planUpkeep([live], { ...RULES, kept }, 0);
      expect(merges).toEqual([]);
      return expired.length > 0;
    };
    expect([expiredAt('t', 2.9), expiredAt('t', 3)]).toEqual([false, true]);
    expect([expiredAt('u', 49), expiredAt('u', 50)]).toEqual([false, true]);
    expect([expiredAt('v', 29), expiredAt('v', 30)]).toEqual([false, true]);
  });

  it('moves by age, skips tiers that are not in use, makes nothing younger', () => {
    const plan = (tier: 'hot' | 'warm' | 'cold', ageDays: number, rules = RULES) => {
      const { merges, expired } = planUpkeep([entry(tier, ageDays)], rules, 0);
      return expired.length > 0 ? 'expired' : merges[0] ? `${merges[0].to} ${merges[0].hour ?? 'day'}` : 'stays';
    };
    expect(plan('hot', 1)).toBe('stays');
    expect(plan('hot', 2)).toBe('warm 07');
    expect(plan('hot', 7)).toBe('cold day');
    expect(plan('warm', 1)).toBe('stays');
    expect(plan('cold', 1)).toBe('stays');
    expect(plan('cold', 20)).toBe('expired');
    const noWarm = { ...RULES, tiers: RULES.tiers.filter(({ tier }) => tier !== 'warm') };
    expect(plan('hot', 3, noWarm)).toBe('cold day');
    expect(plan('warm', 3, noWarm)).toBe('cold day');
    const onlyCold = { ...RULES, tiers: RULES.tiers.slice(2) };
    expect(plan('hot', 0, onlyCold)).toBe('cold day');
  });

  it('merges young segments only where there are enough of them, and never again', () => {
    const young = [1, 2, 3].map((n) => entry('hot', 0.5, `r-1-1-00000000000${n}-00000000000${n}`));
    expect(planUpkeep(young.slice(1), RULES, 0).merges).toEqual([]);
    expect(planUpkeep(young, RULES, 0).merges.map(({ inputs }) => inputs.length)).toEqual([3]);
    const merged = young.map((one) => ({ ...one, entry: { ...one.entry, ranges: [] } }));
    expect(planUpkeep(merged, RULES, 0).merges).toEqual([]);
  });
});

/** The store as one process sees it: `before` runs ahead of each operation and may fail or hold it. */
function wrapped(
  store: ObjectStore,
  before: (operation: 'get' | 'put' | 'delete', key: string, effect: () => Promise<unknown>) => Promise<void>,
): ObjectStore {
  return {
    ...{ url: store.url, list: store.list.bind(store), head: store.head.bind(store), close: store.close.bind(store) },
    ...{ openRead: (store as never as Record<string, (...args: never[]) => never>).openRead?.bind(store) },
    get: async (key, range) => {
      await before('get', key, async () => {});
      return store.get(key, range);
    },
    put: async (key, bytes, options) => {
      await before('put', key, () => store.put(key, bytes, options));
      return store.put(key, bytes, options);
    },
    delete: async (key) => {
      await before('delete', key, () => store.delete(key));
      return store.delete(key);
    },
  } as ObjectStore;
}
