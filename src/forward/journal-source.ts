/**
 * The journal's side of a forwarder: reads envelopes in order, bounded in bytes and entries, hands those of its destination to
 * the dispatcher and passes over the rest. It also counts what lies beyond what was read, so that the books are exact even while
 * reading stands still; each entry is counted once.
 */
import type { JournalEntry, Position } from '../core/envelope.ts';
import { isProxyError, messageOf } from '../core/errors.ts';
import { KIB, MIB } from '../core/limits.ts';
import { DeliveryWindow } from './delivery-window.ts';
import type { ForwardSettings } from './forward-options.ts';
import { createParcel, type Parcel, type ParcelSource } from './parcel.ts';
import { originOf } from './spill-index.ts';

const READ_ENTRIES_MAX = 256;
const READ_BYTES_MAX = 4 * MIB;
const RETRY_AFTER_MS = 1_000;
/** A body this much smaller than the buffer it lies in is copied out, so that it does not keep the buffer alive. */
const SLACK_BYTES = 64 * KIB;

export class JournalSource {
  readonly window: DeliveryWindow;
  readonly #settings: ForwardSettings;
  readonly #deliver: (parcels: readonly Parcel[]) => void;
  readonly #source: ParcelSource;
  readonly #origin: string;
  /** Own entries in (window.readTo, countedTo]. */
  #beyond = 0;
  #countedTo: Position;
  #counting: Promise<void> | undefined;
  #wake: (() => void) | undefined;

  constructor(settings: ForwardSettings, committed: Position, deliver: (parcels: readonly Parcel[]) => void) {
    this.#settings = settings;
    this.#deliver = deliver;
    this.window = new DeliveryWindow(committed);
    this.#countedTo = committed;
    this.#origin = originOf(settings.journal.identity);
    this.#source = {
      kind: 'journal',
      isAlone: false,
      isRetried: false,
      done: (parcel) => {
        this.window.finish(parcel.position);
        this.roomMade();
      },
      setBack: () => {
        throw new Error('BUG: the journal takes nothing back');
      },
    };
  }

  /** Own envelopes between the position and the end, as far as counted. */
  get pending(): number {
    return this.window.size + this.#beyond;
  }

  get isFull(): boolean {
    const { readAheadBytesMax, readAheadEntriesMax } = this.#settings;
    return this.window.heldBytes >= readAheadBytesMax || this.window.size >= readAheadEntriesMax;
  }

  get isAtEnd(): boolean {
    return this.window.readTo >= this.#settings.journal.usage().end;
  }

  roomMade(): void {
    this.#wake?.();
  }

  /** Runs until the signal aborts or the journal closes. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, journal, log } = this.#settings;
    const wake = (): void => this.#wake?.();
    signal.addEventListener('abort', wake, { once: true });
    while (!signal.aborted) {
      try {
        if (this.isFull) await this.#room();
        else if (!this.isAtEnd) await this.#readOn(signal);
        else if (!(await journal.waitFor(this.window.readTo + 1, signal))) return;
      } catch (error) {
        if (signal.aborted || isProxyError(error, 'JOURNAL_CLOSED')) return;
        if (!isProxyError(error)) throw error;
        log.error({ reason: messageOf(error) }, 'the journal cannot be read; will try again');
        await clock.sleep(RETRY_AFTER_MS, signal).catch(() => {});
      }
    }
  }

  /** Counts on to the end. One count at a time; bounded reads. */
  count(signal: AbortSignal): Promise<void> {
    this.#counting ??= this.#countOn(signal).finally(() => {
      this.#counting = undefined;
    });
    return this.#counting;
  }

  #room(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = undefined;
        resolve();
      };
    });
  }

  async #readOn(signal: AbortSignal): Promise<void> {
    const { journal, readAheadBytesMax, readAheadEntriesMax } = this.#settings;
    const { end } = journal.usage();
    const { window } = this;
    const entries = await journal.read(window.readTo + 1, {
      entriesMax: Math.min(READ_ENTRIES_MAX, readAheadEntriesMax - window.size),
      bytesMax: Math.min(READ_BYTES_MAX, readAheadBytesMax - window.heldBytes),
    });
    if (signal.aborted) return;
    const parcels: Parcel[] = [];
    for (const entry of entries) {
      const isOurs = this.#isOurs(entry);
      if (isOurs) {
        window.begin(entry.position, entry.body.byteLength);
        parcels.push(this.#parcelOf(entry));
        if (entry.position <= this.#countedTo) this.#beyond--;
      } else window.pass(entry.position);
    }
    // Nothing to read though the journal goes on: what was there was set aside as damaged.
    if (entries.length === 0 && end > window.readTo) window.pass(end);
    this.#countedTo = Math.max(this.#countedTo, window.readTo);
    if (parcels.length > 0) this.#deliver(parcels);
  }

  #parcelOf(entry: JournalEntry): Parcel {
    const { body } = entry;
    const isLoose = body.buffer.byteLength > 2 * body.byteLength + SLACK_BYTES;
    const own = isLoose ? { ...entry, body: body.slice() } : entry;
    return createParcel(own, this.#origin, this.#settings.upstream.laneOf?.(entry.head) ?? '', this.#source);
  }

  #isOurs({ head }: JournalEntry): boolean {
    return head.destination === this.#settings.destination;
  }

  async #countOn(signal: AbortSignal): Promise<void> {
    const { journal } = this.#settings;
    while (!signal.aborted) {
      const { end } = journal.usage();
      if (this.#countedTo >= end) return;
      const from = this.#countedTo + 1;
      const entries = await journal.read(from, { entriesMax: READ_ENTRIES_MAX, bytesMax: READ_BYTES_MAX });
      for (const entry of entries) {
        // The reader may have overtaken this count meanwhile.
        if (entry.position <= this.#countedTo) continue;
        this.#countedTo = entry.position;
        if (this.#isOurs(entry)) this.#beyond++;
      }
      if (entries.length === 0) this.#countedTo = Math.max(this.#countedTo, end);
    }
  }
}
