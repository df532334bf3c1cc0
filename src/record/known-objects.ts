/**
 * Objects of a body's spans (`meta`, `metrics`) that stay as they were sent: most are those of an earlier span but for a few values. What is the
 * same byte for byte was checked when it came first, and is passed at once. Of the body at hand only.
 */
import type { JsonScanner } from '../wire/json-scanner.ts';

const SLOTS = 32;
/** Members of larger objects are not kept. */
const MEMBERS_MAX = 256;

class KnownObject {
  /** From the opening brace to behind the closing one. */
  start = 0;
  stop = 0;
  count = 0;
  readonly valueStarts: number[] = [];
  readonly valueEnds: number[] = [];
  /** What the sender of `pass` knows it by; -1: nothing. */
  id = -1;
}

export class KnownObjects {
  readonly #slots: (KnownObject | undefined)[] = [];
  #draft = new KnownObject();

  /**
   * Moves over the object at the cursor, checking what is new in it. `hint`: a number of what the object belongs to. Returns the id of the one that has
   * these very bytes, -1 where there is none; then `keep` may be called.
   */
  pass(scanner: JsonScanner, hint: number): number {
    const known = this.#slots[hint & (SLOTS - 1)];
    const start = scanner.offset;
    if (known !== undefined && known.id !== -1) {
      const length = known.stop - known.start;
      if (scanner.sameBytes(known.start, length) === length) {
        scanner.offset = start + length;
        return known.id;
      }
    }
    const draft = this.#draft;
    const { valueStarts, valueEnds } = draft;
    draft.start = start;
    scanner.enterObject();
    let member = 0;
    for (;;) {
      let isAtValue = false;
      if (known !== undefined && member < known.count) {
        const from = member === 0 ? known.start + 1 : known.valueEnds[member - 1]!;
        const shift = scanner.offset - from;
        // With one byte behind a value: a number might go on.
        const same = from + scanner.sameBytes(from, known.stop - from);
        while (member < known.count && known.valueEnds[member]! < same) {
          valueStarts[member] = known.valueStarts[member]! + shift;
          valueEnds[member] = known.valueEnds[member]! + shift;
          member += 1;
        }
        const next = member < known.count ? known.valueStarts[member]! : same + 1;
        isAtValue = next <= same;
        const passed = isAtValue ? next : member === 0 ? from : Math.max(from, known.valueEnds[member - 1]!);
        if (passed > from) scanner.passKnownKey(passed - from);
      }
      if (isAtValue) scanner.skipSpace();
      else if (!scanner.passKey()) break;
      valueStarts[member] = scanner.offset;
      scanner.skipValue();
      valueEnds[member] = scanner.offset;
      member += 1;
      if (member > MEMBERS_MAX) return this.#passRest(scanner);
    }
    draft.stop = scanner.offset;
    draft.count = member;
    return -1;
  }

  #passRest(scanner: JsonScanner): -1 {
    while (scanner.passKey()) scanner.skipValue();
    this.#draft.count = 0;
    return -1;
  }

  /** The object passed last is known by this id from now on. */
  keep(hint: number, id: number): void {
    const draft = this.#draft;
    if (draft.count === 0) return;
    draft.id = id;
    const slot = hint & (SLOTS - 1);
    this.#draft = this.#slots[slot] ?? new KnownObject();
    this.#slots[slot] = draft;
  }
}
