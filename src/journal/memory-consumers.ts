/** The consumers of a journal whose positions rest nowhere: they live as long as the process. */
import type { Position } from '../core/envelope.ts';
import type { ConsumerState, JournalConsumer } from './journal.ts';

export interface MemoryConsumersOptions {
  /** The last position that can be committed. */
  end: () => Position;
  /** Throws where nothing may be read or committed any more. */
  assertOpen: () => void;
  /** A consumer has moved on, or is no more: something may be free. */
  onMoved: () => void;
}

export class MemoryConsumers {
  readonly #options: MemoryConsumersOptions;
  readonly #consumers = new Map<string, MemoryConsumer>();

  constructor(options: MemoryConsumersOptions) {
    this.#options = options;
  }

  /** The known one, or a new one that has passed all up to `position`. */
  open(name: string, position: () => Position): JournalConsumer {
    const known = this.#consumers.get(name);
    if (known) return known;
    this.#options.assertOpen();
    const consumer = new MemoryConsumer(name, position(), (moved, next) => this.#commit(moved, next));
    this.#consumers.set(name, consumer);
    return consumer;
  }

  names(): string[] {
    return [...this.#consumers.keys()].sort();
  }

  retire(name: string): void {
    if (this.#consumers.delete(name)) this.#options.onMoved();
  }

  /** What all of them have passed; undefined without any. */
  passed(): Position | undefined {
    let passed: Position | undefined;
    for (const { state } of this.#consumers.values()) passed = Math.min(passed ?? state.position, state.position);
    return passed;
  }

  #commit(consumer: MemoryConsumer, next: ConsumerState): void {
    const { name, state } = consumer;
    const { end, assertOpen, onMoved } = this.#options;
    assertOpen();
    if (!Number.isSafeInteger(next.position) || next.position > end()) {
      throw new Error(`BUG: consumer ${name} commits ${next.position}, the journal ends at ${end()}`);
    }
    if (next.position < state.position) {
      throw new Error(`BUG: consumer ${name} moves back from ${state.position} to ${next.position}`);
    }
    if (this.#consumers.get(name) !== consumer) throw new Error(`BUG: consumer ${name} is retired`);
    consumer.state = next;
    onMoved();
  }
}

class MemoryConsumer implements JournalConsumer {
  readonly name: string;
  state: ConsumerState;
  readonly #move: (consumer: MemoryConsumer, next: ConsumerState) => void;

  constructor(name: string, position: Position, move: (consumer: MemoryConsumer, next: ConsumerState) => void) {
    this.name = name;
    this.state = { position, note: undefined };
    this.#move = move;
  }

  async commit(position: Position, note?: unknown): Promise<void> {
    this.#move(this, { position, note: note ?? undefined });
  }
}
