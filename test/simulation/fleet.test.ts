/**
 * Leases, takeovers, retries at other replicas and merges, through schedules drawn from seeds: whatever happens in whatever order, each
 * envelope that was acknowledged is there once. `SIMULATION_SEEDS` sets how many schedules; `FLEET_SEED` runs one.
 */
import { expect, test } from 'vitest';
import { createParquetCodec } from '../../src/codec/parquet-codec.ts';
import { isProxyError } from '../../src/core/errors.ts';
import { seededRandom } from '../../src/core/random.ts';
import { openCatalogue } from '../../src/query/catalogue.ts';
import { verifyStore } from '../../src/query/verify.ts';
import { SEGMENT_COLUMNS } from '../../src/record/schema.ts';
import { createMemoryStore } from '../../src/store/memory-store.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import { createManualClock } from '../support/manual-clock.ts';
import { rowsOf } from '../support/rows.ts';
import { LEASE_MS, SimulatedReplica } from './simulated-fleet.ts';

const ONE = process.env.FLEET_SEED;
const SEEDS = ONE
  ? [Number(ONE)]
  : Array.from({ length: Number(process.env.SIMULATION_SEEDS ?? 1024) / 8 }, (_, i) => i + 1);
/** Schedules that once showed a bug. */
const REGRESSIONS = [4, 629];
const STEPS = 60;
const STEP_MS = 700;
const codec = createParquetCodec();

interface Tally {
  acknowledged: number;
  retried: number;
  deaths: number;
  takeovers: number;
  fencings: number;
  merges: number;
}

async function runSchedule(seed: number): Promise<Tally> {
  const random = seededRandom(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random.next() * list.length)]!;
  const clock = createManualClock();
  const store = createMemoryStore({ clock });
  const replicas = ['a', 'b', 'c'].map(
    (name, i) => new SimulatedReplica(name, store, clock, seededRandom(seed * 8 + i)),
  );
  const tally: Tally = { acknowledged: 0, retried: 0, deaths: 0, takeovers: 0, fencings: 0, merges: 0 };
  /** A body may be there once it was acknowledged, and must be once its sender knows. */
  const sent = new Map<string, 'unanswered' | 'acknowledged'>();
  const open: Promise<unknown>[] = [];
  let isOver = false;

  const begin = (replica: SimulatedReplica): void => void replica.begin();
  /** A sender: comes back, elsewhere, until it hears an answer. */
  const send = async (id: string): Promise<void> => {
    const body = JSON.stringify([{ message: id }]);
    sent.set(id, 'unanswered');
    const journals = new Set<string>();
    while (!isOver) {
      const others = replicas.filter((one) => one.isServing && !journals.has(JSON.stringify(one.identity)));
      const replica = others.length > 0 ? pick(others) : undefined;
      if (replica) {
        const journal = JSON.stringify(replica.identity);
        const taken = replica.take(body).catch(() => undefined);
        const patience = clock.sleep(3_000 + random.next() * 4_000).then(() => 'late' as const);
        const answer = await Promise.race([taken, patience]);
        if (answer !== undefined) journals.add(journal);
        // The answer may be lost on its way, and both sides see that differently.
        const isHeard = answer !== 'late' && answer !== undefined && random.next() < 0.9;
        if (isHeard) {
          if (random.next() < 0.97 && replica.isAlive && JSON.stringify(replica.identity) === journal)
            replica.confirm(answer);
          sent.set(id, 'acknowledged');
          tally.acknowledged += 1;
          if (journals.size > 1) tally.retried += 1;
          return;
        }
      }
      await clock.sleep(random.next() * 1_000);
    }
  };

  for (const replica of replicas) begin(replica);
  await clock.advance(2_000);
  for (let step = 0; step < STEPS; step++) {
    for (let n = 0; n < 2; n++) open.push(send(`${seed}-${step}-${n}`));
    const replica = pick(replicas);
    switch (Math.floor(random.next() * 14)) {
      case 0:
        if (replica.isAlive) tally.deaths += 1;
        replica.die();
        break;
      case 1:
        replica.stand();
        break;
      case 2:
      case 3:
        for (const one of replicas) one.goOn();
        break;
      case 4:
        replica.offMs = (random.next() - 0.5) * 400_000;
        break;
      case 5:
        replica.failing = pick([0, 0, 0.1, 0.4, 1]);
        break;
      case 6:
        for (const one of replicas) one.failing = 0;
        break;
      case 7:
      case 10:
      case 11:
        if (replica.isServing) {
          open.push(
            replica.upkeep().then(
              ({ merges }) => {
                tally.merges += merges;
              },
              (error) => {
                if (!isProxyError(error)) throw error;
              },
            ),
          );
        }
        break;
      case 8:
      case 9:
        // As an orchestrator does.
        if (replica.isFenced) replica.die();
        if (!replica.isWanted) begin(replica);
    }
    await clock.advance(STEP_MS * (0.5 + random.next()));
  }

  // Everything goes on, the dead are started again, and nothing fails any more.
  for (const replica of replicas) {
    replica.failing = 0;
    replica.stuck = 0;
    replica.offMs = 0;
    replica.goOn();
  }
  await clock.advance(10_000);
  const everyoneServes = (): boolean => replicas.every(({ isServing }) => isServing);
  // Who stood still learns late that it is over.
  for (let round = 0; round < 40 && (round < 10 || !everyoneServes()); round++) {
    for (const replica of replicas) {
      if (replica.isFenced) replica.die();
      if (!replica.isWanted) begin(replica);
    }
    await clock.advance(LEASE_MS);
  }
  isOver = true;
  await clock.advance(10_000);
  for (const replica of replicas) {
    if (!replica.isServing)
      throw new Error(
        `seed ${seed}: a replica does not serve at the end: ${JSON.stringify({ alive: replica.isAlive, fenced: replica.isFenced, wanted: replica.isWanted, id: replica.identity, last: replica.lastError })}`,
      );
    const drained = replica.drain();
    let isDrained = false;
    void drained.finally(() => {
      isDrained = true;
    });
    for (let n = 0; n < 100 && !isDrained; n++) await clock.advance(500);
    await drained;
  }
  await expectOnce(store, sent, seed);
  const found: string[] = [];
  const onFinding = ({ kind, key, detail }: { kind: string; key: string; detail: string }): void => {
    // What the dead had put without a record is told, and harms nobody.
    if (kind !== 'orphan') found.push(`${kind} ${key}: ${detail}`);
  };
  await verifyStore(store, { isDeep: true, nowMs: clock.nowMs(), concurrentMax: 4, onFinding });
  if (found.length > 0) throw new Error(`seed ${seed}: ${found.join('; ')}`);
  for (const replica of replicas) {
    tally.takeovers += replica.takeovers;
    tally.fencings += replica.fencings;
  }
  return tally;
}

async function expectOnce(store: ObjectStore, sent: ReadonlyMap<string, string>, seed: number): Promise<void> {
  const times = new Map<string, number>();
  for (const entry of (await openCatalogue(store)).segments()) {
    const { batch } = await codec.decode(SEGMENT_COLUMNS.logs, (await store.get(entry.key)).bytes);
    for (const { message } of rowsOf(batch)) times.set(String(message), (times.get(String(message)) ?? 0) + 1);
  }
  if (ONE) {
    for (const entry of (await openCatalogue(store)).segments()) {
      const { batch } = await codec.decode(SEGMENT_COLUMNS.logs, (await store.get(entry.key)).bytes);
      for (const row of rowsOf(batch)) {
        if (times.get(String(row.message))! > 1)
          console.log(
            row.message,
            row.journal,
            row.position,
            row.received_at,
            entry.key,
            JSON.stringify(entry.doubt),
            sent.get(String(row.message)),
          );
      }
    }
  }
  const wrong: string[] = [];
  for (const [id, state] of sent) {
    const count = times.get(id) ?? 0;
    if (count > 1 || (count === 0 && state === 'acknowledged')) wrong.push(`${id} (${state}): ${count} times`);
  }
  if (wrong.length > 0) throw new Error(`seed ${seed}: ${wrong.join(', ')}`);
}

test(`each acknowledged envelope is there once, through ${SEEDS.length} schedules`, {
  timeout: 600_000,
  retry: 0,
}, async () => {
  const all: Tally = { acknowledged: 0, retried: 0, deaths: 0, takeovers: 0, fencings: 0, merges: 0 };
  for (const seed of ONE ? SEEDS : [...REGRESSIONS, ...SEEDS]) {
    const tally = await runSchedule(seed);
    for (const name of Object.keys(all) as (keyof Tally)[]) all[name] += tally[name];
  }
  console.info(JSON.stringify(all));
  if (ONE) return;
  for (const [name, count] of Object.entries(all)) expect(count, name).toBeGreaterThan(SEEDS.length / 4);
});
