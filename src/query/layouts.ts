/** Which files are packed, by what their footers say. */
import { LAYOUT_KEY, PACKED_LAYOUT } from '../codec/packed/layout.ts';
import { ProxyError } from '../core/errors.ts';
import type { SegmentEntry } from '../store/commit-log.ts';
import { type DuckDb, pathLiteral, textLiteral } from './duckdb.ts';
import type { SegmentFiles } from './views.ts';

/** SEGMENT_UNREADABLE where a file has a layout that is not known. */
export async function filesByLayout(
  database: DuckDb,
  entries: readonly SegmentEntry[],
  pathOf: (key: string) => string,
): Promise<SegmentFiles> {
  // Only what was merged may be packed: of the rest no footer needs to be looked at.
  const merged = entries.filter(({ ranges }) => ranges !== undefined).map(({ key }) => pathOf(key));
  const packed = new Set<string>();
  if (merged.length > 0) {
    const files = `[${merged.map(pathLiteral).join(',')}]`;
    const sql = `SELECT file_name, decode(value) FROM parquet_kv_metadata(${files}) WHERE decode(key) = ${textLiteral(LAYOUT_KEY)}`;
    for await (const rows of database.rows(sql)) {
      for (const [path, layout] of rows as [string, string][]) {
        if (layout !== PACKED_LAYOUT) throw new ProxyError('SEGMENT_UNREADABLE', `${path}: unknown layout ${layout}`);
        packed.add(path);
      }
    }
  }
  const paths = entries.map(({ key }) => pathOf(key));
  return { plain: paths.filter((path) => !packed.has(path)), packed: paths.filter((path) => packed.has(path)) };
}
