/**
 * The packed layout of a segment: names of its columns and the form of its templates. It is a format: what a letter means never changes, and
 * docs/formats/segments.md says the same for those who read the files with other tools.
 *
 * A text column `c` that is packed rests as `c_template`, the text with placeholders in the place of what varies, and the columns that these name.
 * A row whose text does not fit has it in `c` itself, and no template. A placeholder is MARK, a letter for what it is, and one or two more:
 * `s` + column: text as it is; `n` + column: a decimal number; `x` + column: a number in lower-case hex digits; `t` + form: the row's own `time`,
 * written as time-forms.ts says; `d` + form + column: the row's `time` plus so many milliseconds.
 */

/** In the footer's key-value metadata; absent: plain. Readers must refuse what they do not know. */
export const LAYOUT_KEY = 'reductrai.layout';
export const PACKED_LAYOUT = 'packed-1';
export type Layout = 'plain' | 'packed';

/** Columns of one kind of one text column, by the letter of their placeholders. */
export const COLUMN_LETTERS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
export const COLUMNS_MAX = { s: 48, n: 32, d: 3 } as const;
export type SlotFamily = keyof typeof COLUMNS_MAX;

export const templateColumn = (of: string): string => `${of}_template`;
export const slotColumn = (of: string, family: SlotFamily, index: number): string => `${of}_${family}${index}`;

/** Columns that are packed where a signal has them, and `time`, which their texts repeat. */
export const PACKED_TEXTS: readonly string[] = ['message', 'attributes'];

/** Of spans: how many rows before it in the file a span's parent lies; `parent_id` is null then. */
export const PARENT_BACK = 'parent_back';

/** Of metrics: the digits of a value as an integer, and how many of them stand behind the point; `value` is null then. */
export const VALUE_DIGITS = 'value_digits';
export const VALUE_SCALE = 'value_scale';

/** Every column that a packed text may have beside itself. */
export function packedColumns(text: string): { name: string; family: SlotFamily | 'template' }[] {
  const families = Object.keys(COLUMNS_MAX) as SlotFamily[];
  return [
    { name: templateColumn(text), family: 'template' },
    ...families.flatMap((family) =>
      Array.from({ length: COLUMNS_MAX[family] }, (_, index) => ({ name: slotColumn(text, family, index), family })),
    ),
  ];
}
