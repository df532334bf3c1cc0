/** `reductrai ha status`: who holds a lease on what, and which journals are in the store (DURABILITY=store), finished or not. Reads only. */
import { parseArgs } from 'node:util';
import { isProxyError, messageOf } from '../core/errors.ts';
import { listChunkJournals } from '../journal/adopted-journal.ts';
import { chunkPrefix, decodeFence, type Fence } from '../journal/chunk.ts';
import { formatTable, humanBytes } from '../query/table.ts';
import { LEASE_PREFIX, type LeaseRecord, readLease } from '../store/leases.ts';
import type { ObjectReader } from '../store/object-store.ts';
import { type CliIo, fail, type OpenedStore, write } from './io.ts';

/** Fences are small; chunks this small are few. */
const FENCE_BYTES_MAX = 1024;
const USAGE = `Usage: reductrai ha status [--format table|ndjson]

Leases of replicas and of takeovers under way, and the journals of replicas that are in the store.
`;

interface LeaseRow {
  lease: string;
  holder: string;
  state: LeaseRecord['state'];
  /** By the holder's own clock. */
  renewedAt: string;
}

interface JournalRow {
  journal: string;
  /** `live`: its replica holds the lease; `orphaned`: to be taken over; `finished`: only the fence is left. */
  state: 'live' | 'orphaned' | 'finished';
  chunks: number;
  bytes: number;
  fencedBy: string;
}

export async function runHa(args: string[], io: CliIo, open: () => Promise<OpenedStore>): Promise<number> {
  let parsed: ReturnType<typeof parse>;
  try {
    parsed = parse(args);
  } catch (error) {
    return fail(io, messageOf(error), USAGE);
  }
  const { values, positionals } = parsed;
  if (values.help) {
    io.stdout.write(USAGE);
    return 0;
  }
  if (positionals.length !== 1 || positionals[0] !== 'status') return fail(io, 'what is wanted of ha: status?', USAGE);
  const opened = await open();
  try {
    const leases = await leaseRows(opened.store);
    const journals = await journalRows(opened.store, leases);
    if ((values.format ?? (io.stdoutIsTerminal ? 'table' : 'ndjson')) !== 'table') {
      for (const row of [...leases, ...journals]) await write(io.stdout, `${JSON.stringify(row)}\n`);
      return 0;
    }
    const header = ['lease', 'holder', 'state', 'renewed'];
    const cells = leases.map(({ lease, holder, state, renewedAt }) => [lease, holder, state, renewedAt]);
    await write(io.stdout, leases.length === 0 ? 'No leases.\n' : formatTable(header, cells, io.columns));
    const journalCells = journals.map((row) => [
      row.journal,
      row.state,
      String(row.chunks),
      humanBytes(row.bytes),
      row.fencedBy,
    ]);
    const journalHeader = ['journal', 'state', 'chunks', 'bytes', 'fenced by'];
    await write(
      io.stdout,
      journals.length === 0 ? '\nNo journals.\n' : `\n${formatTable(journalHeader, journalCells, io.columns)}`,
    );
    return 0;
  } catch (error) {
    return fail(io, messageOf(error));
  } finally {
    await opened.close();
  }
}

function parse(args: string[]) {
  const options = { format: { type: 'string' }, help: { type: 'boolean', short: 'h' } } as const;
  return parseArgs({ args, options, allowPositionals: true });
}

async function leaseRows(store: ObjectReader): Promise<LeaseRow[]> {
  const rows: LeaseRow[] = [];
  for await (const { key } of store.list(LEASE_PREFIX)) {
    const record = (await readLease(store, key))?.record;
    if (!record) continue;
    rows.push({
      lease: key.slice(LEASE_PREFIX.length).replace(/\.json$/, ''),
      holder: `${record.replica}-${record.epoch}`,
      state: record.state,
      renewedAt: new Date(record.atMs).toISOString(),
    });
  }
  return rows;
}

async function fenceAt(store: ObjectReader, key: string): Promise<Fence | undefined> {
  try {
    return decodeFence((await store.get(key)).bytes);
  } catch (error) {
    // A chunk that has just been passed.
    if (isProxyError(error, 'STORE_ABSENT')) return undefined;
    throw error;
  }
}

async function journalRows(store: ObjectReader, leases: readonly LeaseRow[]): Promise<JournalRow[]> {
  const rows: JournalRow[] = [];
  for (const identity of await listChunkJournals(store)) {
    const journal = `${identity.replica}-${identity.epoch}`;
    let chunks = 0;
    let bytes = 0;
    let fence: Fence | undefined;
    for await (const { key, sizeBytes } of store.list(chunkPrefix(identity))) {
      if (sizeBytes <= FENCE_BYTES_MAX) fence = await fenceAt(store, key);
      // What stands behind a fence was never acknowledged.
      if (fence) break;
      chunks += 1;
      bytes += sizeBytes;
    }
    if (chunks === 0 && !fence) continue;
    const isLive = leases.some(
      ({ lease, holder, state }) => lease === identity.replica && holder === journal && state === 'held',
    );
    rows.push({
      journal,
      state: fence && chunks === 0 ? 'finished' : isLive && !fence ? 'live' : 'orphaned',
      chunks,
      bytes,
      fencedBy: fence ? `${fence.replica}-${fence.epoch}` : '',
    });
  }
  return rows;
}
