/**
 * SQL over the live segments. Views `metrics`, `logs`, `spans`, `events` show items with friendly columns; `<name>_raw` every row and
 * column; `rollups` what metrics were rolled up to (views.ts). What users run can read these views and nothing else, and write nowhere (duckdb.ts).
 *
 * The views of a signal are attached to its files only when a statement names them: opening the footers of all files of all signals
 * would make every small query slow.
 */
import { SIGNALS, type Signal } from '../core/envelope.ts';
import type { Catalogue, SegmentFilter } from './catalogue.ts';
import { type DuckDb, openDuckDb, type QueryResult } from './duckdb.ts';
import { filesByLayout } from './layouts.ts';
import { MACROS, ROLLUPS_VIEW, rollupViewsSql, VIEW_NAMES, viewsSql } from './views.ts';

export type { QueryResult } from './duckdb.ts';

export interface EngineOptions {
  catalogue: Catalogue;
  /** Absolute path of an object's file. */
  pathOf: (key: string) => string;
  /** Brings the files of these objects to where `pathOf` says, until they are released; absent: they are there. */
  ready?: (keys: readonly string[]) => Promise<void>;
  release?: (keys: readonly string[]) => Promise<void>;
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
  const paths = sources.flatMap(({ keys }) => keys).map(pathOf);
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
  keys: string[];
  emptySql: string[];
  /** Once the files are there. */
  sql: (database: DuckDb) => Promise<string[]>;
}

function sourcesOf(catalogue: Catalogue, pathOf: (key: string) => string, filter: SegmentFilter): Source[] {
  const entriesOf = (signal: Signal, kind: 'sent' | 'rollup') =>
    filter.signal === undefined || filter.signal === signal ? catalogue.segments({ ...filter, signal, kind }) : [];
  const sources: Source[] = SIGNALS.map((signal) => {
    const entries = entriesOf(signal, 'sent');
    const keys = entries.map(({ key }) => key);
    const sql = async (database: DuckDb) => viewsSql(signal, await filesByLayout(database, entries, pathOf), filter);
    return { view: VIEW_NAMES[signal], keys, emptySql: viewsSql(signal, { plain: [], packed: [] }), sql };
  });
  const rollups = entriesOf('metrics', 'rollup');
  const byWindow = Map.groupBy(rollups, ({ rollup }) => rollup!.everyMs);
  const files = () => new Map([...byWindow].map(([every, entries]) => [every, entries.map(({ key }) => pathOf(key))]));
  sources.push({
    view: ROLLUPS_VIEW,
    keys: rollups.map(({ key }) => key),
    emptySql: rollupViewsSql(new Map()),
    sql: async () => rollupViewsSql(files(), filter),
  });
  return sources;
}

function createEngine(database: DuckDb, sources: readonly Source[], { ready, release }: EngineOptions): Engine {
  const attached = new Set<Source>();
  return {
    run: async (sql) => {
      for (const source of sources) {
        if (attached.has(source) || !mentions(sql, source.view)) continue;
        await ready?.(source.keys);
        for (const view of await source.sql(database)) await database.run(view);
        attached.add(source);
      }
      return database.read(sql);
    },
    progress: () => database.progress(),
    interrupt: () => database.interrupt(),
    close: async () => {
      await database.close();
      for (const { keys } of attached) await release?.(keys);
    },
  };
}

/** `query` and `query_table` take names as texts that may be put together, so all views may be meant. */
function mentions(sql: string, view: string): boolean {
  return new RegExp(`(?<![\\p{L}\\p{N}_])(${view}(_raw)?|query(_table)?)(?![\\p{L}\\p{N}_])`, 'iu').test(sql);
}
