/** What a journal is opened with. Sizes in bytes, times in milliseconds. */
import type { Clock } from '../core/clock.ts';
import type { JournalIdentity } from '../core/envelope.ts';
import type { FileSystem } from '../core/file-system.ts';
import { KIB, MIB } from '../core/limits.ts';
import type { Random } from '../core/random.ts';
import type { Sealer } from '../core/sealer.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { ChunkStore } from './chunk.ts';
import type { UnconfirmedEnvelope } from './journal.ts';
import type { OwnerRecord, ProcessProbe } from './owner.ts';

export const RETRY_WINDOW_MS = 15 * 60 * 1000;

export interface DiskJournalOptions {
  fileSystem: FileSystem;
  /** `…/journal/<replica-id>`; made when it is not there. */
  folder: string;
  replica: string;
  /** Asked only when the folder holds no journal yet. */
  newEpoch: () => Promise<number>;
  sealer: Sealer;
  clock: Clock;
  random: Random;
  metrics: Metrics;
  log: Log;
  /** Journal files and waiting appends together. */
  budgetBytes: number;
  /** A file larger than this is followed by a new one. Default 64 MiB, and never more than an eighth of the budget. */
  fileBytesMax?: number;
  /** Default 8 MiB. */
  groupBytesMax?: number;
  /** How long a sender may come back with the same envelope. Default 15 minutes. */
  retryWindowMs?: number;
  /** Kept aside so that positions can be written on a full disk. Default 1 MiB; 0 for none. */
  reserveBytes?: number;
  /** Newest entries kept in memory for consumers that keep up. Default 16 MiB. */
  recentBytesMax?: number;
  /** Default: the system's. */
  processProbe?: ProcessProbe;
  /** On a volume that others may share: signs of life are left, and looked for. Absent: ids of processes alone are gone by. */
  sharing?: VolumeSharing;
}

export interface VolumeSharing {
  /** Who gives no sign of life for longer may be taken over. */
  leaseMs: number;
  /** Somebody else has taken the folder; nothing more is acknowledged. */
  onLost: () => void;
  /** Not ours: it is finished for a replica that is gone. Whether its owner may be succeeded. */
  adoption?: { isGone: (owner: OwnerRecord) => boolean };
}

export interface MemoryJournalOptions {
  replica: string;
  /** A new one for each start: nothing of the last one is left. */
  epoch: number;
  clock: Clock;
  metrics: Metrics;
  log: Log;
  budgetBytes: number;
}

export interface StoreJournalOptions {
  store: ChunkStore;
  /** A new epoch for each start. */
  identity: JournalIdentity;
  /** Of earlier lives (unheard.ts): what a sender may come back with. */
  unheard: UnconfirmedEnvelope[];
  sealer: Sealer;
  clock: Clock;
  random: Random;
  metrics: Metrics;
  log: Log;
  /** Chunks in the store and waiting appends together. */
  budgetBytes: number;
  /** A chunk is put this long after its first envelope came. */
  chunkAfterMs: number;
  /** Or once it has this size. */
  chunkBytesMax: number;
  /** Once the store has failed for so long, appends are refused at once. */
  patienceMs: number;
  /** Newest entries kept in memory for consumers that keep up. */
  recentBytesMax: number;
  /** Another replica has taken over: this process must commit nothing more. */
  onFenced(): void;
}

export interface JournalSizes {
  budgetBytes: number;
  fileBytesMax: number;
  groupBytesMax: number;
  recentBytesMax: number;
  /** An active file of this size is closed once all is consumed, so that it can be deleted. */
  consumedFileBytes: number;
}

export function sizesOf(options: DiskJournalOptions): JournalSizes {
  const share = Math.max(4 * KIB, Math.floor(options.budgetBytes / 8));
  const fileBytesMax = Math.min(options.fileBytesMax ?? 64 * MIB, share);
  return {
    budgetBytes: options.budgetBytes,
    fileBytesMax,
    groupBytesMax: options.groupBytesMax ?? 8 * MIB,
    recentBytesMax: options.recentBytesMax ?? 16 * MIB,
    consumedFileBytes: Math.min(MIB, Math.floor(fileBytesMax / 2)),
  };
}
