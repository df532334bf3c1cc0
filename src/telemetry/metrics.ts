/**
 * Every metric of the process in one table. Names are part of the compatibility surface: `reductrai_` + noun + unit.
 * Labels have few values: signal, route name, upstream, reason; never a key, a host or a path.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';

const LATENCY_BUCKETS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export function createMetrics() {
  const registry = new Registry();
  const registers = [registry];
  const counter = <L extends string = never>(name: string, help: string, labelNames: L[] = []) =>
    new Counter<L>({ name: `reductrai_${name}`, help, labelNames, registers });
  /** `together`: how the gauges of several workers become that of their replica. */
  const gauge = <L extends string = never>(
    name: string,
    help: string,
    labelNames: L[] = [],
    together: 'sum' | 'min' | 'max' | 'average' | 'first' = 'sum',
  ) => new Gauge<L>({ name: `reductrai_${name}`, help, labelNames, registers, aggregator: together });
  const histogram = <L extends string = never>(name: string, help: string, labelNames: L[] = []) =>
    new Histogram<L>({ name: `reductrai_${name}`, help, labelNames, buckets: LATENCY_BUCKETS_SECONDS, registers });

  const metrics = {
    registry,

    // Intake. Books: received = accepted + duplicate + rejected + relayed.
    requests: counter('requests_total', 'Requests by route and status.', ['route', 'status']),
    requestErrors: counter('requests_errors_total', 'Requests answered with 4xx or 5xx, by reason.', ['reason']),
    requestSeconds: histogram('request_duration_seconds', 'From first byte to answer.', ['route']),
    received: counter('envelopes_received_total', 'Requests with a body that reached an intake or relay route.', [
      'signal',
    ]),
    accepted: counter('envelopes_accepted_total', 'Envelopes made durable and acknowledged.', ['signal']),
    duplicates: counter('envelopes_duplicate_total', "Sender's retries of an envelope that is already kept.", [
      'signal',
    ]),
    rejected: counter('envelopes_rejected_total', 'Requests refused, by reason; nothing of them is kept.', [
      'signal',
      'reason',
    ]),
    relayed: counter('envelopes_relayed_total', 'Requests passed on (or swallowed) without being kept.', ['outcome']),
    items: counter('items_accepted_total', 'Series, logs, spans and events accepted.', ['signal']),
    opaqueItems: counter('items_opaque_total', 'Items kept opaque because they are not wholly understood.', ['signal']),
    bodyBytes: counter('body_bytes_total', 'Bytes of accepted bodies: as received and once decompressed.', [
      'signal',
      'form',
    ]),
    inflightBytes: gauge('inflight_bytes', 'Bytes reserved for bodies being read, inflated and decoded.'),
    inflightLimitBytes: gauge('inflight_limit_bytes', 'The in-flight byte budget.'),
    connections: gauge('connections_open', 'Open client connections.'),

    // Journal.
    journalBytes: gauge('journal_bytes', 'Bytes held by the journal.'),
    journalBudgetBytes: gauge('journal_budget_bytes', 'Size budget of the journal.'),
    journalOldestSeconds: gauge('journal_oldest_seconds', 'Age of the oldest envelope held.', [], 'max'),
    journalAppendSeconds: histogram('journal_append_seconds', 'Append to durable (group commit).'),
    journalSyncSeconds: histogram('journal_sync_seconds', 'One fdatasync.'),
    journalGroupSize: counter('journal_group_commits_total', 'Group commits.'),
    journalQuarantined: counter(
      'journal_quarantined_frames_total',
      'Frames set aside because their checksum was wrong.',
    ),
    journalTornTails: counter('journal_torn_tails_total', 'Torn tails cut at recovery.'),
    journalRefused: counter('journal_refused_total', 'Appends refused, by reason.', ['reason']),

    // Archive. Books: accepted (+ recovered) = archived + pending.
    archived: counter('envelopes_archived_total', 'Envelopes whose rows are in a committed segment.', ['signal']),
    archivePending: gauge('envelopes_archive_pending', 'Envelopes in the journal that the archive has not committed.'),
    archiveRecovered: gauge('envelopes_archive_recovered', 'Envelopes found pending for the archive at start.'),
    archiveRedecoded: counter('envelopes_redecoded_total', 'Envelopes decoded again from the journal.'),
    segments: counter('segments_written_total', 'Segments committed.', ['signal']),
    segmentRows: counter('segment_rows_total', 'Rows in committed segments.', ['signal']),
    storageBytes: counter('storage_bytes_total', 'Bytes of committed segments.', ['signal']),
    compressionRatio: gauge('compression_ratio', 'Raw bytes over stored bytes since start.', [], 'average'),
    flushSeconds: histogram('flush_duration_seconds', 'From cut to commit.'),
    flushFailures: counter('flush_failures_total', 'Flush attempts that failed and will be repeated.'),
    storageConnected: gauge('storage_connected', '1 while the store answers.', [], 'min'),
    storeOperationSeconds: histogram('store_operation_seconds', 'Store operations.', ['operation']),
    storeFailures: counter('store_failures_total', 'Failed store operations by error code.', ['operation', 'code']),

    // Forward. Books per upstream: addressed (+ recovered) = delivered + pending + dead-lettered + dropped by policy.
    forwardAddressed: counter('forward_addressed_total', 'Envelopes accepted for an upstream.', ['upstream']),
    forwardRecovered: gauge('forward_recovered', 'Envelopes found pending for an upstream at start.', ['upstream']),
    forwardDelivered: counter('forward_delivered_total', 'Envelopes an upstream took.', ['upstream']),
    forwardDeadLettered: counter('forward_dead_letters_total', 'Envelopes given up on, by reason.', [
      'upstream',
      'reason',
    ]),
    forwardDropped: counter('forward_dropped_total', 'Envelopes left out by policy, by policy.', [
      'upstream',
      'policy',
    ]),
    forwardPending: gauge('forward_pending', 'Envelopes waiting for an upstream, journal and spill together.', [
      'upstream',
    ]),
    forwardSpilled: counter('forward_spilled_total', 'Envelopes moved to spill objects.', ['upstream']),
    forwardSpillObjects: gauge('forward_spill_objects', 'Spill objects waiting.', ['upstream']),
    forwardAttempts: counter('forward_attempts_total', 'Attempts by outcome.', ['upstream', 'outcome']),
    forwardBytes: counter('forward_bytes_total', 'Bytes of delivered bodies, as sent.', ['upstream', 'signal']),
    forwardSeconds: histogram('forward_duration_seconds', 'One attempt.', ['upstream']),
    forwardPaused: gauge(
      'forward_paused',
      '1 while an upstream is paused because it refuses the key.',
      ['upstream'],
      'max',
    ),
    forwardBreakerOpen: gauge(
      'forward_breaker_open',
      '1 while an upstream is given a rest after failures.',
      ['upstream'],
      'max',
    ),
    datadogForwardErrors: counter('datadog_forward_errors_total', 'Failed attempts at Datadog.'),

    // Fleet.
    leaseHeld: gauge('lease_held', "1 while this process holds its replica's lease.", [], 'min'),
    leaseTransitions: counter('lease_transitions_total', 'Leases taken, released or lost, by kind.', ['kind']),
    takeoversRunning: gauge('takeovers_running', 'Journals of dead replicas that are being finished.'),
    takeovers: counter('takeovers_total', 'Journals of dead replicas taken over, by result.', ['result']),
    takeoverEnvelopes: counter('takeover_envelopes_total', 'Envelopes found in journals that were taken over.'),
    takeoverSeconds: histogram('takeover_duration_seconds', 'From the fence to the end of one takeover.'),

    // Upkeep.
    upkeepRuns: counter(
      'upkeep_runs_total',
      'Runs of upkeep begun here, by result (`busy`: another replica was at it).',
      ['result'],
    ),
    upkeepSegments: counter('upkeep_segments_total', 'Segments that upkeep merged, wrote, let expire and deleted.', [
      'what',
    ]),
    upkeepBytes: counter('upkeep_bytes_total', 'Bytes of those segments.', ['what']),

    // Process.
    healthStatus: gauge('health_status', '1 ok, 0.5 degraded, 0 not serving.', [], 'min'),
    buildInfo: gauge('build_info', 'Always 1; the version is a label.', ['version'], 'first'),
    eventLoopDelaySeconds: gauge(
      'event_loop_delay_p99_seconds',
      'p99 of the event loop delay over the last scrape interval.',
      [],
      'max',
    ),
    rssBytes: gauge('process_rss_bytes', 'Resident memory.'),
  };
  // From zero on: rates and alerts see the first one, too.
  for (const kind of ['taken', 'fenced', 'lost']) metrics.leaseTransitions.inc({ kind }, 0);
  for (const result of ['finished', 'left']) metrics.takeovers.inc({ result }, 0);
  return metrics;
}

export type Metrics = ReturnType<typeof createMetrics>;
