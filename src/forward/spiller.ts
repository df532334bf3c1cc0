/**
 * Keeps an upstream within its share of the journal: when its backlog exceeds the share, the oldest envelopes move to spill
 * objects and the position moves on. The same when everything that is held waits for one resting lane or refused key while other
 * ways are open: it must not stand in their way. When the journal fills up all the same, because attempts hang and pin its
 * positions, they are recalled, and what has not begun is put away rather than sent.
 */
import type { Dispatcher } from './dispatcher.ts';
import type { ForwardSettings } from './forward-options.ts';
import type { JournalSource } from './journal-source.ts';
import type { Parcel } from './parcel.ts';
import { frameBytes } from './parcel-file.ts';
import type { SpillYard } from './spill-yard.ts';

/** Once over the share, go on until this part of it is left, so that objects are not written one by one at the brink. */
const LEFT_SHARE = 0.75;
/** Part of the journal's whole budget beyond which attempts are recalled: each may reach the vendor twice, so not before. */
const FILLING_SHARE = 0.7;

export class Spiller {
  readonly #settings: ForwardSettings;
  readonly #source: JournalSource;
  readonly #dispatcher: Dispatcher;
  readonly #yard: SpillYard;
  #isOver = false;
  #running: Promise<void> | undefined;

  constructor(settings: ForwardSettings, source: JournalSource, dispatcher: Dispatcher, yard: SpillYard) {
    this.#settings = settings;
    this.#source = source;
    this.#dispatcher = dispatcher;
    this.#yard = yard;
  }

  /** Looks, and starts writing one object if need be; called often. */
  check(signal: AbortSignal): void {
    if (signal.aborted) return;
    this.#measure();
    const makesRoom = this.#isOver && this.#yard.isWritable && this.#isJournalFilling();
    this.#dispatcher.holdJournal(makesRoom);
    if (makesRoom) this.#dispatcher.recall(this.#settings.recallAfterMs);
    if (this.#running || !this.#yard.isWritable) return;
    const parcels = this.#choose();
    if (parcels.length === 0) return;
    for (const parcel of parcels) this.#dispatcher.take(parcel);
    this.#running = this.#yard.spill(parcels).then(
      () => {
        this.#running = undefined;
        this.check(signal);
      },
      (error) => {
        this.#running = undefined;
        if (signal.aborted) return; // They are still in the journal.
        this.#settings.log.error({ err: error }, 'BUG: spilling failed');
        for (const parcel of parcels) this.#dispatcher.add(parcel);
      },
    );
  }

  async settled(): Promise<void> {
    await this.#running;
  }

  #measure(): void {
    const { backlogBytesMax, journal } = this.#settings;
    const { bytes } = journal.backlog(this.#source.window.committable);
    if (bytes > backlogBytesMax) this.#isOver = true;
    else if (bytes <= backlogBytesMax * LEFT_SHARE) this.#isOver = false;
  }

  #isJournalFilling(): boolean {
    const { bytes, budgetBytes } = this.#settings.journal.usage();
    return bytes > budgetBytes * FILLING_SHARE;
  }

  #choose(): Parcel[] {
    const { spillObjectBytesMax } = this.#settings;
    if (!this.#isOver && !this.#isInTheWay()) return [];
    const waiting = [...this.#dispatcher.waiting('journal')].sort((a, b) => a.position - b.position);
    const chosen: Parcel[] = [];
    let size = 0;
    for (const parcel of waiting) {
      if (parcel.lane !== waiting[0]?.lane) continue;
      if (chosen.length > 0 && size + frameBytes(parcel) > spillObjectBytesMax) return chosen;
      chosen.push(parcel);
      size += frameBytes(parcel);
    }
    // A larger object is worth the wait while reading goes on.
    const isReadingOn = !this.#source.isFull && !this.#source.isAtEnd;
    return isReadingOn && size < spillObjectBytesMax / 2 ? [] : chosen;
  }

  #isInTheWay(): boolean {
    if (!this.#source.isFull || !this.#dispatcher.hasOpenWay) return false;
    const waiting = this.#dispatcher.waiting('journal');
    if (waiting.size < this.#source.window.size) return false;
    for (const parcel of waiting) if (!this.#dispatcher.isHeldBack(parcel)) return false;
    return true;
  }
}
