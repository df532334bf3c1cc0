/**
 * Replicas over one store, all in this process and on one manual clock: the product's own leases, journals, archives, takeovers and upkeep,
 * with only threads and sockets left away. A replica can stand still and go on, die, or see a clock that is off; its store fails
 * before or after the effect, and what it sent may take effect long after it is gone. Everything is drawn from a seed.
 */
import { createHash } from 'node:crypto';
import { Archive } from '../../src/archive/archive.ts';
import type { Encoder } from '../../src/archive/encoder.ts';
import { SegmentBuilder } from '../../src/archive/segment-builder.ts';
import { runUpkeep, type UpkeepSummary } from '../../src/archive/upkeep/upkeep.ts';
import { createParquetCodec } from '../../src/codec/parquet-codec.ts';
import { ByteBudget } from '../../src/core/byte-budget.ts';
import type { Clock } from '../../src/core/clock.ts';
import type { JournalIdentity, Position } from '../../src/core/envelope.ts';
import { isProxyError, ProxyError } from '../../src/core/errors.ts';
import { MIB } from '../../src/core/limits.ts';
import { type Random, seededRandom } from '../../src/core/random.ts';
import { createSealer } from '../../src/core/sealer.ts';
import { unpackBatch } from '../../src/core/travelling-batch.ts';
import { Fleet } from '../../src/fleet.ts';
import type { Journal } from '../../src/journal/journal.ts';
import { openStoreJournal } from '../../src/journal/store-journal.ts';
import { unheardOf } from '../../src/journal/unheard.ts';
import { finishOrphan } from '../../src/orphan.ts';
import type { DecodeElsewhere } from '../../src/record/decode-job.ts';
import { decodeLogs } from '../../src/record/logs.ts';
import { SIGNAL_COLUMNS } from '../../src/record/schema.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import { withRetry } from '../../src/store/with-retry.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { RULES } from '../archive/upkeep/aging-archive.ts';
import type { ManualClock } from '../support/manual-clock.ts';

export const LEASE_MS = 9_000;
const FLUSH_AFTER_MS = 4_000;
const CHUNK_AFTER_MS = 250;
const RETRY_WINDOW_MS = 15 * 60_000;
const LATENCY_MS = 40;
const STUCK_MS_MAX = 25_000;
const codec = createParquetCodec();
const quiet = createLog('silent');

export function bodyHashOf(body: string): string {
  return createHash('sha256').update(body).digest('hex');
}

/** Closed: nothing of the replica goes on. */
class Gate {
  #isOpen = true;
  #waiting: (() => void)[] = [];

  get isOpen(): boolean {
    return this.#isOpen;
  }

  open(): void {
    this.#isOpen = true;
    for (const resume of this.#waiting.splice(0)) resume();
  }

  close(): void {
    this.#isOpen = false;
  }

  async pass(): Promise<void> {
    while (!this.#isOpen) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }
}

const decode: DecodeElsewhere = async (job) => {
  const decoded = decodeLogs({ ...job, protocol: 'logs-json' });
  if (!decoded.ok) throw new Error(decoded.reason);
  const { batch, itemCount, opaqueCount, holdsSecret } = decoded;
  const hashes = { bodyHash: '', bodyCrc: 0 };
  const sizes = { itemCount, opaqueCount, rawBytes: job.body.byteLength, reservedBytes: 0 };
  return { ok: true, body: job.body, batch, ...sizes, ...hashes, holdsSecret, isProbe: false };
};

function inlineEncoder(identity: JournalIdentity, writer: string | undefined, gate: Gate): Encoder {
  const builder = new SegmentBuilder(codec, {
    ...{ identity, zstdLevel: 1, rowGroupRowsMax: 1000, hoursMax: 3 },
    ...(writer === undefined ? {} : { writer }),
  });
  return {
    add: (envelope) =>
      builder.add({ ...envelope, batch: unpackBatch(envelope.batch, SIGNAL_COLUMNS[envelope.signal]) }),
    build: async function* (first, last, doubts) {
      for (const segment of builder.build(first, last, doubts)) {
        await gate.pass();
        yield segment;
      }
    },
    close: async () => {},
  };
}

interface Life {
  fleet: Fleet;
  journal: Journal;
  archive: Archive;
  isFenced: () => boolean;
}

export class SimulatedReplica {
  readonly #name: string;
  readonly #random: Random;
  readonly #clock: ManualClock;
  readonly #base: ObjectStore;
  /** Share of requests to the store that fail. */
  failing = 0;
  /** Share of what it puts that is under way for long. */
  stuck = 0.02;
  /** How far its wall clock is off, ms. */
  offMs = 0;
  #gate = new Gate();
  #life: Life | undefined;
  #isWanted = false;
  takeovers = 0;
  lastError = '';
  fencings = 0;

  constructor(name: string, base: ObjectStore, clock: ManualClock, random: Random) {
    this.#name = name;
    this.#base = base;
    this.#clock = clock;
    this.#random = random;
  }

  get isServing(): boolean {
    return this.#life !== undefined && this.#gate.isOpen && !this.#life.isFenced();
  }

  get isAlive(): boolean {
    return this.#life !== undefined;
  }

  get isFenced(): boolean {
    return this.#life?.isFenced() ?? false;
  }

  get identity(): JournalIdentity | undefined {
    return this.#life?.journal.identity;
  }

  /** A new life, as an orchestrator gives it: again until it serves, or is ended. */
  async begin(): Promise<void> {
    const gate = new Gate();
    this.#gate = gate;
    this.#isWanted = true;
    while (this.#gate === gate) {
      try {
        const life = await this.#start(gate);
        // It may have died meanwhile: then nothing of it goes on.
        await gate.pass();
        if (this.#gate === gate) this.#life = life;
        return;
      } catch (error) {
        if (!isProxyError(error)) throw error;
        this.lastError = String(error);
        await this.#clock.sleep(1_000);
      }
    }
  }

  /** Running, or about to. */
  get isWanted(): boolean {
    return this.#isWanted;
  }

  async #start(gate: Gate): Promise<Life> {
    const clock = this.#clockBehind(gate);
    const random = seededRandom(Math.floor(this.#random.next() * 2 ** 31));
    const store = withRetry(this.#storeBehind(gate), {
      ...{ clock, random, attemptsMax: 5, firstDelayMs: 50, delayMaxMs: 2_000 },
    });
    const metrics = createMetrics();
    const sealer = createSealer([new Uint8Array(32).fill(7)], random);
    let isFenced = false;
    const fence = (): void => {
      if (!isFenced) this.fencings += 1;
      isFenced = true;
    };
    const fleet = await Fleet.join({
      ...{ store, replicaId: this.#name, leaseMs: LEASE_MS, clock, metrics, log: quiet, onLost: fence },
    });
    const journal = await openStoreJournal({
      ...{ store, identity: fleet.identity, sealer, clock, random, metrics, log: quiet, budgetBytes: 64 * MIB },
      unheard: await unheardOf(store, fleet.earlier, clock.nowMs() - RETRY_WINDOW_MS),
      ...{ chunkAfterMs: CHUNK_AFTER_MS, chunkBytesMax: MIB, patienceMs: 10_000, recentBytesMax: 64 * 1024 },
      onFenced: fence,
    });
    const createArchive = (of: Journal, writer?: string): Archive =>
      new Archive({
        ...{
          store,
          journal: of,
          decode,
          budget: ByteBudget.create(64 * MIB),
          isShared: true,
          isAdopted: of !== journal,
          clock,
          random,
          log: quiet,
        },
        metrics: createMetrics(),
        onFenced: () => {
          if (of === journal) fence();
        },
        openEncoder: () => inlineEncoder(of.identity, writer, gate),
        ...{ flushAfterMs: FLUSH_AFTER_MS, flushRawBytesMax: MIB, flushRowsMax: 10_000, heldBytesMax: 8 * MIB },
      });
    const archive = createArchive(journal);
    await archive.start();
    const { identity } = fleet;
    fleet.startTakeovers(async (orphan, signal) => {
      const finished = await finishOrphan({
        ...{ orphan, self: identity, store, sealer, clock, log: quiet, signal },
        createArchive: (of) => createArchive(of, `${identity.replica}-${identity.epoch}`),
        createForwarders: () => new Map(),
      });
      this.takeovers += 1;
      return finished;
    });
    return { fleet, journal, archive, isFenced: () => isFenced };
  }

  /** Resolves to its position once it is durable; undefined when it was refused. Never, when the replica does not go on. */
  async take(body: string): Promise<Position | undefined> {
    const { journal } = this.#life!;
    const gate = this.#gate;
    const bytes = Buffer.from(body);
    const appended = await journal.append({
      head: {
        ...{ tenant: 'default', signal: 'logs', protocol: 'logs-json', destination: 'none', method: 'POST' },
        ...{
          path: '/api/v2/logs',
          contentType: '',
          contentEncoding: '',
          receivedAtMs: this.#clock.nowMs() + this.offMs,
        },
        ...{ headers: {}, keyFingerprint: '', bodyHash: bodyHashOf(body), itemCount: 1, rawBytes: bytes.byteLength },
      },
      body: bytes,
    });
    await gate.pass();
    return appended.ok ? appended.position : undefined;
  }

  /** The answer was heard. */
  confirm(position: Position): void {
    this.#life?.journal.confirm(position);
  }

  stand(): void {
    this.#gate.close();
  }

  goOn(): void {
    this.#gate.open();
  }

  /** Nothing of it goes on, ever; what it has sent may still arrive. */
  die(): void {
    this.#gate.close();
    this.#gate = new Gate();
    this.#life = undefined;
    this.#isWanted = false;
  }

  /** As SIGTERM. */
  async drain(): Promise<void> {
    const { fleet, journal, archive, isFenced } = this.#life!;
    await fleet.stopTakeovers();
    await archive.stop(true, 20_000);
    await journal.close(false);
    await fleet.leave(isFenced());
    this.#life = undefined;
    this.#isWanted = false;
  }

  upkeep(): Promise<UpkeepSummary> {
    const gate = this.#gate;
    const clock = this.#clockBehind(gate);
    return runUpkeep({
      ...{ store: this.#storeBehind(gate), codec, clock, log: quiet, replica: this.#name, leaseMs: LEASE_MS },
      rules: { ...RULES, compactAfterMs: 0, compactInputsMin: 2 },
      bounds: { decodedBytesMax: MIB, rowsMax: 100_000, rowGroupRowsMax: 1000 },
      ...{ graceMs: 30_000, recordsPerCheckpointMin: 10 },
    });
  }

  #clockBehind(gate: Gate): Clock {
    const base = this.#clock;
    return {
      nowMs: () => base.nowMs() + this.offMs,
      monotonicMs: () => base.monotonicMs(),
      sleep: async (ms, signal) => {
        await base.sleep(ms, signal);
        await gate.pass();
        signal?.throwIfAborted();
      },
      after: (ms, task) => {
        let isCancelled = false;
        const cancel = base.after(ms, () => {
          void gate.pass().then(() => {
            if (!isCancelled) task();
          });
        });
        return () => {
          isCancelled = true;
          cancel();
        };
      },
    };
  }

  #storeBehind(gate: Gate): ObjectStore {
    const base = this.#base;
    const act = async <T>(what: () => Promise<T>, isPut = false): Promise<T> => {
      await gate.pass();
      const fails = this.#random.next() < this.failing;
      if (fails && this.#random.next() < 0.5) throw new ProxyError('STORE_UNAVAILABLE', 'before');
      const isStuck = isPut && this.#random.next() < this.stuck;
      await this.#clock.sleep(this.#random.next() * (isStuck ? STUCK_MS_MAX : LATENCY_MS));
      let outcome: { value: T } | { error: unknown };
      try {
        outcome = { value: await what() };
      } catch (error) {
        outcome = { error };
      }
      await gate.pass();
      if ('error' in outcome) throw outcome.error;
      if (fails) throw new ProxyError('STORE_UNAVAILABLE', 'after');
      return outcome.value;
    };
    return {
      url: 'memory:',
      get: (key, range) => act(() => base.get(key, range)),
      head: (key) => act(() => base.head(key)),
      put: (key, bytes, options) => act(() => base.put(key, bytes, options), true),
      delete: (key) => act(() => base.delete(key)),
      close: async () => {},
      list: async function* (prefix, options) {
        await act(async () => {});
        for await (const info of base.list(prefix, options)) {
          await gate.pass();
          yield info;
        }
      },
    };
  }
}
