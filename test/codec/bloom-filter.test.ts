import { type FileMetaData, type ParquetQueryFilter, parquetMetadata, parquetQuery } from 'hyparquet';
import { hashParquetValue, readBloomFilter, sbbfContains } from 'hyparquet/src/bloom.js';
import { expect, test } from 'vitest';
import zstd from 'zstd-napi/binding.js';
import { bloomFilterOf, FILTERS_SHARE_MAX } from '../../src/codec/bloom-filter.ts';
import { createParquetCodec } from '../../src/codec/parquet-codec.ts';
import type { ColumnSchema } from '../../src/core/columns.ts';
import { seededRandom } from '../../src/core/random.ts';
import { ID_SCHEMA, type Id, idBatch, longColumn, type Text, textColumn } from './id-columns.ts';

const codec = createParquetCodec();
const options = { level: 3, rowGroupRowsMax: 1000, metadata: {} };
const ODD_IDS: Id[] = [0n, 1n, 2n ** 63n, 2n ** 63n - 1n, 2n ** 64n - 1n, 0xffffffffn, 1n << 32n, null];
const ODD_TEXTS: Text[] = [
  Buffer.alloc(0),
  Buffer.from([0]),
  Buffer.from('é'.repeat(50)),
  Buffer.from([0xff, 0xfe]),
  Buffer.alloc(70_000, 'x'),
  Buffer.from('0'.repeat(31)),
  Buffer.from('0'.repeat(32)),
  Buffer.from('0'.repeat(33)),
  null,
];

const wordsOf = (random: () => number, bits: number): bigint =>
  BigInt.asUintN(64, (BigInt(Math.floor(random() * 2 ** 32)) << BigInt(bits)) ^ BigInt(Math.floor(random() * 2 ** 32)));

/** Texts that come again, ids in runs, nulls, and odd values of both. */
function randomValues(seed: number, rows: number): { ids: Id[]; texts: Text[] } {
  const random = seededRandom(seed).next;
  const ids: Id[] = [];
  const texts: Text[] = [];
  for (let i = 0; i < rows; i++) {
    const again = i > 0 && random() < 0.5;
    const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
    ids.push(again ? ids[i - 1]! : random() < 0.05 ? pick(ODD_IDS) : wordsOf(random, seed % 2 ? 32 : 3));
    texts.push(again ? pick(texts) : random() < 0.02 ? pick(ODD_TEXTS) : Buffer.from(wordsOf(random, 32).toString(16)));
  }
  return { ids, texts };
}

const bufferOf = (bytes: Uint8Array): ArrayBuffer => Uint8Array.from(bytes).buffer;

/** As an independent reader finds them: per row group and column. */
function filtersOf(file: ArrayBuffer, metadata: FileMetaData) {
  return metadata.row_groups.map(({ columns }) =>
    columns.map(({ meta_data: meta }) => {
      if (meta?.bloom_filter_offset === undefined) return undefined;
      const view = new DataView(file, Number(meta.bloom_filter_offset), meta.bloom_filter_length);
      const filter = readBloomFilter({ view, offset: 0 });
      expect(filter, 'header').toBeDefined();
      return filter!;
    }),
  );
}

test.each([1, 2, 3, 4])('a filter never says no for a value that is there, seed %i', (seed) => {
  const rows = 3500;
  const { ids, texts } = randomValues(seed, rows);
  const bytes = codec.encode(ID_SCHEMA, idBatch(ids, texts, seededRandom(seed).next), options);
  const file = bufferOf(bytes);
  const metadata = parquetMetadata(file);
  const filters = filtersOf(file, metadata);
  expect(filters.flatMap((group) => group.slice(0, 2)).every((filter) => filter !== undefined)).toBe(true);
  const [, idElement, textElement] = metadata.schema;
  for (let row = 0; row < rows; row++) {
    const [id, text] = filters[Math.floor(row / 1000)]!;
    if (ids[row] !== null) {
      expect(sbbfContains(id!.blocks, hashParquetValue(ids[row], idElement!)!), `id ${ids[row]}`).toBe(true);
    }
    if (texts[row] !== null) {
      expect(sbbfContains(text!.blocks, hashParquetValue(texts[row], textElement!)!), `text ${row}`).toBe(true);
    }
  }
});

test('few values that are not there pass', () => {
  const random = seededRandom(5).next;
  const ids = Array.from({ length: 1000 }, () => wordsOf(random, 32));
  const file = bufferOf(
    codec.encode(
      ID_SCHEMA,
      idBatch(
        ids,
        ids.map(() => null),
        random,
      ),
      options,
    ),
  );
  const metadata = parquetMetadata(file);
  const [[filter]] = filtersOf(file, metadata) as [ReturnType<typeof filtersOf>[number]];
  let passed = 0;
  for (let i = 0; i < 20_000; i++) {
    if (sbbfContains(filter!.blocks, hashParquetValue(wordsOf(random, 32), metadata.schema[1]!)!)) passed += 1;
  }
  // Some 0.1 % with 16 bits a value.
  expect(passed).toBeLessThan(20_000 * 0.02);
  expect(passed).toBeGreaterThan(0);
});

test('sizes are powers of two, and filters of a group stay within their share', () => {
  const [schema] = ID_SCHEMA as [ColumnSchema];
  for (const [count, bytesMax, expected] of [
    [1, 100, 32],
    [30, 100, 32],
    [31, 100, 64],
    [1000, 1 << 20, 2048],
    [1868, 1 << 20, 2048],
    [2000, 1 << 20, 4096],
    // Half of it still passes less than one in twenty.
    [2000, 3000, 2048],
    [3000, 3000, undefined],
    [1000, 1000, undefined],
    [1, 49, undefined],
    [1, 50, 32],
    [0, 1 << 20, undefined],
  ] as const) {
    const ids = Array.from({ length: count + 5 }, (_, i) => (i < count ? BigInt(i) * 0x9e3779b97f4a7c15n : null));
    const filter = bloomFilterOf(schema, longColumn(ids), 0, ids.length, bytesMax);
    const bits = filter && readBloomFilter({ view: new DataView(bufferOf(filter)), offset: 0 })?.numBytes;
    expect(bits, `${count} in ${bytesMax}`).toBe(expected);
    expect(filter?.byteLength ?? 0).toBeLessThanOrEqual(bytesMax);
  }
  for (const payloadBytes of [0, 4, 40, 160]) {
    const { ids, texts } = randomValues(9, 2000);
    const file = bufferOf(codec.encode(ID_SCHEMA, idBatch(ids, texts, seededRandom(9).next, payloadBytes), options));
    for (const group of parquetMetadata(file).row_groups) {
      const taken = group.columns.reduce((sum, { meta_data: meta }) => sum + (meta?.bloom_filter_length ?? 0), 0);
      expect(taken).toBeLessThanOrEqual(Number(group.total_compressed_size) * FILTERS_SHARE_MAX);
    }
  }
});

test('columns of other kinds have none by mistake', () => {
  const schema: ColumnSchema = { name: 'item', kind: 'int32', nullable: false, bloom: true, help: '' };
  expect(() => bloomFilterOf(schema, { kind: 'int32', values: new Int32Array(3) }, 0, 3, 1000)).toThrow('BUG');
  const nothing = textColumn('string', [null, null]);
  expect(bloomFilterOf(ID_SCHEMA[1]!, nothing, 0, 2, 1000)).toBeUndefined();
});

test('a reader that prunes by filters and page indexes finds what a whole scan finds', async () => {
  const random = seededRandom(21).next;
  const { ids, texts } = randomValues(21, 6000);
  const utf8 = texts.map((text) => text && (text.includes(0xff) ? Buffer.from('plain') : text));
  const file = bufferOf(codec.encode(ID_SCHEMA, idBatch(ids, utf8, random), options));
  const decompress = (input: Uint8Array, size: number): Uint8Array => {
    const output = Buffer.alloc(size);
    new zstd.DCtx().decompress(output, input);
    return output;
  };
  let fetched = 0;
  const counted = {
    byteLength: file.byteLength,
    slice: (start: number, end?: number) => {
      fetched += (end ?? file.byteLength) - start;
      return file.slice(start, end);
    },
  };
  const ask = async (column: string, value: unknown): Promise<unknown[]> => {
    const found = await parquetQuery({
      file: counted,
      metadata: parquetMetadata(file),
      columns: ['id', 'text'],
      filter: { [column]: { $eq: value } } as ParquetQueryFilter,
      compressors: { ZSTD: decompress },
      useBloomFilters: true,
      usePageIndex: true,
    });
    return found.map((row) => [row.id, row.text]);
  };
  const all = ids.map((id, i) => [id, utf8[i]?.toString('utf8') ?? null] as const);
  for (let i = 0; i < 60; i++) {
    const isThere = i % 2 === 0;
    const at = Math.floor(random() * ids.length);
    const id = isThere ? ids[at]! : wordsOf(random, 32);
    if (id !== null) expect(await ask('id', id)).toEqual(all.filter((row) => row[0] === id));
    const text = isThere ? all[at]![1] : `absent ${i}`;
    if (text !== null) expect(await ask('text', text)).toEqual(all.filter((row) => row[1] === text));
  }
  fetched = 0;
  expect(await ask('id', 0x1234_5678_9abc_def0n)).toEqual([]);
  expect(fetched).toBeLessThan(file.byteLength / 20);
});
