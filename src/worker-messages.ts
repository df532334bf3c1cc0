/** What the first process of a replica and its workers say to each other. */

/** What a worker tells of itself when asked. */
export type ReportKind = 'metrics' | 'health' | 'status';

export type FromWorker =
  | { kind: 'ready'; address: string; adminAddress: string | undefined }
  /** Of all workers; answered with `answers`. */
  | { kind: 'ask'; id: number; what: ReportKind }
  | { kind: 'told'; id: number; value: unknown };

export type ToWorker =
  | { kind: 'tell'; id: number; what: ReportKind }
  /** Of those that answered in time, and the metrics of those that ended. */
  | { kind: 'answers'; id: number; values: unknown[]; wanted: number }
  | { kind: 'stop'; signal: string }
  | { kind: 'reload' };

/** In a worker's environment: `index/count`. */
export const WORKER_ENV = 'WORKER_OF_REPLICA';
