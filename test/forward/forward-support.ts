/** A forwarder over real HTTP, with a journal and a store in memory, and waits short enough for tests. */
import { expect, onTestFinished, vi } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import type { Envelope, EnvelopeHead } from '../../src/core/envelope.ts';
import { seededRandom } from '../../src/core/random.ts';
import { createSealer } from '../../src/core/sealer.ts';
import { createForwarder, type Forwarder, type ForwarderOptions } from '../../src/forward/forwarder.ts';
import { decodeParcels, type FiledParcel } from '../../src/forward/parcel-file.ts';
import type { Journal } from '../../src/journal/journal.ts';
import { createMemoryJournal } from '../../src/journal/memory-journal.ts';
import { createMemoryStore } from '../../src/store/memory-store.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import { createDatadogUpstream } from '../../src/upstream/datadog-upstream.ts';
import { type FakeVendor, type FakeVendorOptions, startFakeVendor } from '../support/fake-vendor.ts';
import { metricValue, quietWitness } from '../support/quiet.ts';

export const KEY = 'k'.repeat(32);
export const clock = systemClock;
export const random = seededRandom(11);
export const sealer = createSealer([new Uint8Array(32).fill(7)], random);
export const FAST = { baseMs: 10, capMs: 40, probeMsMin: 30, probeMsMax: 60 };

export function envelopeOf(text: string, overrides: Partial<EnvelopeHead> = {}): Envelope {
  const body = Buffer.from(JSON.stringify([{ message: text }]));
  const head: EnvelopeHead = {
    tenant: 'default',
    signal: 'logs',
    protocol: 'logs-json',
    destination: 'datadog',
    method: 'POST',
    path: '/api/v2/logs',
    contentType: 'application/json',
    contentEncoding: '',
    receivedAtMs: clock.nowMs(),
    headers: {},
    keyFingerprint: '',
    bodyHash: '',
    itemCount: 1,
    rawBytes: body.byteLength,
    ...overrides,
  };
  return { head, body };
}

export interface Harness {
  vendor: FakeVendor;
  journal: Journal;
  store: ObjectStore;
  forwarder: Forwarder;
  metrics: ReturnType<typeof quietWitness>['metrics'];
  /** Appends and counts as intake would. */
  accept: (envelope: Envelope) => Promise<void>;
  /** A further forwarder over the same journal and store, with metrics of its own. */
  restart: (options?: Partial<ForwarderOptions>) => Promise<Harness>;
}

export interface HarnessOptions {
  vendor?: FakeVendorOptions;
  forwarder?: Partial<ForwarderOptions>;
  journalBudgetBytes?: number;
  store?: ObjectStore;
  timeoutMs?: number;
}

export async function startHarness(options: HarnessOptions = {}): Promise<Harness> {
  const vendor = await startFakeVendor(options.vendor);
  onTestFinished(() => vendor.close());
  const store = options.store ?? createMemoryStore({ clock });
  const journal = createMemoryJournal({
    replica: 'r',
    epoch: 1,
    clock,
    budgetBytes: options.journalBudgetBytes ?? 64 * 1024 * 1024,
    ...quietWitness(),
  });
  return startOver(vendor, journal, store, options);
}

async function startOver(
  vendor: FakeVendor,
  journal: Journal,
  store: ObjectStore,
  options: HarnessOptions,
): Promise<Harness> {
  const witness = quietWitness();
  const upstream = createDatadogUpstream({
    target: { kind: 'base', url: vendor.url },
    clock,
    connectionsMax: 16,
    timeoutMs: options.timeoutMs ?? 5_000,
  });
  const forwarder = createForwarder({
    upstream,
    destination: 'datadog',
    journal,
    store,
    key: KEY,
    openKey: (sealed) => sealer.openText(sealed),
    sealer,
    clock,
    random,
    ...witness,
    backlogBytesMax: 32 * 1024 * 1024,
    commitEveryMs: 5,
    retry: FAST,
    ...options.forwarder,
  });
  onTestFinished(async () => {
    await forwarder.stop();
    await upstream.close();
  });
  await forwarder.start();
  return {
    vendor,
    journal,
    store,
    forwarder,
    metrics: witness.metrics,
    accept: async (envelope) => {
      const result = await journal.append(envelope);
      if (!result.ok) throw new Error(`refused: ${result.reason}`);
      if (envelope.head.destination === 'datadog') witness.metrics.forwardAddressed.inc({ upstream: 'datadog' });
    },
    restart: async (overrides) => {
      await forwarder.stop();
      return startOver(vendor, journal, store, { ...options, forwarder: { ...options.forwarder, ...overrides } });
    },
  };
}

export const until = (check: () => void | Promise<void>): Promise<void> =>
  vi.waitFor(check, { timeout: 15_000, interval: 5 });

export const messagesOf = (vendor: FakeVendor): string[] =>
  vendor.delivered().map(({ body }) => (JSON.parse(Buffer.from(body).toString()) as { message: string }[])[0]!.message);

export async function keysOf(store: ObjectStore, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(prefix)) keys.push(key);
  return keys;
}

export async function filedIn(store: ObjectStore, prefix: string): Promise<FiledParcel[]> {
  const filed: FiledParcel[] = [];
  for (const key of await keysOf(store, prefix)) {
    const parcels = decodeParcels((await store.get(key)).bytes, sealer);
    if (!parcels) throw new Error(`${key} cannot be read`);
    filed.push(...parcels);
  }
  return filed;
}

/** addressed + recovered = delivered + pending + dead-lettered, with pending counted anew from journal and spill. */
export async function expectBalance({ metrics, forwarder, journal, store }: Harness): Promise<void> {
  await forwarder.refreshBooks();
  const value = (name: string): Promise<number> => metricValue(metrics, `reductrai_${name}`, { upstream: 'datadog' });
  const deadLetters = await metrics.forwardDeadLettered.get();
  const given = (await value('forward_addressed_total')) + (await value('forward_recovered'));
  const dead = deadLetters.values.reduce((sum, { value }) => sum + value, 0);
  const pending = await value('forward_pending');
  expect((await value('forward_delivered_total')) + dead + pending).toBe(given);
  if (pending === 0) {
    expect(await keysOf(store, 'spill/')).toEqual([]);
    await until(() => expect(journal.backlog(forwarder.status().committedPosition).entries).toBe(0));
  }
}
