import { AggregatorRegistry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import type { HealthReport } from '../src/intake/intake.ts';
import { createMetrics } from '../src/telemetry/metrics.ts';
import { lastingMetrics, mergedHealth, summed } from '../src/worker-reports.ts';

const FINE: HealthReport = {
  journalWritable: true,
  storeConnected: true,
  draining: false,
  datadog: 'connected',
  agent: 'not configured',
  uptimeSeconds: 10,
  notes: ['a note'],
};

describe('what several workers say', () => {
  it('is as good as the worst of them', () => {
    const merged = mergedHealth(
      [FINE, { ...FINE, storeConnected: false, datadog: 'disconnected', uptimeSeconds: 3 }],
      3,
    );
    expect(merged).toEqual({
      ...FINE,
      storeConnected: false,
      datadog: 'disconnected',
      notes: ['a note', '1 of 3 workers are being started again'],
    });
    expect(mergedHealth([FINE, { ...FINE, journalWritable: false }], 2).journalWritable).toBe(false);
    expect(mergedHealth([FINE, { ...FINE, draining: true }], 2).draining).toBe(true);
  });

  it('adds up books', () => {
    expect(
      summed([
        { intake: { received: 1 }, archive: null },
        { intake: { received: 2 }, archive: { pending: 4 } },
      ]),
    ).toEqual({
      intake: { received: 3 },
      archive: { pending: 4 },
    });
  });

  it('keeps what dead workers had counted, and the books balanced', async () => {
    const dead = createMetrics();
    dead.accepted.inc({ signal: 'logs' }, 10);
    dead.archived.inc({ signal: 'logs' }, 7);
    dead.archivePending.set(3);
    dead.rssBytes.set(1e6);
    dead.flushSeconds.observe(0.2);
    let departed = lastingMetrics([], await dead.registry.getMetricsAsJSON());
    departed = lastingMetrics(departed, await dead.registry.getMetricsAsJSON());

    const next = createMetrics();
    next.archiveRecovered.set(6);
    next.archivePending.set(6);
    const all = AggregatorRegistry.aggregate([departed, await next.registry.getMetricsAsJSON()]);
    const text = await all.metrics();
    const counted = (name: string): number =>
      Number(new RegExp(`^reductrai_${name}(?:\\{[^}]*\\})? (\\S+)$`, 'm').exec(text)?.[1]);
    expect(counted('envelopes_accepted_total')).toBe(20);
    expect(counted('envelopes_archived_total')).toBe(14);
    expect(counted('envelopes_archive_recovered')).toBe(0);
    expect(counted('envelopes_archive_pending')).toBe(6);
    expect(counted('flush_duration_seconds_count')).toBe(2);
    expect(counted('process_rss_bytes')).toBe(0);
  });
});
