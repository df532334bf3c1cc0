import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type Finding, verifyStore } from '../../src/query/verify.ts';
import { type CommitRecord, commitKey, type SegmentEntry } from '../../src/store/commit-log.ts';
import { encodeCommit } from '../../src/store/commit-records.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { createArchiveFolder } from './archive-folder.ts';

const NOW = Date.UTC(2026, 0, 1, 12);

async function archive() {
  const folder = createArchiveFolder(await temporaryFolder());
  const { store } = folder;
  const entries: SegmentEntry[] = [];
  for (let flush = 0; flush < 3; flush++) {
    const body = JSON.stringify(Array.from({ length: 50 }, (_, n) => ({ message: `flush ${flush} line ${n}` })));
    entries.push(...(await folder.flush([{ signal: 'logs', protocol: 'logs-json', body, receivedAtMs: NOW }])));
  }
  // Segments lie as files there; here all is one store.
  for (const { key } of entries) await store.put(key, readFileSync(folder.pathOf(key)));
  const writtenAtMs = (await store.head(entries[0]!.key))!.modifiedAtMs;
  const verify = async (isDeep = true, nowMs = writtenAtMs + 2 * 3_600_000) => {
    const findings: Finding[] = [];
    const summary = await verifyStore(store, {
      isDeep,
      nowMs,
      concurrentMax: 3,
      onFinding: (finding) => {
        findings.push(finding);
      },
    });
    return { summary, findings, kinds: findings.map(({ kind, key }) => [kind, key]) };
  };
  return { store, entries, verify, writtenAtMs };
}

describe('verifying a store', () => {
  it('finds a whole one well, deep or quick', async () => {
    const { entries, verify } = await archive();
    for (const isDeep of [true, false]) {
      const { summary, findings } = await verify(isDeep);
      expect(findings).toEqual([]);
      expect(summary).toMatchObject({ journals: 1, records: 3, segments: 3, rows: 150, findings: 0 });
    }
    expect(entries.every(({ crc32 }) => crc32 !== undefined)).toBe(true);
  });

  it('tells segments that are missing, altered, cut or no Parquet', async () => {
    const { store, entries, verify } = await archive();
    const [a, b, c] = entries as [SegmentEntry, SegmentEntry, SegmentEntry];
    const bytes = (await store.get(b.key)).bytes;
    bytes[40]! ^= 1;
    await store.delete(a.key);
    await store.put(b.key, bytes);
    await store.put(c.key, new Uint8Array(c.sizeBytes));
    const { kinds, summary } = await verify();
    expect(kinds.sort()).toEqual(
      [
        ['altered', b.key],
        ['altered', c.key],
        ['missing', a.key],
      ].sort(),
    );
    expect(summary.findings).toBe(3);
    // Without reading all of it, the flipped bit is not seen, but the missing footer is.
    expect((await verify(false)).kinds.sort()).toEqual(
      [
        ['missing', a.key],
        ['unreadable', c.key],
      ].sort(),
    );
    await store.put(b.key, (await store.get(b.key)).bytes.subarray(1));
    expect((await verify(false)).kinds).toContainEqual(['altered', b.key]);
  });

  it('tells orphans, but not those that a flush may be about to commit', async () => {
    const { store, verify, writtenAtMs } = await archive();
    const orphan = 'default/logs/tier=hot/dt=2026-01-01/hour=12/r-1-1-000000000099-000000000099.parquet';
    await store.put(orphan, new Uint8Array(10));
    expect((await verify(true, writtenAtMs)).kinds).toEqual([]);
    expect((await verify()).kinds).toEqual([['orphan', orphan]]);
  });

  it('tells gaps and overlaps of ranges, and missing or damaged records', async () => {
    const { store, verify } = await archive();
    const identity = { replica: 'r-1', epoch: 1 };
    const add = (number: number, first: number, last: number) => {
      const record: CommitRecord = {
        format: 1,
        ...identity,
        number,
        first,
        last,
        envelopes: {},
        rawBytes: {},
        committedAtMs: NOW,
        adds: [],
        replaces: [],
      };
      return store.put(commitKey(identity, number), encodeCommit(record));
    };
    await add(4, 6, 9);
    await add(5, 9, 12);
    await add(7, 13, 14);
    await store.put(commitKey(identity, 8), Buffer.from('{"format":1'));
    const { kinds } = await verify();
    expect(kinds).toEqual([
      ['gap', commitKey(identity, 4)],
      ['overlap', commitKey(identity, 5)],
      ['record', commitKey(identity, 7)],
      ['record', commitKey(identity, 8)],
    ]);
  });
});
