/**
 * Envelopes that are read back from the journal, decoded again a few at a time: one after another each would wait for all that intake has decoded
 * meanwhile, and an archive that is behind would never catch up. They are taken in their order.
 */
import type { JournalEntry, Position } from '../core/envelope.ts';
import type { TravellingBatch } from '../core/travelling-batch.ts';

export interface Decoded {
  batch: TravellingBatch;
  /** Its share of the in-flight budget, in what `ByteBudget.rounded` gives. */
  reservedBytes: number;
}

const AT_ONCE = 16;

export class DecodedAhead {
  readonly #entries: readonly JournalEntry[];
  readonly #end: Position;
  readonly #isAtHand: (position: Position) => boolean;
  readonly #decode: (entry: JournalEntry) => Promise<Decoded | undefined>;
  readonly #waiting = new Map<Position, { entry: JournalEntry; decoded: Promise<Decoded | undefined> }>();
  #begun = 0;

  /** `isAtHand`: need not be decoded. `decode` resolves to undefined where memory is short. */
  constructor(
    entries: readonly JournalEntry[],
    end: Position,
    {
      isAtHand,
      decode,
    }: {
      isAtHand: (position: Position) => boolean;
      decode: (entry: JournalEntry) => Promise<Decoded | undefined>;
    },
  ) {
    this.#entries = entries;
    this.#end = end;
    this.#isAtHand = isAtHand;
    this.#decode = decode;
  }

  /** Those before it were asked for, or are at hand. */
  async next(entry: JournalEntry): Promise<Decoded | undefined> {
    this.#begin(entry);
    const decoded = this.#waiting.get(entry.position)?.decoded;
    this.#waiting.delete(entry.position);
    return decoded;
  }

  /** From this one on, as many as may be decoded at once. */
  #begin(first: JournalEntry): void {
    while (this.#begun < this.#entries.length && this.#waiting.size < AT_ONCE) {
      const entry = this.#entries[this.#begun]!;
      if (entry.position > this.#end) break;
      this.#begun += 1;
      if (entry.position < first.position || (entry !== first && this.#isAtHand(entry.position))) continue;
      const decoded = this.#decode(entry);
      // Asked for later.
      decoded.catch(() => {});
      this.#waiting.set(entry.position, { entry, decoded });
    }
    if (this.#waiting.has(first.position)) return;
    // It was at hand, and is no more.
    this.#waiting.set(first.position, { entry: first, decoded: this.#decode(first) });
  }

  /** What was decoded and never asked for. */
  async rest(): Promise<(JournalEntry & Decoded)[]> {
    const rest: (JournalEntry & Decoded)[] = [];
    for (const { entry, decoded } of this.#waiting.values()) {
      const made = await decoded.catch(() => undefined);
      if (made) rest.push({ ...entry, ...made });
    }
    this.#waiting.clear();
    return rest;
  }
}
