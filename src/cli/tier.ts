/** `reductrai tier status|plan|run`: how data ages. */
import { parseArgs } from 'node:util';
import type { UpkeepSummary } from '../archive/upkeep/upkeep.ts';
import { planNow, runUpkeep } from '../archive/upkeep/upkeep.ts';
import { createParquetCodec } from '../codec/parquet-codec.ts';
import type { Settings } from '../config/registry.ts';
import { targetOf } from '../config/storage.ts';
import { upkeepRulesOf } from '../config/tiers.ts';
import { systemClock } from '../core/clock.ts';
import { messageOf } from '../core/errors.ts';
import { KIB, MERGE_DECODED_BYTES_MAX, MERGE_ROWS_MAX, ROW_GROUP_ROWS_MAX } from '../core/limits.ts';
import { formatTable, humanBytes } from '../query/table.ts';
import type { SegmentEntry, Tier } from '../store/commit-log.ts';
import type { LiveSegments } from '../store/live-segments.ts';
import { contentOf } from '../store/segment-keys.ts';
import { objectUrlOf } from '../store/store-url.ts';
import { createLog } from '../telemetry/log.ts';
import { type CliIo, fail, write } from './io.ts';
import { openTieredStore } from './open-store.ts';

const USAGE = `Usage: reductrai tier status|plan|run [--format table|ndjson]

  status   segments, rows and bytes per tier and signal, and what waits to be deleted
  plan     what \`run\` would do now
  run      merges small segments, moves what grew too old for its tier, expires and deletes; one process at a time
`;

/** Encoding one output at a high level may take a minute in which nothing is renewed. */
const LEASE_MS = 5 * 60_000;
/** So many commit records are read in a second or two. */
const RECORDS_PER_CHECKPOINT_MIN = 256;
const MERGE_BOUNDS = { decodedBytesMax: MERGE_DECODED_BYTES_MAX, rowsMax: MERGE_ROWS_MAX };

export async function runTier(args: string[], io: CliIo, settingsOf: () => Settings): Promise<number> {
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
  const [action] = positionals;
  if (positionals.length !== 1 || !action || !['status', 'plan', 'run'].includes(action)) {
    return fail(io, 'what is wanted: status, plan or run?', USAGE);
  }
  const isTable = (values.format ?? (io.stdoutIsTerminal ? 'table' : 'ndjson')) === 'table';
  try {
    const settings = settingsOf();
    const { store, claim } = await openTieredStore(settings, action !== 'run');
    try {
      if (action === 'run') await claim();
      if (action === 'run') return await run(settings, store, io, isTable);
      const rules = upkeepRulesOf(settings);
      const plan = await planNow(store, rules, systemClock.nowMs());
      const rows = action === 'plan' ? planRows(plan) : statusRows(plan);
      await print(io, rows, isTable, action === 'plan' ? 'Nothing is to be done.\n' : 'Nothing is kept yet.\n');
      return 0;
    } finally {
      await store.close();
    }
  } catch (error) {
    return fail(io, messageOf(error));
  }
}

function parse(args: string[]) {
  const options = { format: { type: 'string' }, help: { type: 'boolean', short: 'h' } } as const;
  return parseArgs({ args, options, allowPositionals: true });
}

type Store = Awaited<ReturnType<typeof openTieredStore>>['store'];
type Row = Record<string, string | number>;

async function run(settings: Settings, store: Store, io: CliIo, isTable: boolean): Promise<number> {
  const stop = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stop.abort());
  const summary = await runUpkeep({
    store,
    codec: createParquetCodec(),
    clock: systemClock,
    log: createLog(isTable ? 'error' : settings.server.logLevel, process.stderr),
    replica: settings.server.replicaId,
    leaseMs: LEASE_MS,
    rules: upkeepRulesOf(settings),
    bounds: { ...MERGE_BOUNDS, rowGroupRowsMax: ROW_GROUP_ROWS_MAX },
    graceMs: settings.cleanup.graceMs,
    recordsPerCheckpointMin: RECORDS_PER_CHECKPOINT_MIN,
    signal: stop.signal,
    ...(settings.cleanup.lists ? { listedUrlOf: (key) => objectUrlOf(targetOf(settings), key) } : {}),
    ...(io.stderrIsTerminal ? { onProgress: (now) => io.stderr.write(`\r${lineOf(now)}`) } : {}),
  });
  if (io.stderrIsTerminal) io.stderr.write('\n');
  const peakMemoryBytes = process.resourceUsage().maxRSS * KIB;
  await write(io.stdout, isTable ? `${told(summary)}\n` : `${JSON.stringify({ ...summary, peakMemoryBytes })}\n`);
  return summary.state === 'lost' || summary.skipped.length > 0 ? 1 : 0;
}

function lineOf({ merges, mergedSegments, writtenSegments, mergedBytes, writtenBytes }: UpkeepSummary): string {
  return `${merges} partitions: ${mergedSegments} segments (${humanBytes(mergedBytes)}) became ${writtenSegments} (${humanBytes(writtenBytes)})`;
}

function told(summary: UpkeepSummary): string {
  if (summary.state === 'busy') return 'Another process is at it.';
  const {
    expiredSegments,
    expiredBytes,
    doubledSegments,
    deletedObjects,
    deletedBytes,
    deletedRecords,
    writtenLists,
    skipped,
  } = summary;
  return [
    lineOf(summary),
    `${expiredSegments} segments expired (${humanBytes(expiredBytes)})`,
    `${deletedObjects} objects deleted (${humanBytes(deletedBytes)})`,
    ...(doubledSegments > 0 ? [`${doubledSegments} segments let go: their envelopes are there a second time`] : []),
    ...(deletedRecords > 0 ? [`${deletedRecords} commit records gave way to a checkpoint`] : []),
    ...(writtenLists > 0 ? [`${writtenLists} lists of segments written anew`] : []),
    ...skipped.map((partition) => `left as it is: ${partition}`),
    ...(summary.state === 'done' ? [] : [`ended early: ${summary.state}`]),
  ].join('\n');
}

function planRows({ merges, expired, segments }: Awaited<ReturnType<typeof planNow>>): Row[] {
  const bytesPerRow = bytesPerRowOf(segments);
  const rows: Row[] = merges.map(({ tenant, from, to, day, hour, inputs }) => {
    const { rows, bytes, ...rest } = totals(inputs);
    // By what the tier holds already; unknown before anything came there.
    const expected = from === to ? undefined : bytesPerRow.get(`${to} ${contentOf(inputs[0]!)}`);
    const saved = expected === undefined ? '' : Math.max(0, Math.round(bytes - rows * expected));
    return {
      ...{
        what: from === to ? 'merge' : 'move',
        tenant,
        signal: contentOf(inputs[0]!),
        from,
        to,
        day,
        hour: hour ?? '',
      },
      ...{ ...rest, rows, bytes, saved_bytes: saved },
    };
  });
  const bySignal = Map.groupBy(expired, (entry) => JSON.stringify([entry.tenant, contentOf(entry), entry.tier]));
  for (const [key, inputs] of bySignal) {
    const [tenant, signal, from] = JSON.parse(key) as [string, string, Tier];
    const sums = totals(inputs);
    const place = { what: 'expire', tenant, signal, from, to: '', day: '', hour: '' };
    rows.push({ ...place, ...sums, saved_bytes: sums.bytes });
  }
  return rows;
}

/** By tier and content. */
function bytesPerRowOf({ live }: LiveSegments): Map<string, number> {
  const entries = [...live.values()].map(({ entry }) => entry);
  const groups = Map.groupBy(entries, (entry) => `${entry.tier} ${contentOf(entry)}`);
  return new Map(
    [...groups].map(([name, inputs]) => {
      const { rows, bytes } = totals(inputs);
      return [name, bytes / Math.max(1, rows)];
    }),
  );
}

function statusRows({ segments }: Awaited<ReturnType<typeof planNow>>): Row[] {
  const all = [...segments.live.values()].map(({ entry }) => entry);
  const groups = Map.groupBy(all, (entry) => JSON.stringify([entry.tier, contentOf(entry)]));
  return [...groups.keys()].sort().map((key) => {
    const [tier, signal] = JSON.parse(key) as [string, string];
    const inputs = groups.get(key)!;
    const sizes = inputs.map(({ sizeBytes }) => sizeBytes).sort((a, b) => a - b);
    const hours = new Set(inputs.map((entry) => entry.key.replace(/\/[^/]+$/, ''))).size;
    return { tier, signal, ...totals(inputs), median_bytes: sizes[sizes.length >> 1]!, partitions: hours };
  });
}

function totals(inputs: readonly SegmentEntry[]): { segments: number; rows: number; bytes: number } {
  const sum = (of: (entry: SegmentEntry) => number): number => inputs.reduce((total, entry) => total + of(entry), 0);
  return { segments: inputs.length, rows: sum(({ rowCount }) => rowCount), bytes: sum(({ sizeBytes }) => sizeBytes) };
}

async function print(io: CliIo, rows: readonly Row[], isTable: boolean, empty: string): Promise<void> {
  if (!isTable) {
    for (const row of rows) await write(io.stdout, `${JSON.stringify(row)}\n`);
    return;
  }
  const header = Object.keys(rows[0] ?? {});
  const cells = rows.map((row) =>
    header.map((name) =>
      name.endsWith('bytes') && row[name] !== '' ? humanBytes(Number(row[name])) : String(row[name]),
    ),
  );
  await write(io.stdout, rows.length === 0 ? empty : formatTable(header, cells, io.columns));
}
