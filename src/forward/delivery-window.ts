/**
 * Which positions are under way. Envelopes finish out of order; what may be committed is everything below the lowest unfinished
 * one. Only unfinished positions are held, in the order they were read.
 */
import type { Position } from '../core/envelope.ts';

export class DeliveryWindow {
  /** In insertion order, which is the order of positions. */
  readonly #unfinished = new Map<Position, number>();
  #readTo: Position;
  #heldBytes = 0;

  constructor(committed: Position) {
    this.#readTo = committed;
  }

  /** Everything up to here was read. */
  get readTo(): Position {
    return this.#readTo;
  }

  get size(): number {
    return this.#unfinished.size;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Everything up to and including this is done. */
  get committable(): Position {
    for (const lowest of this.#unfinished.keys()) return lowest - 1;
    return this.#readTo;
  }

  /** A position that is not ours, or needs nothing. */
  pass(position: Position): void {
    this.#advance(position);
  }

  begin(position: Position, bytes: number): void {
    this.#advance(position);
    this.#unfinished.set(position, bytes);
    this.#heldBytes += bytes;
  }

  finish(position: Position): void {
    const bytes = this.#unfinished.get(position);
    if (bytes === undefined) throw new Error(`BUG: position ${position} is not under way`);
    this.#unfinished.delete(position);
    this.#heldBytes -= bytes;
  }

  #advance(position: Position): void {
    if (position <= this.#readTo) throw new Error(`BUG: position ${position} after ${this.#readTo}`);
    this.#readTo = position;
  }
}
