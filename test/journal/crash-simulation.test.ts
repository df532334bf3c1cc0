/**
 * The journal on a disk that loses and reorders what was not synced. Each seed is one journal with several lives: appenders and
 * two consumers at work, stopped by a power cut or SIGKILL within some operation, reopened, compared with the test's own ledger.
 */
import { describe, expect, it } from 'vitest';
import type { FileSystem } from '../../src/core/file-system.ts';
import { type Random, seededRandom } from '../../src/core/random.ts';
import { openDiskJournal } from '../../src/journal/disk-journal.ts';
import type { Journal, JournalConsumer } from '../../src/journal/journal.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { must, withoutStacks } from '../support/must.ts';
import { createSimulatedDisk, type SimulatedDisk } from '../support/simulated-disk.ts';
import { diskOptions, envelopeOf } from './journal-support.ts';

const FOLDER = '/data/journal/replica-a';
const EVERYTHING = { entriesMax: 10_000, bytesMax: 1 << 30 };
const SEEDS = Number(process.env.SIMULATION_SEEDS ?? 1024);
const LIVES = 3;
const CONSUMERS = ['archive', 'forward:main'];
/** One for all: making them costs more than a life. */
const metrics = createMetrics();

interface ConsumerLedger {
  /** Resolved commits. */
  durable: number;
  /** The furthest asked for. */
  asked: number;
  exists: boolean;
}

class Ledger {
  /** Acknowledged, or read: must be there, unless every consumer has passed. */
  readonly known = new Map<number, string>();
  readonly acknowledged = new Set<number>();
  /** The caller said so; survives SIGKILL once a turn has passed. */
  readonly confirmed = new Set<number>();
  /** Of these, those of the last life: an earlier power cut may have taken others. */
  confirmedLately = new Set<number>();
  readonly consumers = new Map<string, ConsumerLedger>();
  end = 0;
  nextBody = 0;

  learn(position: number, body: string): void {
    const before = this.known.get(position);
    if (before !== undefined && before !== body) {
      throw new Error(`position ${position} was ${before.slice(0, 20)}, is ${body.slice(0, 20)}`);
    }
    this.known.set(position, body);
    this.end = Math.max(this.end, position);
  }

  consumer(name: string): ConsumerLedger {
    let found = this.consumers.get(name);
    if (!found) {
      found = { durable: 0, asked: 0, exists: false };
      this.consumers.set(name, found);
    }
    return found;
  }

  /** What may have been deleted: all consumers have asked to pass it. */
  passed(): number {
    return this.consumers.size === 0 ? 0 : Math.min(...[...this.consumers.values()].map(({ asked }) => asked));
  }
}

class Life {
  readonly journal: Journal;
  readonly ledger: Ledger;
  readonly random: Random;
  readonly #isOver: () => boolean;

  constructor(journal: Journal, ledger: Ledger, random: Random, isOver: () => boolean) {
    this.journal = journal;
    this.ledger = ledger;
    this.random = random;
    this.#isOver = isOver;
  }

  async append(count: number): Promise<void> {
    for (let left = count; left > 0 && !this.#isOver(); left -= 1) {
      const body = `${this.ledger.nextBody++}:${'x'.repeat(Math.floor(this.random.next() * 1200))}`;
      const isLarge = this.random.next() < 0.03;
      const envelope = envelopeOf(isLarge ? body.padEnd(20_000, 'y') : body);
      const result = await this.journal.append(envelope);
      if (!result.ok) {
        if (result.reason === 'closed') return;
        continue;
      }
      // A position that was seen before is a position used again.
      if (this.ledger.known.has(result.position)) {
        this.ledger.learn(result.position, Buffer.from(envelope.body).toString());
        if (this.ledger.acknowledged.has(result.position)) throw new Error(`position ${result.position} given twice`);
      }
      this.ledger.learn(result.position, Buffer.from(envelope.body).toString());
      this.ledger.acknowledged.add(result.position);
      if (this.random.next() < 0.6 && !this.#isOver()) {
        this.ledger.confirmed.add(result.position);
        this.ledger.confirmedLately.add(result.position);
        this.journal.confirm(result.position);
      }
    }
  }

  async consume(name: string, rounds: number): Promise<void> {
    const ledger = this.ledger.consumer(name);
    const consumer: JournalConsumer = await this.journal.consumer(name, 'start');
    ledger.exists = true;
    let position = consumer.state.position;
    const over = new AbortController();
    for (let round = 0; round < rounds && !this.#isOver(); round += 1) {
      if (this.random.next() < 0.3) await this.journal.waitFor(position + 1, AbortSignal.any([over.signal, TICK()]));
      const entries = await this.journal.read(position + 1, {
        entriesMax: 1 + Math.floor(this.random.next() * 8),
        bytesMax: Math.floor(this.random.next() * 8000),
      });
      for (const entry of entries) {
        if (entry.position <= position) throw new Error(`${name} read ${entry.position} after ${position}`);
        position = entry.position;
        this.ledger.learn(position, Buffer.from(entry.body).toString());
      }
      if (entries.length === 0 || this.random.next() < 0.2) continue;
      ledger.asked = position;
      await consumer.commit(position, { at: position });
      ledger.durable = position;
    }
  }
}

/** A signal that aborts after a turn of the event loop. */
function TICK(): AbortSignal {
  const controller = new AbortController();
  setImmediate(() => controller.abort());
  return controller.signal;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function open(fileSystem: FileSystem, random: Random): Promise<Journal> {
  return openDiskJournal(
    diskOptions(fileSystem, FOLDER, {
      random,
      metrics,
      fileBytesMax: 6000,
      groupBytesMax: 4000,
      recentBytesMax: random.next() < 0.5 ? 0 : 6000,
      budgetBytes: random.next() < 0.5 ? 40_000 : 1_000_000,
      reserveBytes: random.next() < 0.2 ? 600 : 0,
    }),
  );
}

async function check(journal: Journal, ledger: Ledger, stop: 'crash' | 'kill' | 'close' | 'none'): Promise<void> {
  const entries = await journal.read(1, EVERYTHING);
  const bodies = new Set<string>();
  let before = 0;
  for (const { position, body } of entries) {
    must(position > before, () => `position ${position} comes after ${before}`);
    before = position;
    const text = Buffer.from(body).toString();
    must(!bodies.has(text), () => `body at ${position} is there once`);
    bodies.add(text);
    ledger.learn(position, text);
  }
  const held = new Set(entries.map(({ position }) => position));
  const passed = ledger.passed();
  for (const position of ledger.known.keys()) {
    must(position <= passed || held.has(position), () => `position ${position} is there, ${passed} passed`);
  }
  must(journal.usage().end >= ledger.end, () => `it ends at ${ledger.end} or later`);
  must(journal.backlog(0).entries === entries.length, () => `its backlog is ${entries.length}`);
  const names = journal.consumers();
  for (const [name, { durable, asked, exists }] of ledger.consumers) {
    if (!exists) continue;
    must(names.includes(name), () => `${name} is known`);
    const { state } = await journal.consumer(name, 'end');
    const { position, note } = state;
    must(position >= durable && position <= asked, () => `${name} is between ${durable} and ${asked}: ${position}`);
    const { at } = (note ?? { at: 0 }) as { at: number };
    must(at === position, () => `the note of ${name} is of ${position}`);
  }
  const unconfirmed = new Set(journal.unconfirmedAtOpen().map(({ position }) => position));
  for (const position of ledger.acknowledged) {
    must(ledger.confirmed.has(position) || unconfirmed.has(position), () => `${position} is told unconfirmed`);
  }
  if (stop !== 'close') return;
  for (const position of ledger.confirmedLately) must(!unconfirmed.has(position), () => `${position} stays confirmed`);
}

async function live(disk: SimulatedDisk, ledger: Ledger, random: Random): Promise<'crash' | 'kill' | 'close'> {
  const how = random.next() < 0.7 ? 'crash' : 'kill';
  ledger.confirmedLately = new Set();
  let isOver = false;
  const down = disk.whenDown().then(() => {
    isOver = true;
  });
  let closed = false;
  disk.stopAt(1 + Math.floor(random.next() * random.next() * 1500), how);
  if (random.next() < 0.08) disk.failNext('sync', 'EIO', { pathPart: '.journal' });
  if (random.next() < 0.08) disk.failNext('write', 'EIO', { pathPart: '.journal' });
  if (random.next() < 0.15) disk.spaceBytes = disk.usedBytes + Math.floor(random.next() * 20_000);
  const failures: unknown[] = [];
  const work = async (): Promise<void> => {
    const journal = await open(disk.fileSystem, random);
    const life = new Life(journal, ledger, random, () => isOver);
    const actors = [
      ...Array.from({ length: 4 }, () => life.append(Math.floor(random.next() * 14))),
      ...CONSUMERS.map((name) => life.consume(name, Math.floor(random.next() * 30))),
    ];
    const results = await Promise.allSettled(actors);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
    if (!isOver && random.next() < 0.4) {
      await journal.close();
      closed = true;
    }
  };
  await Promise.race([
    down,
    work().catch((error: unknown) => {
      const code = (error as NodeJS.ErrnoException).code;
      // What a dying process or a full disk does to its callers; everything else is a finding.
      if (!['EIO', 'ENOSPC', 'JOURNAL_FULL'].includes(code ?? '')) failures.push(error);
    }),
  ]);
  await turn();
  await turn();
  const stopped = disk.isDown;
  const wasFull = disk.spaceBytes !== Number.POSITIVE_INFINITY;
  if (!stopped) disk[how]();
  disk.spaceBytes = Number.POSITIVE_INFINITY;
  disk.forgetFailures();
  await turn();
  if (failures.length > 0) throw failures[0];
  // On a full disk confirmations may be lost; so they may by a power cut.
  return closed && how === 'kill' && !stopped && !wasFull ? 'close' : how;
}

async function simulate(seed: number): Promise<{ acknowledged: number; passed: number }> {
  const random = seededRandom(seed);
  const disk = createSimulatedDisk(random, { afterDeath: random.next() < 0.5 ? 'hang' : 'reject' });
  const ledger = new Ledger();
  for (let count = 0; count < LIVES; count += 1) {
    const stop = await live(disk, ledger, random);
    const journal = await open(disk.reopen(), random);
    await check(journal, ledger, stop);
    // What was just read counts as durable: it must outlast the next power cut too.
    disk.crash();
    await turn();
    disk.reopen();
  }
  const journal = await open(disk.fileSystem, random);
  await check(journal, ledger, 'none');
  const result = await journal.append(envelopeOf('last'));
  expect(result.ok || result.reason === 'full').toBe(true);
  if (result.ok) expect(result.position).toBeGreaterThan(ledger.end);
  await journal.close();
  return { acknowledged: ledger.acknowledged.size, passed: ledger.passed() };
}

describe('journal on a disk that forgets', () => {
  it(`loses nothing that was acknowledged, over ${SEEDS} seeds`, async () => {
    let acknowledged = 0;
    let passed = 0;
    const from = Number(process.env.JOURNAL_SEED ?? 1);
    const to = process.env.JOURNAL_SEED ? from : SEEDS;
    for (let seed = from; seed <= to; seed += 1) {
      const result = await withoutStacks(() => simulate(seed)).catch((cause) => {
        throw new Error(`seed ${seed}`, { cause });
      });
      acknowledged += result.acknowledged;
      passed += result.passed;
    }
    // The simulation must have had something to lose, and something to delete.
    expect(acknowledged).toBeGreaterThan((to - from + 1) * 5);
    expect(passed).toBeGreaterThan(from === to ? -1 : SEEDS);
  }, 300_000);
});
