/**
 * What the columns of a v3 block say together: that series and points have their entries, where sets start, and references from
 * deltas. What does not fit together throws `OddBlock`, which metrics-v3.ts catches; left-overs set `columns.exact` to false.
 */
import type { V3Columns } from '../wire/datadog/series-v3-columns.ts';

/** Metric type of sketches. */
export const SKETCH = 4;
/** Flag: the series has an entry among the units. */
export const HAS_UNIT = 0x200;
/** Value types. */
const ZERO = 0x00;
export const SINT64 = 0x10;
export const FLOAT32 = 0x20;
export const FLOAT64 = 0x30;

/** A block whose parts do not fit together. */
export class OddBlock extends Error {}

/** What blocks may still unfold to, over all blocks of a payload. */
export interface Allowance {
  tags: number;
  text: number;
}

/** Entry `index` of a per-series column that may be left out. */
export function at(column: readonly number[], index: number): number {
  return column.length === 0 ? 0 : column[index]!;
}

/** Checks that every series has its entries and every point its values; notes what is left over. */
export function checkPoints(columns: V3Columns): void {
  const { types } = columns;
  const count = types.length;
  for (const column of [
    columns.nameRefs,
    columns.tagsetRefs,
    columns.resourcesRefs,
    columns.sourceTypeNameRefs,
    columns.originRefs,
    columns.intervals,
    columns.pointCounts,
  ]) {
    if (column.length === 0) continue;
    if (column.length < count) throw new OddBlock('a column is shorter than the types');
    if (column.length > count) columns.exact = false;
  }
  let points = 0;
  let units = 0;
  let sketches = 0;
  let bins = 0;
  let sints = 0;
  let floats = 0;
  let doubles = 0;
  for (let i = 0; i < count; i++) {
    const type = types[i]!;
    const here = at(columns.pointCounts, i);
    const isSketch = type % 16 === SKETCH;
    if (Math.floor(type / HAS_UNIT) % 2 === 1) units += 1;
    points += here;
    if (points > columns.timestamps.length) throw new OddBlock('more points than timestamps');
    const values = isSketch ? 3 * here : here;
    switch (valueTypeOf(type)) {
      case SINT64:
        sints += values;
        break;
      case FLOAT32:
        floats += values;
        break;
      case FLOAT64:
        doubles += values;
        break;
      case ZERO:
        break;
      default:
        throw new OddBlock('unknown value type');
    }
    if (!isSketch) continue;
    sints += here;
    for (let k = 0; k < here; k++) {
      if (sketches >= columns.binCounts.length) throw new OddBlock('a sketch without a number of bins');
      bins += columns.binCounts[sketches]!;
      sketches += 1;
    }
  }
  for (const [needed, column] of [
    [points, columns.timestamps],
    [units, columns.unitRefs],
    [sketches, columns.binCounts],
    [bins, columns.binKeys],
    [bins, columns.bins],
    [sints, columns.sints],
    [floats, columns.floats],
    [doubles, columns.doubles],
  ] as const) {
    if (column.length < needed) throw new OddBlock('a column is too short for the points');
    if (column.length > needed) columns.exact = false;
  }
}

/** The second hexadecimal digit of the type, in place. Types may be wider than 32 bits. */
export function valueTypeOf(type: number): number {
  return (type % 256) - (type % 16);
}

/** Where each set of resources starts in the columns of types and names; set 0 is empty. */
export function resourceStartsOf(columns: V3Columns): number[] {
  const { resourceLengths, resourceTypes, resourceNames } = columns;
  const starts = [0];
  let start = 0;
  for (const length of resourceLengths) {
    if (length < 0 || start + length > resourceTypes.length || start + length > resourceNames.length) {
      throw new OddBlock('a set of resources is too long');
    }
    starts.push(start);
    start += length;
  }
  if (start < resourceTypes.length || start < resourceNames.length) columns.exact = false;
  return starts;
}

/** `count` references from deltas (none: all 0), each below `limit`. */
export function resolved(deltas: readonly number[], count: number, limit: number): number[] {
  const refs = new Array<number>(count).fill(0);
  if (deltas.length === 0) return refs;
  let ref = 0;
  for (let i = 0; i < count; i++) {
    ref += deltas[i]!;
    if (!(ref >= 0 && ref < limit)) throw new OddBlock('a reference beyond its dictionary');
    refs[i] = ref;
  }
  return refs;
}

/** Tagsets as lists of indexes into the tag strings; number 0 is empty. Also checks the origin triples. */
export function tagsetsOf(columns: V3Columns, allowance: Allowance): number[][] {
  const { tagsets: packed, tagStrings, origins } = columns;
  if (origins.length % 3 !== 0) throw new OddBlock('origins are not triples');
  const tagsets: number[][] = [[]];
  let next = 0;
  while (next < packed.length) {
    const size = packed[next]!;
    next += 1;
    if (size < 0 || size > packed.length - next) throw new OddBlock('a tagset is too long');
    const tags: number[] = [];
    let index = 0;
    for (const end = next + size; next < end; next++) {
      index += packed[next]!;
      if (index >= 0) {
        if (!(index < tagStrings.length)) throw new OddBlock('a tag beyond its dictionary');
        tags.push(index);
        allowance.tags -= 1;
      } else {
        const inherited = tagsets[-index];
        if (!inherited) throw new OddBlock('a tagset that was not told before');
        allowance.tags -= inherited.length;
        if (allowance.tags >= 0) for (const tag of inherited) tags.push(tag);
      }
      if (allowance.tags < 0) throw new OddBlock('too many tags when written out');
    }
    tagsets.push(tags);
  }
  return tagsets;
}
