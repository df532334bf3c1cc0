/**
 * drain.sh and rolling-update.sh on three real replicas behind a real HAProxy with the shipped configuration. Under load all are updated to another
 * version, drained before they end at once: no sender sees an error, and every log is in the archive exactly once. What goes wrong stops it.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { request } from 'undici';
import { expect, onTestFinished, test } from 'vitest';
import { startFakeVendor } from '../../support/fake-vendor.ts';
import { expectFinished, FleetLoad, KEY, replicaEnv } from '../../support/fleet-load.ts';
import { metricOf, runCli } from '../../support/proxy-process.ts';
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

const NAMES = ['r1', 'r2', 'r3'];
const NEXT = '9.9.9';

/** Half a request; `finish` sends the rest and resolves to the answer's first line. */
async function slowRequest(url: string): Promise<{ finish(): Promise<string> }> {
  const { hostname, port } = new URL(url);
  const body = '[{"message":"slow"}]';
  const socket = connect(Number(port), hostname);
  onTestFinished(() => void socket.destroy());
  const head = `POST /api/v2/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n`;
  socket.write(head + body.slice(0, 5));
  return {
    finish: () => {
      let answer = '';
      return new Promise((resolve, reject) => {
        socket.on('data', (data) => {
          answer += String(data);
        });
        socket.on('error', reject).on('close', () => resolve(answer.split('\r\n')[0]!));
        socket.write(body.slice(5));
      });
    },
  };
}

test('drained by the socket: what is under way ends first, nothing new comes, the last one stays', async () => {
  const replicas = await Promise.all(NAMES.map((name) => startReplica(name)));
  const { url, sockets } = await startBalancer(replicas.map(({ port }) => port));
  const drain = (action: string, ...args: string[]) => script('drain', [action, '--socket', sockets.path, ...args]);
  const status = async (...args: string[]) => (await drain('status', ...args)).stdout;

  const slow = await slowRequest(url);
  await expect.poll(() => status(), { timeout: 20_000 }).toMatch(/^r\d +UP +1 /m);
  const busy = /^(r\d) +UP +1 /m.exec(await status())![1]!;
  const index = NAMES.indexOf(busy);
  const dry = await drain('drain', '--server', `replicas/${busy}`, '--dry-run');
  expect([dry.code, dry.stdout]).toEqual([0, expect.stringContaining(`set server replicas/${busy} state drain`)]);
  expect(await status('--server', busy)).toMatch(new RegExp(`^${busy} +UP`, 'm'));

  const late = await drain('drain', '--server', busy, '--deadline', '2');
  expect([late.code, late.output]).toEqual([1, expect.stringContaining('1 requests under way after 2 s')]);
  expect(await status()).toMatch(new RegExp(`^${busy} +DRAIN +1 `, 'm'));
  const [drained, answer] = await Promise.all([drain('drain', '--server', busy), slow.finish()]);
  expect(answer).toBe('HTTP/1.1 202 Accepted');
  expect([drained.code, drained.stdout]).toEqual([0, `replicas/${busy} is drained: nothing is under way\n`]);
  const before = await metricOf(replicas[index]!, 'envelopes_accepted_total');
  for (let n = 0; n < 12; n++) await sendLog(url, { n });
  expect(await metricOf(replicas[index]!, 'envelopes_accepted_total')).toBe(before);

  // By the other kind of socket; both at once.
  const [second, third] = NAMES.filter((name) => name !== busy);
  expect((await script('drain', ['drain', '--socket', sockets.address, '--server', second!])).code).toBe(0);
  const last = await drain('drain', '--server', third!);
  expect([last.code, last.output]).toEqual([1, expect.stringContaining('the last one that is up')]);
  await sendLog(url, { still: 'taken' });
  for (const name of [busy, second!, busy]) {
    const both = `${sockets.path},${sockets.address}`;
    const back = await script('drain', ['ready', '--socket', both, '--server', name]);
    expect([back.code, back.stdout], back.output).toEqual([0, `replicas/${name} is up\n`]);
  }
  expect(await status()).toMatch(/r1 +UP .*r2 +UP .*r3 +UP /s);

  for (const [args, says] of [
    [['drain', '--socket', sockets.path, '--server', 'r9'], 'no server replicas/r9'],
    [['status', '--socket', sockets.path, '--server', 'others/r1'], 'no backend others'],
    [['ready', '--socket', `${sockets.path}.gone`, '--server', 'r1'], 'HAProxy does not answer'],
    [['ready', '--socket', 'ipv4@127.0.0.1:9', '--server', 'r1'], 'HAProxy does not answer'],
  ] as const) {
    expect(await script('drain', args)).toMatchObject({ code: 1, output: expect.stringContaining(says) });
  }
  await replicas[0]!.proxy.kill();
  await expect.poll(() => status(), { timeout: 20_000 }).toMatch(/^r1 +DOWN/m);
  const dead = await drain('ready', '--server', 'r1', '--deadline', '4');
  expect([dead.code, dead.output]).toEqual([1, expect.stringMatching(/is not up .* but DOWN/)]);
}, 120_000);

/** What runs the replicas: asked over HTTP to bring one of them to a version. Not drained by itself: it ends at once. */
async function startOperator(replicas: Map<string, Replica>, env: (name: string) => Record<string, string>) {
  const asked: string[] = [];
  let [running, peak] = [0, 0];
  const server = createServer(async (incoming, outgoing) => {
    const [, name = '', version = ''] = (incoming.url ?? '').split('/');
    asked.push(`${name} ${version}`);
    running += 1;
    peak = Math.max(peak, running);
    const old = replicas.get(name)!;
    await old.proxy.kill('SIGTERM');
    replicas.set(name, await startReplica(name, { ...env(name), REDUCTRAI_PORT: String(old.port) }, version));
    running -= 1;
    outgoing.end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { asked, peak: () => peak, command: `curl -fsS --noproxy '*' ${url}/{replica}/{version}`, url };
}

test('a rolling update under load: one after the other, without an error, and it stops where one does not come back', async () => {
  const root = await temporaryFolder();
  const vendor = await startFakeVendor({ apiKeys: [KEY] });
  onTestFinished(() => vendor.close());
  const store = { STORAGE_URL: join(root, 'store') };
  const envOf = (name: string) => ({ ...replicaEnv(name, vendor, store), DATA_DIR: join(root, name) });
  const replicas = new Map(
    await Promise.all(NAMES.map(async (name) => [name, await startReplica(name, envOf(name))] as const)),
  );
  const { url, sockets } = await startBalancer([...replicas.values()].map(({ port }) => port));
  const operator = await startOperator(replicas, envOf);
  const lock = join(root, 'lock');
  const every = NAMES.flatMap((name) => ['--replica', `${name}=${replicas.get(name)!.url}`]);
  const always = [...every, '--socket', sockets.path, '--lock', lock, '--pause', '1'];
  const update = (...args: string[]) => script('rolling-update', [...always, '--update', operator.command, ...args]);
  const states = async () => (await script('drain', ['status', '--socket', sockets.path])).stdout.match(/^r\d +\w+/gm);
  const allUp = ['r1', 'r2', 'r3'].map((name) => expect.stringMatching(new RegExp(`^${name} +UP$`)));

  const dry = await update('--version', NEXT, '--dry-run');
  expect([dry.code, dry.stdout]).toEqual([0, expect.stringContaining(`/r3/${NEXT}`)]);
  const incomplete = await update('--replica', `gone=${NOWHERE}`);
  expect([incomplete.code, incomplete.output]).toEqual([
    1,
    expect.stringMatching(/gone is unreachable\n.*nothing was changed/),
  ]);
  const other = spawn('flock', ['--no-fork', lock, 'sh', '-c', 'echo held; exec sleep 60']);
  onTestFinished(() => void other.kill('SIGKILL'));
  await once(other.stdout, 'data');
  const second = await update('--version', NEXT);
  expect([second.code, second.output]).toEqual([1, expect.stringContaining('another rolling update is under way')]);
  other.kill('SIGKILL');
  await once(other, 'exit');
  expect([operator.asked, await states()]).toEqual([[], allUp]);

  const load = new FleetLoad({ clients: 3, name: 'updated' });
  load.urls.set('balancer', url);
  load.start();
  await expect.poll(() => load.acknowledged.size, { timeout: 30_000 }).toBeGreaterThan(20);
  const whole = await update('--version', NEXT);
  expect(whole.code, whole.output).toBe(0);
  expect(whole.stdout).toMatch(
    /r1 is back .*r2 is back .*r3 is back with version 9\.9\.9\nall 3 replicas are updated/s,
  );
  expect([operator.asked, operator.peak(), await states()]).toEqual([NAMES.map((name) => `${name} ${NEXT}`), 1, allUp]);
  // Once more: there is nothing to do.
  expect((await update('--version', NEXT)).stdout).toContain(`r3 has version ${NEXT} already`);
  expect(operator.asked).toHaveLength(3);

  // It comes back, but as what it was: back to that, and the others are left alone.
  const back = `${operator.command.replace('{version}', '{previous}')}`;
  const stuck = operator.command.replace('{version}', '{previous}');
  const wrong = await script('rolling-update', [
    ...always,
    '--update',
    stuck,
    '--version',
    VERSION,
    '--rollback',
    back,
    '--deadline',
    '4',
  ]);
  expect([wrong.code, wrong.output]).toEqual([
    1,
    expect.stringMatching(
      /r1 is not back after 4 s: ok, version 9\.9\.9.* wanted is version .*stopped at r1, which was rolled back to 9\.9\.9/s,
    ),
  ]);
  expect([operator.asked.slice(3), await states()]).toEqual([[`r1 ${NEXT}`, `r1 ${NEXT}`], allUp]);
  // A command that does nothing leaves a healthy process, but no new one.
  const idle = await script('rolling-update', [...always, '--update', 'true', '--rollback', 'true', '--deadline', '3']);
  expect([idle.code, idle.output]).toEqual([1, expect.stringMatching(/r1 is not back after 3 s: ok/)]);
  await load.stop();
  expect(load.troubles).toEqual([]);

  // Nothing could be rolled back: it stays out of the rotation.
  const failed = await script('rolling-update', [...always, '--update', 'exit 7', '--rollback', 'exit 8']);
  expect([failed.code, failed.output]).toEqual([
    2,
    expect.stringMatching(/command for r1 ended with 7\n.*ended with 8\n.*could not be rolled back/s),
  ]);
  expect(await states()).toEqual([expect.stringMatching(/^r1 +DRAIN$/), ...allUp.slice(1)]);
  // The next run that gets through gives it back.
  const resumed = await update('--version', NEXT);
  expect([resumed.code, await states()], resumed.output).toEqual([0, allUp]);

  await expectFinished({ ...store, DATA_DIR: join(root, 'reader') });
  for (const { proxy } of replicas.values()) await proxy.kill('SIGTERM');
  expect(await load.expectKept({ ...store, DATA_DIR: join(root, 'reader') }, vendor)).toBe(0);
  expect((await runCli(['verify'], { ...store, DATA_DIR: join(root, 'reader') })).code).toBe(0);
  console.log(
    `rolling update: ${load.acknowledged.size} logs, no error, each kept once; longest wait ${Math.round(load.longestWaitMs)} ms`,
  );
}, 240_000);

test('by Compose and by systemd: the commands, and the version as a variable', async () => {
  const replicas = new Map([['proxy-1', await startReplica('proxy-1')]]);
  const operator = await startOperator(replicas, () => ({}));
  const args = [
    '--replica',
    `proxy-1=${replicas.get('proxy-1')!.url}`,
    '--lock',
    join(await temporaryFolder(), 'lock'),
  ];
  const ask = (version: string) => `curl -fsS --noproxy '*' ${operator.url}/proxy-1/${version}`;
  const { env, calls } = await standIns({ docker: ask('$REDUCTRAI_VERSION'), ssh: ask(NEXT) }, '$REDUCTRAI_VERSION');
  const composed = await script('rolling-update', [...args, '--compose', 'a b.yml', '--version', NEXT], { env });
  expect(composed.code, composed.output).toBe(0);
  expect(await calls()).toEqual([`${NEXT} docker compose -f a b.yml up -d --no-deps --wait proxy-1`]);
  const restarted = await script('rolling-update', [...args, '--systemd'], { env });
  expect(restarted.code, restarted.output).toBe(0);
  expect((await calls())[1]).toBe(' ssh proxy-1 systemctl restart reductrai-proxy');
  expect((await request(`${replicas.get('proxy-1')!.url}/health`)).statusCode).toBe(200);
});
