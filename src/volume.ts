/**
 * This replica's journal on disk (DURABILITY=disk), and the journals beside it on the volume whose replicas are gone. With another durability there
 * may be some as well: of replicas that still have `disk`, and our own of before that was changed.
 */
import { join } from 'node:path';
import type { Clock } from './core/clock.ts';
import type { JournalIdentity } from './core/envelope.ts';
import type { FileSystem } from './core/file-system.ts';
import type { Random } from './core/random.ts';
import type { Sealer } from './core/sealer.ts';
import { openDiskJournal } from './journal/disk-journal.ts';
import { forgetAdoption, wasAdopted } from './journal/folder-taking.ts';
import type { Journal } from './journal/journal.ts';
import type { DiskJournalOptions } from './journal/journal-options.ts';
import { type LeftJournal, LeftJournals } from './journal/left-journals.ts';
import { type FinishOptions, fenceArchive, finishLeftJournal } from './orphan.ts';
import { highestEpoch } from './store/commit-records.ts';
import type { ObjectStore } from './store/object-store.ts';
import type { Log } from './telemetry/log.ts';
import { createMetrics, type Metrics } from './telemetry/metrics.ts';
import { VolumeTakeover } from './volume-takeover.ts';

export interface VolumeOptions {
  fileSystem: FileSystem;
  /** `<data folder>/journal`. */
  root: string;
  replicaId: string;
  leaseMs: number;
  budgetBytes: number;
  fileBytesMax: number;
  retryWindowMs: number;
  store: ObjectStore;
  sealer: Sealer;
  clock: Clock;
  random: Random;
  metrics: Metrics;
  log: Log;
  /** Another process has taken our journal. */
  onLost: () => void;
}

export class Volume {
  readonly #options: VolumeOptions;
  readonly #self: JournalIdentity;
  readonly #isOwn: (replica: string) => boolean;
  #takeover: VolumeTakeover | undefined;

  private constructor(options: VolumeOptions, self: JournalIdentity, isOwn: (replica: string) => boolean) {
    this.#options = options;
    this.#self = self;
    this.#isOwn = isOwn;
  }

  /** Without a journal of ours in it. */
  static beside(options: VolumeOptions, self: JournalIdentity): Volume {
    return new Volume(options, self, () => false);
  }

  /** Waits for the journal where another replica is just finishing it. */
  static async open(options: VolumeOptions): Promise<{ volume: Volume; journal: Journal }> {
    const { fileSystem, root, replicaId, store, clock, leaseMs, onLost } = options;
    const folder = join(root, replicaId);
    const journal = await openDiskJournal(diskOptions(options, replicaId, { leaseMs, onLost }));
    if (await wasAdopted(fileSystem, folder)) {
      await fenceArchive({ journal, self: journal.identity, store, clock });
      await forgetAdoption(fileSystem, folder);
    }
    const isOwn = (replica: string): boolean => replica === replicaId;
    return { volume: new Volume(options, journal.identity, isOwn), journal };
  }

  startTakeovers(createConsumers: Pick<FinishOptions, 'createArchive' | 'createForwarders'>): void {
    const { fileSystem, root, leaseMs, retryWindowMs, clock, random, metrics, log } = this.#options;
    const journals = new LeftJournals({ fileSystem, root, isOwn: this.#isOwn, leaseMs, clock, random });
    this.#takeover = new VolumeTakeover({
      ...{ journals, fileSystem, leaseMs, retryWindowMs, clock, metrics, log },
      finish: (left, signal) => this.#finish(left, createConsumers, signal),
    });
    this.#takeover.start();
  }

  async stopTakeovers(): Promise<void> {
    await this.#takeover?.stop();
  }

  async #finish(
    left: LeftJournal,
    createConsumers: Pick<FinishOptions, 'createArchive' | 'createForwarders'>,
    signal: AbortSignal,
  ): Promise<number> {
    const { store, clock, log, leaseMs } = this.#options;
    const lost = new AbortController();
    const sharing = { leaseMs, onLost: () => lost.abort(), adoption: { isGone: left.isGone } };
    // Counted apart, so that each journal's books stay balanced.
    const journal = await openDiskJournal({
      ...diskOptions(this.#options, left.replica, sharing),
      metrics: createMetrics(),
    });
    return finishLeftJournal({
      ...{ journal, self: this.#self, store, clock, log, ...createConsumers },
      signal: AbortSignal.any([signal, lost.signal]),
    });
  }
}

function diskOptions(
  options: VolumeOptions,
  replica: string,
  sharing: NonNullable<DiskJournalOptions['sharing']>,
): DiskJournalOptions {
  const { fileSystem, root, store, sealer, clock, random, metrics, log } = options;
  const { budgetBytes, fileBytesMax, retryWindowMs } = options;
  return {
    ...{ fileSystem, folder: join(root, replica), replica, sealer, clock, random, metrics, log },
    ...{ budgetBytes, fileBytesMax, retryWindowMs, sharing },
    newEpoch: async () => (await highestEpoch(store, replica)) + 1,
  };
}
