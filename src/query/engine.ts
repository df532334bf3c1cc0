/**
 * SQL over the live segments. Views `metrics`, `logs`, `spans`, `events` show items with friendly columns; `<name>_raw` every row and
 * column (views.ts). What users run can read these views and nothing else, and write nowhere (duckdb.ts).
 *
 * The views of a signal are attached to its files only when a statement names them: opening the footers of all files of all signals
 * would make every small query slow.
 */
import { SIGNALS, type Signal } from '../core/envelope.ts';
import type { Catalogue, SegmentFilter } from './catalogue.ts';
import { type DuckDb, openDuckDb, type QueryResult } from './duckdb.ts';
import { MACROS, VIEW_NAMES, viewsSql } from './views.ts';

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
  const keys = new Map<Signal, string[]>(SIGNALS.map((signal) => [signal, []]));
  for (const { signal, key } of catalogue.segments(filter)) keys.get(signal)!.push(key);
  const paths = [...keys.values()].flat().map(pathOf);
  const database = await openDuckDb({ paths, tempFolder, memoryLimit });
  try {
    for (const sql of MACROS) await database.run(sql);
    for (const signal of SIGNALS) for (const sql of viewsSql(signal, [])) await database.run(sql);
  } catch (error) {
    await database.close();
    throw error;
  }
  return createEngine(database, keys, options);
}

function createEngine(
  database: DuckDb,
  keys: ReadonlyMap<Signal, string[]>,
  { pathOf, ready, release, filter = {} }: EngineOptions,
): Engine {
  const attached = new Set<Signal>();
  return {
    run: async (sql) => {
      for (const signal of SIGNALS) {
        if (attached.has(signal) || !mentions(sql, VIEW_NAMES[signal])) continue;
        const own = keys.get(signal)!;
        await ready?.(own);
        for (const view of viewsSql(signal, own.map(pathOf), filter)) await database.run(view);
        attached.add(signal);
      }
      return database.read(sql);
    },
    progress: () => database.progress(),
    interrupt: () => database.interrupt(),
    close: async () => {
      await database.close();
      for (const signal of attached) await release?.(keys.get(signal)!);
    },
  };
}

/** `query` and `query_table` take names as texts that may be put together, so all views may be meant. */
function mentions(sql: string, view: string): boolean {
  return new RegExp(`(?<![\\p{L}\\p{N}_])(${view}(_raw)?|query(_table)?)(?![\\p{L}\\p{N}_])`, 'iu').test(sql);
}
