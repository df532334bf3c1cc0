/** Page indexes and statistics beside what the pages and chunks really hold. */
import { isUtf8 } from 'node:buffer';
import { parquetMetadata, readColumnIndex, readOffsetIndex } from 'hyparquet';
import { deserializeTCompactProtocol } from 'hyparquet/src/thrift.js';
import { expect, test } from 'vitest';
import { createParquetCodec } from '../../src/codec/parquet-codec.ts';
import { type Column, type ColumnBatch, type ColumnSchema, NULL_ID } from '../../src/core/columns.ts';
import { seededRandom } from '../../src/core/random.ts';
import { longColumn, type Text, textColumn } from './id-columns.ts';

const codec = createParquetCodec();
const RAW = { stringFromBytes: (bytes: Uint8Array) => bytes, timestampFromMilliseconds: (ms: bigint) => ms };

type Value = bigint | number | Uint8Array;

function valueAt(column: Column, row: number): Value | null {
  if ('ids' in column) {
    const id = column.ids[row]!;
    return id === NULL_ID ? null : column.bytes.subarray(column.offsets[id]!, column.offsets[id + 1]!);
  }
  return column.nulls?.[row] === 1 ? null : column.values[row]!;
}

function compare(a: Value, b: Value): number {
  if (a instanceof Uint8Array) return Buffer.compare(a, b as Uint8Array);
  const [one, other] = [a, b as bigint | number];
  return one < other ? -1 : one > other ? 1 : 0;
}

function rangeOf(column: Column, start: number, end: number) {
  let min: Value | undefined;
  let max: Value | undefined;
  let nulls = 0;
  for (let row = start; row < end; row++) {
    const value = valueAt(column, row);
    if (value === null) nulls += 1;
    if (value === null) continue;
    if (min === undefined || compare(value, min) < 0) min = value;
    if (max === undefined || compare(value, max) > 0) max = value;
  }
  return { min, max, nulls };
}

const SCHEMA: ColumnSchema[] = [
  { name: 'position', kind: 'int64', nullable: false, help: '' },
  { name: 'falling', kind: 'timestampMs', nullable: false, help: '' },
  { name: 'item', kind: 'int32', nullable: true, help: '' },
  { name: 'value', kind: 'double', nullable: true, help: '' },
  { name: 'odd', kind: 'double', nullable: false, help: '' },
  { name: 'name', kind: 'string', nullable: true, help: '' },
  { name: 'late', kind: 'string', nullable: true, help: '' },
  { name: 'none', kind: 'string', nullable: true, help: '' },
  { name: 'id', kind: 'int64', nullable: true, unsigned: true, help: '' },
  { name: 'tags', kind: 'string', nullable: true, json: true, help: '' },
];

function longBatch(rows: number): ColumnBatch {
  const random = seededRandom(3).next;
  const whole = (max: number): number => Math.floor(random() * max);
  const names = Array.from({ length: 300 }, (_, i) => Buffer.from(`${'ä'.repeat(i % 50)}-${i}`));
  const ids = (choose: (row: number) => number): Uint32Array => Uint32Array.from({ length: rows }, (_, i) => choose(i));
  const dictionary = textColumn('string', names) as Extract<Column, { ids: Uint32Array }>;
  const nulls = Uint8Array.from({ length: rows }, () => whole(2));
  const values = Float64Array.from({ length: rows }, () => (whole(3) - 1) * random());
  const odd = values.map((value, i) => (i === 77 ? Number.NaN : value));
  return {
    rowCount: rows,
    columns: {
      position: longColumn(Array.from({ length: rows }, (_, i) => BigInt(i) - 5000n)),
      falling: { kind: 'timestampMs', values: BigInt64Array.from({ length: rows }, (_, i) => BigInt(rows - i)) },
      item: { kind: 'int32', values: Int32Array.from({ length: rows }, () => whole(2 ** 31) - 2 ** 30), nulls },
      value: { kind: 'double', values, nulls },
      odd: { kind: 'double', values: odd },
      name: { ...dictionary, ids: ids(() => (whole(4) ? whole(300) : NULL_ID)) },
      // A page of nulls, then values.
      late: { ...dictionary, ids: ids((i) => (i < 140_000 ? NULL_ID : whole(300))) },
      none: { ...dictionary, ids: ids(() => NULL_ID) },
      id: longColumn(Array.from({ length: rows }, () => BigInt(whole(2 ** 32)) << 31n)),
      tags: { ...dictionary, ids: ids(() => whole(300)) },
    },
  };
}

test('the indexes say what a scan of the pages finds', () => {
  const rows = 300_000;
  const batch = longBatch(rows);
  const bytes = codec.encode(SCHEMA, batch, { level: 1, rowGroupRowsMax: 200_000, metadata: {} });
  const file = Uint8Array.from(bytes).buffer;
  const metadata = parquetMetadata(file, { parsers: RAW as never });
  expect(metadata.row_groups).toHaveLength(2);
  const indexed: string[] = [];
  let groupStart = 0;
  for (const group of metadata.row_groups) {
    const groupRows = Number(group.num_rows);
    group.columns.forEach((chunk, at) => {
      const { name } = SCHEMA[at]!;
      const column = batch.columns[name]!;
      const meta = chunk.meta_data!;
      const places = readOffsetIndex({
        view: new DataView(file, Number(chunk.offset_index_offset), chunk.offset_index_length),
        offset: 0,
      }).page_locations;
      // Pages follow one another, from the chunk's first to its end, and hold the rows that the index says.
      let at2 = meta.data_page_offset;
      const ranges = places.map((place, i) => {
        const start = Number(place.first_row_index);
        const end = i + 1 < places.length ? Number(places[i + 1]!.first_row_index) : groupRows;
        expect(place.offset).toBe(at2);
        at2 += BigInt(place.compressed_page_size);
        const header = deserializeTCompactProtocol({ view: new DataView(file, Number(place.offset)), offset: 0 });
        expect(header.field_1).toBe(0);
        expect(header.field_5.field_1).toBe(end - start);
        return rangeOf(column, groupStart + start, groupStart + end);
      });
      const chunkStart = meta.dictionary_page_offset ?? meta.data_page_offset;
      expect(at2).toBe(chunkStart + meta.total_compressed_size);
      if (chunk.column_index_offset === undefined) return;
      indexed.push(name);
      const index = readColumnIndex(
        { view: new DataView(file, Number(chunk.column_index_offset), chunk.column_index_length), offset: 0 },
        metadata.schema[at + 1]!,
        RAW as never,
      );
      expect(index.null_counts).toEqual(ranges.map(({ nulls }) => BigInt(nulls)));
      expect(index.null_pages).toEqual(ranges.map(({ min }) => min === undefined));
      ranges.forEach(({ min, max }, i) => {
        if (min === undefined || max === undefined) return;
        const [lower, upper] = [index.min_values[i] as never, index.max_values[i] as never];
        if (min instanceof Uint8Array && max instanceof Uint8Array) {
          expect(compare(lower, min)).toBeLessThanOrEqual(0);
          expect(compare(upper, max)).toBeGreaterThanOrEqual(0);
          if (min.byteLength <= 64) expect(Buffer.from(lower)).toEqual(Buffer.from(min));
          if (max.byteLength <= 64) expect(Buffer.from(upper)).toEqual(Buffer.from(max));
        } else {
          expect([lower, upper]).toEqual([min, max]);
        }
      });
      const filled = index.min_values.map((_, i) => i).filter((i) => !index.null_pages[i]);
      const isSorted = (sign: number): boolean =>
        filled.every((page, i) => {
          if (i === 0) return true;
          const before = filled[i - 1]!;
          const minsAre = sign * compare(index.min_values[before] as Value, index.min_values[page] as Value) <= 0;
          return minsAre && sign * compare(index.max_values[before] as Value, index.max_values[page] as Value) <= 0;
        });
      expect(index.boundary_order).toBe(isSorted(1) ? 'ASCENDING' : isSorted(-1) ? 'DESCENDING' : 'UNORDERED');
      if (name === 'falling' && places.length > 1) expect(index.boundary_order).toBe('DESCENDING');
    });
    groupStart += groupRows;
  }
  // A NaN hides bounds from readers; ids, JSON and columns of nulls have none.
  expect(indexed).toEqual([
    ...['position', 'falling', 'item', 'value', 'name', 'late'],
    ...['position', 'falling', 'item', 'value', 'odd', 'name', 'late'],
  ]);
});

test('files of one page per column have no page index', () => {
  const batch = longBatch(2000);
  const bytes = codec.encode(SCHEMA, batch, { level: 1, rowGroupRowsMax: 1000, metadata: {} });
  for (const { columns } of parquetMetadata(Uint8Array.from(bytes).buffer).row_groups) {
    for (const { offset_index_offset: offsets, column_index_offset: bounds } of columns) {
      expect([offsets, bounds]).toEqual([undefined, undefined]);
    }
  }
});

const LAST = '\u{10ffff}';
const TEXTS: [name: string, texts: string[]][] = [
  ['short', ['b', 'a', '']],
  ['just as long as a bound', ['a'.repeat(64), 'b'.repeat(64)]],
  ['one more', ['a'.repeat(65), 'b'.repeat(65)]],
  ['cut inside of a character', [`${'a'.repeat(63)}é`, `${'z'.repeat(62)}😀`, `${'z'.repeat(61)}€`]],
  ['carried over', [`${'a'.repeat(60)}${LAST.repeat(3)}`]],
  ['before the surrogates', [`${'a'.repeat(61)}\ud7ff${'x'.repeat(9)}`]],
  ['of last characters only', [LAST.repeat(30)]],
  ['of long ones beside short ones', ['', `${'é'.repeat(90)}`]],
];

test.each(TEXTS)('bounds of texts: %s', (_, texts) => {
  const schema: ColumnSchema[] = [{ name: 'text', kind: 'string', nullable: true, help: '' }];
  const values = texts.map((text) => Buffer.from(text));
  const columns = { text: textColumn('string', values) };
  const options = { level: 1, rowGroupRowsMax: 100, metadata: {} };
  const bytes = codec.encode(schema, { rowCount: values.length, columns }, options);
  const metadata = parquetMetadata(Uint8Array.from(bytes).buffer, { parsers: RAW as never });
  const statistics = metadata.row_groups[0]!.columns[0]!.meta_data!.statistics!;
  const sorted = [...values].sort(Buffer.compare);
  const { min_value: min, max_value: max } = statistics as unknown as {
    min_value?: Uint8Array;
    max_value?: Uint8Array;
  };
  if (texts.every((text) => [...text].every((character) => character === LAST))) {
    // Nothing short is above it.
    expect([min, max]).toEqual([undefined, undefined]);
    return;
  }
  for (const [bound, value, isExact] of [
    [min!, sorted[0]!, statistics.is_min_value_exact],
    [max!, sorted.at(-1)!, statistics.is_max_value_exact],
  ] as const) {
    expect(isUtf8(bound)).toBe(true);
    expect(bound.byteLength).toBeLessThanOrEqual(64);
    expect(isExact).toBe(value.byteLength <= 64);
    if (isExact) expect(Buffer.compare(bound, value)).toBe(0);
  }
  expect(Buffer.compare(min!, sorted[0]!)).toBeLessThanOrEqual(0);
  expect(Buffer.compare(max!, sorted.at(-1)!)).toBeGreaterThanOrEqual(0);
});

test('bounds of texts that are no UTF-8', () => {
  const schema: ColumnSchema[] = [{ name: 'text', kind: 'string', nullable: true, help: '' }];
  const values: Text[] = [Buffer.alloc(100, 0xff), Buffer.from('a')];
  const columns = { text: textColumn('string', values) };
  const bytes = codec.encode(schema, { rowCount: 2, columns }, { level: 1, rowGroupRowsMax: 100, metadata: {} });
  const metadata = parquetMetadata(Uint8Array.from(bytes).buffer);
  expect(metadata.row_groups[0]!.columns[0]!.meta_data!.statistics!.max_value).toBeUndefined();
});
