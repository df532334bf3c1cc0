/** How one set of settings is shared by the worker processes of a replica (WORKERS). */
import type { Settings } from './registry.ts';

const REPLICA_ID_LENGTH_MAX = 63;

export function workerCountOf({ server }: Settings, cpuCount: number): number {
  return server.workers === 'auto' ? Math.max(1, cpuCount) : Number(server.workers);
}

/**
 * Budgets are divided, and each worker is its own journal: the first under the replica's id, so that nothing changes for it when there
 * are others. A largest body must fit into each worker's share.
 */
export function settingsOfWorker(settings: Settings, index: number, count: number): Settings {
  const { server, intake, journal, archive, forward } = settings;
  const largest = intake.bodyBytesMax + intake.decompressedBytesMax;
  return {
    ...settings,
    server: { ...server, replicaId: workerIdOf(server.replicaId, index) },
    intake: {
      ...intake,
      inflightBytesMax: Math.max(largest, Math.floor(intake.inflightBytesMax / count)),
      decodeWorkers: Math.max(1, Math.floor(intake.decodeWorkers / count)),
    },
    journal: { ...journal, budgetBytes: Math.max(intake.bodyBytesMax, Math.floor(journal.budgetBytes / count)) },
    archive: { ...archive, heldBytesMax: Math.max(1, Math.floor(archive.heldBytesMax / count)) },
    forward: { ...forward, concurrency: Math.max(1, Math.floor(forward.concurrency / count)) },
  };
}

function workerIdOf(replicaId: string, index: number): string {
  if (index === 0) return replicaId;
  const ending = `-w${index}`;
  return `${replicaId.slice(0, REPLICA_ID_LENGTH_MAX - ending.length).replace(/-+$/, '')}${ending}`;
}
