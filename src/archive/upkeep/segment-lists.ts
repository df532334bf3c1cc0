/**
 * Lists of live segments for engines that read Parquet by themselves: one object per tenant, signal and day,
 * `lists/<tenant>/<signal>/dt=YYYY-MM-DD/segments.txt`, a line per segment with its URL (what Hive calls a symlink manifest). Each is
 * replaced whole, so whoever reads one sees the inputs of a merge or its output. Upkeep writes them after what it has changed and before
 * it deletes; what was flushed since its last run is not in them.
 *
 * `lists/index.json` tells what was written: `{"format":1,"atMs":…,"lists":{path: [CRC-32 of its bytes, version]}}`. All are replaced only if
 * unchanged since they were looked at: a holder of the lease that was taken for gone overwrites nothing of its successor's.
 */
import { crc32 } from 'node:zlib';
import { z } from 'zod';
import { isProxyError, messageOf, ProxyError } from '../../core/errors.ts';
import type { ObjectStore, PutCondition } from '../../store/object-store.ts';

export const LISTS_PREFIX = 'lists/';
const INDEX_KEY = `${LISTS_PREFIX}index.json`;
const PARTITION = /^([^/]+\/[^/]+)\/tier=[a-z]+\/(dt=\d{4}-\d{2}-\d{2})\//;
const WRITTEN_AT_ONCE = 16;

const indexShape = z.strictObject({
  format: z.literal(1),
  atMs: z.number(),
  lists: z.record(z.string(), z.tuple([z.number(), z.string()])),
});

export interface RefreshedLists {
  written: number;
  /** When they were written the time before; undefined: never. */
  earlierAtMs: number | undefined;
}

/** `urlOf`: of a segment's key, as engines know it. STORE_EXISTS where another process is at it. */
export async function refreshSegmentLists(
  store: ObjectStore,
  liveKeys: Iterable<string>,
  urlOf: (key: string) => string,
  nowMs: number,
): Promise<RefreshedLists> {
  const wanted = new Map<string, string[]>();
  for (const key of liveKeys) {
    const path = listPath(key);
    if (path === undefined) continue;
    const urls = wanted.get(path) ?? [];
    wanted.set(path, urls);
    urls.push(urlOf(key));
  }
  const index = await readIndex(store);
  const there = new Map<string, string>();
  for await (const { key, version } of store.list(LISTS_PREFIX)) there.set(key, version);
  const lists: Record<string, [crc: number, version: string]> = {};
  const changed: { path: string; bytes: Buffer }[] = [];
  for (const path of new Set([...wanted.keys(), ...Object.keys(index?.lists ?? {})])) {
    // An empty one stays: tables may name it.
    const lines = (wanted.get(path) ?? []).sort().map((url) => `${url}\n`);
    const bytes = Buffer.from(lines.join(''));
    const before = index?.lists[path];
    if (before?.[0] === crc32(bytes) && before[1] === there.get(path)) lists[path] = before;
    else changed.push({ path, bytes });
  }
  for (let i = 0; i < changed.length; i += WRITTEN_AT_ONCE) {
    await Promise.all(
      changed.slice(i, i + WRITTEN_AT_ONCE).map(async ({ path, bytes }) => {
        const { version } = await store.put(path, bytes, { condition: unchanged(there.get(path)) });
        lists[path] = [crc32(bytes), version];
      }),
    );
  }
  const content = { format: 1, atMs: nowMs, lists } satisfies z.infer<typeof indexShape>;
  await store.put(INDEX_KEY, Buffer.from(JSON.stringify(content)), { condition: unchanged(index?.version) });
  return { written: changed.length, earlierAtMs: index?.atMs };
}

function unchanged(version: string | undefined): PutCondition {
  return version === undefined ? { kind: 'absent' } : { kind: 'unchanged', version };
}

/** Undefined for a key of another kind. */
export function listPath(segmentKey: string): string | undefined {
  const found = PARTITION.exec(segmentKey);
  return found ? `${LISTS_PREFIX}${found[1]}/${found[2]}/segments.txt` : undefined;
}

async function readIndex(store: ObjectStore) {
  let found: Awaited<ReturnType<ObjectStore['get']>>;
  try {
    found = await store.get(INDEX_KEY);
  } catch (error) {
    if (isProxyError(error, 'STORE_ABSENT')) return undefined;
    throw error;
  }
  try {
    const index = indexShape.parse(JSON.parse(Buffer.from(found.bytes).toString('utf8')));
    return { ...index, version: found.info.version };
  } catch (error) {
    throw new ProxyError('STORE_INVALID', `${INDEX_KEY}: ${messageOf(error)}`, { cause: error });
  }
}
