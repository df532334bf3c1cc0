/** What a forwarder is made with. Sizes in bytes, times in milliseconds. */
import type { Clock } from '../core/clock.ts';
import type { Destination } from '../core/envelope.ts';
import { MIB } from '../core/limits.ts';
import type { Random } from '../core/random.ts';
import type { Sealer } from '../core/sealer.ts';
import type { Journal } from '../journal/journal.ts';
import type { ObjectStore } from '../store/object-store.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { DEFAULT_RETRY_POLICY, type RetryPolicy } from './retry-policy.ts';

export interface ForwarderOptions {
  /** Its name labels the metrics, names the consumer (`forward-<name>`) and the folders of spill and dead letters. */
  upstream: Upstream;
  /** Only envelopes for it are taken. */
  destination: Exclude<Destination, 'none'>;
  journal: Journal;
  /** Spill and dead letters. Need not be reachable for sending. */
  store: ObjectStore;
  /** The configured key; undefined: the caller's own is used, where there is one. */
  key: string | undefined;
  /** Opens `head.sealedKey`. Throws ProxyError SEAL_KEY_MISSING. */
  openKey: (sealedKey: string) => string;
  /** An envelope without any key goes to the dead letters. Default: true for `datadog`. */
  keyRequired?: boolean;
  /** Bodies that hold a key rest sealed in spill and dead letters too. */
  sealer: Sealer;
  clock: Clock;
  random: Random;
  metrics: Metrics;
  log: Log;
  /** Its share of the journal's budget: what is behind by more moves to spill objects. */
  backlogBytesMax: number;
  /** Default 8. */
  concurrencyMax?: number;
  /** Bodies held from the journal; one envelope may exceed it. Default 16 MiB. */
  readAheadBytesMax?: number;
  /** Default 2048. */
  readAheadEntriesMax?: number;
  /** From receipt; then the envelope is given up. Default 24 h. */
  ageLimitMs?: number;
  /** Default 8 MiB. */
  spillObjectBytesMax?: number;
  /** No more than this many spill objects are known at a time; beyond, the journal has to hold. Default 100,000. */
  spillObjectsMax?: number;
  /** With the journal filling up, attempts that take longer make room for spilling. Default 1 s. */
  recallAfterMs?: number;
  /** Failures on its own account after which an envelope steps aside. Default 5. */
  attemptsBeforeAside?: number;
  /** Failures in a row, of different envelopes, after which a lane rests. Default 5. */
  breakerFailuresMax?: number;
  /** Default 200. */
  commitEveryMs?: number;
  /** Default: base 1 s, cap 60 s, probes of a refused key each 30–60 s. */
  retry?: RetryPolicy;
}

export type ForwardSettings = Required<Omit<ForwarderOptions, 'key'>> & { key: string | undefined };

export function settingsOf(options: ForwarderOptions): ForwardSettings {
  return {
    keyRequired: options.destination === 'datadog',
    concurrencyMax: 8,
    readAheadBytesMax: 16 * MIB,
    readAheadEntriesMax: 2048,
    ageLimitMs: 24 * 60 * 60 * 1000,
    spillObjectBytesMax: 8 * MIB,
    spillObjectsMax: 100_000,
    recallAfterMs: 1_000,
    attemptsBeforeAside: 5,
    breakerFailuresMax: 5,
    commitEveryMs: 200,
    retry: DEFAULT_RETRY_POLICY,
    ...options,
  };
}
