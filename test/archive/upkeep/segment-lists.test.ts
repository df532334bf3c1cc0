/** What other engines are told to read is what is live, day by day, whatever upkeep did, and is there for as long as it is listed. */
import { DuckDBInstance } from '@duckdb/node-api';
import { describe, expect, it } from 'vitest';
import { listPath, refreshSegmentLists } from '../../../src/archive/upkeep/segment-lists.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { nodeFileSystem } from '../../../src/core/file-system.ts';
import { seededRandom, systemRandom } from '../../../src/core/random.ts';
import { readLiveSegments } from '../../../src/store/live-segments.ts';
import { openLocalStore } from '../../../src/store/local-store.ts';
import { createMemoryStore } from '../../../src/store/memory-store.ts';
import type { ObjectStore } from '../../../src/store/object-store.ts';
import { createManualClock } from '../../support/manual-clock.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';
import { AgingArchive, DAY_MS } from './aging-archive.ts';

const HOUR_MS = 3_600_000;

async function listedKeys(store: ObjectStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list('lists/')) {
    if (!key.endsWith('.txt')) continue;
    const lines = Buffer.from((await store.get(key)).bytes)
      .toString('utf8')
      .split('\n')
      .slice(0, -1);
    for (const line of lines) {
      const listed = line.replace('s3://bucket/', '');
      expect(listPath(listed)).toBe(key);
      keys.push(listed);
    }
  }
  return keys.sort();
}

async function liveKeys(store: ObjectStore): Promise<string[]> {
  const { live, leftOut } = await readLiveSegments(store);
  return [...live.keys()].filter((key) => !leftOut.has(key)).sort();
}

describe('lists of live segments', () => {
  it('are right after each run of a month, and name nothing that is gone', async () => {
    const clock = createManualClock();
    const archive = new AgingArchive(createMemoryStore({ clock }), clock);
    for (let day = 0; day < 25; day++) {
      for (let hour = 0; hour < 24; hour += 8) {
        await archive.flush('a');
        await archive.flush('b');
        await clock.advance(8 * HOUR_MS);
      }
      const before = await listedKeys(archive.store);
      const { writtenLists } = await archive.upkeep({ isListed: true });
      expect(await listedKeys(archive.store)).toEqual(await liveKeys(archive.store));
      // Who has read a list just before still finds all of it.
      for (const key of before) expect(await archive.store.head(key), key).toBeDefined();
      expect(writtenLists).toBeGreaterThan(0);
      expect((await archive.upkeep({ isListed: true })).writtenLists).toBe(0);
    }
  });

  it('are right after a run that follows one that failed anywhere', async () => {
    const random = seededRandom(7);
    for (let round = 0; round < 12; round++) {
      const clock = createManualClock();
      const archive = new AgingArchive(createMemoryStore({ clock }), clock);
      for (let flush = 0; flush < 8; flush++) {
        await archive.flush('a');
        await clock.advance(HOUR_MS / 2);
      }
      await archive.upkeep({ isListed: true });
      for (let flush = 0; flush < 4; flush++) await archive.flush('b');
      await clock.advance(DAY_MS * 3);
      let left = 1 + Math.floor(random.next() * 30);
      const failing: ObjectStore = {
        ...{ url: archive.store.url, close: () => archive.store.close() },
        get: (key, range) => archive.store.get(key, range),
        head: (key) => archive.store.head(key),
        list: (prefix, options) => archive.store.list(prefix, options),
        delete: (key) => archive.store.delete(key),
        put: (key, body, options) => {
          left -= 1;
          return left === 0 ? Promise.reject(new Error('the process died')) : archive.store.put(key, body, options);
        },
      };
      await archive.upkeep({ isListed: true, store: failing }).catch(() => undefined);
      const before = await listedKeys(archive.store);
      await clock.advance(DAY_MS);
      await archive.upkeep({ isListed: true, replica: 'c' });
      expect(await listedKeys(archive.store)).toEqual(await liveKeys(archive.store));
      for (const key of before) expect(await archive.store.head(key), key).toBeDefined();
      await clock.advance(DAY_MS);
      await archive.upkeep({ isListed: true, replica: 'c' });
      expect(await listedKeys(archive.store)).toEqual(await liveKeys(archive.store));
    }
  });

  it('are not overwritten by a holder that was taken for gone', async () => {
    const clock = createManualClock();
    const store = createMemoryStore({ clock });
    const key = 'default/logs/tier=hot/dt=2026-01-01/hour=00/a-1-1-2.parquet';
    const urlOf = (listed: string): string => `s3://b/${listed}`;
    let meanwhile: (() => Promise<unknown>) | undefined = () => refreshSegmentLists(store, [key, `${key}2`], urlOf, 2);
    const slow: ObjectStore = {
      ...{ url: store.url, close: () => store.close(), get: (of) => store.get(of), head: (of) => store.head(of) },
      ...{ list: (prefix) => store.list(prefix), delete: (of) => store.delete(of) },
      put: async (...args) => {
        await meanwhile?.();
        meanwhile = undefined;
        return store.put(...args);
      },
    };
    await expect(refreshSegmentLists(slow, [key], urlOf, 1)).rejects.toMatchObject({ code: 'STORE_EXISTS' });
    const found = await store.get('lists/default/logs/dt=2026-01-01/segments.txt');
    expect(Buffer.from(found.bytes).toString()).toBe(`s3://b/${key}\ns3://b/${key}2\n`);
  });

  it('lead DuckDB to every row once', async () => {
    const root = await temporaryFolder();
    const clock = createManualClock();
    const store = await openLocalStore({ root, fileSystem: nodeFileSystem, clock: systemClock, random: systemRandom });
    const archive = new AgingArchive(store, clock);
    for (let flush = 0; flush < 6; flush++) await archive.flush('a');
    const keys = await liveKeys(store);
    await refreshSegmentLists(store, keys, (key) => `${root}/${key}`, 1);
    const connection = await (await DuckDBInstance.create()).connect();
    let rows = 0;
    for await (const { key } of store.list('lists/default/logs/')) {
      await connection.run(
        `SET VARIABLE files = (SELECT string_split(rtrim(content, chr(10)), chr(10)) FROM read_text('${root}/${key}'))`,
      );
      const answer = await connection.runAndReadAll(
        "SELECT count(*) FROM read_parquet(getvariable('files'), hive_partitioning = false, union_by_name = true) WHERE kind = 'log'",
      );
      rows += Number(answer.getRows()[0]![0]);
    }
    connection.closeSync();
    expect(rows).toBe(archive.ledger.filter(({ signal }) => signal === 'logs').length);
  });
});
