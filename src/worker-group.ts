/**
 * The first process of a replica with several workers (WORKERS): takes connections and hands them round in turn, starts a worker again that
 * ended (it finds its own journal), and gathers what they say of themselves. It has no data of its own to lose.
 */
import cluster, { type Worker } from 'node:cluster';
import type { MetricObjectWithValues, MetricValue } from 'prom-client';
import type { Clock } from './core/clock.ts';
import type { Log } from './telemetry/log.ts';
import { type FromWorker, type ReportKind, type ToWorker, WORKER_ENV } from './worker-messages.ts';
import { lastingMetrics } from './worker-reports.ts';

export interface WorkerGroupOptions {
  count: number;
  clock: Clock;
  log: Log;
  /** A worker that has not drained by then is ended. */
  drainDeadlineMs: number;
}

type MetricsJson = MetricObjectWithValues<MetricValue<string>>[];

interface Gathering {
  asker: Worker;
  askId: number;
  what: ReportKind;
  waitsFor: Set<number>;
  values: unknown[];
  cancel: () => void;
}

const GATHER_MS_MAX = 2_000;
const START_AGAIN_FIRST_MS = 100;
const START_AGAIN_MS_MAX = 10_000;
/** A worker that lived so long did not die of its start. */
const STEADY_AFTER_MS = 30_000;
const KILL_AFTER_MS = 5_000;

export class WorkerGroup {
  readonly #options: WorkerGroupOptions;
  readonly #workers = new Map<number, Worker>();
  readonly #gatherings = new Map<number, Gathering>();
  /** By worker id: what it told last. */
  readonly #lastMetrics = new Map<number, MetricsJson>();
  readonly #gone = Promise.withResolvers<void>();
  #departed: MetricsJson = [];
  #nextId = 1;
  #stopping = false;
  #failed = false;

  constructor(options: WorkerGroupOptions) {
    this.#options = options;
  }

  /** Resolves with the address when every worker listens; undefined when one cannot start. */
  async start(): Promise<{ address: string; adminAddress: string | undefined } | undefined> {
    cluster.schedulingPolicy = cluster.SCHED_RR;
    let listening: { address: string; adminAddress: string | undefined } | undefined;
    // The first one founds what all of them use.
    for (let index = 0; index < this.#options.count; index += 1) {
      listening = await this.#startWorker(index);
      if (!listening || this.#stopping) return undefined;
    }
    return listening;
  }

  reload(): void {
    for (const worker of this.#workers.values()) send(worker, { kind: 'reload' });
  }

  /** Resolves when all have ended; false when one did not end well. */
  async stop(signal: string): Promise<boolean> {
    this.#stopping = true;
    for (const worker of this.#workers.values()) send(worker, { kind: 'stop', signal });
    const { clock, drainDeadlineMs } = this.#options;
    const cancel = clock.after(drainDeadlineMs + KILL_AFTER_MS, () => {
      for (const worker of this.#workers.values()) worker.process.kill('SIGKILL');
    });
    this.#lookWhetherGone();
    await this.#gone.promise;
    cancel();
    return !this.#failed;
  }

  /** Resolves when it listens; undefined when it ends before. */
  #startWorker(index: number, again = 0): Promise<{ address: string; adminAddress: string | undefined } | undefined> {
    const { count, clock, log } = this.#options;
    const worker = cluster.fork({ [WORKER_ENV]: `${index}/${count}` });
    const startedAtMs = clock.monotonicMs();
    let isReady = false;
    this.#workers.set(index, worker);
    const { promise, resolve } = Promise.withResolvers<
      { address: string; adminAddress: string | undefined } | undefined
    >();
    worker.on('message', (message: FromWorker) => {
      if (message.kind === 'ready') {
        isReady = true;
        resolve(message);
      } else this.#receive(worker, message);
    });
    worker.on('error', (error) => log.warn({ err: error, worker: index }, 'a worker cannot be spoken to'));
    worker.once('exit', (code, signal) => {
      this.#workers.delete(index);
      this.#forget(worker);
      resolve(undefined);
      if (this.#stopping || (!isReady && again === 0)) {
        this.#failed ||= code !== 0;
        this.#lookWhetherGone();
        return;
      }
      const wasSteady = clock.monotonicMs() - startedAtMs > STEADY_AFTER_MS;
      const tries = wasSteady ? 1 : again + 1;
      const waitMs = wasSteady ? 0 : Math.min(START_AGAIN_MS_MAX, START_AGAIN_FIRST_MS * 2 ** Math.min(again, 10));
      log.error({ worker: index, code, signal, waitMs }, 'a worker ended; it is started again');
      clock.after(waitMs, () => {
        if (!this.#stopping) void this.#startWorker(index, tries);
      });
    });
    return promise;
  }

  #lookWhetherGone(): void {
    if (this.#workers.size === 0) this.#gone.resolve();
  }

  #receive(worker: Worker, message: FromWorker): void {
    if (message.kind === 'ask') this.#gather(worker, message.id, message.what);
    if (message.kind !== 'told') return;
    const gathering = this.#gatherings.get(message.id);
    if (!gathering?.waitsFor.delete(worker.id)) return;
    gathering.values.push(message.value);
    if (gathering.what === 'metrics' && message.value) this.#lastMetrics.set(worker.id, message.value as MetricsJson);
    if (gathering.waitsFor.size === 0) this.#answer(message.id);
  }

  #gather(asker: Worker, askId: number, what: ReportKind): void {
    const id = this.#nextId++;
    const workers = [...this.#workers.values()].filter((worker) => worker.isConnected());
    const cancel = this.#options.clock.after(GATHER_MS_MAX, () => this.#answer(id));
    const waitsFor = new Set(workers.map((worker) => worker.id));
    this.#gatherings.set(id, { asker, askId, what, waitsFor, values: [], cancel });
    for (const worker of workers) send(worker, { kind: 'tell', id, what });
  }

  #answer(id: number): void {
    const gathering = this.#gatherings.get(id);
    if (!gathering) return;
    this.#gatherings.delete(id);
    gathering.cancel();
    const { asker, askId, what, values } = gathering;
    if (what === 'metrics') values.push(this.#departed);
    if (asker.isConnected()) send(asker, { kind: 'answers', id: askId, values, wanted: this.#options.count });
  }

  #forget(worker: Worker): void {
    const last = this.#lastMetrics.get(worker.id);
    this.#lastMetrics.delete(worker.id);
    // Counters must not fall, or rates would jump.
    if (last) this.#departed = lastingMetrics(this.#departed, last);
    for (const [id, gathering] of this.#gatherings) {
      if (gathering.waitsFor.delete(worker.id) && gathering.waitsFor.size === 0) this.#answer(id);
    }
  }
}

function send(worker: Worker, message: ToWorker): void {
  // One that has just ended tells so itself.
  worker.send(message, undefined, undefined, () => {});
}
