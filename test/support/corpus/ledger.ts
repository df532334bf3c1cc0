/**
 * What was sent, as hashes of items in their order, to be found again in an export: a stream of items, request after request in an
 * order nobody knows. Each request's items must stand together and in the order sent; each request must be found once.
 * Memory: 8 bytes an item.
 */
import { hash } from 'node:crypto';

interface Sent {
  label: string;
  items: Float64Array;
}

const PROBLEMS_MAX = 20;
const SHOWN = 700;

/** 48 bits as a whole number: one wrong item in 2^48 would pass. */
export function itemHash(text: string): number {
  return hash('sha1', text, 'buffer').readUIntLE(0, 6);
}

export class Ledger {
  /** Requests not found yet, by their first item. */
  readonly #byFirst = new Map<number, Sent[]>();
  #open = 0;
  requests = 0;
  items = 0;

  /** `items`: canonical texts; at least one. */
  expect(label: string, items: readonly string[]): void {
    if (items.length === 0) throw new Error(`${label}: a request without items cannot be found again`);
    const sent = { label, items: Float64Array.from(items, itemHash) };
    const known = this.#byFirst.get(sent.items[0]!);
    if (known) known.push(sent);
    else this.#byFirst.set(sent.items[0]!, [sent]);
    this.requests += 1;
    this.items += items.length;
    this.#open += 1;
  }

  /** Reads an export to its end. Resolves to what differs: nothing when it is what was sent. */
  async match(exported: AsyncIterable<string>): Promise<string[]> {
    const problems: string[] = [];
    const report = (problem: string): void => {
      if (problems.length < PROBLEMS_MAX) problems.push(problem);
    };
    /** Items since the current request began, not yet assigned. */
    let run: { value: number; text: string }[] = [];
    let live: Sent[] = [];
    let complete: Sent | undefined;

    const assign = (sent: Sent): void => {
      const list = this.#byFirst.get(sent.items[0]!)!;
      list.splice(list.indexOf(sent), 1);
      this.#open -= 1;
      const rest = run.slice(sent.items.length);
      run = [];
      live = [];
      complete = undefined;
      for (const item of rest) take(item);
    };
    const take = (item: { value: number; text: string }): void => {
      const at = run.length;
      const candidates = at === 0 ? (this.#byFirst.get(item.value) ?? []) : live;
      const next = candidates.filter((sent) => sent.items[at] === item.value);
      run.push(item);
      if (next.length === 0 && complete) {
        assign(complete);
        return;
      }
      if (next.length === 0) {
        const wanted = live[0];
        if (wanted)
          report(
            `${wanted.label}: item ${at} of ${wanted.items.length} differs; exported: ${item.text.slice(0, SHOWN)}`,
          );
        else report(`exported, but no request begins with it: ${item.text.slice(0, SHOWN)}`);
        run = [];
        live = [];
        if (at > 0) take(item);
        return;
      }
      const finished = next.find((sent) => sent.items.length === run.length);
      live = next.filter((sent) => sent.items.length > run.length);
      if (finished) complete = finished;
      if (live.length === 0) assign(complete!);
    };

    for await (const text of exported) take({ value: itemHash(text), text });
    while (run.length > 0) {
      if (complete) assign(complete);
      else {
        report(`${live[0]?.label}: the export ends after ${run.length} of its items`);
        break;
      }
    }
    if (this.#open > 0) {
      const missing = [...this.#byFirst.values()].flat().map((sent) => sent.label);
      report(`${this.#open} requests were not found: ${missing.slice(0, 10).join('; ')}`);
    }
    return problems;
  }
}
