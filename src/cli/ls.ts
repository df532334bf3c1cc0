/** `reductrai ls`: what is kept, per signal, tier and day; or its segments, its dead letters, its spill objects. */
import { parseArgs } from 'node:util';
import { messageOf } from '../core/errors.ts';
import { openCatalogue } from '../query/catalogue.ts';
import { formatTable, humanBytes } from '../query/table.ts';
import type { ObjectReader } from '../store/object-store.ts';
import { contentOf } from '../store/segment-keys.ts';
import { type CliIo, fail, type OpenedStore, write } from './io.ts';

const USAGE = `Usage: reductrai ls [--segments | --dead-letters | --spill] [--format table|ndjson]

Lists what is kept: segments, rows and bytes per signal, tier and day.
`;

export async function runLs(args: string[], io: CliIo, open: () => Promise<OpenedStore>): Promise<number> {
  let values: ReturnType<typeof parse>['values'];
  try {
    values = parse(args).values;
  } catch (error) {
    return fail(io, messageOf(error), USAGE);
  }
  if (values.help) {
    io.stdout.write(USAGE);
    return 0;
  }
  const isTable = (values.format ?? (io.stdoutIsTerminal ? 'table' : 'ndjson')) === 'table';
  try {
    const { store } = await open();
    const rows = values['dead-letters']
      ? await objects(store, 'dead-letters/')
      : values.spill
        ? await objects(store, 'spill/')
        : values.segments
          ? await segments(store)
          : await days(store);
    if (isTable) {
      const header = Object.keys(rows[0] ?? { nothing: '' });
      const cells = rows.map((row) =>
        header.map((name) => (name === 'bytes' ? humanBytes(Number(row[name])) : String(row[name]))),
      );
      await write(io.stdout, rows.length === 0 ? 'Nothing is kept yet.\n' : formatTable(header, cells, io.columns));
    } else {
      for (const row of rows) await write(io.stdout, `${JSON.stringify(row)}\n`);
    }
    return 0;
  } catch (error) {
    return fail(io, messageOf(error));
  }
}

type Listed = Record<string, string | number>;

async function days(store: ObjectReader): Promise<Listed[]> {
  const catalogue = await openCatalogue(store);
  const groups = new Map<
    string,
    { signal: string; tier: string; day: string; segments: number; rows: number; bytes: number }
  >();
  for (const entry of catalogue.segments({ kind: 'all' })) {
    const day = /dt=([\d-]+)/.exec(entry.key)?.[1] ?? '';
    const signal = contentOf(entry);
    const key = `${signal} ${entry.tier} ${day}`;
    const group = groups.get(key) ?? { signal, tier: entry.tier, day, segments: 0, rows: 0, bytes: 0 };
    group.segments += 1;
    group.rows += entry.rowCount;
    group.bytes += entry.sizeBytes;
    groups.set(key, group);
  }
  const rows = [...groups.keys()].sort().map((key) => groups.get(key)!);
  if (rows.length === 0) return [];
  const total = { signal: 'total', tier: '', day: '', segments: 0, rows: 0, bytes: 0 };
  for (const row of rows) {
    total.segments += row.segments;
    total.rows += row.rows;
    total.bytes += row.bytes;
  }
  return [...rows, total];
}

async function segments(store: ObjectReader): Promise<Listed[]> {
  return (await openCatalogue(store)).segments({ kind: 'all' }).map((entry) => ({
    signal: contentOf(entry),
    rows: entry.rowCount,
    bytes: entry.sizeBytes,
    from: new Date(entry.timeMinMs).toISOString(),
    to: new Date(entry.timeMaxMs).toISOString(),
    key: entry.key,
  }));
}

async function objects(store: ObjectReader, prefix: string): Promise<Listed[]> {
  const rows: Listed[] = [];
  for await (const info of store.list(prefix)) rows.push({ bytes: info.sizeBytes, key: info.key });
  return rows;
}

function parse(args: string[]) {
  return parseArgs({
    args,
    options: {
      segments: { type: 'boolean' },
      'dead-letters': { type: 'boolean' },
      spill: { type: 'boolean' },
      format: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  });
}
