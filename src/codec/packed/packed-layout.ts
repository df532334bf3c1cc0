/**
 * A batch in the packed layout and back. What must hold: the same rows with the same values of every column come back, in the order in which they
 * were received (journal, position, item, point). In the file rows lie so that the values of a variable lie beside one another; those of metrics as
 * they are given.
 */
import type { Column, ColumnBatch, ColumnSchema } from '../../core/columns.ts';
import { PACKED_TEXTS, PARENT_BACK, packedColumns, VALUE_DIGITS, VALUE_SCALE } from './layout.ts';
import { packedParents, unpackedParents } from './parent-rows.ts';
import { receivedOrder, reordered } from './row-order.ts';
import { scaledValues, unscaledValues } from './scaled-values.ts';
import { TextPacker } from './text-packer.ts';
import { unpackedText } from './text-unpacker.ts';

/** With fewer rows by template it is not worth the trying. */
const GROUPED_SHARE_MIN = 0.1;

export interface PackedColumns {
  schema: ColumnSchema[];
  batch: ColumnBatch;
}

/**
 * The batch in each way that may turn out to be the smallest: logs by template, and by where they come from, with fine templates
 * and with coarser ones; spans as they were received, and by trace.
 * None where there is nothing to pack.
 */
export function* toPacked(schema: readonly ColumnSchema[], batch: ColumnBatch): Generator<PackedColumns> {
  const received = receivedOrder(batch);
  if (!received) return;
  const { time } = batch.columns;
  if (time?.kind === 'timestampNs') {
    const { trace_id: traces } = batch.columns;
    if (traces?.kind !== 'int64') return;
    yield inOrder(schema, batch, new Map(), received);
    yield inOrder(schema, batch, new Map(), grouped(received, groupsOf(traces.values)));
    return;
  }
  if (time?.kind !== 'timestampMs') return;
  if (batch.columns.value) {
    const scaled = scaledValues(schema, batch);
    if (scaled) yield scaled;
    return;
  }
  const timeMsOf = (row: number): number => (time.nulls?.[row] === 1 ? 0 : Number(time.values[row]));
  for (const finest of [0, 1] as const) {
    const packers = new Map<string, TextPacker>();
    for (const name of PACKED_TEXTS) {
      const column = batch.columns[name];
      if (column?.kind === 'string') packers.set(name, new TextPacker(column, timeMsOf, finest));
    }
    const [leading] = packers.values();
    const rowsMin = batch.rowCount * GROUPED_SHARE_MIN;
    if (!leading || ![...packers.values()].some(({ groupedRows }) => groupedRows > rowsMin)) return;
    yield inOrder(schema, batch, packers, grouped(received, leading.groupOf));
    yield inOrder(schema, batch, packers, grouped(received, streamsOf(batch)));
  }
}

function inOrder(
  schema: readonly ColumnSchema[],
  batch: ColumnBatch,
  packers: ReadonlyMap<string, TextPacker>,
  order: Uint32Array,
): PackedColumns {
  const packed: PackedColumns = { schema: [], batch: { rowCount: batch.rowCount, columns: {} } };
  const { columns } = packed.batch;
  for (const own of schema) {
    const packer = packers.get(own.name);
    const made = packer
      ? packer.columns(own.name, own, order)
      : [{ schema: own, column: reordered(batch.columns[own.name]!, order) }];
    for (const one of made) {
      packed.schema.push(one.schema);
      columns[one.schema.name] = one.column;
    }
  }
  const references = packedParents(packed.batch);
  if (references) {
    columns.parent_id = references.parents;
    columns[PARENT_BACK] = references.back;
    packed.schema.push({ name: PARENT_BACK, kind: 'int32', nullable: true, help: '' });
  }
  return packed;
}

/** Groups in the order in which they first come up; rows of none at the end. */
function grouped(received: Uint32Array, groupOf: Int32Array): Uint32Array {
  const rows = new Map<number, number[]>();
  for (const row of received) {
    const group = groupOf[row]!;
    const list = rows.get(group);
    if (list) list.push(row);
    else rows.set(group, [row]);
  }
  const rest = rows.get(-1) ?? [];
  rows.delete(-1);
  const order = new Uint32Array(received.length);
  let at = 0;
  for (const list of [...rows.values(), rest]) {
    order.set(list, at);
    at += list.length;
  }
  return order;
}

const STREAM_COLUMNS = ['host', 'service', 'source', 'tags'] as const;

/** Rows of one sender are one group. */
function streamsOf({ columns, rowCount }: ColumnBatch): Int32Array {
  const ids = STREAM_COLUMNS.flatMap((name) => {
    const column = columns[name];
    return column && 'ids' in column ? [column.ids] : [];
  });
  return groupsOf(Array.from({ length: rowCount }, (_, row) => ids.map((of) => of[row]).join()));
}

/** Rows with equal values are one group. */
function groupsOf(values: ArrayLike<string> | ArrayLike<bigint>): Int32Array {
  const known = new Map<string | bigint, number>();
  return Int32Array.from({ length: values.length }, (_, row) => {
    const value = values[row]!;
    const group = known.get(value) ?? known.size;
    if (group === known.size) known.set(value, group);
    return group;
  });
}

/** What has to be read of a packed file besides the schema's own columns. */
export function packedSchema(stored: ReadonlySet<string>): ColumnSchema[] {
  const texts = PACKED_TEXTS.flatMap(packedColumns).map(({ name, family }) => {
    return { name, kind: family === 's' || family === 'template' ? 'string' : 'int64' } as const;
  });
  const numbers = [
    { name: PARENT_BACK, kind: 'int32' },
    { name: VALUE_DIGITS, kind: 'int64' },
    { name: VALUE_SCALE, kind: 'int32' },
  ] as const;
  return [...texts, ...numbers]
    .filter(({ name }) => stored.has(name))
    .map((column) => ({ ...column, nullable: true, help: '' }));
}

/** The columns of `schema` as they were. Throws where the file contradicts itself. */
export function fromPacked(schema: readonly ColumnSchema[], packed: ColumnBatch): ColumnBatch {
  const order = receivedOrder(packed);
  const columns: Record<string, Column> = {};
  for (const { name } of schema) {
    const column = unpacked(name, packed);
    columns[name] = order ? reordered(column, order) : column;
  }
  return { rowCount: packed.rowCount, columns };
}

function unpacked(name: string, packed: ColumnBatch): Column {
  if (PACKED_TEXTS.includes(name)) return unpackedText(name, packed);
  if (name === 'parent_id' && packed.columns[PARENT_BACK]) return unpackedParents(packed);
  if (name === 'value' && packed.columns[VALUE_DIGITS]) return unscaledValues(packed);
  return packed.columns[name]!;
}
