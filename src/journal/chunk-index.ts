/** The chunks of one journal that are durable and not yet deleted: where each position lies, and how much there is. In memory. */
import type { Position } from '../core/envelope.ts';

export interface IndexedChunk {
  sequence: number;
  first: Position;
  /** first - 1 where the chunk is empty. */
  last: Position;
  sizeBytes: number;
  /** Of its entries, in order. */
  frameBytes: readonly number[];
  receivedAtMs: readonly number[];
}

export class ChunkIndex {
  #chunks: IndexedChunk[] = [];
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#chunks.length;
  }

  get oldest(): IndexedChunk | undefined {
    return this.#chunks[0];
  }

  /** Last position held; 0 where none ever was. */
  get end(): Position {
    return this.#chunks.at(-1)?.last ?? 0;
  }

  add(chunk: IndexedChunk): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.sizeBytes;
  }

  dropOldest(): void {
    const chunk = this.#chunks.shift();
    if (chunk) this.#bytes -= chunk.sizeBytes;
  }

  /** The chunk that holds a position, or the next one after it that holds any. */
  find(position: Position): IndexedChunk | undefined {
    let low = 0;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#chunks[middle]!.last < position) low = middle + 1;
      else high = middle;
    }
    return this.#chunks[low];
  }

  backlog(position: Position): { entries: number; bytes: number; oldestReceivedAtMs: number | undefined } {
    const found = { entries: 0, bytes: 0, oldestReceivedAtMs: undefined as number | undefined };
    for (let index = this.#chunks.length - 1; index >= 0; index--) {
      const chunk = this.#chunks[index]!;
      if (chunk.last <= position) break;
      const skipped = Math.max(0, position + 1 - chunk.first);
      found.entries += chunk.last - chunk.first + 1 - skipped;
      for (let entry = skipped; entry < chunk.frameBytes.length; entry++) found.bytes += chunk.frameBytes[entry]!;
      found.oldestReceivedAtMs = chunk.receivedAtMs[skipped] ?? found.oldestReceivedAtMs;
    }
    return found;
  }
}
