/**
 * Files and folders of the simulated disk. Each keeps two states: what the process sees (page cache) and what is durable,
 * with the operations in between. A crash draws, per 512-byte sector and per folder entry, how far those operations got.
 */
import type { Random } from '../../src/core/random.ts';

const SECTOR_BYTES = 512;

/** How a crash treats what was not synced. */
export type CrashMode = 'random' | 'lose' | 'keep';

type FileOperation = { kind: 'write'; offset: number; bytes: Uint8Array } | { kind: 'truncate'; sizeBytes: number };

/** Growing bytes with a size; what lies beyond the size is always zero. */
class Content {
  #bytes: Uint8Array = new Uint8Array(0);
  sizeBytes = 0;

  write(offset: number, bytes: Uint8Array): void {
    this.resize(Math.max(this.sizeBytes, offset + bytes.byteLength));
    this.#bytes.set(bytes, offset);
  }

  resize(sizeBytes: number): void {
    if (sizeBytes > this.#bytes.byteLength) {
      const grown = new Uint8Array(Math.max(sizeBytes, this.#bytes.byteLength * 2, SECTOR_BYTES));
      grown.set(this.#bytes.subarray(0, this.sizeBytes));
      this.#bytes = grown;
    }
    if (sizeBytes < this.sizeBytes) this.#bytes.fill(0, sizeBytes, this.sizeBytes);
    this.sizeBytes = sizeBytes;
  }

  view(): Uint8Array {
    return this.#bytes.subarray(0, this.sizeBytes);
  }

  copy(): Content {
    const copied = new Content();
    copied.#bytes = this.#bytes.slice(0, this.sizeBytes);
    copied.sizeBytes = this.sizeBytes;
    return copied;
  }
}

let nextNodeId = 1;

export class FileNode {
  readonly kind = 'file';
  readonly id = nextNodeId++;
  live = new Content();
  #durable = new Content();
  #pending: FileOperation[] = [];
  #settledCount = 0;
  modifiedAtMs = 0;
  linkCount = 0;
  openCount = 0;

  write(offset: number, bytes: Uint8Array): void {
    const copied = bytes.slice();
    this.live.write(offset, copied);
    this.#pending.push({ kind: 'write', offset, bytes: copied });
  }

  truncate(sizeBytes: number): void {
    this.live.resize(sizeBytes);
    this.#pending.push({ kind: 'truncate', sizeBytes });
  }

  /** Counts the operations so far; `sync(mark)` makes those durable, not what came after. */
  mark(): number {
    return this.#settledCount + this.#pending.length;
  }

  sync(mark: number): void {
    const count = Math.max(0, mark - this.#settledCount);
    this.#settledCount += count;
    for (const operation of this.#pending.splice(0, count)) {
      if (operation.kind === 'write') this.#durable.write(operation.offset, operation.bytes);
      else this.#durable.resize(operation.sizeBytes);
    }
  }

  /**
   * A failed fdatasync: the kernel marks the pages clean whatever reached the disk, so a later sync that succeeds does not
   * make this data durable, although the process goes on seeing it.
   */
  failSync(random: Random): void {
    this.#settle('random', random);
  }

  crash(mode: CrashMode, random: Random): void {
    this.#settle(mode, random);
    this.live = this.#durable.copy();
    this.openCount = 0;
  }

  /** Flips bits of what is there and durable: a bad sector, for tests of checksums. */
  damage(offset: number, bytes: Uint8Array): void {
    this.live.write(offset, bytes);
    this.#durable.write(offset, bytes);
  }

  /**
   * A sector of the page cache is written to the disk at any moment, so each touched sector holds the state after some
   * first k of the operations; the size has a moment of its own. A size without its data reads as zeros.
   */
  #settle(mode: CrashMode, random: Random): void {
    const operations = this.#pending;
    this.#pending = [];
    this.#settledCount += operations.length;
    if (mode === 'lose' || operations.length === 0) return;
    const count = operations.length;
    const style = mode === 'keep' ? 0 : random.next();
    const drawCut = (): number => Math.floor(random.next() * (count + 1));
    // A third each: everything to one moment (often all or nothing), each operation whole or not, each sector on its own.
    const commonCut = mode === 'keep' ? count : drawCut();
    const keptWhole = operations.map(() => random.next() < 0.5);
    const heldBack = new Set<number>();
    const cutOfSector = new Map<number, number>();
    const holds = (index: number, sector: number): boolean => {
      if (style < 0.34) return index < commonCut;
      if (style < 0.67) {
        // Within one sector a later write never survives without the earlier ones.
        if (!keptWhole[index]) heldBack.add(sector);
        return !heldBack.has(sector);
      }
      let cut = cutOfSector.get(sector);
      if (cut === undefined) {
        cut = drawCut();
        cutOfSector.set(sector, cut);
      }
      return index < cut;
    };
    const sizeCut = mode === 'keep' ? count : style < 0.34 ? commonCut : drawCut();

    let sizeBytes = this.#durable.sizeBytes;
    let largest = sizeBytes;
    for (const [index, operation] of operations.entries()) {
      const end = operation.kind === 'write' ? operation.offset + operation.bytes.byteLength : operation.sizeBytes;
      largest = Math.max(largest, end);
      if (index < sizeCut) sizeBytes = operation.kind === 'write' ? Math.max(sizeBytes, end) : end;
    }
    const settled = this.#durable.copy();
    settled.resize(largest);
    for (const [index, operation] of operations.entries()) {
      if (operation.kind === 'truncate') {
        // Blocks behind a truncation are freed with the size; only a size that grew again shows zeros.
        if (index < sizeCut) settled.view().fill(0, operation.sizeBytes);
        continue;
      }
      let from = 0;
      while (from < operation.bytes.byteLength) {
        const at = operation.offset + from;
        const sector = Math.floor(at / SECTOR_BYTES);
        const length = Math.min(operation.bytes.byteLength - from, (sector + 1) * SECTOR_BYTES - at);
        if (holds(index, sector)) settled.view().set(operation.bytes.subarray(from, from + length), at);
        from += length;
      }
    }
    settled.resize(sizeBytes);
    this.#durable = settled;
  }
}

export type Node = FileNode | FolderNode;

/** One entry change. A rename inside one folder is a single operation: old or new, never both or neither. */
export interface FolderOperation {
  set?: { name: string; node: Node };
  remove?: string;
  /** The removal of a rename's source in another folder waits for the arrival there: no crash loses the node. */
  after?: { folder: FolderNode; operation: FolderOperation };
}

export class FolderNode {
  readonly kind = 'folder';
  readonly id = nextNodeId++;
  readonly live = new Map<string, Node>();
  readonly #durable = new Map<string, Node>();
  #pending: FolderOperation[] = [];
  #settledCount = 0;
  modifiedAtMs = 0;

  apply(operation: FolderOperation): void {
    perform(this.live, operation);
    this.#pending.push(operation);
  }

  mark(): number {
    return this.#settledCount + this.#pending.length;
  }

  sync(mark: number): void {
    const count = Math.max(0, mark - this.#settledCount);
    this.#settledCount += count;
    for (const operation of this.#pending.splice(0, count)) {
      // A journalling file system commits both sides of a rename together.
      if (operation.after) operation.after.folder.#commit(operation.after.operation);
      perform(this.#durable, operation);
    }
  }

  #commit(operation: FolderOperation): void {
    const index = this.#pending.indexOf(operation);
    if (index < 0) return;
    this.sync(this.#settledCount + index + 1);
  }

  /** Draws which entry changes survive. Changes of one name keep their order; those of different names do not. */
  settle(mode: CrashMode, random: Random): void {
    const operations = this.#pending;
    this.#pending = [];
    this.#settledCount += operations.length;
    for (const operation of operations) operation.after?.folder.settle(mode, random);
    const style = random.next();
    const cut = Math.floor(random.next() * (operations.length + 1));
    for (const [index, operation] of operations.entries()) {
      const kept = mode === 'keep' || (mode === 'random' && (style < 0.5 ? index < cut : random.next() < 0.5));
      if (!kept) continue;
      if (operation.after && !operation.after.folder.#holds(operation.after.operation)) continue;
      perform(this.#durable, operation);
    }
  }

  /** Settled folders only: whether the arrival survived. */
  #holds(operation: FolderOperation): boolean {
    return operation.set !== undefined && this.#durable.get(operation.set.name) === operation.set.node;
  }

  /** After all folders are settled: what the next process sees. */
  restart(): void {
    this.live.clear();
    for (const [name, node] of this.#durable) this.live.set(name, node);
  }
}

function perform(entries: Map<string, Node>, operation: FolderOperation): void {
  if (operation.remove !== undefined) entries.delete(operation.remove);
  if (operation.set) entries.set(operation.set.name, operation.set.node);
}
