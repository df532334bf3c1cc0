/** The books of /status: sums of independent counters; `balance` is what is left over, and 0 when nothing is under way. */
import type { Metrics } from './telemetry/metrics.ts';

interface Counted {
  get(): Promise<{ values: { value: number; labels: Partial<Record<string, string | number>> }[] }>;
}

export interface Books {
  intake: {
    received: number;
    accepted: number;
    duplicate: number;
    rejected: number;
    relayed: number;
    balance: number;
  };
  /** null: nothing is archived. */
  archive: { accepted: number; recovered: number; archived: number; pending: number; balance: number } | null;
  forward: Record<string, ForwardBooks>;
}

interface ForwardBooks {
  addressed: number;
  recovered: number;
  delivered: number;
  pending: number;
  deadLettered: number;
  dropped: number;
  balance: number;
}

/** `pendingArchive`: undefined where nothing is archived. `owed`: envelopes each upstream has not got yet. */
export async function booksOf(
  metrics: Metrics,
  pendingArchive: number | undefined,
  owed: ReadonlyMap<string, number>,
): Promise<Books> {
  const [received, accepted, duplicate, rejected, relayed, archived, recovered] = await Promise.all([
    sum(metrics.received),
    sum(metrics.accepted),
    sum(metrics.duplicates),
    sum(metrics.rejected),
    sum(metrics.relayed),
    sum(metrics.archived),
    sum(metrics.archiveRecovered),
  ]);
  const forward: Record<string, ForwardBooks> = {};
  for (const [upstream, pending] of owed) forward[upstream] = await forwardBooks(metrics, upstream, pending);
  return {
    intake: {
      received,
      accepted,
      duplicate,
      rejected,
      relayed,
      balance: received - accepted - duplicate - rejected - relayed,
    },
    archive:
      pendingArchive === undefined
        ? null
        : {
            accepted,
            recovered,
            archived,
            pending: pendingArchive,
            balance: accepted + recovered - archived - pendingArchive,
          },
    forward,
  };
}

async function forwardBooks(metrics: Metrics, upstream: string, pending: number): Promise<ForwardBooks> {
  const [addressed, recovered, delivered, deadLettered, dropped] = await Promise.all([
    sum(metrics.forwardAddressed, upstream),
    sum(metrics.forwardRecovered, upstream),
    sum(metrics.forwardDelivered, upstream),
    sum(metrics.forwardDeadLettered, upstream),
    sum(metrics.forwardDropped, upstream),
  ]);
  const balance = addressed + recovered - delivered - pending - deadLettered - dropped;
  return { addressed, recovered, delivered, pending, deadLettered, dropped, balance };
}

/** Over all labels, or over those of one upstream. */
async function sum(counter: Counted, upstream?: string): Promise<number> {
  const { values } = await counter.get();
  return values.reduce(
    (total, { value, labels }) => total + (upstream === undefined || labels.upstream === upstream ? value : 0),
    0,
  );
}
