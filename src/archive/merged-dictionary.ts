/** Byte strings → dense ids, in order of first appearance: open addressing over a growing byte arena. */
import { letGo, viewOf } from '../core/buffers.ts';
import { type DictionaryColumn, NULL_ID } from '../core/columns.ts';

const HASH_SLOTS_AT_FIRST = 1024;

export class MergedDictionary {
  #slots = new Int32Array(HASH_SLOTS_AT_FIRST).fill(-1);
  #hashes = new Uint32Array(HASH_SLOTS_AT_FIRST);
  #offsets = new Uint32Array(HASH_SLOTS_AT_FIRST + 1);
  #count = 0;
  #bytes: Buffer<ArrayBuffer>;
  /** Where the entries lie that are asked for. */
  #source: Uint8Array = new Uint8Array(0);
  #view: DataView = new DataView(new ArrayBuffer(0));
  /** Part of the source whose entries are known and not copied yet: neighbours go together. */
  #waitingStart = 0;
  #waitingEnd = 0;
  #copied = 0;

  constructor(bytesAtFirst = 16 * 1024) {
    this.#bytes = Buffer.allocUnsafeSlow(bytesAtFirst);
  }

  idOf(entry: Uint8Array): number {
    this.readFrom(entry);
    return this.idAt(0, entry.byteLength);
  }

  /** What `idAt` is asked for next lies in these bytes, which must not change until others are named. */
  readFrom(bytes: Uint8Array): void {
    this.#copyWaiting();
    this.#source = bytes;
    this.#view = viewOf(bytes);
  }

  idAt(start: number, end: number): number {
    const hash = hashOf(this.#view, start, end);
    let slot = hash & (this.#slots.length - 1);
    for (;;) {
      const id = this.#slots[slot]!;
      if (id === -1) return this.#add(start, end, hash, slot);
      if (this.#hashes[id] === hash && this.#isEntry(id, start, end)) return id;
      slot = (slot + 1) & (this.#slots.length - 1);
    }
  }

  #isEntry(id: number, start: number, end: number): boolean {
    const ownStart = this.#offsets[id]!;
    const ownEnd = this.#offsets[id + 1]!;
    if (ownEnd - ownStart !== end - start) return false;
    if (ownEnd > this.#copied) this.#copyWaiting();
    return this.#bytes.compare(this.#source, start, end, ownStart, ownEnd) === 0;
  }

  #add(start: number, end: number, hash: number, slot: number): number {
    const id = this.#count;
    if (start !== this.#waitingEnd) {
      this.#copyWaiting();
      this.#waitingStart = start;
    }
    this.#waitingEnd = end;
    this.#slots[slot] = id;
    this.#count += 1;
    if (this.#count * 2 > this.#slots.length) this.#grow(id, hash);
    this.#hashes[id] = hash;
    this.#offsets[id + 1] = this.#offsets[id]! + end - start;
    return id;
  }

  #copyWaiting(): void {
    const start = this.#copied;
    const end = start + this.#waitingEnd - this.#waitingStart;
    if (end > this.#bytes.byteLength) {
      const grown = Buffer.allocUnsafeSlow(Math.max(end, this.#bytes.byteLength * 2));
      this.#bytes.copy(grown, 0, 0, start);
      letGo(this.#bytes);
      this.#bytes = grown;
    }
    if (end > start) this.#bytes.set(this.#source.subarray(this.#waitingStart, this.#waitingEnd), start);
    this.#copied = end;
    this.#waitingStart = 0;
    this.#waitingEnd = 0;
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

  /** Entries so far. */
  get size(): number {
    return this.#count;
  }

  finish(): { offsets: Uint32Array; bytes: Uint8Array } {
    this.#copyWaiting();
    const offsets = this.#offsets.slice(0, this.#count + 1);
    return { offsets, bytes: this.#bytes.subarray(0, offsets[this.#count]!) };
  }
}

/** An id that no entry has been given yet. */
const UNMAPPED = NULL_ID - 1;

/** Ids of a batch's own dictionary → ids of the merged one. Entries are taken over only when a row that is asked for uses them. */
export class OwnIds {
  readonly #source: DictionaryColumn;
  readonly #dictionary: MergedDictionary;
  readonly #mapped: Uint32Array;

  constructor(source: DictionaryColumn, dictionary: MergedDictionary) {
    this.#source = source;
    this.#dictionary = dictionary;
    // What is absent has not even an end of its last entry.
    this.#mapped = new Uint32Array(Math.max(0, source.offsets.length - 1)).fill(UNMAPPED);
  }

  ofRow(row: number): number {
    if (this.#mapped.length === 0) return NULL_ID;
    this.#dictionary.readFrom(this.#source.bytes);
    return this.#of(this.#source.ids[row]!);
  }

  /** Those of all rows, or of these, into `target`. */
  copyTo(target: Uint32Array, start: number, rows: Uint32Array | undefined): void {
    const { ids, bytes } = this.#source;
    this.#dictionary.readFrom(bytes);
    const count = rows ? rows.length : ids.length;
    for (let i = 0; i < count; i++) target[start + i] = this.#of(ids[rows ? rows[i]! : i]!);
  }

  #of(id: number): number {
    if (id === NULL_ID) return NULL_ID;
    const known = this.#mapped[id]!;
    if (known !== UNMAPPED) return known;
    const { offsets } = this.#source;
    const own = this.#dictionary.idAt(offsets[id]!, offsets[id + 1]!);
    this.#mapped[id] = own;
    return own;
  }
}

/** Four bytes at a step, as MurmurHash3 does; long entries are sampled, so that one hash never costs more than some 100 steps. */
function hashOf(view: DataView, start: number, end: number): number {
  const length = end - start;
  if (length <= SAMPLED_ABOVE_BYTES) return finished(hashOfPart(view, start, end, length), length);
  let hash = hashOfPart(view, start, start + 128, length);
  const step = (length - 192) / 64;
  for (let i = 0; i < 64; i++) {
    hash = Math.imul(hash ^ view.getUint8(start + 128 + Math.floor(i * step)), 0x01000193);
  }
  return finished(hashOfPart(view, end - 64, end, hash), length);
}

const SAMPLED_ABOVE_BYTES = 384;

function hashOfPart(view: DataView, from: number, to: number, seed: number): number {
  let hash = seed;
  let at = from;
  for (; at + 4 <= to; at += 4) {
    const mixed = Math.imul(view.getInt32(at, true), 0xcc9e2d51);
    hash ^= Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593);
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0;
  }
  for (; at < to; at += 1) hash = Math.imul(hash ^ view.getUint8(at), 0x01000193);
  return hash;
}

function finished(hash: number, length: number): number {
  let mixed = hash ^ length;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
