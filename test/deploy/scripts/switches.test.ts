/**
 * blue-green.sh with the shipped configuration in a real HAProxy, and region-failover.sh with a balancer's map as its switch: real replicas of two
 * versions, under load. A colour or a region that is not healthy gets nothing, and what does not arrive is put back, or told.
 */
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { metricOf } from '../../support/proxy-process.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';
import {
  NOWHERE,
  type Replica,
  script,
  sendLog,
  standIns,
  startBalancer,
  startReplica,
  VERSION,
} from '../support/scripts.ts';
import { DEPLOY } from '../support/tools.ts';

const NEXT = '9.9.9';

/** Logs through the balancer, one after the other, until the test ends. */
function sendAlways(url: string): { troubles: string[]; stop(): Promise<void> } {
  const troubles: string[] = [];
  let isOver = false;
  const sending = (async () => {
    for (let n = 0; !isOver; n++) {
      await sendLog(url, { n }).catch((error) => troubles.push(String(error.cause ?? error)));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  const stop = async (): Promise<void> => {
    isOver = true;
    await sending;
  };
  onTestFinished(stop);
  return { troubles, stop };
}

/** One replica for each colour, as all three of its servers. */
async function startColours() {
  const folder = await temporaryFolder();
  await cp(join(DEPLOY, 'compose/blue-green'), folder, { recursive: true });
  const [blue, green] = await Promise.all([startReplica('blue'), startReplica('green', {}, NEXT)]);
  const servers = Object.entries({ BLUE: blue, GREEN: green }).flatMap(([colour, { port }]) =>
    [1, 2, 3].map((n) => [`${colour}_${n}`, `127.0.0.1:${port}`]),
  );
  const map = join(folder, 'active.map');
  const balancer = await startBalancer([], {
    config: join(folder, 'haproxy.cfg'),
    env: { ...Object.fromEntries(servers), MAP: map },
    // As the official image starts it: a master process that reloads.
    args: ['-W', '-db'],
  });
  return { blue, green, map, balancer };
}

const counted = (replica: Replica) => metricOf(replica, 'envelopes_accepted_total');

test('blue, green under load, back; not to a colour that is down, of another version, or that gets nothing', async () => {
  const { blue, green, map, balancer } = await startColours();
  const reload = `kill -HUP ${balancer.pid}`;
  const always = ['--map', map, '--url', balancer.url, '--blue', blue.url, '--within', '5'];
  const to = (colour: string, ...args: string[]) =>
    script('blue-green', ['--to', colour, ...always, '--green', green.url, '--reload', reload, ...args]);
  const active = async () => (await readFile(map, 'utf8')).trim();

  expect(await script('blue-green', ['--back', ...always, '--reload', reload])).toMatchObject({
    code: 1,
    output: expect.stringContaining('no switch yet'),
  });
  const dry = await to('green', '--dry-run');
  expect([dry.code, dry.stdout, await active()]).toEqual([
    0,
    expect.stringContaining(`would run: ${reload}`),
    'active blue',
  ]);
  for (const [args, says] of [
    [['--version', VERSION], '0 of 1 healthy'],
    [['--green', `${green.url},${NOWHERE}`], '1 of 2 healthy'],
  ] as const) {
    const refused = await to('green', ...args);
    expect([refused.code, refused.output]).toEqual([1, expect.stringContaining(says)]);
    expect(refused.output).toContain('green is not healthy: blue keeps the traffic');
  }
  expect(await active()).toBe('active blue');

  const load = sendAlways(balancer.url);
  const switched = await to('green', '--version', NEXT);
  expect([switched.code, await active()], switched.output).toEqual([0, 'active green']);
  const again = await to('green');
  expect([again.code, again.stdout]).toEqual([0, expect.stringContaining('green has the traffic already')]);
  const before = [await counted(blue), await counted(green)];
  await expect.poll(() => counted(green), { timeout: 10_000 }).toBeGreaterThan(before[1]! + 5);
  expect(await counted(blue)).toBe(before[0]);
  for (const said of ['blue has the traffic\n', 'blue has the traffic already\nblue has the traffic\n']) {
    const back = await script('blue-green', ['--back', ...always, '--green', green.url, '--reload', reload]);
    expect([back.code, back.stdout.slice(-said.length), await active()], back.output).toEqual([0, said, 'active blue']);
  }
  // Healthy, but not what stands behind the name: it is put back.
  const stranger = await startReplica('stranger');
  const lost = await to('green', '--green', stranger.url);
  expect([lost.code, lost.output]).toEqual([
    1,
    expect.stringMatching(/have not counted: logs metrics spans.*blue has the traffic again/s),
  ]);
  const unloaded = await to('green', '--reload', 'exit 3');
  expect([unloaded.code, await active()], unloaded.output).toEqual([2, 'active blue']);
  await load.stop();
  expect(load.troubles).toEqual([]);
}, 180_000);

test('without options it is what compose.blue-green.yml says', async () => {
  const { env, calls } = await standIns({ docker: '' });
  const { output } = await script('blue-green', ['--to', 'green'], { env: { ...env, HTTP_SECONDS: '1' } });
  expect(output).toMatch(/172\.30\.85\.31:8080 +unreachable/);
  const compose = await readFile(join(DEPLOY, 'compose/compose.blue-green.yml'), 'utf8');
  for (const [address] of output.matchAll(/172[\d.]+:8080/g)) expect(compose).toContain(address);
  expect(await calls()).toEqual([]);
}, 60_000);

test('to another region, and back; not to one that is down, and what does not arrive is told', async () => {
  const { blue: north, green: south, map, balancer } = await startColours();
  // The balancer stands for DNS: its map says where all go.
  const command = `case {region} in north) c=blue ;; south) c=green ;; *) exit 4 ;; esac; echo "active $c" >${map}; kill -HUP ${balancer.pid}`;
  const failover = (region: string, replicas: string, ...args: string[]) =>
    script('region-failover', [
      '--to',
      region,
      '--replicas',
      replicas,
      '--switch',
      command,
      '--url',
      balancer.url,
      '--within',
      '5',
      ...args,
    ]);
  const active = async () => (await readFile(map, 'utf8')).trim();
  await writeFile(map, 'active blue\n');

  const dry = await failover('south', south.url, '--dry-run');
  expect([dry.code, await active()], dry.output).toEqual([0, 'active blue']);
  const refused = await failover('south', `${south.url},${NOWHERE}`);
  expect([refused.code, refused.output, await active()]).toEqual([
    1,
    expect.stringContaining('nothing was changed'),
    'active blue',
  ]);
  await north.proxy.kill();
  const done = await failover('south', `${south.url},${NOWHERE}`, '--force');
  expect([done.code, await active()], done.output).toEqual([0, 'active green']);
  expect(done.stdout).toContain(`what is sent to ${balancer.url} arrives in south`);
  expect((await failover('south', south.url)).code).toBe(0);

  const back = await startReplica('north', { REDUCTRAI_PORT: String(north.port) });
  expect((await failover('north', back.url)).code).toBe(0);
  expect(await active()).toBe('active blue');
  const elsewhere = await failover('south', back.url);
  expect([elsewhere.code, elsewhere.output]).toEqual([
    2,
    expect.stringContaining('does not arrive in south after 5 s'),
  ]);
  const failed = await failover('east', back.url);
  expect([failed.code, failed.output]).toEqual([1, expect.stringContaining('the command ended with 4')]);
}, 180_000);
