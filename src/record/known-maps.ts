/**
 * Maps of a body's spans (`meta`, `metrics`) as they were written as JSON, for those that come with the same keys in the same order: most
 * spans of a service's operation do, and most of the values are the same, too. What is the same byte for byte is copied as the JSON it
 * became before. Of the body at hand only.
 */
import { sameBytes } from '../wire/same-bytes.ts';
import type { JsonText } from './traces-text.ts';

const SLOTS = 32;
/** Entries of larger maps are not kept. */
const ENTRIES_MAX = 256;
const NO_JSON = Buffer.alloc(0);

/** One map: entry i lies in the body between the ends of the entry before and its own, and its JSON (with what parts it from the one before) likewise. */
export class KnownMap {
  count = 0;
  start = 0;
  readonly ends: number[] = [];
  readonly keyStarts: number[] = [];
  readonly keyStops: number[] = [];
  readonly jsonEnds: number[] = [];
  /** Where the whole JSON lies. */
  json: Buffer = NO_JSON;
  jsonStart = 0;
  jsonEnd = 0;
  isAscii = true;
  /** Entry whose value, at [highStart, highStop), is the high half of the trace id; -1: none. */
  highEntry = -1;
  highStart = 0;
  highStop = 0;
  /** Id of the JSON text in its column, where equal texts have the same id; -1: such texts are not looked up. */
  id = -1;

  begin(start: number): void {
    this.count = 0;
    this.start = start;
    this.highEntry = -1;
    this.id = -1;
  }

  add(keyStart: number, keyStop: number, end: number, jsonEnd: number): void {
    const entry = this.count++;
    if (entry >= ENTRIES_MAX) return;
    this.keyStarts[entry] = keyStart;
    this.keyStops[entry] = keyStop;
    this.ends[entry] = end;
    this.jsonEnds[entry] = jsonEnd;
  }

  setHigh(entry: number, start: number, stop: number): void {
    this.highEntry = entry;
    this.highStart = start;
    this.highStop = stop;
  }

  hasKey(entry: number, bytes: Buffer, start: number, stop: number): boolean {
    const known = this.keyStarts[entry]!;
    if (this.keyStops[entry]! - known !== stop - start) return false;
    for (let i = stop - start - 1; i >= 0; i--) if (bytes[known + i] !== bytes[start + i]) return false;
    return true;
  }
}

export class KnownMaps {
  /** After `pass`: where what was passed ends. */
  offset = 0;
  /** After `pass`: where the high half of the trace id is, if that was passed; else -1. */
  highStart = -1;
  readonly #slots: (KnownMap | undefined)[] = [];
  /** The map being read, to be kept. */
  draft = new KnownMap();

  /** The map to compare with; any may be asked for. `hint`: a number of what the map belongs to. */
  at(hint: number): KnownMap | undefined {
    return this.#slots[hint & (SLOTS - 1)];
  }

  /** Keeps the draft. `text` holds its JSON, which has the `id` and stays. */
  keep(hint: number, text: JsonText, id: number): void {
    const { draft } = this;
    if (draft.count > ENTRIES_MAX) return;
    draft.id = id;
    draft.isAscii = text.ascii;
    draft.json = text.arena;
    draft.jsonEnd = text.end;
    draft.jsonStart = text.keep();
    const slot = hint & (SLOTS - 1);
    this.draft = this.#slots[slot] ?? new KnownMap();
    this.#slots[slot] = draft;
  }

  /** So little of the map is the same that another had better be kept. */
  forget(hint: number): void {
    this.#slots[hint & (SLOTS - 1)] = undefined;
  }

  /**
   * Passes the entries from `entry` on that are the same as those of `map`, from `at` in the body on, and writes their JSON; but not if these
   * are all: it is that of `map`. Returns the first entry that is not the same; `offset` is where it begins.
   */
  pass(map: KnownMap, entry: number, view: DataView, bytes: Buffer, at: number, end: number, text: JsonText): number {
    const { ends, count } = map;
    const from = entry === 0 ? map.start : ends[entry - 1]!;
    const same = sameBytes(view, bytes, from, at, Math.min(ends[count - 1]! - from, end - at));
    let next = entry;
    while (next < count && ends[next]! - from <= same) next += 1;
    this.offset = at;
    this.highStart = -1;
    if (next === entry) return entry;
    if (entry <= map.highEntry && map.highEntry < next) this.highStart = map.highStart - from + at;
    this.offset = at + ends[next - 1]! - from;
    if (entry === 0 && next === count) return next;
    if (!map.isAscii) text.ascii = false;
    text.copy(
      map.json,
      map.jsonStart + (entry === 0 ? 0 : map.jsonEnds[entry - 1]!),
      map.jsonStart + map.jsonEnds[next - 1]!,
    );
    return next;
  }
}
