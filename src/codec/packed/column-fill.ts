/** Columns made row by row, in any order of rows: null where nothing was set. */
import { type DictionaryColumn, type Int64Column, NULL_ID } from '../../core/columns.ts';
import { ByteWriter } from '../byte-writer.ts';

/** Texts are Latin-1 of their bytes. */
export class TextFill {
  readonly #kind: DictionaryColumn['kind'];
  readonly #ids: Uint32Array;
  readonly #known = new Map<string, number>();
  readonly #offsets: number[] = [0];
  readonly #bytes = new ByteWriter(4096);

  constructor(kind: DictionaryColumn['kind'], rowCount: number) {
    this.#kind = kind;
    this.#ids = new Uint32Array(rowCount).fill(NULL_ID);
  }

  set(row: number, text: string): void {
    let id = this.#known.get(text);
    if (id === undefined) {
      id = this.#offsets.length - 1;
      this.#known.set(text, id);
      this.#bytes.reserve(text.length);
      this.#bytes.bytes(Buffer.from(text, 'latin1'));
      this.#offsets.push(this.#bytes.length);
    }
    this.#ids[row] = id;
  }

  has(text: string): boolean {
    return this.#known.has(text);
  }

  finish(): DictionaryColumn {
    return { kind: this.#kind, ids: this.#ids, offsets: Uint32Array.from(this.#offsets), bytes: this.#bytes.finish() };
  }
}

export class LongFill {
  readonly #values: BigInt64Array;
  readonly #nulls: Uint8Array;

  constructor(rowCount: number) {
    this.#values = new BigInt64Array(rowCount);
    this.#nulls = new Uint8Array(rowCount).fill(1);
  }

  set(row: number, value: bigint): void {
    this.#values[row] = value;
    this.#nulls[row] = 0;
  }

  finish(): Int64Column {
    return { kind: 'int64', values: this.#values, ...(this.#nulls.includes(1) ? { nulls: this.#nulls } : {}) };
  }
}
