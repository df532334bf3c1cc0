/**
 * Parent ids of spans as references: how many rows before (or, below zero, behind) a span its parent lies in the same file. A reference stays inside its
 * trace, so that a reader of one trace needs no other rows (query/packed-sql.ts). A span whose parent is not there keeps the id.
 */
import type { Column, ColumnBatch, Int32Column, Int64Column } from '../../core/columns.ts';
import { PARENT_BACK } from './layout.ts';

const MAP_ENTRIES_MAX = 2 ** 23;

/** In the order in which the rows lie in the file; undefined where a batch is none of spans. */
export function packedParents({
  columns,
  rowCount,
}: ColumnBatch): { parents: Int64Column; back: Int32Column } | undefined {
  const { trace_id: traces, span_id: spans, parent_id: own } = columns;
  if (traces?.kind !== 'int64' || spans?.kind !== 'int64' || own?.kind !== 'int64') return undefined;
  if (rowCount > MAP_ENTRIES_MAX) return undefined;
  const isNull = (column: Int64Column, row: number): boolean => column.nulls?.[row] === 1;
  // Of spans with the same id the last one is known: in one trace it does not matter which is meant, and of several traces the others keep the id.
  const rowOf = new Map<bigint, number>();
  for (let row = 0; row < rowCount; row++) if (!isNull(spans, row)) rowOf.set(spans.values[row]!, row);
  const parents = { values: own.values.slice(), nulls: own.nulls?.slice() ?? new Uint8Array(rowCount) };
  const back = { values: new Int32Array(rowCount), nulls: new Uint8Array(rowCount).fill(1) };
  for (let row = 0; row < rowCount; row++) {
    if (isNull(own, row)) continue;
    const parent = rowOf.get(own.values[row]!);
    if (parent === undefined || isNull(traces, row) || isNull(traces, parent)) continue;
    if (traces.values[parent] !== traces.values[row]) continue;
    back.values[row] = row - parent;
    back.nulls[row] = 0;
    parents.values[row] = 0n;
    parents.nulls[row] = 1;
  }
  return { parents: { kind: 'int64', ...parents }, back: { kind: 'int32', ...back } };
}

/** `parent_id` as it was. Throws where a reference leads nowhere. */
export function unpackedParents({ columns, rowCount }: ColumnBatch): Column {
  const { span_id: spans, parent_id: own } = columns;
  const back = columns[PARENT_BACK];
  if (own?.kind !== 'int64' || back?.kind !== 'int32' || spans?.kind !== 'int64')
    throw new Error('no column of parents');
  const values = own.values.slice();
  const nulls = own.nulls?.slice() ?? new Uint8Array(rowCount);
  for (let row = 0; row < rowCount; row++) {
    if (back.nulls?.[row] === 1) continue;
    const parent = row - back.values[row]!;
    if (!(parent >= 0 && parent < rowCount) || spans.nulls?.[parent] === 1)
      throw new Error('a parent that is not there');
    values[row] = spans.values[parent]!;
    nulls[row] = 0;
  }
  return { kind: 'int64', values, ...(nulls.includes(1) ? { nulls } : {}) };
}
