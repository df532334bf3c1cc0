/**
 * One text column → templates and the columns of what varies in them. Texts are read several times instead of being held cut up: memory is
 * that of one template's values. Rows whose template is rare, and texts that cannot be cut, stay as they are.
 */
import { type ColumnSchema, type DictionaryColumn, NULL_ID } from '../../core/columns.ts';
import { Compressor } from '../compressor.ts';
import { TextFill } from './column-fill.ts';
import { COLUMN_LETTERS, templateColumn } from './layout.ts';
import { type SchemaColumn, SlotColumns } from './slot-columns.ts';
import { slotValuesOf } from './slot-values.ts';
import { COARSENESS, type Coarseness, Template, WordCounts } from './templates.ts';
import { MARK, Tokens } from './tokens.ts';

/** A template of fewer rows costs more than it saves. */
const TEMPLATE_ROWS_MIN = 6;
const TEMPLATES_MAX = 4096;
/** Of templates that may still turn out to be rare. */
const KEY_CHARACTERS_MAX = 32 * 1024 * 1024;
/** A word is constant when it comes up in one of so many rows, and some times at least. */
const WORD_SHARE = 1000;
const WORD_ROWS_MIN = 4;
/** To tell numbers from texts; what is written is compressed with the level of the segment. */
const TRIAL_LEVEL = 6;

interface Group {
  key: string;
  coarseness: Coarseness;
  rowCount: number;
}

interface Slot {
  values: string[];
  /** The constant text behind it; the row's own times are placeholders in it. */
  behind: string;
  /** Of times that are not the row's own. */
  time?: { form: string; offsetsMs: number[] };
}

/** Rows of a text column by template. */
export class TextPacker {
  /** By row of the column: index of its template; -1: the text stays. */
  readonly groupOf: Int32Array;
  readonly #column: DictionaryColumn;
  readonly #timeMsOf: (row: number) => number;
  readonly #tokens = new Tokens();
  readonly #template = new Template();
  readonly #counts = new WordCounts();
  readonly #wordRowsMin: number;
  readonly #groups: Group[] = [];

  /** `finest`: where to begin; what is rare there is tried coarser. */
  constructor(column: DictionaryColumn, timeMsOf: (row: number) => number, finest: Coarseness) {
    this.#column = column;
    this.#timeMsOf = timeMsOf;
    const rowCount = column.ids.length;
    this.groupOf = new Int32Array(rowCount).fill(-1);
    this.#wordRowsMin = Math.max(WORD_ROWS_MIN, rowCount / WORD_SHARE);
    for (let row = 0; row < rowCount; row++) if (this.#cut(row)) this.#counts.add(this.#tokens);
    for (const coarseness of COARSENESS) if (coarseness >= finest) this.#findGroups(coarseness);
  }

  /** Rows that have a template. */
  get groupedRows(): number {
    return this.#groups.reduce((sum, { rowCount }) => sum + rowCount, 0);
  }

  #textOf(row: number): string | undefined {
    const { ids, offsets, bytes } = this.#column;
    const id = ids[row]!;
    if (id === NULL_ID) return undefined;
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString(
      'latin1',
      offsets[id]!,
      offsets[id + 1]!,
    );
  }

  #cut(row: number): boolean {
    const text = this.#textOf(row);
    return text !== undefined && this.#tokens.cut(text, this.#timeMsOf(row));
  }

  #read(coarseness: Coarseness): boolean {
    return this.#template.read(this.#tokens, this.#counts, this.#wordRowsMin, coarseness);
  }

  /** Gives the rows that have no template one, where enough others share it. */
  #findGroups(coarseness: Coarseness): void {
    const rowsOf = new Map<string, number[]>();
    let keyCharacters = 0;
    for (let row = 0; row < this.groupOf.length; row++) {
      if (this.groupOf[row] !== -1 || !this.#cut(row) || !this.#read(coarseness)) continue;
      const { key } = this.#template;
      // The whole text as one variable is the text itself.
      if (key.length === 2) continue;
      const rows = rowsOf.get(key);
      if (rows) {
        rows.push(row);
        continue;
      }
      keyCharacters += key.length;
      if (keyCharacters <= KEY_CHARACTERS_MAX) rowsOf.set(key, [row]);
    }
    const frequent = [...rowsOf].filter(([, rows]) => rows.length >= TEMPLATE_ROWS_MIN);
    frequent.sort(([, a], [, b]) => b.length - a.length || a[0]! - b[0]!);
    for (const [key, rows] of frequent.slice(0, TEMPLATES_MAX - this.#groups.length)) {
      for (const row of rows) this.groupOf[row] = this.#groups.length;
      this.#groups.push({ key, coarseness, rowCount: rows.length });
    }
  }

  /** The columns that take the place of `name`, rows in the order of `order`. */
  columns(name: string, schema: ColumnSchema, order: Uint32Array): SchemaColumn[] {
    const rowCount = order.length;
    const rowsOf = this.#groups.map(() => [] as number[]);
    order.forEach((row, at) => {
      const group = this.groupOf[row]!;
      if (group !== -1) rowsOf[group]!.push(at);
    });
    const templates = new TextFill('string', rowCount);
    const slots = new SlotColumns(rowCount);
    const compressor = new Compressor(TRIAL_LEVEL);
    const packed = new Uint8Array(rowCount);
    rowsOf.forEach((places, index) => {
      const template = this.#packGroup(this.#groups[index]!, places, order, slots, compressor);
      if (template === undefined) return;
      for (const at of places) {
        templates.set(at, template);
        packed[at] = 1;
      }
    });
    // What stays shares its entries with the column: texts may be large.
    const ids = Uint32Array.from(order, (row, at) => (packed[at] ? NULL_ID : this.#column.ids[row]!));
    const rest = { ...this.#column, ids };
    if (!packed.includes(1)) return [{ schema, column: rest }];
    const template = { name: templateColumn(name), kind: 'string', nullable: true, json: true, help: '' } as const;
    return [
      { schema: { ...schema, nullable: true }, column: rest },
      { schema: template, column: templates.finish() },
      ...slots.finish(name),
    ];
  }

  /** The template as it rests; undefined where the columns do not suffice. */
  #packGroup(
    group: Group,
    places: readonly number[],
    order: Uint32Array,
    slots: SlotColumns,
    compressor: Compressor,
  ): string | undefined {
    const { head, slots: cut } = this.#slotsOf(group, places, order);
    const own = slots.forTemplate(places);
    let template = head;
    for (const { values, behind, time } of cut) {
      const offsets = time ? own.offsets(time.offsetsMs) : undefined;
      if (time && offsets !== undefined) {
        template += `${MARK}d${time.form}${COLUMN_LETTERS[offsets]}${behind}`;
        continue;
      }
      const found = slotValuesOf(values, compressor);
      const column = found.kind === 's' ? own.texts(values) : own.numbers(found.numbers);
      if (column === undefined) return undefined;
      template += `${MARK}${found.kind}${COLUMN_LETTERS[column]}${behind}`;
    }
    own.commit();
    return template;
  }

  /** What varies in the texts of a template. What turns out to be the same in all of them is constant text. */
  #slotsOf(group: Group, places: readonly number[], order: Uint32Array): { head: string; slots: Slot[] } {
    const [first, ...parts] = group.key.split(MARK);
    const varying = parts.filter((part) => part[0] !== 't');
    const values = varying.map(() => [] as string[]);
    const offsets = varying.map(() => [] as number[]);
    for (const at of places) {
      const row = order[at]!;
      if (!this.#cut(row) || !this.#read(group.coarseness)) throw new Error('BUG: a text is cut in two ways');
      const { text } = this.#tokens;
      varying.forEach((part, i) => {
        values[i]!.push(text.slice(this.#template.starts[i], this.#template.ends[i]));
        if (part[0] === 'd') offsets[i]!.push(this.#template.offsetsMs[i]!);
      });
    }
    const slots: Slot[] = [];
    let head = first!;
    let index = 0;
    const constant = (text: string): void => {
      const last = slots.at(-1);
      if (last) last.behind += text;
      else head += text;
    };
    for (const part of parts) {
      if (part[0] === 't') {
        constant(MARK + part);
        continue;
      }
      const isTime = part[0] === 'd';
      const own = values[index]!;
      const behind = part.slice(isTime ? 2 : 1);
      if (own.every((value) => value === own[0])) constant(own[0]! + behind);
      else if (isTime) slots.push({ values: own, behind, time: { form: part[1]!, offsetsMs: offsets[index]! } });
      else slots.push({ values: own, behind });
      index += 1;
    }
    return { head, slots };
  }
}
