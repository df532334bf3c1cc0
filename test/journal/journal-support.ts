/** What the journal tests share: envelopes from a seed, options, a probe that plays processes. */
import { createHash } from 'node:crypto';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import type { Envelope } from '../../src/core/envelope.ts';
import type { FileSystem } from '../../src/core/file-system.ts';
import { type Random, seededRandom } from '../../src/core/random.ts';
import { createSealer } from '../../src/core/sealer.ts';
import type { DiskJournalOptions, StoreJournalOptions } from '../../src/journal/journal-options.ts';
import type { ProcessProbe } from '../../src/journal/owner.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';

export const NOW_MS = 1_700_000_000_000;
export const quietLog = createLog('silent');

export interface TestClock extends Clock {
  wallMs: number;
}

/** Wall time stands still unless moved. */
export function createTestClock(): TestClock {
  return {
    wallMs: NOW_MS,
    nowMs() {
      return this.wallMs;
    },
    monotonicMs: () => 0,
    sleep: () => Promise.reject(new Error('BUG: the journal does not sleep')),
    after: () => {
      throw new Error('BUG: the journal sets no timers');
    },
  };
}

export function envelopeOf(
  body: string | Uint8Array,
  receivedAtMs = NOW_MS,
  more: Partial<Envelope['head']> = {},
): Envelope {
  const bytes = typeof body === 'string' ? Buffer.from(body) : body;
  return {
    head: {
      tenant: 'default',
      signal: 'logs',
      protocol: 'logs-json',
      destination: 'datadog',
      method: 'POST',
      path: '/api/v2/logs',
      contentType: 'application/json',
      contentEncoding: '',
      receivedAtMs,
      headers: { 'user-agent': 'tëst' },
      keyFingerprint: '0123456789abcdef',
      bodyHash: createHash('sha256').update(bytes).digest('hex'),
      itemCount: 1,
      rawBytes: bytes.byteLength,
      ...more,
    },
    body: bytes,
  };
}

export function randomBody(random: Random, bytesMax: number): Uint8Array {
  return random.bytes(Math.floor(random.next() * (bytesMax + 1)));
}

/** Each opening is another process; those in `dead` have ended. */
export function createTestProbe(): ProcessProbe & { current: number; dead: Set<number> } {
  const probe = {
    current: 1,
    dead: new Set<number>(),
    self: async () => ({ pid: probe.current, startTime: '1', bootId: 'boot' }),
    isAlive: async (owner: { pid: number }) => !probe.dead.has(owner.pid),
  };
  return probe;
}

export const allDeadProbe: ProcessProbe = {
  self: async () => ({ pid: 1, startTime: '1', bootId: 'boot' }),
  isAlive: async () => false,
};

export function diskOptions(
  fileSystem: FileSystem,
  folder: string,
  more: Partial<DiskJournalOptions> = {},
): DiskJournalOptions & { clock: TestClock } {
  const random = more.random ?? seededRandom(1);
  return {
    fileSystem,
    folder,
    replica: 'replica-a',
    newEpoch: async () => 7,
    sealer: createSealer([Buffer.alloc(32, 7)], random),
    random,
    metrics: createMetrics(),
    log: quietLog,
    budgetBytes: 64 * 1024 * 1024,
    reserveBytes: 0,
    processProbe: allDeadProbe,
    ...more,
    clock: (more.clock as TestClock | undefined) ?? createTestClock(),
  };
}

/** Of a journal in a store whose chunks are put at once. */
export function storeJournalOptions(
  more: Pick<StoreJournalOptions, 'store' | 'identity'> & Partial<StoreJournalOptions>,
): StoreJournalOptions {
  const random = seededRandom(1);
  return {
    unheard: [],
    sealer: createSealer([new Uint8Array(32).fill(7)], random),
    clock: systemClock,
    random,
    metrics: createMetrics(),
    log: quietLog,
    budgetBytes: 64 * 1024 * 1024,
    chunkAfterMs: 1,
    chunkBytesMax: 64 * 1024,
    patienceMs: 10_000,
    recentBytesMax: 1024 * 1024,
    onFenced: () => {},
    ...more,
  };
}
