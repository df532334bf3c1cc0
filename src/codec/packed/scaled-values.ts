/**
 * Values of metrics as scaled integers (the idea of ALP, Afroozeh et al. 2023): where a double is what some decimal prints, its digits and how many of
 * them stand behind the point, which move in small steps where doubles share no bits. A value rests so only if dividing the one by the power of ten
 * gives back its very bits; any other stays a double.
 */
import type { Column, ColumnBatch, ColumnSchema, DictionaryColumn } from '../../core/columns.ts';
import { VALUE_DIGITS, VALUE_SCALE } from './layout.ts';

type DoubleColumn = Extract<Column, { kind: 'double' }>;

/** 10^22 is the largest power of ten that is a double; digits beyond 2^53 are none. */
const SCALE_MAX = 15;
const DIGITS_MAX = 2 ** 53;
const POWERS = Array.from({ length: SCALE_MAX + 1 }, (_, scale) => 10 ** scale);
/** Of a run of one series so many must have a scale in common. */
const SCALED_SHARE_MIN = 0.9;
/** Rows of one series have these in common. */
const SERIES_TEXTS = ['metric', 'tags', 'host', 'type'] as const;

/** The batch with `value` taken apart, rows as they lie; undefined where nothing can be. */
export function scaledValues(
  schema: readonly ColumnSchema[],
  batch: ColumnBatch,
): { schema: ColumnSchema[]; batch: ColumnBatch } | undefined {
  const { value } = batch.columns;
  if (value?.kind !== 'double') return undefined;
  const { rowCount } = batch;
  const rest = new Float64Array(rowCount);
  const restNulls = new Uint8Array(rowCount).fill(1);
  const digits = new BigInt64Array(rowCount);
  const scales = new Int32Array(rowCount);
  const nulls = new Uint8Array(rowCount).fill(1);
  const bits = new BigInt64Array(value.values.buffer, value.values.byteOffset, rowCount);
  const restBits = new BigInt64Array(rest.buffer);
  let count = 0;
  const isSame = sameSeries(batch);
  for (let start = 0, end = 0; start < rowCount; start = end) {
    for (end = start + 1; end < rowCount && isSame(end - 1, end); ) end += 1;
    const scale = scaleOf(value, start, end);
    for (let row = start; row < end; row++) {
      if (value.nulls?.[row] === 1) continue;
      const number = scale === undefined ? Number.NaN : digitsOf(value.values[row]!, scale);
      if (Number.isNaN(number)) {
        restBits[row] = bits[row]!;
        restNulls[row] = 0;
        continue;
      }
      digits[row] = BigInt(number);
      scales[row] = scale!;
      nulls[row] = 0;
      count += 1;
    }
  }
  if (count === 0) return undefined;
  const columns = {
    ...batch.columns,
    value: { kind: 'double', values: rest, nulls: restNulls },
    [VALUE_DIGITS]: { kind: 'int64', values: digits, nulls },
    [VALUE_SCALE]: { kind: 'int32', values: scales, nulls },
  } as Record<string, Column>;
  const more = [
    { name: VALUE_DIGITS, kind: 'int64', nullable: true, help: '' },
    { name: VALUE_SCALE, kind: 'int32', nullable: true, help: '' },
  ] as const;
  return { schema: [...schema, ...more], batch: { rowCount, columns } };
}

/** `value` as it was. Throws where the file contradicts itself. */
export function unscaledValues({ rowCount, columns }: ColumnBatch): DoubleColumn {
  const { value, [VALUE_DIGITS]: digits, [VALUE_SCALE]: scales } = columns;
  if (value?.kind !== 'double' || digits?.kind !== 'int64' || scales?.kind !== 'int32') {
    throw new Error('a packed value is not whole');
  }
  // The doubles that stayed, as bits.
  const bits = new BigInt64Array(rowCount);
  bits.set(new BigInt64Array(value.values.buffer, value.values.byteOffset, rowCount));
  const values = new Float64Array(bits.buffer);
  const nulls = new Uint8Array(rowCount);
  let hasNulls = false;
  for (let row = 0; row < rowCount; row++) {
    if (digits.nulls?.[row] === 1) {
      nulls[row] = value.nulls?.[row] ?? 0;
      hasNulls ||= nulls[row] === 1;
      continue;
    }
    const power = POWERS[scales.values[row]!];
    if (power === undefined) throw new Error(`a value has ${scales.values[row]} digits behind the point`);
    values[row] = Number(digits.values[row]!) / power;
  }
  return { kind: 'double', values, ...(hasNulls ? { nulls } : {}) };
}

function sameSeries({ columns }: ColumnBatch): (one: number, other: number) => boolean {
  const ids = SERIES_TEXTS.flatMap((name) => {
    const column = columns[name];
    return column && 'ids' in column ? [(column as DictionaryColumn).ids] : [];
  });
  return (one, other) => ids.every((of) => of[one] === of[other]);
}

/** Digits behind the point that most values of these rows have; undefined where they have none in common. */
function scaleOf({ values, nulls }: DoubleColumn, start: number, end: number): number | undefined {
  for (let scale = 0; scale <= SCALE_MAX; scale++) {
    let missedMax = (end - start) * (1 - SCALED_SHARE_MIN);
    let hits = 0;
    for (let row = start; row < end && missedMax >= 0; row++) {
      if (nulls?.[row] === 1) continue;
      if (Number.isNaN(digitsOf(values[row]!, scale))) missedMax -= 1;
      else hits += 1;
    }
    if (missedMax >= 0 && hits > 0) return scale;
  }
  return undefined;
}

/** NaN where the value is no decimal of that scale; the sign of -0 would be lost. */
function digitsOf(value: number, scale: number): number {
  const power = POWERS[scale]!;
  const digits = Math.round(value * power);
  return Math.abs(digits) <= DIGITS_MAX && digits / power === value && !Object.is(value, -0) ? digits : Number.NaN;
}
