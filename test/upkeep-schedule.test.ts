/** Upkeep on schedule: a real process each time, its summary in metrics and log, and a failure that harms nobody. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { UpkeepSchedule } from '../src/upkeep-schedule.ts';
import { createManualClock } from './support/manual-clock.ts';
import { keptLog, metricValue, quietWitness } from './support/quiet.ts';
import { temporaryFolder } from './support/temp-folder.ts';

const HOUR_MS = 3_600_000;
const SUMMARY = {
  ...{ state: 'done', merges: 1, mergedSegments: 12, mergedBytes: 900, writtenSegments: 1, writtenBytes: 100 },
  ...{ expiredSegments: 2, expiredBytes: 50, deletedObjects: 3, deletedBytes: 70, deletedRecords: 0, skipped: [] },
};

function scheduled(script: string, when = '0 2 * * *') {
  const clock = createManualClock(Date.UTC(2026, 0, 1, 0, 30));
  const { metrics } = quietWitness();
  const { log, lines } = keptLog();
  const command = [process.execPath, '-e', script];
  const schedule = new UpkeepSchedule({ schedule: when, command, env: process.env, clock, log, metrics });
  const value = (name: string, labels: Record<string, string>) => metricValue(metrics, `reductrai_${name}`, labels);
  return { clock, metrics, lines, schedule, value };
}

test('runs at its time, once, and tells what was done', async () => {
  const { clock, lines, schedule, value } = scheduled(`console.log('${JSON.stringify(SUMMARY)}')`);
  schedule.start();
  await clock.advance(1.4 * HOUR_MS);
  expect(await value('upkeep_runs_total', { result: 'done' })).toBe(0);
  await clock.advance(0.2 * HOUR_MS);
  await expect.poll(() => value('upkeep_runs_total', { result: 'done' }), { timeout: 30_000 }).toBe(1);
  expect(await value('upkeep_segments_total', { what: 'merged' })).toBe(12);
  expect(await value('upkeep_bytes_total', { what: 'deleted' })).toBe(70);
  expect(lines.some((line) => line.includes('"mergedSegments":12'))).toBe(true);
  await clock.advance(23 * HOUR_MS);
  await clock.advance(HOUR_MS);
  await expect.poll(() => value('upkeep_runs_total', { result: 'done' }), { timeout: 30_000 }).toBe(2);
  await schedule.stop();
  expect(clock.waiting).toBe(0);
}, 90_000);

test('a schedule of months is waited for in steps that a timer can hold', async () => {
  const { clock, schedule, value } = scheduled('process.exit(1)', '0 0 1 12 *');
  schedule.start();
  for (let day = 0; day < 30; day++) {
    await clock.advance(24 * HOUR_MS);
    expect(clock.nextAtMs! - clock.monotonicMs()).toBeLessThanOrEqual(10 * 60_000);
  }
  expect(await value('upkeep_runs_total', { result: 'failed' })).toBe(0);
  await schedule.stop();
});

test('a run that fails is told, and the next one comes', async () => {
  const { clock, lines, schedule, value } = scheduled(`console.error('no such bucket'); process.exit(1)`);
  schedule.start();
  await clock.advance(2 * HOUR_MS);
  await expect.poll(() => value('upkeep_runs_total', { result: 'failed' }), { timeout: 30_000 }).toBe(1);
  expect(lines.join('')).toContain('no such bucket');
  await clock.advance(24 * HOUR_MS);
  await expect.poll(() => value('upkeep_runs_total', { result: 'failed' }), { timeout: 30_000 }).toBe(2);
  await schedule.stop();
}, 90_000);

test('a run under way is asked to end when the proxy drains', async () => {
  const begun = join(await temporaryFolder(), 'begun');
  const said = JSON.stringify({ ...SUMMARY, state: 'stopped' });
  const ends = `process.on('SIGTERM', () => { console.log('${said}'); process.exit(0); });
    require('fs').writeFileSync('${begun}', ''); setInterval(() => {}, 1000);`;
  const { clock, schedule, value } = scheduled(ends);
  schedule.start();
  await clock.advance(2 * HOUR_MS);
  await expect.poll(() => existsSync(begun), { timeout: 30_000 }).toBe(true);
  await schedule.stop();
  expect(await value('upkeep_runs_total', { result: 'stopped' })).toBe(1);
}, 90_000);
