/**
 * Batches of many envelopes → one batch per segment. Dictionaries are merged by the bytes of their entries; numbers are copied.
 * Rows keep the order of positions, so that the same envelopes always give the same segment.
 */
import { letGo, letGoOfBatch, letGoOfColumn } from '../core/buffers.ts';
import { type Column, type ColumnBatch, type ColumnSchema, NULL_ID } from '../core/columns.ts';

/** Some rows of one batch, with the values that the archive adds to each of them. */
export interface RowSelection {
  batch: ColumnBatch;
  /** Indexes into the batch, ascending; undefined: all rows. */
  rows: Uint32Array | undefined;
  journal: string;
  position: number;
  receivedAtMs: number;
  protocol: string;
  requestPath: string;
  /** Nothing else needs the batch afterwards: its columns are let go of one by one as they are merged. */
  isLastUse: boolean;
}

export function selectedCount(selection: Pick<RowSelection, 'batch' | 'rows'>): number {
  return selection.rows ? selection.rows.length : selection.batch.rowCount;
}

/** `schema` is a SEGMENT_COLUMNS table: the journal columns, then the batch's own. */
export function mergeSelections(schema: readonly ColumnSchema[], selections: readonly RowSelection[]): ColumnBatch {
  let rowCount = 0;
  for (const selection of selections) rowCount += selectedCount(selection);
  const columns: Record<string, Column> = {};
  for (const column of schema) {
    columns[column.name] = mergeColumn(column, selections, rowCount);
    for (const { batch, isLastUse } of selections) {
      const source = batch.columns[column.name];
      if (isLastUse && source) letGoOfColumn(source);
    }
  }
  for (const { batch, isLastUse } of selections) if (isLastUse) letGoOfBatch(batch);
  return { rowCount, columns };
}

/** Batches of segments, one after another, as one. They are used up: each column is let go of once it is copied. */
export function concatBatches(schema: readonly ColumnSchema[], batches: readonly ColumnBatch[]): ColumnBatch {
  const selections = batches.map((batch) => ({ batch, rows: undefined }));
  const rowCount = batches.reduce((sum, batch) => sum + batch.rowCount, 0);
  const columns: Record<string, Column> = {};
  for (const column of schema) {
    columns[column.name] = copyColumn(column, selections, rowCount);
    for (const batch of batches) letGoOfColumn(batch.columns[column.name]!);
  }
  for (const batch of batches) letGoOfBatch(batch);
  return { rowCount, columns };
}

/** These rows of a batch, in this order; the batch stays as it is. */
export function selectRows(schema: readonly ColumnSchema[], batch: ColumnBatch, rows: Uint32Array): ColumnBatch {
  const columns: Record<string, Column> = {};
  for (const column of schema) columns[column.name] = copyColumn(column, [{ batch, rows }], rows.length);
  return { rowCount: rows.length, columns };
}

function mergeColumn(column: ColumnSchema, selections: readonly RowSelection[], rowCount: number): Column {
  switch (column.name) {
    case 'journal':
      return constantText(selections, rowCount, (selection) => selection.journal);
    case 'protocol':
      return constantText(selections, rowCount, (selection) => selection.protocol);
    case 'request_path':
      return constantText(selections, rowCount, (selection) => selection.requestPath);
    case 'position':
      return constantLong('int64', selections, rowCount, (selection) => BigInt(selection.position));
    case 'received_at':
      return constantLong('timestampMs', selections, rowCount, (selection) =>
        BigInt(Math.trunc(selection.receivedAtMs)),
      );
  }
  return copyColumn(column, selections, rowCount);
}

type Rows = Pick<RowSelection, 'batch' | 'rows'>;

function copyColumn(column: ColumnSchema, selections: readonly Rows[], rowCount: number): Column {
  switch (column.kind) {
    case 'string':
    case 'binary':
      return mergeDictionaries(column.name, column.kind, selections, rowCount);
    case 'double':
      return { kind: 'double', ...mergeNumbers(column.name, selections, rowCount, new Float64Array(rowCount)) };
    case 'int32':
      return { kind: 'int32', ...mergeNumbers(column.name, selections, rowCount, new Int32Array(rowCount)) };
    default:
      return { kind: column.kind, ...mergeNumbers(column.name, selections, rowCount, new BigInt64Array(rowCount)) };
  }
}

function constantText(
  selections: readonly RowSelection[],
  rowCount: number,
  textOf: (selection: RowSelection) => string,
): Column {
  const dictionary = new Dictionary();
  const ids = new Uint32Array(rowCount);
  let row = 0;
  for (const selection of selections) {
    const count = selectedCount(selection);
    ids.fill(dictionary.idOf(Buffer.from(textOf(selection), 'utf8')), row, row + count);
    row += count;
  }
  return { kind: 'string', ids, ...dictionary.finish() };
}

function constantLong(
  kind: 'int64' | 'timestampMs',
  selections: readonly RowSelection[],
  rowCount: number,
  numberOf: (selection: RowSelection) => bigint,
): Column {
  const values = new BigInt64Array(rowCount);
  let row = 0;
  for (const selection of selections) {
    const count = selectedCount(selection);
    values.fill(numberOf(selection), row, row + count);
    row += count;
  }
  return { kind, values };
}

type Numbers = Float64Array | Int32Array | BigInt64Array;

function mergeNumbers<T extends Numbers>(
  name: string,
  selections: readonly Rows[],
  rowCount: number,
  values: T,
): { values: T; nulls?: Uint8Array } {
  let nulls: Uint8Array | undefined;
  let row = 0;
  for (const selection of selections) {
    const source = selection.batch.columns[name];
    if (!source || !('values' in source)) throw new Error(`BUG: batch without column ${name}`);
    const { rows } = selection;
    if (!rows) {
      values.set(source.values as never, row);
    } else {
      for (let i = 0; i < rows.length; i++) values[row + i] = source.values[rows[i]!]!;
    }
    if (source.nulls) {
      nulls ??= new Uint8Array(rowCount);
      if (!rows) nulls.set(source.nulls, row);
      else for (let i = 0; i < rows.length; i++) nulls[row + i] = source.nulls[rows[i]!]!;
    }
    row += selectedCount(selection);
  }
  return nulls ? { values, nulls } : { values };
}

function mergeDictionaries(
  name: string,
  kind: 'string' | 'binary',
  selections: readonly Rows[],
  rowCount: number,
): Column {
  // Not more than all sources together, and memory that is never touched costs nothing.
  const dictionary = new Dictionary(entryBytes(selections, name));
  const ids = new Uint32Array(rowCount);
  let row = 0;
  for (const selection of selections) {
    const source = selection.batch.columns[name];
    if (!source || !('ids' in source)) throw new Error(`BUG: batch without column ${name}`);
    const entryCount = source.offsets.length - 1;
    if (entryCount === 0) {
      // Not used by any row.
      const end = row + selectedCount(selection);
      ids.fill(NULL_ID, row, end);
      row = end;
      continue;
    }
    // Entries are taken over only when a selected row uses them.
    const mapped = new Uint32Array(entryCount).fill(NULL_ID);
    const { rows } = selection;
    const count = selectedCount(selection);
    for (let i = 0; i < count; i++) {
      const id = source.ids[rows ? rows[i]! : i]!;
      if (id === NULL_ID) {
        ids[row++] = NULL_ID;
        continue;
      }
      let own = mapped[id]!;
      if (own === NULL_ID) {
        own = dictionary.idOf(source.bytes.subarray(source.offsets[id]!, source.offsets[id + 1]!));
        mapped[id] = own;
      }
      ids[row++] = own;
    }
  }
  return { kind, ids, ...dictionary.finish() };
}

function entryBytes(selections: readonly Rows[], name: string): number {
  let total = 0;
  for (const { batch } of selections) {
    const column = batch.columns[name];
    if (column && 'ids' in column) total += column.bytes.byteLength;
  }
  return total;
}

const HASH_SLOTS_AT_FIRST = 1024;

/** Byte strings → dense ids, in order of first appearance: open addressing over a growing byte arena. */
class Dictionary {
  #slots = new Int32Array(HASH_SLOTS_AT_FIRST).fill(-1);
  #hashes = new Uint32Array(HASH_SLOTS_AT_FIRST);
  #offsets = new Uint32Array(HASH_SLOTS_AT_FIRST + 1);
  #count = 0;
  #bytes: Buffer<ArrayBuffer>;

  constructor(bytesAtFirst = 16 * 1024) {
    this.#bytes = Buffer.allocUnsafeSlow(bytesAtFirst);
  }

  idOf(entry: Uint8Array): number {
    const hash = hashOf(entry);
    let slot = hash & (this.#slots.length - 1);
    for (;;) {
      const id = this.#slots[slot]!;
      if (id === -1) return this.#add(entry, hash, slot);
      if (this.#hashes[id] === hash && this.#isEntry(id, entry)) return id;
      slot = (slot + 1) & (this.#slots.length - 1);
    }
  }

  #isEntry(id: number, entry: Uint8Array): boolean {
    const start = this.#offsets[id]!;
    const end = this.#offsets[id + 1]!;
    if (end - start !== entry.byteLength) return false;
    return this.#bytes.compare(entry, 0, entry.byteLength, start, end) === 0;
  }

  #add(entry: Uint8Array, hash: number, slot: number): number {
    const id = this.#count;
    const start = this.#offsets[id]!;
    const end = start + entry.byteLength;
    if (end > this.#bytes.byteLength) {
      const grown = Buffer.allocUnsafeSlow(Math.max(end, this.#bytes.byteLength * 2));
      this.#bytes.copy(grown, 0, 0, start);
      letGo(this.#bytes);
      this.#bytes = grown;
    }
    this.#bytes.set(entry, start);
    this.#slots[slot] = id;
    this.#count += 1;
    if (this.#count * 2 > this.#slots.length) this.#grow(id, hash);
    this.#hashes[id] = hash;
    this.#offsets[id + 1] = end;
    return id;
  }

  #grow(last: number, lastHash: number): void {
    const size = this.#slots.length * 2;
    const hashes = new Uint32Array(size);
    hashes.set(this.#hashes);
    hashes[last] = lastHash;
    const offsets = new Uint32Array(size + 1);
    offsets.set(this.#offsets);
    const slots = new Int32Array(size).fill(-1);
    for (let id = 0; id < this.#count; id++) {
      let slot = hashes[id]! & (size - 1);
      while (slots[slot] !== -1) slot = (slot + 1) & (size - 1);
      slots[slot] = id;
    }
    this.#slots = slots;
    this.#hashes = hashes;
    this.#offsets = offsets;
  }

  finish(): { offsets: Uint32Array; bytes: Uint8Array } {
    const offsets = this.#offsets.slice(0, this.#count + 1);
    return { offsets, bytes: this.#bytes.subarray(0, offsets[this.#count]!) };
  }
}

/** Four bytes at a step, as MurmurHash3 does; long entries are sampled, so that one hash never costs more than some 100 steps. */
function hashOf(entry: Uint8Array): number {
  const length = entry.byteLength;
  if (length <= SAMPLED_ABOVE_BYTES) return finished(hashOfPart(entry, 0, length, length), length);
  let hash = hashOfPart(entry, 0, 128, length);
  const step = (length - 192) / 64;
  for (let i = 0; i < 64; i++) hash = Math.imul(hash ^ entry[128 + Math.floor(i * step)]!, 0x01000193);
  return finished(hashOfPart(entry, length - 64, length, hash), length);
}

const SAMPLED_ABOVE_BYTES = 384;

function hashOfPart(entry: Uint8Array, from: number, to: number, seed: number): number {
  let hash = seed;
  let at = from;
  for (; at + 4 <= to; at += 4) {
    const word = entry[at]! | (entry[at + 1]! << 8) | (entry[at + 2]! << 16) | (entry[at + 3]! << 24);
    const mixed = Math.imul(word, 0xcc9e2d51);
    hash ^= Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593);
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0;
  }
  for (; at < to; at += 1) hash = Math.imul(hash ^ entry[at]!, 0x01000193);
  return hash;
}

function finished(hash: number, length: number): number {
  let mixed = hash ^ length;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
