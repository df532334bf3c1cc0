/**
 * A worker's side of its replica: it serves what clients send, and for probes and scrapes, which any worker may get, it asks the first
 * process for what all have to say. Should that be gone, the worker ends (node:cluster sees to it): nobody would give it connections.
 */
import type { Clock } from './core/clock.ts';
import type { FromWorker, ReportKind, ToWorker } from './worker-messages.ts';

export type Reports = Record<ReportKind, () => unknown>;

export interface Answers {
  values: unknown[];
  /** How many workers there should be. */
  wanted: number;
}

const ANSWER_WITHIN_MS = 3_000;
const ASKED_MAX = 1_000;

export class WorkerLink {
  readonly index: number;
  readonly count: number;
  readonly #clock: Clock;
  readonly #asked = new Map<number, (answers: Answers) => void>();
  readonly #stopped = Promise.withResolvers<string>();
  #reports: Reports | undefined;
  #reload: (() => void) | undefined;
  #nextId = 1;

  constructor(index: number, count: number, clock: Clock) {
    this.#clock = clock;
    this.index = index;
    this.count = count;
    process.on('message', (message) => void this.#receive(message as ToWorker));
  }

  /** Of a process that was started as a worker. */
  static of(place: string | undefined, clock: Clock): WorkerLink | undefined {
    const [index, count] = (place ?? '').split('/').map(Number);
    return index === undefined || !count ? undefined : new WorkerLink(index, count, clock);
  }

  /** The signal that the replica is to stop for. */
  get stopped(): Promise<string> {
    return this.#stopped.promise;
  }

  ready(address: string, adminAddress: string | undefined, reports: Reports, reload: () => void): void {
    this.#reports = reports;
    this.#reload = reload;
    send({ kind: 'ready', address, adminAddress });
  }

  /** What all workers say. Without an answer in time, nothing. */
  ask(what: ReportKind): Promise<Answers> {
    const id = this.#nextId++;
    const { promise, resolve } = Promise.withResolvers<Answers>();
    const nothing: Answers = { values: [], wanted: this.count };
    if (this.#asked.size >= ASKED_MAX) return Promise.resolve(nothing);
    const cancel = this.#clock.after(ANSWER_WITHIN_MS, () => this.#settle(id, nothing));
    this.#asked.set(id, (answers) => {
      cancel();
      resolve(answers);
    });
    send({ kind: 'ask', id, what });
    return promise;
  }

  async #receive(message: ToWorker): Promise<void> {
    switch (message.kind) {
      case 'tell':
        send({ kind: 'told', id: message.id, value: await this.#report(message.what) });
        return;
      case 'answers':
        this.#settle(message.id, message);
        return;
      case 'stop':
        this.#stopped.resolve(message.signal);
        return;
      case 'reload':
        this.#reload?.();
    }
  }

  /** Undefined before there is anything to say, and where it cannot be said now. */
  async #report(what: ReportKind): Promise<unknown> {
    try {
      return await this.#reports?.[what]();
    } catch {
      // It counts as one that did not answer; others are put together without it.
      return undefined;
    }
  }

  #settle(id: number, answers: Answers): void {
    this.#asked.get(id)?.(answers);
    this.#asked.delete(id);
  }
}

function send(message: FromWorker): void {
  // The other end may be gone; then this process ends as well.
  if (process.connected) process.send?.(message, undefined, undefined, () => {});
}
