/**
 * HAProxy as shipped over three real replicas under load. Each is drained by the runtime socket, replaced, and brought back; no client notices, and
 * what was acknowledged is archived once and at the vendor. Then one is killed: it is out within the time that the file gives its checks.
 */
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { startFakeVendor } from '../../support/fake-vendor.ts';
import { FleetLoad, KEY } from '../../support/fleet-load.ts';
import { startHaproxy } from '../../support/servers/haproxy-server.ts';
import { findProgram, HOW_TO_INSTALL } from '../../support/servers/server-process.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';
import { acknowledged, REPLICAS, startFleet } from './fleet.ts';
import { setState, stateOf } from './haproxy-admin.ts';

/** Two checks, one a second; and the machine may be busy. */
const OUT_WITHIN_MS = 2_000 + 4_000;
/** One check. */
const BACK_WITHIN_MS = 1_000 + 4_000;
const MORE = 60;

const missing = findProgram('haproxy') ? '' : ` (no haproxy: ${HOW_TO_INSTALL})`;

test.skipIf(missing !== '')(
  `drained by the socket, replaced, brought back: nothing is lost and nobody notices${missing}`,
  { timeout: 180_000, retry: 0 },
  async () => {
    const vendor = await startFakeVendor({ apiKeys: [KEY] });
    onTestFinished(() => vendor.close());
    const fleet = await startFleet({ FORWARD_TO: vendor.url, DATADOG_API_KEY: KEY });
    onTestFinished(() => fleet.close());
    const socket = join(await temporaryFolder(), 'admin.sock');
    const haproxy = await startHaproxy(fleet.addresses, { ADMIN_SOCKET: socket });
    onTestFinished(() => haproxy.close());
    const load = new FleetLoad({ clients: 6, name: 'drain' });
    load.urls.set('balancer', haproxy.url);
    const moreThan = (count: number) =>
      expect.poll(() => load.acknowledged.size, { timeout: 60_000 }).toBeGreaterThan(count);
    load.start();
    try {
      await moreThan(MORE);
      for (const [index, server] of REPLICAS.entries()) {
        expect((await stateOf(socket, server)).status).toBe('UP');
        await setState(socket, server, 'drain');
        await expect.poll(async () => (await stateOf(socket, server)).running, { timeout: 20_000 }).toBe(0);
        const atRest = (await acknowledged(fleet))[index];
        await moreThan(load.acknowledged.size + MORE);
        // Nobody was sent there.
        expect((await acknowledged(fleet))[index]).toBe(atRest);
        expect(atRest).toBeGreaterThan(0);
        await fleet.stop(index);
        await fleet.start(index);
        await expect.poll(async () => (await stateOf(socket, server)).status, { timeout: 20_000 }).toBe('DRAIN');
        await setState(socket, server, 'ready');
        await expect
          .poll(async () => (await acknowledged(fleet))[index], { timeout: 20_000 })
          .toBeGreaterThan(MORE / 10);
      }
    } finally {
      await load.stop();
    }
    expect(load.troubles).toEqual([]);
    for (const index of REPLICAS.keys()) await fleet.stop(index);
    expect(await load.expectKept(fleet.env, vendor)).toBe(0);
    console.log(`${load.acknowledged.size} envelopes, longest wait ${Math.round(load.longestWaitMs)} ms`);
  },
);

test.skipIf(missing !== '')(`a replica that is killed is out within 2 s, and back within 1 s${missing}`, async () => {
  const fleet = await startFleet();
  onTestFinished(() => fleet.close());
  const socket = join(await temporaryFolder(), 'admin.sock');
  const haproxy = await startHaproxy(fleet.addresses, { ADMIN_SOCKET: socket });
  onTestFinished(() => haproxy.close());
  const server = REPLICAS[1]!;
  const become = (status: string, timeout: number) =>
    expect.poll(async () => (await stateOf(socket, server)).status, { timeout, interval: 50 }).toBe(status);
  await become('UP', 20_000);
  await fleet.replicas[1]!.kill('SIGKILL');
  let since = performance.now();
  await become('DOWN', OUT_WITHIN_MS);
  const outAfterMs = performance.now() - since;
  await fleet.start(1);
  since = performance.now();
  await become('UP', BACK_WITHIN_MS);
  console.log(`out after ${Math.round(outAfterMs)} ms, back after ${Math.round(performance.now() - since)} ms`);
});
