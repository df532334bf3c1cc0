/** `reductrai serve`: the proxy as a process. Starts, says where to point an agent, drains on SIGTERM and SIGINT. */
import cluster from 'node:cluster';
import { readFileSync } from 'node:fs';
import { availableParallelism, hostname } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import { type App, openApp } from '../app.ts';
import { settingsHelp } from '../config/help.ts';
import { effectiveMode, type LoadResult, loadSettings } from '../config/load.ts';
import type { Settings } from '../config/registry.ts';
import { reloadOf } from '../config/reload.ts';
import { storeFolder, storeSettingsOf } from '../config/storage.ts';
import { settingsOfWorker, workerCountOf } from '../config/workers.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { messageOf } from '../core/errors.ts';
import { type FileSystem, nodeFileSystem } from '../core/file-system.ts';
import { systemRandom } from '../core/random.ts';
import { urlOf } from '../store/store-url.ts';
import { createLog, type Log } from '../telemetry/log.ts';
import { UpkeepSchedule } from '../upkeep-schedule.ts';
import { VERSION } from '../version.ts';
import { WorkerGroup } from '../worker-group.ts';
import { WorkerLink } from '../worker-link.ts';
import { WORKER_ENV } from '../worker-messages.ts';
import { replicaReports } from '../worker-reports.ts';

const FENCED_GRACE_MS = 1_000;

/**
 * Bodies and batches lie outside of V8's heap, come and go by tens of MiB, and count for its next full collection: of a heap of 20 MiB it would come
 * ten times a second and find next to nothing. They are let go of by hand (core/buffers.ts); so the heap is given some room.
 */
const HEAP_FLAGS = '--heap-growing-percent=400';

export interface ServeDeps {
  env: Readonly<Record<string, string | undefined>>;
  fileSystem?: FileSystem;
  clock?: Clock;
}

export function load(env: ServeDeps['env'], configPath?: string): LoadResult {
  return loadSettings({
    env,
    ...(configPath === undefined ? {} : { configPath }),
    readText: (path) => readFileSync(path, 'utf8'),
    hostname: hostname(),
    cpuCount: availableParallelism(),
  });
}

/** Exit code: 0 after a clean drain, 1 when it could not start or finish, 2 for a bad configuration. */
export async function runServe(args: string[], deps: ServeDeps): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(`Usage: reductrai serve [--config FILE]\n\n${settingsHelp()}\n`);
    return 0;
  }
  const loaded = load(deps.env, configPathOf(args));
  if (!loaded.ok) {
    process.stderr.write(
      `The configuration cannot be used:\n${loaded.problems.map((line) => `  - ${line}\n`).join('')}`,
    );
    return 2;
  }
  const log = createLog(loaded.settings.server.logLevel);
  for (const warning of cluster.isPrimary ? loaded.warnings : []) log.warn(warning);
  const clock = deps.clock ?? systemClock;
  const count = workerCountOf(loaded.settings, availableParallelism());
  if (cluster.isPrimary && count > 1) return serveByWorkers(count, loaded, clock, log);
  const link = cluster.isWorker ? WorkerLink.of(deps.env[WORKER_ENV], clock) : undefined;
  return serveHere(loaded, args, deps, link ? log.child({ worker: link.index }) : log, link);
}

/** One process that does it all: alone, or as a worker of several. */
async function serveHere(
  loaded: Extract<LoadResult, { ok: true }>,
  args: string[],
  deps: ServeDeps,
  log: Log,
  link: WorkerLink | undefined,
): Promise<number> {
  setFlagsFromString(HEAP_FLAGS);
  const shareOf = (all: Settings) => (link ? settingsOfWorker(all, link.index, link.count) : all);
  let settings = shareOf(loaded.settings);
  const mode = effectiveMode(settings, loaded.sources);
  const stop = Promise.withResolvers<string>();
  void link?.stopped.then(stop.resolve);
  process.once('SIGTERM', () => stop.resolve('SIGTERM'));
  // Those of a terminal reach every process; the first one tells its workers.
  if (link) for (const name of ['SIGINT', 'SIGHUP'] as const) process.on(name, () => {});
  else process.once('SIGINT', () => stop.resolve('SIGINT'));
  let app: App;
  try {
    app = await openApp({
      settings,
      mode,
      version: VERSION,
      fileSystem: deps.fileSystem ?? nodeFileSystem,
      clock: deps.clock ?? systemClock,
      random: systemRandom,
      log,
      ...(link ? { worker: { isFirst: link.index === 0, reports: (own) => replicaReports(link, own) } } : {}),
    });
  } catch (error) {
    log.fatal({ err: error }, 'cannot start');
    process.stderr.write(`Cannot start: ${messageOf(error)}\n`);
    return 1;
  }
  const { address, adminAddress } = app;
  const upkeep = link && link.index > 0 ? undefined : upkeepOf(settings, mode, args, deps, app, log);
  upkeep?.start();
  const reload = (): void => {
    const again = load(deps.env, configPathOf(args));
    if (!again.ok) {
      log.error({ problems: again.problems }, 'the configuration cannot be used; what was in force stays');
      return;
    }
    const { applied, needRestart, settings: next } = reloadOf(settings, shareOf(again.settings));
    settings = next;
    app.reload(settings);
    log.info({ applied, needRestart }, 'configuration read again');
  };
  if (link) {
    log.info({ mode, replica: settings.server.replicaId }, 'worker is ready');
    const reports = {
      metrics: async () => {
        await app.measure();
        return app.metrics.registry.getMetricsAsJSON();
      },
      health: () => app.health(),
      status: () => app.status(),
    };
    link.ready(address, adminAddress, reports, reload);
  } else {
    log.info({ address, adminAddress, mode, version: VERSION }, 'listening');
    greet(address, mode, settings);
    onHangUp(stop.resolve, reload);
  }
  const signal = await Promise.race([stop.promise, app.fenced.then(() => 'fenced' as const)]);
  if (signal === 'fenced') {
    // Nothing of it can be committed here any more; another replica finishes it. Answers under way still leave.
    log.fatal('the journal of this replica was taken over; start it again for a new one');
    await systemClock.sleep(FENCED_GRACE_MS);
    process.exit(1);
  }
  log.info({ signal }, 'draining');
  const cancel = systemClock.after(settings.server.drainDeadlineMs, () => {
    log.error('drain deadline passed; what is left is in the journal');
    process.exit(1);
  });
  // Whoever presses Ctrl-C has no balancer that must notice.
  const noticeMs = signal === 'SIGTERM' ? settings.server.drainNoticeMs : 0;
  await Promise.all([upkeep?.stop(), app.drain(settings.server.drainDeadlineMs, noticeMs)]);
  cancel();
  // The link to the first process would keep it alive.
  if (link) process.exit(0);
  return 0;
}

async function serveByWorkers(
  count: number,
  { settings, sources }: Extract<LoadResult, { ok: true }>,
  clock: Clock,
  log: Log,
): Promise<number> {
  const mode = effectiveMode(settings, sources);
  const stop = Promise.withResolvers<string>();
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stop.resolve(name));
  const group = new WorkerGroup({ count, clock, log, drainDeadlineMs: settings.server.drainDeadlineMs });
  const listening = await Promise.race([group.start(), stop.promise.then(() => undefined)]);
  if (!listening) {
    const isStopped = await Promise.race([stop.promise.then(() => true), Promise.resolve(false)]);
    if (!isStopped) log.fatal('a worker could not be started');
    return (await group.stop('SIGTERM')) && isStopped ? 0 : 1;
  }
  log.info({ ...listening, mode, version: VERSION, workers: count }, 'listening');
  greet(listening.address, mode, settings);
  onHangUp(stop.resolve, () => group.reload());
  const signal = await stop.promise;
  log.info({ signal }, 'draining');
  const ended = await group.stop(signal);
  if (!ended) log.error('a worker did not end in good order; what is left is in its journal');
  return ended ? 0 : 1;
}

function onHangUp(stop: (signal: string) => void, reload: () => void): void {
  // At a terminal: the one it was started in is gone.
  process.on('SIGHUP', () => (process.stdout.isTTY ? stop('SIGHUP') : reload()));
}

function greet(address: string, mode: string, settings: Settings): void {
  if (process.stdout.isTTY) process.stdout.write(greeting(address, mode, settings));
}

/** This program once more, as `tier run`; undefined where nothing is kept, or nobody wants it. */
function upkeepOf(
  settings: Settings,
  mode: Settings['forward']['mode'],
  args: readonly string[],
  { env }: ServeDeps,
  { metrics }: App,
  log: Log,
): UpkeepSchedule | undefined {
  if (!settings.cleanup.autoEnabled || mode === 'forward-only') return undefined;
  const configPath = configPathOf(args);
  const command = [
    ...[process.execPath, ...process.execArgv, process.argv[1]!, 'tier', 'run', '--format', 'ndjson'],
    ...(configPath === undefined ? [] : ['--config', configPath]),
  ];
  return new UpkeepSchedule({ schedule: settings.cleanup.schedule, command, env, clock: systemClock, log, metrics });
}

export function configPathOf(args: readonly string[]): string | undefined {
  const index = args.findIndex((arg) => arg === '--config' || arg.startsWith('--config='));
  if (index < 0) return undefined;
  const [, inline] = args[index]!.split('=', 2);
  return inline ?? args[index + 1];
}

/** The folder as it was given, or the URL of a bucket. */
function keptIn(settings: Settings): string {
  const { target } = storeSettingsOf(settings);
  const url = typeof target === 'string' ? target : urlOf(target);
  return url === storeFolder(settings) ? (settings.storageHot.path ?? settings.server.dataDir) : url;
}

function greeting(address: string, mode: string, settings: Settings): string {
  const url = address.replace('0.0.0.0', 'localhost').replace('[::]', 'localhost');
  const kept = mode === 'forward-only' ? '' : `\n  Data is kept in ${keptIn(settings)} (Parquet, zstd).`;
  const forwarded =
    mode === 'store-only'
      ? '\n  Nothing is forwarded: set DATADOG_API_KEY (and DD_SITE) to pass everything on to Datadog.'
      : '\n  Everything is forwarded to Datadog as received.';
  return `
  reductrai-proxy ${VERSION} is listening on ${url}${kept}${forwarded}

  Point an agent here:      DD_DD_URL=${url} DD_LOGS_CONFIG_LOGS_DD_URL=${url} DD_APM_DD_URL=${url}
  Or a tracer:              DD_TRACE_AGENT_URL=${url}
  Try it:                   curl -X POST ${url}/api/v2/logs -H 'content-type: application/json' \\
                              -d '[{"message":"hello","service":"demo","ddsource":"curl"}]'
  Then ask:                 bin/reductrai query "SELECT time, service, message FROM logs"   (after the next flush)
  Health, metrics, status:  ${url}/health  ${url}/metrics  ${url}/status
  All settings:             bin/reductrai serve --help

`;
}
