/**
 * Walks a store and tells what does not hold: commit records that are damaged or missing, journal ranges with gaps or overlaps,
 * segments that are absent, altered or unreadable, objects that nothing refers to. Changes nothing.
 */
import { crc32 } from 'node:zlib';
import { parquetMetadata } from 'hyparquet';
import { FORMAT_KEY } from '../codec/codec.ts';
import { isProxyError, messageOf } from '../core/errors.ts';
import { CHECKPOINT_PREFIX, type Checkpoint, latestCheckpoint } from '../store/checkpoints.ts';
import { type CommitRecord, commitPrefix, type SegmentEntry } from '../store/commit-log.ts';
import { COMMIT_PREFIX, decodeCommit, parseCommitKey } from '../store/commit-records.ts';
import type { ObjectInfo, ObjectReader } from '../store/object-store.ts';
import { isSegmentKey } from '../store/segment-keys.ts';

export interface Finding {
  kind: 'record' | 'gap' | 'overlap' | 'missing' | 'altered' | 'unreadable' | 'orphan';
  key: string;
  detail: string;
  /** What an operator can do about it. */
  repair: string;
}

export interface VerifyOptions {
  /** Also read every segment whole and compare its checksum; otherwise sizes and footers only. */
  isDeep: boolean;
  nowMs: number;
  /** Segments looked at at once. */
  concurrentMax: number;
  onFinding: (finding: Finding) => Promise<void> | void;
  onProgress?: (done: number, total: number) => void;
}

export interface VerifySummary {
  journals: number;
  records: number;
  segments: number;
  rows: number;
  bytes: number;
  findings: number;
}

/** A younger segment without a record may be one of a flush that is under way. */
const ORPHAN_AGE_MS_MIN = 60 * 60_000;
const FOOTER_BYTES = 64 * 1024;
const MAGIC = 'PAR1';

export async function verifyStore(reader: ObjectReader, options: VerifyOptions): Promise<VerifySummary> {
  const summary: VerifySummary = { journals: 0, records: 0, segments: 0, rows: 0, bytes: 0, findings: 0 };
  const report = async (finding: Finding): Promise<void> => {
    summary.findings += 1;
    await options.onFinding(finding);
  };
  const live = new Map<string, SegmentEntry>();
  const known = new Set<string>();
  const replaced = new Set<string>();
  const checkpoint = await readCheckpoint(reader, report);
  for (const { entry } of checkpoint?.live ?? []) {
    live.set(entry.key, entry);
    known.add(entry.key);
  }
  for (const { key } of checkpoint?.replaced ?? []) {
    known.add(key);
    replaced.add(key);
  }
  await walkRecords(reader, checkpoint, report, summary, (record) => {
    for (const entry of record.adds) {
      live.set(entry.key, entry);
      known.add(entry.key);
    }
    for (const key of record.replaces) replaced.add(key);
  });
  for (const key of replaced) live.delete(key);

  const objects = new Map<string, ObjectInfo>();
  for await (const info of reader.list('')) {
    if (!isSegmentKey(info.key)) continue;
    if (live.has(info.key)) objects.set(info.key, info);
    else if (!known.has(info.key) && options.nowMs - info.modifiedAtMs > ORPHAN_AGE_MS_MIN) {
      await report({
        kind: 'orphan',
        key: info.key,
        detail: 'no commit record names it: left over from a crash, and no query sees it',
        repair: 'may be deleted once no replica of that name has a journal left',
      });
    }
  }

  const entries = [...live.values()];
  let done = 0;
  const next = entries[Symbol.iterator]();
  const worker = async (): Promise<void> => {
    for (let step = next.next(); !step.done; step = next.next()) {
      const finding = await checkSegment(reader, step.value, objects.get(step.value.key), options.isDeep);
      if (finding) await report(finding);
      summary.segments += 1;
      summary.rows += step.value.rowCount;
      summary.bytes += step.value.sizeBytes;
      done += 1;
      options.onProgress?.(done, entries.length);
    }
  };
  await Promise.all(Array.from({ length: options.concurrentMax }, worker));
  return summary;
}

async function readCheckpoint(
  reader: ObjectReader,
  report: (finding: Finding) => Promise<void>,
): Promise<Checkpoint | undefined> {
  try {
    return await latestCheckpoint(reader);
  } catch (error) {
    if (!isProxyError(error, 'STORE_INVALID')) throw error;
    const repair =
      'bring it back from a backup or a versioned bucket; removing it helps while the records it holds are there';
    await report({ kind: 'record', key: CHECKPOINT_PREFIX, detail: messageOf(error), repair });
    return undefined;
  }
}

/** All records of all journals that the checkpoint does not hold, whatever is wrong with some of them. */
async function walkRecords(
  reader: ObjectReader,
  checkpoint: Checkpoint | undefined,
  report: (finding: Finding) => Promise<void>,
  summary: VerifySummary,
  onRecord: (record: CommitRecord) => void,
): Promise<void> {
  const held = new Map(checkpoint?.journals.map((end) => [commitPrefix(end), end]));
  let journal = '';
  let number = 0;
  let last: number | undefined;
  for await (const { key } of reader.list(COMMIT_PREFIX)) {
    const found = parseCommitKey(key);
    if (!found) {
      await report({ kind: 'record', key, detail: 'not a name of a commit record', repair: 'move it elsewhere' });
      continue;
    }
    const own = commitPrefix(found.identity);
    if (own !== journal) {
      journal = own;
      number = held.get(own)?.number ?? 0;
      last = held.get(own)?.last;
      summary.journals += 1;
    }
    summary.records += 1;
    if (found.number <= (held.get(own)?.number ?? 0)) continue;
    if (found.number !== number + 1) {
      const detail = `records ${number + 1} to ${found.number - 1} are missing before it; queries stop here`;
      await report({ kind: 'record', key, detail, repair: 'bring them back from a backup or a versioned bucket' });
      last = undefined;
    }
    number = found.number;
    let record: CommitRecord;
    try {
      record = decodeCommit(key, (await reader.get(key)).bytes);
    } catch (error) {
      const repair = 'bring it back from a backup or a versioned bucket';
      await report({ kind: 'record', key, detail: messageOf(error), repair });
      last = undefined;
      continue;
    }
    onRecord(record);
    // A merge covers ranges again that its inputs covered before.
    if (record.replaces.length > 0) continue;
    if (last !== undefined && record.first !== last + 1) {
      const isGap = record.first > last + 1;
      await report({
        kind: isGap ? 'gap' : 'overlap',
        key,
        detail: `covers ${record.first} to ${record.last}, the one before ends at ${last}`,
        repair: isGap
          ? 'what lies between was never committed: look for its journal'
          : 'some envelopes may be there twice: compare before removing any',
      });
    }
    last = record.last;
  }
}

async function checkSegment(
  reader: ObjectReader,
  entry: SegmentEntry,
  info: ObjectInfo | undefined,
  isDeep: boolean,
): Promise<Finding | undefined> {
  const { key } = entry;
  const repair = 'bring it back from a backup or a versioned bucket; if that is not possible its rows are lost';
  if (!info) return { kind: 'missing', key, detail: `its ${entry.rowCount} rows are committed but not there`, repair };
  if (info.sizeBytes !== entry.sizeBytes) {
    return { kind: 'altered', key, detail: `${info.sizeBytes} bytes instead of ${entry.sizeBytes}`, repair };
  }
  try {
    const tailBytes = Math.min(info.sizeBytes, FOOTER_BYTES);
    let bytes = (await reader.get(key, isDeep ? undefined : { offset: info.sizeBytes - tailBytes, length: tailBytes }))
      .bytes;
    if (isDeep && entry.crc32 !== undefined && crc32(bytes) !== entry.crc32) {
      return { kind: 'altered', key, detail: 'its bytes do not match the checksum of its commit record', repair };
    }
    const footerBytes = footerBytesOf(bytes);
    if (footerBytes > bytes.byteLength && footerBytes <= info.sizeBytes) {
      bytes = (await reader.get(key, { offset: info.sizeBytes - footerBytes, length: footerBytes })).bytes;
    }
    const footer = parquetMetadata(Uint8Array.from(bytes).buffer);
    if (Number(footer.num_rows) !== entry.rowCount) {
      return { kind: 'altered', key, detail: `${footer.num_rows} rows instead of ${entry.rowCount}`, repair };
    }
    if (!footer.key_value_metadata?.some((pair) => pair.key === FORMAT_KEY)) {
      return { kind: 'unreadable', key, detail: 'not written by this product', repair };
    }
    return undefined;
  } catch (error) {
    if (isProxyError(error) && error.code !== 'STORE_CORRUPT' && error.code !== 'STORE_ABSENT') throw error;
    return { kind: 'unreadable', key, detail: messageOf(error), repair };
  }
}

/** With its length and the closing magic. */
function footerBytesOf(bytes: Uint8Array): number {
  const tail = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (tail.byteLength < 12 || tail.toString('latin1', tail.byteLength - 4) !== MAGIC) {
    throw new Error('it does not end as a Parquet file does');
  }
  return tail.readUInt32LE(tail.byteLength - 8) + 8;
}
