/**
 * Reads segments back, renders every item and compares it with the item that was sent: same JSON value, keys in the same order with
 * the same duplicates, numbers equal as decimals. What is equal is decided by test/support, which shares no code with the product.
 */
import type { Codec } from '../src/codec/codec.ts';
import { type Column, type ColumnBatch, NULL_ID } from '../src/core/columns.ts';
import type { Signal } from '../src/core/envelope.ts';
import { WHOLE_KINDS } from '../src/query/views.ts';
import type { Row, RowValue } from '../src/record/decoder.ts';
import { renderEvent } from '../src/record/events.ts';
import { renderLog } from '../src/record/logs.ts';
import { renderMetric } from '../src/record/metrics.ts';
import { SEGMENT_COLUMNS } from '../src/record/schema.ts';
import { renderSpan } from '../src/record/traces.ts';
import { type BodyForm, canonicalItems, canonicalJson } from '../test/support/corpus/canonical-json.ts';
import { memberText } from './json-member.ts';

const RENDER: Record<Signal, (rows: Row[]) => string> = {
  metrics: renderMetric,
  logs: renderLog,
  traces: renderSpan,
  events: renderEvent,
};

const FORMS: Partial<Record<Signal, BodyForm>> = { metrics: 'series', logs: 'list', traces: 'chunks' };
const WHOLE = new Set<RowValue>(WHOLE_KINDS);
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

export interface RoundTrip {
  exact: boolean;
  items: number;
  /** Where it first differs. */
  problem?: string;
}

/**
 * All cuts of positions 1 to `last`; each with its segments. `sentItems` gives the canonical texts of a body's items by its position.
 * Resolves to the first difference, undefined when there is none.
 */
export async function checkCuts(
  codec: Codec,
  signal: Signal,
  cuts: readonly (readonly Uint8Array[])[],
  last: number,
  sentItems: (position: number) => string[],
): Promise<string | undefined> {
  let first = 1;
  for (const [index, segments] of cuts.entries()) {
    const found = await readItems(codec, signal, segments);
    // A cut reaches up to the last position that it has rows of; bodies without rows are nobody's.
    const end = index === cuts.length - 1 ? last : Math.max(first, found.lastPosition);
    const trip = compare(signal, found, { first, last: end }, sentItems);
    if (!trip.exact) return trip.problem ?? 'differs';
    first = end + 1;
  }
  return first > last ? undefined : `bodies ${first} to ${last} are not stored`;
}

/** `segments`: those of one cut, with every row of bodies `first` to `last`. */
export async function checkRoundTrip(
  codec: Codec,
  signal: Signal,
  segments: readonly Uint8Array[],
  positions: { first: number; last: number },
  sentItems: (position: number) => string[],
): Promise<RoundTrip> {
  return compare(signal, await readItems(codec, signal, segments), positions, sentItems);
}

async function readItems(codec: Codec, signal: Signal, segments: readonly Uint8Array[]): Promise<Items> {
  const batches: ColumnBatch[] = [];
  for (const bytes of segments) batches.push((await codec.decode(SEGMENT_COLUMNS[signal], bytes)).batch);
  return new Items(batches);
}

function compare(
  signal: Signal,
  found: Items,
  positions: { first: number; last: number },
  sentItems: (position: number) => string[],
): RoundTrip {
  let items = 0;
  for (let position = positions.first; position <= positions.last; position++) {
    const rendered = found.of(position).map((rows) => RENDER[signal](rows));
    const sent = sentItems(position);
    items += sent.length;
    const where = `body ${position}`;
    if (rendered.length !== sent.length) {
      return { exact: false, items, problem: `${where}: ${sent.length} items sent, ${rendered.length} given back` };
    }
    for (let i = 0; i < sent.length; i++) {
      if (sent[i] === canonicalJson(rendered[i]!)) continue;
      const shown = `${sent[i]!.slice(0, 300)} / ${rendered[i]!.slice(0, 300)}`;
      return { exact: false, items, problem: `${where}, item ${i}: ${shown}` };
    }
  }
  return { exact: true, items };
}

/** Items of a body as canonical texts. Throws on what is no body of the signal. */
export function itemTexts(text: string, signal: Signal): string[] {
  const form = FORMS[signal];
  if (!form) throw new Error(`BUG: no bodies of ${signal}`);
  try {
    return canonicalItems(text, form);
  } catch (error) {
    if (!text.trimStart().startsWith('{')) throw error;
    // One log without its array, or series with further keys around them.
    if (signal === 'logs') return [canonicalJson(text)];
    const series = memberText(text, 'series');
    if (signal !== 'metrics' || series === undefined) throw error;
    return canonicalItems(`{"series":${series}}`, 'series');
  }
}

/** The rows of a cut by position and item, made into objects only when asked for. */
class Items {
  readonly #batches: readonly ColumnBatch[];
  readonly #batchOf: Uint16Array;
  readonly #rowOf: Uint32Array;
  /** Rows in order of position, item and point. */
  readonly #order: Uint32Array;
  readonly #positions: Float64Array;
  readonly #items: Int32Array;

  constructor(batches: readonly ColumnBatch[]) {
    const count = batches.reduce((sum, batch) => sum + batch.rowCount, 0);
    this.#batches = batches;
    this.#batchOf = new Uint16Array(count);
    this.#rowOf = new Uint32Array(count);
    this.#positions = new Float64Array(count);
    this.#items = new Int32Array(count);
    const points = new Int32Array(count);
    let at = 0;
    batches.forEach((batch, index) => {
      const numbers = (name: string) => (batch.columns[name] as { values: ArrayLike<number | bigint> }).values;
      const [position, item, point] = [numbers('position'), numbers('item'), numbers('point')];
      for (let row = 0; row < batch.rowCount; row++, at++) {
        this.#batchOf[at] = index;
        this.#rowOf[at] = row;
        this.#positions[at] = Number(position[row]);
        this.#items[at] = Number(item[row]);
        points[at] = Number(point[row]);
      }
    });
    const [positions, items] = [this.#positions, this.#items];
    this.#order = Uint32Array.from({ length: count }, (_, i) => i).sort(
      (a, b) => positions[a]! - positions[b]! || items[a]! - items[b]! || points[a]! - points[b]!,
    );
  }

  get lastPosition(): number {
    const last = this.#order.at(-1);
    return last === undefined ? 0 : this.#positions[last]!;
  }

  of(position: number): Row[][] {
    const groups: Row[][] = [];
    let item: number | undefined;
    for (let i = this.#firstOf(position); i < this.#order.length; i++) {
      const index = this.#order[i]!;
      if (this.#positions[index] !== position) break;
      const row = rowOf(this.#batches[this.#batchOf[index]!]!, this.#rowOf[index]!);
      // What surrounds items is no item; an opaque row stands for one that was not understood.
      if (WHOLE.has(row.kind!) && row.kind !== 'opaque') continue;
      if (this.#items[index] === item) groups.at(-1)!.push(row);
      else groups.push([row]);
      item = this.#items[index];
    }
    return groups;
  }

  #firstOf(position: number): number {
    let [low, high] = [0, this.#order.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#positions[this.#order[middle]!]! < position) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function rowOf(batch: ColumnBatch, index: number): Row {
  const row: Row = {};
  for (const name in batch.columns) row[name] = columnValue(batch.columns[name]!, index);
  return row;
}

function columnValue(column: Column, row: number): RowValue {
  if (!('ids' in column)) return column.nulls?.[row] === 1 ? null : column.values[row]!;
  const id = column.ids[row]!;
  if (id === NULL_ID) return null;
  const bytes = column.bytes.subarray(column.offsets[id]!, column.offsets[id + 1]!);
  return column.kind === 'string' ? utf8.decode(bytes) : bytes;
}
