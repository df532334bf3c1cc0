import { systemClock } from '../../src/core/clock.ts';
import { nodeFileSystem } from '../../src/core/file-system.ts';
import { seededRandom, systemRandom } from '../../src/core/random.ts';
import { openLocalStore } from '../../src/store/local-store.ts';
import { createMemoryStore } from '../../src/store/memory-store.ts';
import { openStore } from '../../src/store/open.ts';
import { withLimit } from '../../src/store/with-limit.ts';
import { withStoreMetrics } from '../../src/store/with-metrics.ts';
import { withPrefix } from '../../src/store/with-prefix.ts';
import { withRetry } from '../../src/store/with-retry.ts';
import { withTiers } from '../../src/store/with-tiers.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { storeSuite } from '../contract/store-suite.ts';
import { createSimulatedDisk } from '../support/simulated-disk.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const clock = systemClock;
const random = systemRandom;
const memory = () => createMemoryStore({ clock });
const local = (root: string) => openLocalStore({ root, fileSystem: nodeFileSystem, clock, random });
const few = { listedObjects: 300 };

storeSuite('memory', async () => ({ store: memory() }));
storeSuite('local', async () => ({ store: await local(await temporaryFolder()) }));
storeSuite(
  'local, two clients of one root',
  async () => {
    const root = await temporaryFolder();
    return { store: await local(root), other: await local(root) };
  },
  few,
);
storeSuite(
  'local on the simulated disk',
  async () => {
    const { fileSystem } = createSimulatedDisk(seededRandom(1));
    return { store: await openLocalStore({ root: '/data/store', fileSystem, clock, random }) };
  },
  few,
);
storeSuite('with metrics', async () => ({ store: withStoreMetrics(memory(), createMetrics(), clock) }), few);
storeSuite('with a limit', async () => ({ store: withLimit(memory(), { concurrentMax: 2, waitingMax: 100 }) }), few);
storeSuite(
  'with a prefix',
  async () => {
    const base = memory();
    await base.put('team', new Uint8Array(1));
    await base.put('team-b/neighbour', new Uint8Array(1));
    await base.put('team/b', new Uint8Array(1));
    return { store: withPrefix(base, 'team/a') };
  },
  { ...few, keyBytesMax: 893 },
);
storeSuite(
  'with tiers in stores of their own',
  async () => {
    // Keys of all kinds lie in all three.
    const tierOf = (key: string) => ['warm', 'cold', undefined][key.length % 3];
    const stores = new Map([
      ['warm', memory()],
      ['cold', memory()],
    ]);
    return { store: withTiers(memory(), { stores, tierOf, mayHoldTiers: () => true }) };
  },
  few,
);
storeSuite(
  'with retries',
  async () => ({
    store: withRetry(memory(), { clock, random, attemptsMax: 3, firstDelayMs: 1, delayMaxMs: 5 }),
  }),
  few,
);
storeSuite(
  'as opened from a setting',
  async () => {
    const url = await temporaryFolder();
    const dependencies = { fileSystem: nodeFileSystem, clock, random, metrics: createMetrics() };
    return { store: (await openStore({ target: { kind: 'local', root: url, prefix: 'p' } }, dependencies)).store };
  },
  { ...few, keyBytesMax: 898 },
);
