/**
 * The composition root: builds every part from the settings, starts them from the ground up, drains them from the top down.
 * Reads as the journey of the data: store → journal → archive and forwarders → intake.
 */
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { ARCHIVE_CONSUMER, Archive } from './archive/archive.ts';
import { createEncoder } from './archive/encoder.ts';
import { booksOf } from './books.ts';
import { ZSTD_LEVELS } from './config/declaration.ts';
import { type Durability, durabilityOf } from './config/durability.ts';
import type { Settings } from './config/registry.ts';
import { storeSettingsOf } from './config/storage.ts';
import { ByteBudget } from './core/byte-budget.ts';
import type { Clock } from './core/clock.ts';
import type { JournalIdentity } from './core/envelope.ts';
import { isProxyError, messageOf, ProxyError } from './core/errors.ts';
import type { FileSystem } from './core/file-system.ts';
import { HOURS_PER_FLUSH_MAX, MIB, ROW_GROUP_ROWS_MAX } from './core/limits.ts';
import type { Random } from './core/random.ts';
import type { Sealer } from './core/sealer.ts';
import { Fleet } from './fleet.ts';
import { createForwarders, type Forwarders } from './forwarders.ts';
import { createIntake, type HealthReport, type Intake, type ReplicaReports } from './intake/intake.ts';
import type { Journal } from './journal/journal.ts';
import { createMemoryJournal } from './journal/memory-journal.ts';
import { openStoreJournal } from './journal/store-journal.ts';
import { unheardOf } from './journal/unheard.ts';
import { finishOrphan } from './orphan.ts';
import { createDecodePool, type DecodePool } from './record/decode-pool.ts';
import { openSealer } from './seal-key.ts';
import type { ObjectStore } from './store/object-store.ts';
import { checkConditions } from './store/online-check.ts';
import { openStore } from './store/open.ts';
import type { Log } from './telemetry/log.ts';
import { createMetrics, type Metrics } from './telemetry/metrics.ts';
import { type DatadogTarget, datadogTarget } from './upstream/datadog-hosts.ts';
import { Volume, type VolumeOptions } from './volume.ts';

export interface AppDeps {
  settings: Settings;
  /** As resolved from the settings: `store-only` where nothing says where to forward to. */
  mode: Settings['forward']['mode'];
  version: string;
  fileSystem: FileSystem;
  clock: Clock;
  random: Random;
  log: Log;
  /** Where this is one of several processes of the replica. */
  worker?: { isFirst: boolean; reports: (own: () => HealthReport) => ReplicaReports };
}

export interface App {
  address: string;
  adminAddress: string | undefined;
  metrics: Metrics;
  /** Resolves when another replica has taken this one's journal over: the process can only be replaced. */
  fenced: Promise<void>;
  /** Of this process. */
  health(): HealthReport;
  status(): Promise<unknown>;
  /** Brings gauges up to date. */
  measure(): Promise<void>;
  /** Takes over what can change while it runs (config/reload.ts). */
  reload(settings: Settings): void;
  /**
   * Readiness falls, requests are served for another `noticeMs`, those under way finish, journal and segments are flushed. Resolves
   * within the deadline.
   */
  drain(deadlineMs: number, noticeMs: number): Promise<void>;
}

const PATIENCE_MS = 5_000;
const RETRY_ENTRIES_MAX = 100_000;
const REQUEST_TIMEOUT_MS = 30_000;
const DECODE_JOBS_MAX = 4096;
const WORKER_HEAP_MIB = 384;
/** Each sample wakes the process: a shorter interval costs an idle one several per cent of a core. */
const LOOP_SAMPLE_EVERY_MS = 40;
const WATCH_EVERY_MS = 5_000;
const STORE_CHECK_MS_MAX = 5_000;
/** So long does a scrape wait for the count of what is owed. */
const COUNT_MS_MAX = 500;
/** So long may the store fail before callers get 503 at once. */
const STORE_PATIENCE_MS = 10_000;
const RECENT_BYTES_MAX = 32 * MIB;
const STORE_PROBE_KEY = 'probe/health';

export async function openApp(deps: AppDeps): Promise<App> {
  const app = new RunningApp(deps);
  try {
    await app.start();
  } catch (error) {
    await app.giveUp();
    throw error;
  }
  return app;
}

class RunningApp implements App {
  readonly metrics = createMetrics();
  address = '';
  adminAddress: string | undefined;
  readonly #deps: AppDeps;
  readonly #budget: ByteBudget;
  readonly #forwarders: Forwarders = new Map();
  readonly #startedAtMs: number;
  readonly #loopDelay = monitorEventLoopDelay({ resolution: LOOP_SAMPLE_EVERY_MS });
  readonly #fenced = Promise.withResolvers<void>();
  #isFenced = false;
  #fleet: Fleet | undefined;
  #volume: Volume | undefined;
  #target: DatadogTarget | undefined;
  #sealer!: Sealer;
  #store!: ObjectStore;
  #journal!: Journal;
  #pool!: DecodePool;
  #archive: Archive | undefined;
  #intake!: Intake;
  #storeConnected = true;
  #draining = false;
  /** Others may get retries of what is taken here. */
  #isShared = false;
  #cancelWatch: (() => void) | undefined;

  constructor(deps: AppDeps) {
    this.#deps = deps;
    this.#budget = ByteBudget.create(deps.settings.intake.inflightBytesMax);
    this.#startedAtMs = deps.clock.monotonicMs();
  }

  async start(): Promise<void> {
    const { settings, mode, fileSystem, clock, random, log, version } = this.#deps;
    const { metrics } = this;
    const dataFolder = resolve(settings.server.dataDir);
    mkdirSync(dataFolder, { recursive: true });
    const opened = await openStore(storeSettingsOf(settings), { fileSystem, clock, random, metrics });
    this.#store = opened.store;
    this.#target =
      mode === 'store-only'
        ? undefined
        : datadogTarget({
            ...(settings.forward.datadogSite ? { site: settings.forward.datadogSite } : {}),
            ...(settings.forward.datadogEndpoint ? { endpoint: settings.forward.datadogEndpoint } : {}),
            ...(settings.forward.forwardTo ? { forwardTo: settings.forward.forwardTo } : {}),
          });
    const durability = this.#durability();
    this.#isShared = durability !== 'memory';
    if (durability === 'store' || (!opened.pathOf && mode !== 'forward-only')) await this.#checkConditions();
    const sealer = openSealer(settings, dataFolder, random, durability === 'store');
    this.#sealer = sealer;
    this.#journal = await this.#openJournal(durability, dataFolder, sealer);
    // What was left there with `disk` is not forgotten when that is changed.
    this.#volume ??= Volume.beside(this.#volumeOptions(dataFolder, sealer), this.#journal.identity);
    this.#pool = createDecodePool({
      workers: settings.intake.decodeWorkers,
      budget: this.#budget,
      decompressedBytesMax: settings.intake.decompressedBytesMax,
      jobsMax: DECODE_JOBS_MAX,
      heapMiBMax: WORKER_HEAP_MIB,
      log,
    });
    if (mode === 'forward-only') {
      if (this.#journal.consumers().includes(ARCHIVE_CONSUMER)) await this.#journal.retire(ARCHIVE_CONSUMER);
    } else {
      this.#archive = this.#createArchive(this.#journal, metrics);
      await this.#archive.start();
    }
    await this.#startForwarders();
    this.#intake = this.#createIntake(this.#target, sealer);
    const listening = await this.#intake.listen();
    this.address = listening.address;
    this.adminAddress = listening.adminAddress;
    metrics.buildInfo.set({ version }, 1);
    metrics.storageConnected.set(1);
    this.#fleet?.startTakeovers((orphan, signal) => this.#finishOrphan(orphan, signal));
    // One of a replica's workers is enough to look after the volume.
    if (this.#deps.worker?.isFirst ?? true) this.#volume?.startTakeovers(this.#consumersOfOthers());
    this.#loopDelay.enable();
    this.#watch();
  }

  reload({ intake, server }: Settings): void {
    const allowedKeys = intake.apiKeysAllowed.map((key) => key.reveal());
    this.#intake.reload({ allowedKeys, connectionMaxAgeMs: server.connectionAgeMaxMs });
    this.#deps.log.level = server.logLevel;
  }

  /** A bucket whose server ignores conditions must not be used; one that cannot be asked now is asked again by the first flush. */
  async #checkConditions(): Promise<void> {
    const { clock, random, log } = this.#deps;
    const cancelling = new AbortController();
    try {
      await Promise.race([
        checkConditions(this.#store, random),
        clock.sleep(STORE_CHECK_MS_MAX, cancelling.signal).then(() => {
          throw new ProxyError('STORE_UNAVAILABLE', `no answer within ${STORE_CHECK_MS_MAX} ms`);
        }),
      ]);
    } catch (error) {
      if (isProxyError(error, 'STORE_INVALID')) throw error;
      log.warn({ reason: messageOf(error) }, 'the store cannot be reached yet; what comes in stays in the journal');
    } finally {
      cancelling.abort();
    }
  }

  /** It could not start: the lease must not keep others waiting, nor any of what was opened this process alive. */
  async giveUp(): Promise<void> {
    const { log } = this.#deps;
    this.#cancelWatch?.();
    const steps: (() => Promise<unknown> | undefined)[] = [
      () => Promise.all([...this.#forwarders.values()].map(({ forwarder }) => forwarder.stop())),
      () => this.#archive?.stop(false, 0),
      () => Promise.all([this.#fleet?.stopTakeovers(), this.#volume?.stopTakeovers()]),
      () => this.#journal?.close(),
      () => this.#fleet?.leave(false),
      () => Promise.all([...this.#forwarders.values()].map(({ upstream }) => upstream.close())),
      () => this.#pool?.close(),
      () => this.#store?.close(),
    ];
    for (const step of steps) {
      try {
        await step();
      } catch (error) {
        log.debug({ reason: messageOf(error) }, 'was not closed in order');
      }
    }
  }

  get fenced(): Promise<void> {
    return this.#fenced.promise;
  }

  #fence(kind: 'fenced' | 'lost'): void {
    if (this.#isFenced) return;
    this.#isFenced = true;
    this.metrics.leaseHeld.set(0);
    this.metrics.leaseTransitions.inc({ kind });
    this.#fenced.resolve();
  }

  /** CONFIG_INVALID where an adopter could not finish what this replica takes. */
  #durability(): Durability['durability'] {
    const { settings, log } = this.#deps;
    const { durability, problem } = durabilityOf(settings, this.#deps.mode);
    if (problem && durability === 'store') throw new ProxyError('CONFIG_INVALID', `DURABILITY=store: ${problem}`);
    if (problem) log.warn(`durability is ${durability}, not store: ${problem}`);
    return durability;
  }

  async #openStoreJournal(sealer: Sealer): Promise<Journal> {
    const { settings, clock, random, log } = this.#deps;
    const { chunkAfterMs, chunkBytesMax, leaseMs, budgetBytes, retryWindowMs } = settings.journal;
    const { metrics } = this;
    const store = this.#store;
    this.#fleet = await Fleet.join({
      store,
      replicaId: settings.server.replicaId,
      leaseMs,
      clock,
      metrics,
      log,
      onLost: () => this.#fence('lost'),
    });
    return openStoreJournal({
      store,
      identity: this.#fleet.identity,
      unheard: await unheardOf(store, this.#fleet.earlier, clock.nowMs() - retryWindowMs),
      sealer,
      clock,
      random,
      metrics,
      log,
      budgetBytes,
      chunkAfterMs,
      chunkBytesMax,
      patienceMs: STORE_PATIENCE_MS,
      recentBytesMax: RECENT_BYTES_MAX,
      onFenced: () => this.#fence('fenced'),
    });
  }

  #finishOrphan(orphan: JournalIdentity, signal: AbortSignal): Promise<number | undefined> {
    const { clock, log } = this.#deps;
    return finishOrphan({
      orphan,
      self: this.#journal.identity,
      store: this.#store,
      sealer: this.#sealer,
      clock,
      log,
      ...this.#consumersOfOthers(),
      signal,
    });
  }

  #openJournal(durability: Durability['durability'], dataFolder: string, sealer: Sealer): Promise<Journal> {
    const { settings, clock, log } = this.#deps;
    const { replicaId } = settings.server;
    const { metrics } = this;
    const budgetBytes = settings.journal.budgetBytes;
    if (durability === 'store') return this.#openStoreJournal(sealer);
    if (durability === 'memory') {
      // A life of its own each time: positions start anew, so the epoch must too.
      const epoch = Math.floor(clock.nowMs() / 1000);
      return Promise.resolve(createMemoryJournal({ replica: replicaId, epoch, clock, metrics, log, budgetBytes }));
    }
    return this.#openVolume(dataFolder, sealer);
  }

  async #openVolume(dataFolder: string, sealer: Sealer): Promise<Journal> {
    const { volume, journal } = await Volume.open(this.#volumeOptions(dataFolder, sealer));
    this.#volume = volume;
    return journal;
  }

  #volumeOptions(dataFolder: string, sealer: Sealer): VolumeOptions {
    const { settings, fileSystem, clock, random, log } = this.#deps;
    const { budgetBytes, fileBytesMax, retryWindowMs, leaseMs } = settings.journal;
    return {
      ...{ fileSystem, store: this.#store, sealer, clock, random, metrics: this.metrics, log },
      ...{ budgetBytes, fileBytesMax, retryWindowMs, leaseMs },
      root: join(dataFolder, 'journal'),
      replicaId: settings.server.replicaId,
      onLost: () => this.#fence('lost'),
    };
  }

  /** By an archive and forwarders like our own, with metrics of their own. */
  #consumersOfOthers() {
    const { mode } = this.#deps;
    const { replica, epoch } = this.#journal.identity;
    return {
      createArchive: (journal: Journal, metrics: Metrics) =>
        mode === 'forward-only' ? undefined : this.#createArchive(journal, metrics, `${replica}-${epoch}`),
      createForwarders: (journal: Journal, metrics: Metrics) => this.#createForwarders(journal, metrics),
    };
  }

  #createArchive(journal: Journal, metrics: Metrics, writer?: string): Archive {
    const { settings, clock, random, log } = this.#deps;
    return new Archive({
      store: this.#store,
      journal,
      decode: this.#pool.decode,
      budget: this.#budget,
      isShared: this.#isShared,
      isAdopted: journal !== this.#journal,
      onFenced: () => {
        if (journal === this.#journal) this.#fence('fenced');
      },
      openEncoder: () =>
        createEncoder(
          {
            identity: journal.identity,
            ...(writer === undefined ? {} : { writer }),
            zstdLevel: ZSTD_LEVELS[settings.archive.compression],
            rowGroupRowsMax: ROW_GROUP_ROWS_MAX,
            hoursMax: HOURS_PER_FLUSH_MAX,
          },
          WORKER_HEAP_MIB * 2,
        ),
      clock,
      random,
      metrics,
      log,
      flushAfterMs: settings.archive.flushAfterMs,
      // Raw is never less than journalled: a small journal must not fill up before a flush is due.
      flushRawBytesMax: Math.min(settings.archive.flushBytesMax, Math.floor(settings.journal.budgetBytes / 4)),
      flushRowsMax: settings.archive.flushRowsMax,
      heldBytesMax: this.#heldBytesMax(),
    });
  }

  /** Beside what the archive holds one largest body must always fit. */
  #heldBytesMax(): number {
    const { intake, archive } = this.#deps.settings;
    const left = intake.inflightBytesMax - intake.bodyBytesMax - intake.decompressedBytesMax;
    return Math.min(archive.heldBytesMax, Math.max(left, Math.floor(intake.inflightBytesMax / 4)));
  }

  async #startForwarders(): Promise<void> {
    for (const [destination, running] of this.#createForwarders(this.#journal, this.metrics)) {
      this.#forwarders.set(destination, running);
    }
    for (const { forwarder } of this.#forwarders.values()) await forwarder.start();
  }

  #createForwarders(journal: Journal, metrics: Metrics): Forwarders {
    const { settings, clock, random, log } = this.#deps;
    const deps = { store: this.#store, sealer: this.#sealer, target: this.#target, clock, random, log };
    return createForwarders(settings, deps, journal, metrics);
  }

  #createIntake(target: DatadogTarget | undefined, sealer: Sealer): Intake {
    const { settings, clock, random, log, version, worker } = this.#deps;
    const { server, intake, forward, journal } = settings;
    const apiKey = forward.datadogApiKey?.reveal();
    return createIntake({
      host: server.host,
      port: server.port,
      ...(server.adminPort === undefined ? {} : { adminPort: server.adminPort, adminHost: server.host }),
      journal: this.#journal,
      decode: this.#pool.decode,
      budget: this.#budget,
      onAccepted: (envelope) => {
        if (this.#archive) this.#archive.offer(envelope);
        else this.#budget.release(envelope.reservedBytes);
      },
      sealer,
      callerKeysKept: target !== undefined && apiKey === undefined,
      allowedKeys: intake.apiKeysAllowed.map((key) => key.reveal()),
      upstreams: { datadog: target !== undefined, agent: forward.agentUrl !== undefined },
      relay: { target, agentUrl: forward.agentUrl, apiKey },
      health: () => this.health(),
      status: () => this.status(),
      measure: () => this.measure(),
      ...(worker ? { replica: worker.reports(() => this.health()) } : {}),
      metrics: this.metrics,
      log,
      clock,
      random,
      version,
      limits: {
        bodyBytesMax: intake.bodyBytesMax,
        requestTimeoutMs: REQUEST_TIMEOUT_MS,
        retryWindowMs: journal.retryWindowMs,
        patienceMs: PATIENCE_MS,
        retryEntriesMax: RETRY_ENTRIES_MAX,
        connectionMaxAgeMs: server.connectionAgeMaxMs,
      },
    });
  }

  #connection(name: 'datadog' | 'agent'): HealthReport['datadog'] {
    const running = this.#forwarders.get(name);
    if (!running || running.isAbsent) return 'not configured';
    const { isPaused, resting } = running.forwarder.status();
    return isPaused || resting.length > 0 ? 'disconnected' : 'connected';
  }

  health(): HealthReport {
    const { clock, mode } = this.#deps;
    const agent = this.#connection('agent');
    return {
      journalWritable: this.#journal.usage().writable,
      storeConnected: this.#storeConnected,
      draining: this.#draining,
      datadog: this.#connection('datadog'),
      agent,
      uptimeSeconds: (clock.monotonicMs() - this.#startedAtMs) / 1000,
      notes: [
        ...(agent === 'not configured'
          ? ['tracer routes are stored only: set AGENT_URL to relay them to an Agent']
          : []),
        ...(mode === 'store-only' ? ['nothing is forwarded (store-only)'] : []),
      ],
    };
  }

  async status(): Promise<unknown> {
    await this.#refreshBooks();
    const { mode, settings, version } = this.#deps;
    return {
      version,
      mode,
      replica: this.#journal.identity,
      store: { url: this.#store.url, connected: this.#storeConnected },
      journal: this.#journal.usage(),
      archive: this.#archive?.status() ?? null,
      upstreams: Object.fromEntries([...this.#forwarders].map(([name, { forwarder }]) => [name, forwarder.status()])),
      inflight: {
        usedBytes: this.#budget.usedBytes,
        limitBytes: this.#budget.limitBytes,
        peakBytes: this.#budget.peakBytes,
      },
      compression: settings.archive.compression,
      books: await booksOf(
        this.metrics,
        this.#archive?.status().pendingEnvelopes,
        new Map([...this.#forwarders].map(([name, { forwarder }]) => [name, forwarder.status().pending])),
      ),
    };
  }

  /** Gauges that nobody moves by an event. */
  async measure(): Promise<void> {
    const { clock } = this.#deps;
    const { metrics } = this;
    const usage = this.#journal.usage();
    metrics.journalBytes.set(usage.bytes);
    metrics.journalBudgetBytes.set(usage.budgetBytes);
    const oldest = usage.oldestReceivedAtMs;
    metrics.journalOldestSeconds.set(oldest === undefined ? 0 : Math.max(0, (clock.nowMs() - oldest) / 1000));
    metrics.inflightBytes.set(this.#budget.usedBytes);
    metrics.inflightLimitBytes.set(this.#budget.limitBytes);
    metrics.archivePending.set(this.#archive?.status().pendingEnvelopes ?? 0);
    metrics.rssBytes.set(process.memoryUsage.rss());
    const health = this.health();
    const serving = health.journalWritable && !health.draining;
    metrics.healthStatus.set(!serving ? 0 : health.storeConnected ? 1 : 0.5);
    await this.#refreshBooks();
  }

  /** Counting reads what waits in the journal: what takes long is gone on with the next time. Never throws. */
  async #refreshBooks(): Promise<void> {
    const { clock, log } = this.#deps;
    const late = Promise.withResolvers<void>();
    const cancel = clock.after(COUNT_MS_MAX, late.resolve);
    const counted = Promise.all([...this.#forwarders.values()].map(({ forwarder }) => forwarder.refreshBooks()));
    await Promise.race([
      counted.catch((error) =>
        log[isProxyError(error) ? 'debug' : 'error']({ err: error }, 'what waits could not be counted'),
      ),
      late.promise,
    ]);
    cancel();
  }

  #watch(): void {
    const { clock } = this.#deps;
    const { metrics } = this;
    metrics.eventLoopDelaySeconds.set(Math.max(0, this.#loopDelay.percentile(99) / 1e6 - LOOP_SAMPLE_EVERY_MS) / 1000);
    this.#loopDelay.reset();
    void this.measure();
    void this.#probeStore();
    this.#cancelWatch = clock.after(WATCH_EVERY_MS, () => this.#watch());
  }

  async #probeStore(): Promise<void> {
    try {
      await this.#store.head(STORE_PROBE_KEY);
      this.#storeConnected = true;
    } catch {
      this.#storeConnected = false;
    }
    this.metrics.storageConnected.set(this.#storeConnected ? 1 : 0);
  }

  async drain(deadlineMs: number, noticeMs: number): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    const { clock, log } = this.#deps;
    const endsAtMs = clock.monotonicMs() + deadlineMs;
    const left = (): number => Math.max(0, endsAtMs - clock.monotonicMs());
    this.#cancelWatch?.();
    const takeoversStopped = Promise.all([this.#fleet?.stopTakeovers(), this.#volume?.stopTakeovers()]);
    this.#intake.beginDrain();
    if (noticeMs > 0) await clock.sleep(Math.min(noticeMs, deadlineMs / 2));
    await this.#intake.close(left() / 3);
    await Promise.all([...this.#forwarders.values()].map(({ forwarder }) => forwarder.drain(left() / 2)));
    await this.#archive?.stop(true, left());
    const usage = this.#journal.usage();
    const pending = this.#archive?.status().pendingEnvelopes ?? 0;
    const owed = Object.fromEntries(
      [...this.#forwarders].map(([name, { forwarder }]) => [name, forwarder.status().pending]),
    );
    await takeoversStopped;
    await this.#journal.close(Object.values(owed).some((count) => count > 0));
    await this.#fleet?.leave(this.#isFenced);
    await Promise.all([...this.#forwarders.values()].map(({ upstream }) => upstream.close()));
    await this.#pool.close();
    await this.#store.close();
    log.info({ archivePending: pending, forwardPending: owed, journalBytes: usage.bytes }, 'drained');
  }
}
