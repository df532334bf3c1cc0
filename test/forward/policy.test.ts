/** The pure parts: waits, gates, the window, the file format, names. */
import { describe, expect, it, test } from 'vitest';
import { DeliveryWindow } from '../../src/forward/delivery-window.ts';
import { Gate, Lane } from '../../src/forward/gate.ts';
import { decodeParcels, encodeParcels, type FiledParcel } from '../../src/forward/parcel-file.ts';
import { DEFAULT_RETRY_POLICY, pauseDelayMs, restDelayMs, retryDelayMs } from '../../src/forward/retry-policy.ts';
import { parseSpillKey, spillKey } from '../../src/forward/spill-index.ts';
import { envelopeOf, random, sealer } from './forward-support.ts';

describe('waits', () => {
  const policy = DEFAULT_RETRY_POLICY;

  it('grow from 1 s to 60 s with full jitter', () => {
    const most = [1, 2, 3, 6, 7, 1000].map((failures) => retryDelayMs(policy, failures, 1));
    expect(most).toEqual([1_000, 2_000, 4_000, 32_000, 60_000, 60_000]);
    expect(retryDelayMs(policy, 5, 0)).toBe(0);
  });

  it('never undercut what was asked', () => {
    expect(retryDelayMs(policy, 1, 0.5, 90_000)).toBe(90_000);
    expect(restDelayMs(policy, 1, 0.5, 90_000)).toBe(90_000);
  });

  it('rest a lane for at least half the ceiling, and probe a refused key soon and then each 30–60 s', () => {
    expect([restDelayMs(policy, 3, 0), restDelayMs(policy, 3, 1)]).toEqual([2_000, 4_000]);
    expect(pauseDelayMs(policy, 1, 0)).toBeLessThanOrEqual(1_000);
    expect([pauseDelayMs(policy, 2, 0), pauseDelayMs(policy, 9, 1)]).toEqual([30_000, 60_000]);
  });
});

describe('gate', () => {
  it('lets one probe through after each rest', () => {
    const gate = new Gate();
    expect(gate.passage(0)).toBe('open');
    gate.shut(0, false, (count) => count * 100);
    expect(gate.passage(99)).toBe('shut');
    expect(gate.passage(100)).toBe('probe');
    expect(gate.enter(100)).toBe(true);
    expect(gate.passage(100)).toBe('shut');
    gate.shut(110, true, (count) => count * 100);
    expect([gate.passage(309), gate.passage(310)]).toEqual(['shut', 'probe']);
    expect(gate.open()).toBe(true);
    expect(gate.passage(0)).toBe('open');
  });

  it('is not kept shut by failures of those that had passed before', () => {
    const gate = new Gate();
    gate.shut(0, false, () => 100);
    expect(gate.shut(90, false, () => 100)).toBe(false);
    expect(gate.passage(100)).toBe('probe');
  });

  it('a lane rests only when different envelopes fail in a row', () => {
    const alone = new Lane();
    for (let count = 0; count < 20; count++) expect(alone.failed('one', 3)).toBe(false);
    const lane = new Lane();
    expect([lane.failed('a', 3), lane.failed('b', 3), lane.failed('c', 3)]).toEqual([false, false, true]);
    lane.answered();
    expect([lane.failed('a', 3), lane.failed('b', 3)]).toEqual([false, false]);
  });
});

test('the window commits below the lowest unfinished position', () => {
  const window = new DeliveryWindow(10);
  window.pass(11);
  window.begin(12, 5);
  window.begin(14, 7);
  window.pass(15);
  expect([window.committable, window.size, window.heldBytes, window.readTo]).toEqual([11, 2, 12, 15]);
  window.finish(14);
  expect(window.committable).toBe(11);
  window.finish(12);
  expect([window.committable, window.heldBytes]).toEqual([15, 0]);
  expect(() => window.finish(12)).toThrow('BUG');
  expect(() => window.pass(15)).toThrow('BUG');
});

test('of all orders of finishing, the window never passes an unfinished position', () => {
  const window = new DeliveryWindow(0);
  const open = new Set<number>();
  for (let position = 1; position <= 2_000; position++) {
    if (random.next() < 0.7) {
      window.begin(position, 1);
      open.add(position);
    } else window.pass(position);
    for (const other of [...open]) {
      if (random.next() < 0.3) {
        window.finish(other);
        open.delete(other);
      }
    }
    expect(window.committable).toBe(Math.min(position, ...[...open].map((other) => other - 1)));
  }
});

describe('parcel file', () => {
  const parcel = (position: number, sealed: boolean): FiledParcel => ({
    position,
    ...envelopeOf(`secret ${position}`, sealed ? { sealedBody: true } : {}),
    note: { attempts: 3, reason: 'status 503', status: 503, atMs: 1 },
  });
  const parcels = [parcel(1, false), parcel(5, true), { ...parcel(9, false), body: new Uint8Array(0) }];

  it('gives back what was written; sealed bodies rest sealed', () => {
    const bytes = encodeParcels(parcels, sealer);
    const found = decodeParcels(bytes, sealer);
    expect(found?.map(({ body: _, ...rest }) => rest)).toEqual(parcels.map(({ body: _, ...rest }) => rest));
    for (const [index, { body }] of found!.entries()) expect(Buffer.compare(body, parcels[index]!.body)).toBe(0);
    expect(Buffer.from(bytes).includes('secret 1')).toBe(true);
    expect(Buffer.from(bytes).includes('secret 5')).toBe(false);
  });

  it('tells every single damaged byte, every cut and every addition', () => {
    const bytes = encodeParcels(parcels, sealer);
    for (let at = 0; at < bytes.byteLength; at++) {
      const damaged = bytes.slice();
      damaged[at]! ^= 1 << (at % 8);
      expect(decodeParcels(damaged, sealer), `byte ${at}`).toBeUndefined();
      expect(decodeParcels(bytes.subarray(0, at), sealer), `cut at ${at}`).toBeUndefined();
    }
    expect(decodeParcels(Buffer.concat([bytes, Buffer.from('x')]), sealer)).toBeUndefined();
  });
});

test('spill names say what an object holds, and keep replicas with similar names apart', () => {
  const key = spillKey('datadog', 'web-1-7', [3, 5, 9], 0);
  expect(key).toBe('spill/datadog/web-1-7/0000000000000003-0000000000000009-3');
  expect(parseSpillKey('datadog', 'web-1', key)).toEqual({ origin: 'web-1-7', epoch: 7, first: 3, last: 9, count: 3 });
  expect(parseSpillKey('datadog', 'web', key)).toBeUndefined();
  expect(parseSpillKey('datadog', 'web-1', `${key}.2`)).toMatchObject({ count: 3 });
  expect(parseSpillKey('datadog', 'web-1', 'spill/datadog/web-1-7/odd')).toBeUndefined();
});
