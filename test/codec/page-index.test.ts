/** Page indexes and statistics beside what the pages and chunks really hold. */
import { isUtf8 } from 'node:buffer';
import { parquetMetadata, readColumnIndex, readOffsetIndex } from 'hyparquet';
import { deserializeTCompactProtocol } from 'hyparquet/src/thrift.js';
import { expect, test } from 'vitest';
import { createParquetCodec } from '../../src/codec/parquet-codec.ts';
import type { Column, ColumnSchema } from '../../src/core/columns.ts';
import { type Text, textColumn } from './id-columns.ts';
import { LONG_SCHEMA, longBatch, type Value, valueAt } from './long-batch.ts';

const codec = createParquetCodec();
const RAW = { stringFromBytes: (bytes: Uint8Array) => bytes, timestampFromMilliseconds: (ms: bigint) => ms };

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

test('the indexes say what a scan of the pages finds', () => {
  const rows = 300_000;
  const batch = longBatch(rows);
  const bytes = codec.encode(LONG_SCHEMA, batch, { level: 1, rowGroupRowsMax: 200_000, metadata: {} });
  const file = Uint8Array.from(bytes).buffer;
  const metadata = parquetMetadata(file, { parsers: RAW as never });
  expect(metadata.row_groups).toHaveLength(2);
  const indexed: string[] = [];
  let groupStart = 0;
  for (const group of metadata.row_groups) {
    const groupRows = Number(group.num_rows);
    group.columns.forEach((chunk, at) => {
      const { name } = LONG_SCHEMA[at]!;
      const column = batch.columns[name]!;
      const meta = chunk.meta_data!;
      const places = readOffsetIndex({
        view: new DataView(file, Number(chunk.offset_index_offset), chunk.offset_index_length),
        offset: 0,
      }).page_locations;
      // Pages follow one another, from the chunk's first to its end, and hold the rows that the index says.
      let pageAt = meta.data_page_offset;
      const ranges = places.map((place, i) => {
        const start = Number(place.first_row_index);
        const end = i + 1 < places.length ? Number(places[i + 1]!.first_row_index) : groupRows;
        expect(place.offset).toBe(pageAt);
        pageAt += BigInt(place.compressed_page_size);
        const header = deserializeTCompactProtocol({ view: new DataView(file, Number(place.offset)), offset: 0 });
        expect(header.field_1).toBe(0);
        expect(header.field_5.field_1).toBe(end - start);
        return rangeOf(column, groupStart + start, groupStart + end);
      });
      const chunkStart = meta.dictionary_page_offset ?? meta.data_page_offset;
      expect(pageAt).toBe(chunkStart + meta.total_compressed_size);
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
  // A NaN hides bounds from readers; ids, JSON and columns of nulls have none. The second group has one page per column.
  expect(indexed).toEqual(['position', 'falling', 'item', 'value', 'name', 'late']);
});

test('files of one page per column have no page index', () => {
  const batch = longBatch(2000);
  const bytes = codec.encode(LONG_SCHEMA, batch, { level: 1, rowGroupRowsMax: 1000, metadata: {} });
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
