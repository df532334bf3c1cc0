/** The values of one variable of one template: numbers that move in steps, or text. Decided by compressing them both ways. */
import { ByteWriter } from '../byte-writer.ts';
import type { Compressor } from '../compressor.ts';
import { writeDeltas32, writeDeltas64 } from '../encodings.ts';

export type SlotValues =
  /** Decimal (`n`) or lower-case hex digits (`x`), without zeros before them. */
  { kind: 'n' | 'x'; numbers: BigInt64Array } | { kind: 's' };

/** So many digits that differences of numbers stay far below 2^53. */
const DECIMAL = /^(?:0|[1-9]\d{0,14})$/;
const HEX = /^(?:0|[1-9a-f][0-9a-f]{0,11})$/;
/** Of fewer values it does not matter. */
const NUMBERS_MIN = 16;
/** What numbers must save: beside other texts in one column texts often compress better than alone. */
const NUMBERS_GAIN = 0.85;

export function slotValuesOf(values: readonly string[], compressor: Compressor): SlotValues {
  if (values.length < NUMBERS_MIN) return { kind: 's' };
  const kind = values.every((value) => DECIMAL.test(value))
    ? 'n'
    : values.every((value) => HEX.test(value))
      ? 'x'
      : 's';
  if (kind === 's') return { kind };
  const numbers = new BigInt64Array(values.length);
  values.forEach((value, i) => {
    numbers[i] = BigInt(kind === 'x' ? Number.parseInt(value, 16) : Number(value));
  });
  const deltas = new ByteWriter();
  if (!writeDeltas64(deltas, numbers)) return { kind: 's' };
  const texts = new ByteWriter();
  writeDeltas32(
    texts,
    Int32Array.from(values, ({ length }) => length),
    values.length,
  );
  texts.bytes(Buffer.from(values.join(''), 'latin1'));
  const numberBytes = compressor.compress(deltas.view()).byteLength;
  return numberBytes < compressor.compress(texts.view()).byteLength * NUMBERS_GAIN ? { kind, numbers } : { kind: 's' };
}
