/** A consumer whose position rests nowhere: it lives as long as the process. */
import type { Position } from '../core/envelope.ts';
import type { ConsumerState, JournalConsumer } from './journal.ts';

export class MemoryConsumer implements JournalConsumer {
  readonly name: string;
  state: ConsumerState;
  /** Throws when the position cannot be; gives what to run once it is taken. */
  readonly #check: (position: Position) => () => void;

  constructor(name: string, position: Position, check: (position: Position) => () => void) {
    this.name = name;
    this.state = { position, note: undefined };
    this.#check = check;
  }

  async commit(position: Position, note?: unknown): Promise<void> {
    const taken = this.#check(position);
    if (position < this.state.position) {
      throw new Error(`BUG: consumer ${this.name} moves back from ${this.state.position} to ${position}`);
    }
    this.state = { position, note: note ?? undefined };
    taken();
  }
}
