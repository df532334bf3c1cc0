/**
 * SQL over the live segments. Views `metrics`, `logs`, `spans`, `events` show items with friendly columns; `<name>_raw` every row and
 * column; `rollups` what metrics were rolled up to (views.ts). What users run can read these views and nothing else, and write nowhere (duckdb.ts).
 *
 * The views of a signal are attached to its files only when a statement names them: opening the footers of all files of all signals
 * would make every small query slow.
 */
import { SIGNALS, type Signal } from '../core/envelope.ts';
import type { SegmentEntry } from '../store/commit-log.ts';
import type { Catalogue, SegmentFilter } from './catalogue.ts';
import { type DuckDb, openDuckDb, type QueryResult } from './duckdb.ts';
import { filesByLayout } from './layouts.ts';
import { type ReadRange, segmentsOfTrace } from './trace-segments.ts';
import { MACROS, ROLLUPS_VIEW, rollupViewsSql, VIEW_NAMES, viewsSql } from './views.ts';

export type { QueryResult } from './duckdb.ts';

export interface EngineOptions {
  catalogue: Catalogue;
  /** Absolute path of an object's file. */
  pathOf: (key: string) => string;
  /** Brings the files of these objects to where `pathOf` says, until they are released; absent: they are there. */
  ready?: (keys: readonly string[]) => Promise<void>;
  release?: (keys: readonly string[]) => Promise<void>;
  /** Part of an object, without the rest of it; absent: every segment is opened. */
  readRange?: ReadRange;
  /** DuckDB's own spelling: `1GB`. */
  memoryLimit: string;
  /** Where large sorts spill to, in a folder of their own that goes at the end. */
  tempFolder: string;
  /** Only rows that match are shown. */
  filter?: SegmentFilter;
}

export interface Engine {
  /** Runs one statement that reads; QUERY_INVALID with DuckDB's message for a bad one, or one that writes. */
  run(sql: string): Promise<QueryResult>;
  /** Share done of what runs, 0 to 1; undefined while unknown. */
  progress(): number | undefined;
  /** Ends what runs with an error. */
  interrupt(): void;
  close(): Promise<void>;
}

export async function openEngine(options: EngineOptions): Promise<Engine> {
  const { catalogue, pathOf, memoryLimit, tempFolder, filter = {} } = options;
  const sources = sourcesOf(catalogue, pathOf, filter);
  const paths = sources.flatMap(({ entries }) => entries).map(({ key }) => pathOf(key));
  const database = await openDuckDb({ paths, tempFolder, memoryLimit });
  try {
    for (const sql of MACROS) await database.run(sql);
    for (const { emptySql } of sources) for (const sql of emptySql) await database.run(sql);
  } catch (error) {
    await database.close();
    throw error;
  }
  return createEngine(database, sources, options);
}

/** A view and the files behind it. */
interface Source {
  view: string;
  signal: Signal;
  entries: SegmentEntry[];
  emptySql: string[];
  /** Over these, once their files are there. */
  sql: (database: DuckDb, entries: readonly SegmentEntry[]) => Promise<string[]>;
}

function sourcesOf(catalogue: Catalogue, pathOf: (key: string) => string, filter: SegmentFilter): Source[] {
  const entriesOf = (signal: Signal, kind: 'sent' | 'rollup') =>
    filter.signal === undefined || filter.signal === signal ? catalogue.segments({ ...filter, signal, kind }) : [];
  const sources: Source[] = SIGNALS.map((signal) => {
    const emptySql = viewsSql(signal, { plain: [], packed: [] });
    const sql: Source['sql'] = async (database, entries) =>
      viewsSql(signal, await filesByLayout(database, entries, pathOf), filter);
    return { view: VIEW_NAMES[signal], signal, entries: entriesOf(signal, 'sent'), emptySql, sql };
  });
  sources.push({
    view: ROLLUPS_VIEW,
    signal: 'metrics',
    entries: entriesOf('metrics', 'rollup'),
    emptySql: rollupViewsSql(new Map()),
    sql: async (_, entries) => {
      const byWindow = Map.groupBy(entries, ({ rollup }) => rollup!.everyMs);
      const files = [...byWindow].map(([every, list]) => [every, list.map(({ key }) => pathOf(key))] as const);
      return rollupViewsSql(new Map(files), filter);
    },
  });
  return sources;
}

function createEngine(database: DuckDb, sources: readonly Source[], options: EngineOptions): Engine {
  const { ready, release, readRange, filter } = options;
  const attached = new Map<Source, string[]>();
  const wantedOf = async ({ signal, entries }: Source): Promise<readonly SegmentEntry[]> => {
    if (!filter?.trace || !readRange) return entries;
    return segmentsOfTrace(signal, entries, filter.trace, readRange);
  };
  return {
    run: async (sql) => {
      for (const source of sources) {
        if (attached.has(source) || !mentions(sql, source.view)) continue;
        const wanted = await wantedOf(source);
        const keys = wanted.map(({ key }) => key);
        await ready?.(keys);
        for (const view of await source.sql(database, wanted)) await database.run(view);
        attached.set(source, keys);
      }
      return database.read(sql);
    },
    progress: () => database.progress(),
    interrupt: () => database.interrupt(),
    close: async () => {
      await database.close();
      for (const keys of attached.values()) await release?.(keys);
    },
  };
}

/** `query` and `query_table` take names as texts that may be put together, so all views may be meant. */
function mentions(sql: string, view: string): boolean {
  return new RegExp(`(?<![\\p{L}\\p{N}_])(${view}(_raw)?|query(_table)?)(?![\\p{L}\\p{N}_])`, 'iu').test(sql);
}
