/**
 * A batch in the packed layout and back. What must hold: the same rows with the same values of every column come back, in the order in which they
 * were received (journal, position, item, point). In the file rows lie so that the values of a variable lie beside one another.
 */
import type { Column, ColumnBatch, ColumnSchema } from '../../core/columns.ts';
import { PACKED_TEXTS, packedColumns } from './layout.ts';
import { receivedOrder, reordered } from './row-order.ts';
import { TextPacker } from './text-packer.ts';
import { unpackedText } from './text-unpacker.ts';

/** With fewer rows by template it is not worth the trying. */
const GROUPED_SHARE_MIN = 0.1;

export interface PackedColumns {
  schema: ColumnSchema[];
  batch: ColumnBatch;
}

/**
 * The batch in each order of rows that may turn out to be the smallest: by template, and by where the rows come from. None where there is nothing
 * to pack.
 */
export function* toPacked(schema: readonly ColumnSchema[], batch: ColumnBatch): Generator<PackedColumns> {
  const received = receivedOrder(batch);
  const { time } = batch.columns;
  if (!received || time?.kind !== 'timestampMs') return;
  const timeMsOf = (row: number): number => (time.nulls?.[row] === 1 ? 0 : Number(time.values[row]));
  const packers = new Map<string, TextPacker>();
  for (const name of PACKED_TEXTS) {
    const column = batch.columns[name];
    if (column?.kind === 'string') packers.set(name, new TextPacker(column, timeMsOf));
  }
  const [leading] = packers.values();
  const rowsMin = batch.rowCount * GROUPED_SHARE_MIN;
  if (!leading || ![...packers.values()].some(({ groupedRows }) => groupedRows > rowsMin)) return;
  yield inOrder(schema, batch, packers, grouped(received, leading.groupOf));
  yield inOrder(schema, batch, packers, grouped(received, streamsOf(batch)));
}

function inOrder(
  schema: readonly ColumnSchema[],
  batch: ColumnBatch,
  packers: ReadonlyMap<string, TextPacker>,
  order: Uint32Array,
): PackedColumns {
  const packed: PackedColumns = { schema: [], batch: { rowCount: batch.rowCount, columns: {} } };
  for (const own of schema) {
    const packer = packers.get(own.name);
    const made = packer
      ? packer.columns(own.name, own, order)
      : [{ schema: own, column: reordered(batch.columns[own.name]!, order) }];
    for (const one of made) {
      packed.schema.push(one.schema);
      packed.batch.columns[one.schema.name] = one.column;
    }
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
  const known = new Map<string, number>();
  const streams = new Int32Array(rowCount);
  for (let row = 0; row < rowCount; row++) {
    const key = ids.map((of) => of[row]).join();
    let stream = known.get(key);
    if (stream === undefined) {
      stream = known.size;
      known.set(key, stream);
    }
    streams[row] = stream;
  }
  return streams;
}

/** What has to be read of a packed file besides the schema's own columns. */
export function packedSchema(stored: ReadonlySet<string>): ColumnSchema[] {
  return PACKED_TEXTS.flatMap(packedColumns)
    .filter(({ name }) => stored.has(name))
    .map(({ name, family }) => {
      const kind = family === 's' || family === 'template' ? 'string' : 'int64';
      return { name, kind, nullable: true, help: '' };
    });
}

/** The columns of `schema` as they were. Throws where the file contradicts itself. */
export function fromPacked(schema: readonly ColumnSchema[], packed: ColumnBatch): ColumnBatch {
  const order = receivedOrder(packed);
  const columns: Record<string, Column> = {};
  for (const { name } of schema) {
    const column = PACKED_TEXTS.includes(name) ? unpackedText(name, packed) : packed.columns[name]!;
    columns[name] = order ? reordered(column, order) : column;
  }
  return { rowCount: packed.rowCount, columns };
}
