/** Templates and the columns they name → the texts they were made of. What cannot be is an error: the file is not what it says. */
import { type Column, type ColumnBatch, type DictionaryColumn, NULL_ID } from '../../core/columns.ts';
import { TextFill } from './column-fill.ts';
import { COLUMN_LETTERS, type SlotFamily, slotColumn, templateColumn } from './layout.ts';
import { isFormTime, TIME_FORMS, writeTime } from './time-forms.ts';
import { MARK } from './tokens.ts';

type Part = string | { kind: 's' | 'n' | 'x' | 't' | 'd'; form: string; column: number };

const FORMS = new Set(TIME_FORMS.map(({ letter }) => letter));

/** The column `name` as it was; `columns`: those of the file. */
export function unpackedText(name: string, { rowCount, columns }: ColumnBatch): DictionaryColumn {
  const templates = columns[templateColumn(name)];
  const plain = columns[name];
  if (!plain || !('ids' in plain)) throw new Error(`the packed column ${name} is missing`);
  if (!templates || !('ids' in templates)) return plain;
  const parts = Array.from({ length: templates.offsets.length - 1 }, (_, id) => partsOf(textAt(templates, id)));
  const texts = new TextFill(plain.kind, rowCount);
  const reader = new SlotReader(name, columns);
  for (let row = 0; row < rowCount; row++) {
    const template = templates.ids[row]!;
    const own = plain.ids[row]!;
    if (template !== NULL_ID) {
      let text = '';
      for (const part of parts[template]!) text += typeof part === 'string' ? part : reader.read(part, row);
      texts.set(row, text);
    } else if (own !== NULL_ID) {
      texts.set(row, textAt(plain, own));
    }
  }
  return texts.finish();
}

function textAt({ offsets, bytes }: DictionaryColumn, id: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString(
    'latin1',
    offsets[id]!,
    offsets[id + 1]!,
  );
}

function partsOf(template: string): Part[] {
  const [first, ...rest] = template.split(MARK);
  const parts: Part[] = [first!];
  for (const text of rest) {
    const kind = text[0]!;
    if (kind === 't') parts.push({ kind, form: formOf(text[1]), column: -1 }, text.slice(2));
    else if (kind === 'd') parts.push({ kind, form: formOf(text[1]), column: columnOf(text[2]) }, text.slice(3));
    else if (kind === 's' || kind === 'n' || kind === 'x') {
      parts.push({ kind, form: '', column: columnOf(text[1]) }, text.slice(2));
    } else throw new Error(`unknown placeholder ${JSON.stringify(text.slice(0, 4))}`);
  }
  return parts;
}

function columnOf(letter: string | undefined): number {
  const index = letter === undefined ? -1 : COLUMN_LETTERS.indexOf(letter);
  if (index === -1) throw new Error('a placeholder without a column');
  return index;
}

function formOf(letter: string | undefined): string {
  if (letter === undefined || !FORMS.has(letter)) throw new Error(`unknown form of time ${letter}`);
  return letter;
}

class SlotReader {
  readonly #name: string;
  readonly #columns: Record<string, Column>;
  readonly #time: Column | undefined;

  constructor(name: string, columns: Record<string, Column>) {
    this.#name = name;
    this.#columns = columns;
    this.#time = columns.time;
  }

  read(part: Exclude<Part, string>, row: number): string {
    switch (part.kind) {
      case 's': {
        const column = this.#columns[slotColumn(this.#name, 's', part.column)];
        const id = column && 'ids' in column ? column.ids[row]! : NULL_ID;
        if (id === NULL_ID) throw new Error(`a template names a value of column s${part.column} that is not there`);
        return textAt(column as DictionaryColumn, id);
      }
      case 'n':
        return String(this.#long('n', part.column, row));
      case 'x':
        return this.#long('n', part.column, row).toString(16);
      case 't':
        return this.#timeText(part.form, row, 0);
      default:
        return this.#timeText(part.form, row, Number(this.#long('d', part.column, row)));
    }
  }

  #timeText(form: string, row: number, offsetMs: number): string {
    const time = this.#time;
    const ms = time?.kind === 'timestampMs' ? Number(time.values[row]) + offsetMs : Number.NaN;
    if (!isFormTime(ms)) throw new Error('a template names a time that is none');
    return writeTime(form, ms);
  }

  #long(family: SlotFamily, index: number, row: number): bigint {
    const column = this.#columns[slotColumn(this.#name, family, index)];
    if (column?.kind !== 'int64' || column.nulls?.[row] === 1) {
      throw new Error(`a template names a value of column ${family}${index} that is not there`);
    }
    return column.values[row]!;
  }
}
