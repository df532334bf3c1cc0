/** The newest entries in memory, up to a size, so that consumers that keep up never read the disk. */
import type { JournalEntry, Position } from '../core/envelope.ts';

/** What an entry weighs besides its body: its head, roughly. */
const HEAD_BYTES = 1024;

export class RecentEntries {
  readonly #entries = new Map<Position, { entry: JournalEntry; bodyBytes: number }>();
  readonly #bytesMax: number;
  #bytes = 0;
  /** Positions come without gaps, so the oldest is found by counting. */
  #oldest: Position = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  add(entry: JournalEntry): void {
    const bodyBytes = entry.body.byteLength;
    if (this.#entries.size === 0) this.#oldest = entry.position;
    this.#entries.set(entry.position, { entry, bodyBytes });
    this.#bytes += bodyBytes + HEAD_BYTES;
    for (; this.#bytes > this.#bytesMax && this.#oldest <= entry.position; this.#oldest += 1) {
      const oldest = this.#entries.get(this.#oldest);
      if (!oldest) continue;
      this.#entries.delete(this.#oldest);
      this.#bytes -= oldest.bodyBytes + HEAD_BYTES;
    }
  }

  get(position: Position): JournalEntry | undefined {
    const found = this.#entries.get(position);
    // A body that was transferred to a worker meanwhile is empty here: then the disk has it.
    return found && found.entry.body.byteLength === found.bodyBytes ? found.entry : undefined;
  }

  clear(): void {
    this.#entries.clear();
    this.#bytes = 0;
  }
}
