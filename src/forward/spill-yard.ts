/**
 * Where envelopes wait in the store: those that exceed this upstream's share of the journal, and those that stepped aside. Objects
 * are delivered oldest first, at most two in memory at a time, and deleted when all of their envelopes are done. An object whose
 * envelopes all wait for a resting lane or a refused key makes room for others.
 */
import type { Position } from '../core/envelope.ts';
import { isProxyError } from '../core/errors.ts';
import type { Books } from './books.ts';
import { unreadableKey } from './dead-letters.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { ForwardSettings } from './forward-options.ts';
import { createParcel, type Parcel, type ParcelSource } from './parcel.ts';
import { decodeParcels, encodeParcels, type FiledParcel } from './parcel-file.ts';
import { retryDelayMs } from './retry-policy.ts';
import { createSpillRecord, originOf, parseSpillKey, type SpillRecord, spillKey, spillPrefix } from './spill-index.ts';
import { putOnce, untilDone } from './store-patience.ts';

const LOADED_MAX = 2;
/** An object that was put back waits longer each time, up to this. */
const SET_BACK_MS_MAX = 10 * 60 * 1000;

export class SpillYard {
  readonly #settings: ForwardSettings;
  readonly #books: Books;
  readonly #dispatcher: Dispatcher;
  readonly #signal: AbortSignal;
  /** Not in memory, in the order they are to be delivered. */
  readonly #stored = new Set<SpillRecord>();
  readonly #loaded = new Map<SpillRecord, Set<Parcel>>();
  /** Of all objects that are known. */
  readonly #keys = new Set<string>();
  readonly #background = new Set<Promise<void>>();
  #loading: SpillRecord | undefined;
  #pending = 0;
  #recovered: Promise<void> | undefined;
  #isReady = false;
  #isStopping = false;

  constructor(settings: ForwardSettings, books: Books, dispatcher: Dispatcher, signal: AbortSignal) {
    this.#settings = settings;
    this.#books = books;
    this.#dispatcher = dispatcher;
    this.#signal = signal;
  }

  /** Envelopes that are in objects and not done. */
  get pending(): number {
    return this.#pending;
  }

  get objects(): number {
    return this.#stored.size + this.#loaded.size + (this.#loading ? 1 : 0);
  }

  /** Objects may be written: what was there before is known, and there is room to know more. */
  get isWritable(): boolean {
    return this.#isReady && this.objects < this.#settings.spillObjectsMax;
  }

  /**
   * Finds what a life before left. Resolves after the first try; with a store that is away the search goes on, and nothing is
   * spilled meanwhile. `committed`: this journal's position at the start.
   */
  async recover(committed: Position): Promise<void> {
    let failed = (): void => {};
    const failedOnce = new Promise<void>((resolve) => {
      failed = resolve;
    });
    const found = new Map<string, SpillRecord>();
    this.#recovered = untilDone(this.#settings, 'finding spill objects', this.#signal, async () => {
      try {
        await this.#find(committed, found);
      } catch (error) {
        failed();
        throw error;
      }
    }).then(() => this.#take(found));
    this.#track(this.#recovered);
    await Promise.race([this.#recovered, failedOnce]);
  }

  async #find(committed: Position, found: Map<string, SpillRecord>): Promise<void> {
    const { journal, store, upstream } = this.#settings;
    const { replica } = journal.identity;
    const own = originOf(journal.identity);
    for await (const { key } of store.list(spillPrefix(upstream.name, replica))) {
      const name = parseSpillKey(upstream.name, replica, key);
      if (!name || found.has(key)) continue;
      const record = createSpillRecord(key, name.origin, name.count, undefined);
      if (name.origin === own && name.last > committed) {
        record.takeTo = committed;
        record.remaining = name.first > committed ? 0 : await this.#countTo(key, committed, name.count);
        if (record.remaining === 0) {
          await store.delete(key);
          continue;
        }
      }
      found.set(key, record);
    }
  }

  /** An object across the position: written, but the position was not moved past all of it. */
  async #countTo(key: string, committed: Position, otherwise: number): Promise<number> {
    const parcels = decodeParcels((await this.#settings.store.get(key)).bytes, this.#settings.sealer);
    return parcels ? parcels.filter(({ position }) => position <= committed).length : otherwise;
  }

  #take(found: Map<string, SpillRecord>): void {
    let count = 0;
    for (const record of found.values()) {
      this.#stored.add(record);
      this.#keys.add(record.key);
      count += record.remaining;
    }
    this.#pending += count;
    this.#isReady = true;
    if (count > 0) this.#books.recovered(count);
  }

  /** Writes parcels of one lane, in the order of positions, as one object. They are done for their source once it is durable. */
  async spill(parcels: readonly Parcel[]): Promise<void> {
    await this.#write(parcels);
  }

  async #write(parcels: readonly Parcel[]): Promise<SpillRecord> {
    const first = parcels[0];
    if (!first) throw new Error('BUG: nothing to spill');
    const { clock, sealer, upstream } = this.#settings;
    const positions = parcels.map(({ position }) => position);
    let key = spillKey(upstream.name, first.origin, positions, 0);
    for (let copy = 1; this.#keys.has(key); copy++) key = spillKey(upstream.name, first.origin, positions, copy);
    this.#keys.add(key);
    const filed: FiledParcel[] = parcels.map(({ position, head, body, attempts, lastReason, lastStatus }) => ({
      position,
      head,
      body,
      note: {
        attempts,
        reason: lastReason,
        ...(lastStatus === undefined ? {} : { status: lastStatus }),
        atMs: clock.nowMs(),
      },
    }));
    await putOnce(this.#settings, key, encodeParcels(filed, sealer), this.#signal);
    const record = createSpillRecord(key, first.origin, parcels.length, first.lane);
    this.#stored.add(record);
    this.#pending += parcels.length;
    this.#books.spilled(parcels.filter(({ source }) => source.kind === 'journal').length);
    for (const parcel of parcels) parcel.source.done(parcel);
    return record;
  }

  async stepAside(parcel: Parcel): Promise<void> {
    await this.#recovered;
    this.#delay(await this.#write([parcel]));
  }

  /** Puts away what is stuck and brings the next object; called often, does little. */
  tick(): void {
    if (!this.#isReady || this.#isStopping) return;
    const nowMs = this.#settings.clock.monotonicMs();
    const due = [...this.#due(nowMs)];
    if (due.length > 0) this.#unloadStuck(due);
    if (this.#loading || this.#loaded.size >= this.#loadedMax) return;
    const next = due.find(({ lane }) => lane === undefined || this.#dispatcher.isLaneOpen(lane));
    // With nothing in memory the oldest comes in all the same: the probes need something to send.
    const record = next ?? (this.#loaded.size === 0 ? due[0] : undefined);
    if (record) this.#bringIn(record);
  }

  /** Brings in nothing any more. */
  stop(): void {
    this.#isStopping = true;
  }

  async settled(): Promise<void> {
    while (this.#background.size > 0) await Promise.allSettled(this.#background);
  }

  get #loadedMax(): number {
    return this.#dispatcher.hasOpenWay ? LOADED_MAX : 1;
  }

  /** A bounded look: the first due ones of each kind are enough to choose from. */
  *#due(nowMs: number): Iterable<SpillRecord> {
    const lanes = new Map<string | undefined, number>();
    for (const record of this.#stored) {
      const seen = lanes.get(record.lane) ?? 0;
      if (record.notBeforeMs > nowMs || seen >= 2) continue;
      lanes.set(record.lane, seen + 1);
      yield record;
    }
  }

  #bringIn(record: SpillRecord): void {
    this.#loading = record;
    this.#stored.delete(record);
    this.#track(
      this.#load(record).finally(() => {
        this.#loading = undefined;
      }),
    );
  }

  async #load(record: SpillRecord): Promise<void> {
    const { sealer, store, upstream } = this.#settings;
    const bytes = await untilDone(this.#settings, `reading ${record.key}`, this.#signal, async () => {
      try {
        return (await store.get(record.key)).bytes;
      } catch (error) {
        if (isProxyError(error, 'STORE_ABSENT')) return undefined;
        throw error;
      }
    });
    const filed = bytes && decodeParcels(bytes, sealer);
    if (!filed) {
      await this.#putAwayUnreadable(record, bytes);
      return;
    }
    const source = this.#sourceOf(record);
    const parcels = filed
      .filter(({ position }) => position <= record.takeTo && !record.done?.has(position))
      .map((entry) => {
        const parcel = createParcel(entry, record.origin, upstream.laneOf?.(entry.head) ?? '', source);
        parcel.attempts = entry.note.attempts;
        parcel.lastReason = entry.note.reason;
        parcel.lastStatus = entry.note.status;
        return parcel;
      });
    record.lane = parcels[0]?.lane ?? record.lane;
    this.#loaded.set(record, new Set(parcels));
    for (const parcel of parcels) this.#dispatcher.add(parcel);
    this.#dispatcher.pump();
  }

  #sourceOf(record: SpillRecord): ParcelSource {
    return {
      kind: 'spill',
      isAlone: record.count === 1,
      isRetried: record.count === 1 && record.setBacks > 0,
      done: (parcel) => {
        record.done ??= new Set();
        record.done.add(parcel.position);
        record.remaining--;
        this.#pending--;
        this.#loaded.get(record)?.delete(parcel);
        if (record.remaining > 0) return;
        this.#loaded.delete(record);
        this.#track(this.#delete(record));
        this.tick();
      },
      setBack: () => {
        this.#loaded.delete(record);
        this.#stored.add(record);
        this.#delay(record);
      },
    };
  }

  /** Objects of which nothing is under way and all waits for lanes or keys, when there is something better to bring in. */
  #unloadStuck(due: readonly SpillRecord[]): void {
    const dispatcher = this.#dispatcher;
    if (!due.some(({ lane }) => lane === undefined || dispatcher.isLaneOpen(lane))) return;
    for (const [record, parcels] of this.#loaded) {
      const waiting = dispatcher.waiting('spill');
      if (![...parcels].every((parcel) => waiting.has(parcel) && dispatcher.isHeldBack(parcel))) continue;
      for (const parcel of parcels) dispatcher.take(parcel);
      this.#loaded.delete(record);
      this.#stored.add(record);
      this.#delay(record);
    }
  }

  #delay(record: SpillRecord): void {
    const { clock, random, retry } = this.#settings;
    record.setBacks++;
    const policy = { ...retry, capMs: Math.max(retry.capMs, SET_BACK_MS_MAX), baseMs: retry.capMs };
    record.notBeforeMs = clock.monotonicMs() + retryDelayMs(policy, record.setBacks, 0.5 + random.next() / 2);
  }

  async #putAwayUnreadable(record: SpillRecord, bytes: Uint8Array | undefined): Promise<void> {
    const { log, upstream } = this.#settings;
    log.error({ key: record.key, isAbsent: bytes === undefined }, 'a spill object cannot be read');
    if (bytes) {
      await putOnce(this.#settings, unreadableKey(upstream.name, record.key), bytes, this.#signal);
      await this.#delete(record);
    }
    this.#books.deadLettered('spill-unreadable', record.remaining);
    this.#pending -= record.remaining;
  }

  async #delete(record: SpillRecord): Promise<void> {
    const { store } = this.#settings;
    await untilDone(this.#settings, `deleting ${record.key}`, this.#signal, () => store.delete(record.key));
    this.#keys.delete(record.key);
  }

  /** Rejections come from the stop only; anything else is logged as the bug it is. */
  #track(work: Promise<void>): void {
    const tracked = work
      .catch((error) => {
        if (!this.#signal.aborted) this.#settings.log.error({ err: error }, 'BUG: spill work failed');
      })
      .finally(() => this.#background.delete(tracked));
    this.#background.add(tracked);
  }
}
