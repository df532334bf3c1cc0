/**
 * The local store on the simulated disk: random work by several writers, a crash or kill at a random operation, and the
 * same again on what survived. Whatever was acknowledged, or was told to anyone, must be there whole.
 */
import { expect, it } from 'vitest';
import { isProxyError } from '../../src/core/errors.ts';
import { seededRandom } from '../../src/core/random.ts';
import { openLocalStore } from '../../src/store/local-store.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import { createManualClock } from '../support/manual-clock.ts';
import { must, withoutStacks } from '../support/must.ts';
import { createSimulatedDisk, type SimulatedDisk } from '../support/simulated-disk.ts';

const SEEDS = Number(process.env.SIMULATION_SEEDS ?? 1024);
const LIVES = 3;
const WRITERS = 4;

/** What the writers know. A value in `inFlight` may have happened. */
interface Ledger {
  /** Create-only objects that were acknowledged to their writer, or seen by one who lost. Never deleted. */
  created: Map<string, string>;
  winners: Map<string, number>;
  attempted: Set<string>;
  /** Objects that are put and deleted by one writer: the last acknowledged state, and what may have come after it. */
  owned: Map<string, { acknowledged: string | undefined; inFlight: (string | undefined)[] }>;
  /** Counter values whose write was acknowledged; each must be unique. */
  counted: number[];
  countAttempts: number;
}

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Content that shows by itself whether it is whole. */
function contentFor(label: string): string {
  let sum = 0;
  for (let index = 0; index < label.length; index++) sum = (sum * 31 + label.charCodeAt(index)) >>> 0;
  return `${label}|${'x'.repeat(sum % 2500)}|${sum}`;
}

function labelOf(content: string): string {
  const label = content.slice(0, content.indexOf('|'));
  must(content === contentFor(label), () => `${label} is whole`);
  return label;
}

async function textAt(store: ObjectStore, key: string): Promise<string | undefined> {
  try {
    return new TextDecoder().decode((await store.get(key)).bytes);
  } catch (error) {
    if (isProxyError(error, 'STORE_ABSENT')) return undefined;
    throw error;
  }
}

async function verify(store: ObjectStore, ledger: Ledger): Promise<void> {
  const present = new Map<string, string>();
  let last = '';
  for await (const { key, sizeBytes } of store.list('')) {
    must(key > last, () => `${key} comes after ${last}`);
    last = key;
    const text = await textAt(store, key);
    must(text !== undefined, () => `${key} is there when it is listed`);
    must(text.length === sizeBytes, () => `${key} has ${sizeBytes} bytes`);
    present.set(key, text);
    if (key !== 'count') labelOf(text);
  }
  for (const [key, content] of ledger.created) {
    must(present.get(key) === content, () => `${key}, which was acknowledged, is there`);
  }
  for (const [key, content] of present) {
    if (key.startsWith('created/')) {
      must(ledger.attempted.has(content), () => `${key} holds what somebody wrote`);
      // The next process reads it and draws conclusions, so it must stay from now on.
      ledger.created.set(key, content);
    }
  }
  for (const [key, state] of ledger.owned) {
    const found = present.get(key);
    must([state.acknowledged, ...state.inFlight].includes(found), () => `${key} is not ${found}`);
    state.acknowledged = found;
    state.inFlight = [];
  }
  const count = Number(present.get('count') ?? 0);
  const acknowledged = Math.max(0, ...ledger.counted);
  must(count >= acknowledged && count <= ledger.countAttempts, () => `the count is not ${count}`);
  must(new Set(ledger.counted).size === ledger.counted.length, () => 'no count has two winners');
  // Seen by the next process, so it may not go back either.
  if (count > acknowledged) ledger.counted.push(count);
}

async function work(
  store: ObjectStore,
  disk: SimulatedDisk,
  ledger: Ledger,
  id: string,
  next: () => number,
): Promise<void> {
  const writer = Number(id.at(-1));
  for (let step = 0; step < 12 && !disk.isDown; step++) {
    const kind = next();
    try {
      if (kind < 0.45) {
        const key = `created/${Math.floor(next() * 3)}/${Math.floor(next() * 4)}`;
        const content = contentFor(`${key} by ${id} at ${step}`);
        ledger.attempted.add(content);
        try {
          await store.put(key, bytesOf(content), { condition: { kind: 'absent' } });
          ledger.winners.set(key, (ledger.winners.get(key) ?? 0) + 1);
          ledger.created.set(key, content);
        } catch (error) {
          if (!isProxyError(error, 'STORE_EXISTS')) throw error;
          const seen = await textAt(store, key);
          if (seen !== undefined) ledger.created.set(key, seen);
        }
      } else if (kind < 0.75) {
        const key = `owned/${writer}`;
        const state = ledger.owned.get(key) ?? { acknowledged: undefined, inFlight: [] };
        ledger.owned.set(key, state);
        const wanted = next() < 0.35 ? undefined : contentFor(`${key} by ${id} at ${step}`);
        const versioned = next() < 0.4;
        state.inFlight.push(wanted);
        if (wanted === undefined) await store.delete(key);
        else {
          const head = versioned ? await store.head(key) : undefined;
          await store.put(
            key,
            bytesOf(wanted),
            head ? { condition: { kind: 'unchanged', version: head.version } } : {},
          );
        }
        state.acknowledged = wanted;
        state.inFlight = [];
      } else {
        await increment(store, ledger);
      }
    } catch (error) {
      if (isProxyError(error) && error.retryable) continue;
      throw error;
    }
  }
}

async function increment(store: ObjectStore, ledger: Ledger): Promise<void> {
  try {
    const head = await store.head('count');
    const value = head ? Number(await textAt(store, 'count')) : 0;
    ledger.countAttempts = Math.max(ledger.countAttempts, value + 1);
    await store.put('count', bytesOf(String(value + 1)), {
      condition: head ? { kind: 'unchanged', version: head.version } : { kind: 'absent' },
    });
    ledger.counted.push(value + 1);
  } catch (error) {
    if (!isProxyError(error, 'STORE_EXISTS')) throw error;
  }
}

async function playSeed(seed: number): Promise<number> {
  const random = seededRandom(seed);
  const next = (): number => random.next();
  const disk = createSimulatedDisk(random);
  const clock = createManualClock();
  const ledger: Ledger = {
    created: new Map(),
    winners: new Map(),
    attempted: new Set(),
    owned: new Map(),
    counted: [],
    countAttempts: 0,
  };
  let stops = 0;
  for (let life = 0; life < LIVES; life++) {
    const fileSystem = life === 0 ? disk.fileSystem : disk.reopen();
    const open = () => openLocalStore({ root: '/data/store', fileSystem, clock, random });
    const store = await open();
    await verify(store, ledger);
    // Sometimes the power goes right after a restart: what the new process has read must not go back.
    const stopSoon = life > 0 && next() < 0.3;
    disk.stopAt(stopSoon ? 1 : 1 + Math.floor(next() * 400), next() < 0.35 ? 'kill' : 'crash');
    // Half of the writers use a second client of the same root, as another replica would.
    const other = await open().catch(() => store);
    await Promise.all(
      Array.from({ length: WRITERS }, (_, writer) =>
        work(writer % 2 === 0 ? store : other, disk, ledger, `life ${life} writer ${writer}`, next),
      ),
    );
    if (!disk.isDown) disk.crash();
    else stops++;
  }
  const store = await openLocalStore({ root: '/data/store', fileSystem: disk.reopen(), clock, random });
  await verify(store, ledger);
  for (const [key, count] of ledger.winners) must(count === 1, () => `${key} has one winner, not ${count}`);
  return stops;
}

it(`keeps what was acknowledged through ${SEEDS} seeds of crashes and kills`, async () => {
  let stops = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    try {
      stops += await withoutStacks(() => playSeed(seed));
    } catch (error) {
      throw new Error(`seed ${seed}: ${String(error)}`, { cause: error });
    }
  }
  // The stop must mostly hit work in progress, or this test shows nothing.
  expect(stops).toBeGreaterThan(SEEDS);
}, 120_000);
