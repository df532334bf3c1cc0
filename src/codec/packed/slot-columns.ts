/**
 * The columns of what varies, shared by all templates of a text column. A variable goes to a column that holds values like its own: the same ones, which
 * then are told once, or ones of the same shape. Variables of one template that are always equal share their column.
 */
import type { Column, ColumnSchema } from '../../core/columns.ts';
import { LongFill, TextFill } from './column-fill.ts';
import { COLUMNS_MAX, type SlotFamily, slotColumn } from './layout.ts';

export interface SchemaColumn {
  schema: ColumnSchema;
  column: Column;
}

/** Values that tell to which column a variable belongs. */
const SAMPLES = 48;
/** With so many columns a variable of a new shape shares one: each has its part of the footer. */
const SHAPES_MAX = 16;

type Values = readonly string[] | readonly number[] | BigInt64Array;

interface Taken {
  family: SlotFamily;
  index: number;
  values: Values;
}

export class SlotColumns {
  readonly #rowCount: number;
  readonly #texts: TextFill[] = [];
  readonly #shapes: string[] = [];
  readonly #numbers: LongFill[] = [];
  readonly #offsets: LongFill[] = [];

  constructor(rowCount: number) {
    this.#rowCount = rowCount;
  }

  /** Values of one template's rows; an index is undefined where the columns do not suffice. */
  forTemplate(places: readonly number[]) {
    const taken: Taken[] = [];
    const take = (family: SlotFamily, values: Values, indexOf: (used: ReadonlySet<number>) => number) => {
      const own = taken.filter((one) => one.family === family);
      const known = own.find((one) => isEqual(one.values, values));
      if (known) return known.index;
      const index = indexOf(new Set(own.map((one) => one.index)));
      if (index >= COLUMNS_MAX[family]) return undefined;
      taken.push({ family, index, values });
      return index;
    };
    return {
      texts: (values: readonly string[]) => take('s', values, (used) => this.#textColumn(values, used)),
      numbers: (values: BigInt64Array) => take('n', values, ({ size }) => size),
      offsets: (values: readonly number[]) => take('d', values, ({ size }) => size),
      commit: () => {
        for (const { family, index, values } of taken) this.#fill(family, index, places, values);
      },
    };
  }

  /** The best of those that the template does not use yet, or a new one. */
  #textColumn(values: readonly string[], used: ReadonlySet<number>): number {
    const step = Math.max(1, Math.floor(values.length / SAMPLES));
    const samples = values.filter((_, i) => i % step === 0).slice(0, SAMPLES);
    const shape = shapeOf(samples);
    let best: number | undefined;
    let bestScore = 0;
    let free: number | undefined;
    this.#texts.forEach((column, index) => {
      if (used.has(index)) return;
      free ??= index;
      const shared = samples.filter((value) => column.has(value)).length / samples.length;
      const score = shared * 2 + (this.#shapes[index] === shape ? 1 : 0);
      if (score > bestScore) {
        best = index;
        bestScore = score;
      }
    });
    if (best !== undefined && bestScore >= 0.5) return best;
    // Those that this template has taken may be new themselves.
    const next = Math.max(this.#texts.length, ...[...used].map((index) => index + 1));
    const index = next < SHAPES_MAX ? next : (free ?? next);
    if (index === next) this.#shapes[index] = shape;
    return index;
  }

  #fill(family: SlotFamily, index: number, places: readonly number[], values: Values): void {
    if (family === 's') {
      // No index is left out, although one may have been meant for a template that was then given up.
      while (this.#texts.length <= index) this.#texts.push(new TextFill('string', this.#rowCount));
      const column = this.#texts[index]!;
      places.forEach((at, i) => {
        column.set(at, values[i] as string);
      });
      return;
    }
    const columns = family === 'n' ? this.#numbers : this.#offsets;
    columns[index] ??= new LongFill(this.#rowCount);
    const column = columns[index];
    places.forEach((at, i) => {
      column.set(at, BigInt(values[i]!));
    });
  }

  finish(name: string): SchemaColumn[] {
    const of = (family: SlotFamily, columns: readonly (TextFill | LongFill)[]) =>
      columns.map((column, index) => ({
        schema: {
          ...{ name: slotColumn(name, family, index), nullable: true, help: '' },
          // Without statistics: nobody looks for what a variable is.
          ...(family === 's' ? { kind: 'string' as const, json: true as const } : { kind: 'int64' as const }),
        },
        column: column.finish(),
      }));
    return [...of('s', this.#texts), ...of('n', this.#numbers), ...of('d', this.#offsets)];
  }
}

function isEqual(a: Values, b: Values): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** What values look like, coarsely. */
function shapeOf(values: readonly string[]): string {
  if (values.every((value) => /^\d+$/.test(value))) return 'digits';
  const size = values[0]?.length ?? 0;
  if (size >= 8 && values.every((value) => value.length === size && /^[0-9a-fA-F-]+$/.test(value))) return `hex${size}`;
  if (values.every((value) => /^[\d.:]+$/.test(value))) return 'numbers';
  return values.some((value) => value.includes(' ')) ? 'phrases' : 'words';
}
