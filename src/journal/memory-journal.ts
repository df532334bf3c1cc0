/**
 * The journal in memory, for `DURABILITY=memory`: the same order, budget and consumers, but nothing survives the process.
 * Entries go once every consumer has passed them; without consumers nothing is freed.
 */
import type { Envelope, JournalEntry, JournalIdentity, Position } from '../core/envelope.ts';
import { ProxyError } from '../core/errors.ts';
import type { AppendResult, Journal, JournalConsumer, JournalUsage, ReadLimits } from './journal.ts';
import type { MemoryJournalOptions } from './journal-options.ts';
import { MemoryConsumers } from './memory-consumers.ts';
import { PositionWaiters } from './position-waiters.ts';

/** What an entry weighs besides its body: its head, roughly. */
const HEAD_BYTES = 1024;
/** Freed entries are cut from the list in pieces of at least this many, so that each is moved about once. */
const CUT_ENTRIES = 1024;

interface HeldEntry {
  entry: JournalEntry;
  size: number;
  /** Bytes appended before it since the start. */
  bytesBefore: number;
}

export function createMemoryJournal(options: MemoryJournalOptions): Journal {
  return new MemoryJournal(options);
}

class MemoryJournal implements Journal {
  readonly identity: JournalIdentity;
  readonly #options: MemoryJournalOptions;
  readonly #consumers = new MemoryConsumers({
    end: () => this.#end,
    assertOpen: () => this.#assertOpen(),
    onMoved: () => this.#free(),
  });
  readonly #waiters = new PositionWaiters();
  /** `#entries[i]` is position `#base + i`; freed ones are undefined until they are cut off. */
  #entries: (HeldEntry | undefined)[] = [];
  #base: Position = 1;
  #start: Position = 1;
  #bytes = 0;
  /** All bytes ever appended. */
  #bytesEver = 0;
  #closed = false;

  constructor(options: MemoryJournalOptions) {
    this.#options = options;
    this.identity = { replica: options.replica, epoch: options.epoch };
    options.metrics.journalBudgetBytes.set(options.budgetBytes);
  }

  get #end(): Position {
    return this.#base + this.#entries.length - 1;
  }

  append(envelope: Envelope): Promise<AppendResult> {
    const size = envelope.body.byteLength + HEAD_BYTES;
    const reason = this.#closed ? 'closed' : this.#bytes + size > this.#options.budgetBytes ? 'full' : undefined;
    if (reason) {
      this.#options.metrics.journalRefused.inc({ reason });
      return Promise.resolve({ ok: false, reason });
    }
    const position = this.#end + 1;
    this.#entries.push({
      entry: { position, head: envelope.head, body: envelope.body },
      size,
      bytesBefore: this.#bytesEver,
    });
    this.#bytes += size;
    this.#bytesEver += size;
    this.#options.metrics.journalBytes.set(this.#bytes);
    this.#waiters.reach(position);
    return Promise.resolve({ ok: true, position });
  }

  async read(from: Position, limits: ReadLimits): Promise<JournalEntry[]> {
    this.#assertOpen();
    const found: JournalEntry[] = [];
    let bytes = 0;
    for (let position = Math.max(from, this.#start); position <= this.#end; position += 1) {
      const held = this.#entries[position - this.#base];
      if (!held || found.length >= limits.entriesMax) break;
      bytes += held.size;
      if (found.length > 0 && bytes > limits.bytesMax) break;
      found.push(held.entry);
    }
    return found;
  }

  waitFor(position: Position, signal: AbortSignal): Promise<boolean> {
    return this.#waiters.wait(position, this.#end, signal);
  }

  async consumer(name: string, from: 'start' | 'end'): Promise<JournalConsumer> {
    return this.#consumers.open(name, () => (from === 'start' ? this.#start - 1 : this.#end));
  }

  consumers(): string[] {
    return this.#consumers.names();
  }

  async retire(name: string): Promise<void> {
    this.#consumers.retire(name);
  }

  #free(): void {
    const passed = this.#consumers.passed() ?? 0;
    for (; this.#start <= passed; this.#start += 1) {
      const index = this.#start - this.#base;
      this.#bytes -= this.#entries[index]?.size ?? 0;
      this.#entries[index] = undefined;
    }
    const freed = this.#start - this.#base;
    if (freed >= CUT_ENTRIES && freed * 2 >= this.#entries.length) {
      this.#entries = this.#entries.slice(freed);
      this.#base = this.#start;
    }
    this.#options.metrics.journalBytes.set(this.#bytes);
  }

  confirm(): void {
    // Nothing is told to a next process.
  }

  doubtful(): Promise<[]> {
    return Promise.resolve([]);
  }

  heardLate(): [] {
    return [];
  }

  unconfirmedAtOpen(): [] {
    return [];
  }

  backlog(position: Position): { entries: number; bytes: number; oldestReceivedAtMs: number | undefined } {
    const first = Math.max(position + 1, this.#start);
    const held = this.#entries[first - this.#base];
    if (!held) return { entries: 0, bytes: 0, oldestReceivedAtMs: undefined };
    return {
      entries: this.#end - first + 1,
      bytes: this.#bytesEver - held.bytesBefore,
      oldestReceivedAtMs: held.entry.head.receivedAtMs,
    };
  }

  usage(): JournalUsage {
    return {
      bytes: this.#bytes,
      budgetBytes: this.#options.budgetBytes,
      files: 0,
      end: this.#end,
      start: this.#start,
      oldestReceivedAtMs: this.#entries[this.#start - this.#base]?.entry.head.receivedAtMs,
      quarantinedFrames: 0,
      writable: !this.#closed,
    };
  }

  #assertOpen(): void {
    if (this.#closed) throw new ProxyError('JOURNAL_CLOSED', 'the journal was closed');
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#waiters.close();
  }
}
