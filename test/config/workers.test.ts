import { expect, it } from 'vitest';
import { loadSettings } from '../../src/config/load.ts';
import { settingsOfWorker, workerCountOf } from '../../src/config/workers.ts';

const MIB = 1024 * 1024;

function settingsOf(env: Record<string, string>) {
  const loaded = loadSettings({ env, hostname: 'h', cpuCount: 8, readText: () => '' });
  if (!loaded.ok) throw new Error(loaded.problems.join('\n'));
  return loaded.settings;
}

it('counts workers', () => {
  expect(workerCountOf(settingsOf({}), 8)).toBe(1);
  expect(workerCountOf(settingsOf({ WORKERS: '3' }), 8)).toBe(3);
  expect(workerCountOf(settingsOf({ WORKERS: 'auto' }), 8)).toBe(8);
  for (const text of ['0', '65', 'many', '-1']) {
    expect(loadSettings({ env: { WORKERS: text }, hostname: 'h', cpuCount: 8, readText: () => '' }).ok).toBe(false);
  }
});

it('divides budgets, and names journals apart', () => {
  const settings = settingsOf({ REPLICA_ID: 'r'.repeat(63), REDUCTRAI_INTAKE_INFLIGHT_BYTES_MAX: '1GiB' });
  const shares = [0, 1, 2].map((index) => settingsOfWorker(settings, index, 3));
  expect(new Set(shares.map(({ server }) => server.replicaId)).size).toBe(3);
  expect(shares[0]!.server.replicaId).toBe(settings.server.replicaId);
  expect(shares[2]!.server.replicaId).toBe(`${'r'.repeat(60)}-w2`);
  expect(shares[1]!.intake.inflightBytesMax).toBe(Math.floor((1024 * MIB) / 3));
  expect(shares[1]!.journal.budgetBytes).toBe(Math.floor(settings.journal.budgetBytes / 3));
  expect(shares[1]!.intake.decodeWorkers).toBe(2);
  const crowded = settingsOfWorker(settings, 1, 64);
  expect(crowded.intake.inflightBytesMax).toBe(settings.intake.bodyBytesMax + settings.intake.decompressedBytesMax);
});
