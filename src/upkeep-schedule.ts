/**
 * Upkeep on schedule, in a process of its own: its memory and its processor time are not those of callers, and a fault in it ends only itself.
 * Every replica begins at the same minute; the lease lets one through.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setPriority } from 'node:os';
import { createInterface } from 'node:readline';
import { Cron } from 'croner';
import type { UpkeepSummary } from './archive/upkeep/upkeep.ts';
import type { Clock } from './core/clock.ts';
import { WORKER_NICENESS } from './core/limits.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';

const LINES_SHOWN_MAX = 20;
const KILL_AFTER_MS = 10_000;
/** Timers hold 24 days at most, and the wall clock may be set meanwhile. */
const SLEEP_MS_MAX = 10 * 60_000;

export interface UpkeepScheduleOptions {
  /** Five fields, UTC. */
  schedule: string;
  /** Program and arguments of `reductrai tier run`. */
  command: readonly string[];
  env: Readonly<Record<string, string | undefined>>;
  clock: Clock;
  log: Log;
  metrics: Metrics;
}

export class UpkeepSchedule {
  readonly #options: UpkeepScheduleOptions;
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;
  #child: ChildProcess | undefined;

  constructor(options: UpkeepScheduleOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** A run under way is asked to end after the merge it is at; it resolves when it has. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#child?.kill('SIGTERM');
    const cancel = this.#options.clock.after(KILL_AFTER_MS, () => this.#child?.kill('SIGKILL'));
    await this.#running;
    cancel();
  }

  async #run(): Promise<void> {
    const { clock, schedule } = this.#options;
    const { signal } = this.#stopping;
    const cron = new Cron(schedule, { paused: true, timezone: 'UTC' });
    for (let doneAtMs = clock.nowMs(); ; ) {
      const nextAtMs = cron.nextRun(new Date(doneAtMs))?.getTime();
      if (nextAtMs === undefined) return;
      for (let waitMs = nextAtMs - clock.nowMs(); waitMs > 0; waitMs = nextAtMs - clock.nowMs()) {
        await clock.sleep(Math.min(waitMs, SLEEP_MS_MAX), signal).catch(() => {});
        if (signal.aborted) return;
      }
      await this.#once();
      if (signal.aborted) return;
      doneAtMs = Math.max(clock.nowMs(), nextAtMs);
    }
  }

  async #once(): Promise<void> {
    const { command, env, log, metrics } = this.#options;
    const [program, ...args] = command;
    const child = spawn(program!, args, { env: env as NodeJS.ProcessEnv, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    const said: string[] = [];
    const keep = (line: string): void => {
      said.push(line);
      if (said.length > LINES_SHOWN_MAX) said.shift();
    };
    let summary: UpkeepSummary | undefined;
    createInterface({ input: child.stdout }).on('line', (line) => {
      try {
        summary = JSON.parse(line) as UpkeepSummary;
      } catch {
        keep(line);
      }
    });
    createInterface({ input: child.stderr }).on('line', keep);
    try {
      await once(child, 'spawn');
      setPriority(child.pid!, WORKER_NICENESS);
      const [code] = await once(child, 'close');
      if (summary) this.#tell(summary);
      // Asked to end before it could listen to that.
      if (code === 0 || this.#stopping.signal.aborted) return;
      if (!summary) metrics.upkeepRuns.inc({ result: 'failed' });
      log.error({ code, said }, 'upkeep did not do all it had to; the next run goes on from there');
    } catch (error) {
      metrics.upkeepRuns.inc({ result: 'failed' });
      log.error({ err: error }, 'upkeep could not be started');
    } finally {
      this.#child = undefined;
    }
  }

  #tell(summary: UpkeepSummary): void {
    const { log, metrics } = this.#options;
    metrics.upkeepRuns.inc({ result: summary.state });
    metrics.upkeepSegments.inc({ what: 'merged' }, summary.mergedSegments);
    metrics.upkeepSegments.inc({ what: 'written' }, summary.writtenSegments);
    metrics.upkeepSegments.inc({ what: 'expired' }, summary.expiredSegments);
    metrics.upkeepSegments.inc({ what: 'deleted' }, summary.deletedObjects);
    metrics.upkeepBytes.inc({ what: 'merged' }, summary.mergedBytes);
    metrics.upkeepBytes.inc({ what: 'written' }, summary.writtenBytes);
    metrics.upkeepBytes.inc({ what: 'expired' }, summary.expiredBytes);
    metrics.upkeepBytes.inc({ what: 'deleted' }, summary.deletedBytes);
    log.info(summary, 'upkeep');
  }
}
