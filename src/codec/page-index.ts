/**
 * OffsetIndex and ColumnIndex of a column chunk: where its pages lie, and the bounds of each, so that a reader takes single pages. What must hold: no value
 * of a page lies outside of its bounds. Source: the Parquet format specification, "Page index", and parquet.thrift.
 */
import type { ColumnKind, ColumnSchema } from '../core/columns.ts';
import type { WrittenPage } from './column-chunk.ts';
import type { ThriftStruct } from './thrift.ts';
import type { Bounds } from './value-pages.ts';

const ORDER = { unordered: 0, ascending: 1, descending: 2 } as const;
const NOTHING = new Uint8Array(0);

export function offsetIndex(pages: readonly WrittenPage[]): ThriftStruct {
  const locations = pages.map(
    ({ offset, bytes, firstRow }): ThriftStruct => [
      [1, { kind: 'i64', value: offset }],
      [2, { kind: 'i32', value: bytes }],
      [3, { kind: 'i64', value: firstRow }],
    ],
  );
  return [[1, { kind: 'list', of: 'struct', items: locations }]];
}

/** Undefined where a page with values has no bounds, and for a single page, which its chunk's statistics describe. */
export function columnIndex(
  { kind }: ColumnSchema,
  pages: readonly WrittenPage[],
  rows: number,
): ThriftStruct | undefined {
  if (pages.length < 2) return undefined;
  const isNull = pages.map(({ firstRow, nullCount }, i) => nullCount === (pages[i + 1]?.firstRow ?? rows) - firstRow);
  if (isNull.every((empty) => empty) || pages.some(({ bounds }, i) => !bounds && !isNull[i])) return undefined;
  const filled = pages.flatMap(({ bounds }) => (bounds ? [bounds] : []));
  return [
    [1, { kind: 'list', of: 'bool', items: isNull }],
    [2, { kind: 'list', of: 'binary', items: pages.map(({ bounds }) => bounds?.min ?? NOTHING) }],
    [3, { kind: 'list', of: 'binary', items: pages.map(({ bounds }) => bounds?.max ?? NOTHING) }],
    [4, { kind: 'i32', value: orderOf(kind, filled) }],
    [5, { kind: 'list', of: 'i64', items: pages.map(({ nullCount }) => nullCount) }],
  ];
}

function orderOf(kind: ColumnKind, bounds: readonly Bounds[]): number {
  const compare = comparison(kind);
  const isSorted = (sign: 1 | -1): boolean =>
    bounds.every((own, i) => {
      const before = bounds[i - 1];
      return !before || (sign * compare(before.min, own.min) <= 0 && sign * compare(before.max, own.max) <= 0);
    });
  return isSorted(1) ? ORDER.ascending : isSorted(-1) ? ORDER.descending : ORDER.unordered;
}

/** Of two values, plainly encoded. */
function comparison(kind: ColumnKind): (a: Uint8Array, b: Uint8Array) => number {
  const by =
    <T extends number | bigint>(read: (bytes: Buffer) => T) =>
    (a: Uint8Array, b: Uint8Array): number => {
      const [one, other] = [read(Buffer.from(a)), read(Buffer.from(b))];
      return one < other ? -1 : one > other ? 1 : 0;
    };
  switch (kind) {
    case 'string':
    case 'binary':
      return Buffer.compare;
    case 'int32':
      return by((bytes) => bytes.readInt32LE());
    case 'double':
      return by((bytes) => bytes.readDoubleLE());
    default:
      return by((bytes) => bytes.readBigInt64LE());
  }
}
