/** A string column of spans (service, name, resource, type) whose texts are found by their bytes in the body, without making a string of known ones. */
import { isUtf8 } from 'node:buffer';
import { sameBytes } from '../wire/same-bytes.ts';
import type { StringWriter } from './column-writers.ts';

const SLOTS = 64;
/** Of a text in a slot: where it begins and ends, its id. */
const SLOT_NUMBERS = 3;

export class TextColumn {
  readonly writer: StringWriter;
  /** An array of small integers: cheaper to make than a typed one of this size. (0, 0: nothing.) */
  readonly #slots: number[] = new Array<number>(SLOTS * SLOT_NUMBERS).fill(0);

  constructor(writer: StringWriter) {
    this.writer = writer;
  }

  /** Id of the text bytes[start, stop); undefined when it is not UTF-8. `bytes`, and their `view`, must be the same in every call. */
  idOf(view: DataView, bytes: Buffer, start: number, stop: number): number | undefined {
    const length = stop - start;
    // Of a few bytes: texts that differ mostly do so in these.
    const sample =
      length === 0
        ? 0
        : length * 3 +
          bytes[start]! * 5 +
          bytes[start + (length >> 2)]! * 7 +
          bytes[start + (length >> 1)]! * 11 +
          bytes[stop - 1 - (length >> 2)]! * 13 +
          bytes[stop - 1]! * 17;
    const slots = this.#slots;
    const slot = ((sample ^ (sample >> 6)) & (SLOTS - 1)) * SLOT_NUMBERS;
    const known = slots[slot]!;
    if (known !== 0 && slots[slot + 1]! - known === length && sameBytes(view, bytes, known, start, length) === length)
      return slots[slot + 2]!;
    let bits = 0;
    for (let i = start; i < stop; i++) bits |= bytes[i]!;
    if (bits >= 0x80 && !isUtf8(bytes.subarray(start, stop))) return undefined;
    const id = this.writer.intern(
      bits < 0x80 ? bytes.toString('latin1', start, stop) : bytes.toString('utf8', start, stop),
    );
    slots[slot] = start;
    slots[slot + 1] = stop;
    slots[slot + 2] = id;
    return id;
  }
}
