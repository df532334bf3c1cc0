/**
 * Consumers' positions on disk: `consumers/<name>.json`, replaced whole, with the state before it in `<name>.previous.json`.
 * A position never moves back. A damaged file falls back to the state before it; if both are damaged the consumer keeps
 * its place in the list and starts again at the first entry held: work is redone rather than lost.
 */
import { join } from 'node:path';
import type { Position } from '../core/envelope.ts';
import { type FileSystem, isFileError } from '../core/file-system.ts';
import type { Log } from '../telemetry/log.ts';
import { readCheckedFile, unlinkIfThere, writeCheckedFile } from './checked-file.ts';
import type { ConsumerState, JournalConsumer } from './journal.ts';

const CONSUMERS_MAX = 10_000;
const NAME_LENGTH_MAX = 60;
const PREVIOUS = '.previous';
const ENDING = '.json';

/** What the store needs of its journal. */
export interface ConsumerHost {
  start(): Position;
  end(): Position;
  /** Throws ProxyError when positions may not be written any more. */
  assertOpen(): void;
  /** Runs `write`; on a full disk frees the reserve and runs it once more. Throws ProxyError JOURNAL_FULL where that was not enough. */
  withReserve(write: () => Promise<void>): Promise<void>;
  /** After a position has moved or gone. */
  moved(): void;
}

export class ConsumerStore {
  readonly #fileSystem: FileSystem;
  readonly #folder: string;
  readonly #log: Log;
  readonly #host: ConsumerHost;
  readonly #consumers = new Map<string, StoredConsumer>();

  constructor(fileSystem: FileSystem, folder: string, log: Log, host: ConsumerHost) {
    this.#fileSystem = fileSystem;
    this.#folder = folder;
    this.#log = log;
    this.#host = host;
  }

  async load(fallback: () => Position): Promise<void> {
    const stems = new Set<string>();
    for (const file of await this.#fileSystem.list(this.#folder)) {
      if (!file.endsWith(ENDING)) continue;
      const stem = file.slice(0, -ENDING.length);
      stems.add(stem.endsWith(PREVIOUS) ? stem.slice(0, -PREVIOUS.length) : stem);
    }
    for (const stem of stems) {
      const current = await readCheckedFile(this.#fileSystem, this.#path(stem));
      const previous = await readCheckedFile(this.#fileSystem, this.#path(stem + PREVIOUS));
      const sound = stateOf(current) ?? stateOf(previous);
      const found = sound ?? { name: decodeName(stem), position: fallback(), note: undefined };
      if (current.state === 'damaged' || !sound) {
        this.#log.error(
          { consumer: found.name, position: found.position },
          'a consumer position was damaged; fell back',
        );
        await writeCheckedFile(this.#fileSystem, this.#path(stem), found);
      }
      this.#consumers.set(found.name, this.#create(found.name, { position: found.position, note: found.note }));
    }
  }

  async open(name: string, from: 'start' | 'end'): Promise<JournalConsumer> {
    const known = this.#consumers.get(name);
    if (known) {
      await known.created;
      return known;
    }
    if (name.length === 0 || name.length > NAME_LENGTH_MAX) throw new Error(`BUG: consumer name '${name}'`);
    if (this.#consumers.size >= CONSUMERS_MAX) throw new Error(`BUG: more than ${CONSUMERS_MAX} consumers`);
    this.#host.assertOpen();
    const position = from === 'start' ? this.#host.start() - 1 : this.#host.end();
    const consumer = this.#create(name, { position, note: undefined });
    // In the list before it is durable, so that nothing it is to read is deleted meanwhile.
    this.#consumers.set(name, consumer);
    consumer.created = consumer.save({ position, note: undefined });
    try {
      await consumer.created;
    } catch (error) {
      this.#consumers.delete(name);
      throw error;
    }
    return consumer;
  }

  names(): string[] {
    return [...this.#consumers.keys()].sort();
  }

  /** The position that all have passed; undefined without consumers. */
  passed(): Position | undefined {
    let least: Position | undefined;
    for (const { state } of this.#consumers.values()) {
      if (least === undefined || state.position < least) least = state.position;
    }
    return least;
  }

  furthest(): Position {
    let furthest = 0;
    for (const { state } of this.#consumers.values()) furthest = Math.max(furthest, state.position);
    return furthest;
  }

  async retire(name: string): Promise<void> {
    const consumer = this.#consumers.get(name);
    if (!consumer) return;
    this.#host.assertOpen();
    await consumer.retire(async () => {
      const stem = encodeName(name);
      // The previous state goes first: alone it would bring the consumer back.
      await unlinkIfThere(this.#fileSystem, this.#path(stem + PREVIOUS));
      await this.#fileSystem.syncDirectory(this.#folder);
      await unlinkIfThere(this.#fileSystem, this.#path(stem));
      await this.#fileSystem.syncDirectory(this.#folder);
    });
    this.#consumers.delete(name);
    this.#host.moved();
  }

  /** Resolves when no write is under way. */
  async idle(): Promise<void> {
    for (const consumer of this.#consumers.values()) await consumer.idle();
  }

  #create(name: string, state: ConsumerState): StoredConsumer {
    const stem = encodeName(name);
    const path = this.#path(stem);
    return new StoredConsumer(name, state, this.#host, (next) =>
      writeCheckedFile(this.#fileSystem, path, { name, position: next.position, note: next.note ?? null }, async () => {
        try {
          await this.#fileSystem.rename(path, this.#path(stem + PREVIOUS));
        } catch (error) {
          if (!isFileError(error, 'ENOENT')) throw error;
        }
      }),
    );
  }

  #path(stem: string): string {
    return join(this.#folder, stem + ENDING);
  }
}

class StoredConsumer implements JournalConsumer {
  readonly name: string;
  state: ConsumerState;
  created: Promise<void> = Promise.resolve();
  readonly #host: ConsumerHost;
  readonly #write: (state: ConsumerState) => Promise<void>;
  #turn: Promise<unknown> = Promise.resolve();
  #asked: Position;
  #retired = false;

  constructor(name: string, state: ConsumerState, host: ConsumerHost, write: (state: ConsumerState) => Promise<void>) {
    this.name = name;
    this.state = state;
    this.#host = host;
    this.#write = write;
    this.#asked = state.position;
  }

  async commit(position: Position, note?: unknown): Promise<void> {
    if (!Number.isSafeInteger(position) || position > this.#host.end()) {
      throw new Error(`BUG: consumer ${this.name} commits ${position}, the journal ends at ${this.#host.end()}`);
    }
    if (position < this.#asked) {
      throw new Error(`BUG: consumer ${this.name} moves back from ${this.#asked} to ${position}`);
    }
    this.#asked = position;
    await this.save({ position, note: note ?? undefined });
    this.#host.moved();
  }

  /** One write at a time, in the order asked. */
  save(next: ConsumerState): Promise<void> {
    return this.#inTurn(async () => {
      this.#host.assertOpen();
      if (this.#retired) throw new Error(`BUG: consumer ${this.name} is retired`);
      await this.#host.withReserve(() => this.#write(next));
      this.state = next;
    });
  }

  retire(remove: () => Promise<void>): Promise<void> {
    return this.#inTurn(async () => {
      await remove();
      this.#retired = true;
    });
  }

  async idle(): Promise<void> {
    await this.#turn;
  }

  #inTurn(task: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(task);
    this.#turn = done.catch(() => undefined);
    return done;
  }
}

function stateOf(
  file: Awaited<ReturnType<typeof readCheckedFile>>,
): { name: string; position: Position; note: unknown } | undefined {
  if (file.state !== 'valid') return undefined;
  const value = file.value as { name?: unknown; position?: unknown; note?: unknown };
  if (typeof value.name !== 'string' || !Number.isSafeInteger(value.position)) return undefined;
  return { name: value.name, position: value.position as Position, note: value.note ?? undefined };
}

/** Names become file names: letters, digits, `_` and `-` as they are, all other bytes as `%` and two hex digits. */
function encodeName(name: string): string {
  return Array.from(Buffer.from(name, 'utf8'), (byte) => {
    const character = String.fromCharCode(byte);
    return /[A-Za-z0-9_-]/.test(character) ? character : `%${byte.toString(16).padStart(2, '0')}`;
  }).join('');
}

function decodeName(stem: string): string {
  try {
    return decodeURIComponent(stem);
  } catch {
    return stem;
  }
}
