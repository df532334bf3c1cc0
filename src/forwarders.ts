/** A forwarder for each upstream that is configured, or that is still owed something. */
import type { Settings } from './config/registry.ts';
import type { Clock } from './core/clock.ts';
import { MIB } from './core/limits.ts';
import type { Random } from './core/random.ts';
import type { Sealer } from './core/sealer.ts';
import { createForwarder, type Forwarder, forwardConsumer } from './forward/forwarder.ts';
import type { Journal } from './journal/journal.ts';
import type { ObjectStore } from './store/object-store.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';
import { createAbsentUpstream } from './upstream/absent-upstream.ts';
import { createAgentUpstream } from './upstream/agent-upstream.ts';
import type { DatadogTarget } from './upstream/datadog-hosts.ts';
import { createDatadogUpstream } from './upstream/datadog-upstream.ts';
import type { Upstream } from './upstream/upstream.ts';

const UPSTREAM_TIMEOUT_MS = 30_000;

export type Destination = 'datadog' | 'agent';

export interface RunningForwarder {
  upstream: Upstream;
  forwarder: Forwarder;
  /** Owed envelopes, but no longer configured. */
  isAbsent?: true;
}

export type Forwarders = Map<Destination, RunningForwarder>;

export interface ForwarderParts {
  store: ObjectStore;
  sealer: Sealer;
  /** Where Datadog is; undefined: nothing is sent there. */
  target: DatadogTarget | undefined;
  clock: Clock;
  random: Random;
  log: Log;
}

/** Not started yet. */
export function createForwarders(
  { forward, journal: journalSettings }: Settings,
  { store, sealer, target, clock, random, log }: ForwarderParts,
  journal: Journal,
  metrics: Metrics,
): Forwarders {
  const backlogBytesMax = Math.floor(journalSettings.budgetBytes * forward.spillShare);
  const common = {
    journal,
    store,
    sealer,
    openKey: (sealed: string) => sealer.openText(sealed),
    clock,
    random,
    metrics,
    log,
    concurrencyMax: forward.concurrency,
    readAheadBytesMax: 16 * MIB,
    ageLimitMs: forward.ageMaxMs,
    backlogBytesMax,
    // More than one to a share: with a small journal an object must be away before what is left of the budget has filled up.
    spillObjectBytesMax: Math.min(8 * MIB, Math.floor((journalSettings.budgetBytes * forward.spillShare) / 2)),
    attemptsBeforeAside: 5,
    commitEveryMs: 200,
  };
  const connection = { connectionsMax: forward.concurrency, timeoutMs: UPSTREAM_TIMEOUT_MS, clock };
  const forwarders: Forwarders = new Map();
  const add = (destination: Destination, upstream: Upstream, key: string | undefined): void => {
    const forwarder = createForwarder({ ...common, upstream, destination, key });
    forwarders.set(destination, { upstream, forwarder });
  };
  if (target) add('datadog', createDatadogUpstream({ target, ...connection }), forward.datadogApiKey?.reveal());
  if (forward.agentUrl) add('agent', createAgentUpstream({ url: forward.agentUrl, ...connection }), undefined);
  // An upstream that is no longer configured must neither hold up the journal nor lose what it is owed.
  for (const destination of ['datadog', 'agent'] as const) {
    if (forwarders.has(destination) || !journal.consumers().includes(forwardConsumer(destination))) continue;
    log.warn({ upstream: destination }, 'no longer configured: what it is owed moves to spill objects');
    const upstream = createAbsentUpstream(destination);
    const options = { ...common, upstream, destination, key: undefined, keyRequired: false, backlogBytesMax: 0 };
    forwarders.set(destination, { upstream, forwarder: createForwarder(options), isAbsent: true });
  }
  return forwarders;
}
