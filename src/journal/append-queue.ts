/**
 * Group commit: appends wait while a group is being written, then go together, bounded in bytes and count. One group at a
 * time. What a group's writer answers holds for all of it.
 */
export interface WaitingAppend {
  bytes: number;
}

const GROUP_ENTRIES_MAX = 1000;

export class AppendQueue<T extends WaitingAppend> {
  readonly #bytesMax: number;
  readonly #commit: (group: T[]) => Promise<() => void>;
  readonly #onIdle: () => void;
  #waiting: T[] = [];
  #waitingBytes = 0;
  #running: Promise<void> | undefined;

  /** `commit` never rejects; what it gives settles every member of its group. `onIdle` runs when nothing waits any more. */
  constructor(bytesMax: number, commit: (group: T[]) => Promise<() => void>, onIdle: () => void) {
    this.#bytesMax = bytesMax;
    this.#commit = commit;
    this.#onIdle = onIdle;
  }

  /** Bytes that wait or are being written. */
  get bytes(): number {
    return this.#waitingBytes;
  }

  get busy(): boolean {
    return this.#running !== undefined;
  }

  add(append: T): void {
    this.#waiting.push(append);
    this.#waitingBytes += append.bytes;
    this.#running ??= this.#run();
  }

  /** Resolves when nothing waits and nothing is being written. */
  async idle(): Promise<void> {
    while (this.#running) await this.#running;
  }

  async #run(): Promise<void> {
    // All that arrive in this turn of the event loop share the first group.
    await new Promise<void>((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      const group = this.#nextGroup();
      const settle = await this.#commit(group);
      for (const append of group) this.#waitingBytes -= append.bytes;
      settle();
    }
    this.#running = undefined;
    this.#onIdle();
  }

  #nextGroup(): T[] {
    let bytes = 0;
    let count = 0;
    for (const append of this.#waiting) {
      if (count > 0 && (bytes + append.bytes > this.#bytesMax || count >= GROUP_ENTRIES_MAX)) break;
      bytes += append.bytes;
      count += 1;
    }
    return this.#waiting.splice(0, count);
  }
}
