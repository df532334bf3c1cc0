/**
 * chaos.sh on real replicas: killed, stopped, and cut off by iptables in a network of its own; containers and pods by stand-ins. load-test.sh through a
 * real HAProxy, with both generators: an even spread, an uneven one, errors.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { delimiter, dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { startHolder } from '../../support/holder-process.ts';
import { metricOf, startProxy } from '../../support/proxy-process.ts';
import { findProgram, freePort } from '../../support/servers/server-process.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';
import {
  NOWHERE,
  PATH,
  type Replica,
  SCRIPTS,
  script,
  standIns,
  startBalancer,
  startReplica,
} from '../support/scripts.ts';
import { installed, run, TOOLS_FOLDER } from '../support/tools.ts';

const target = ({ proxy }: Pick<Replica, 'proxy'>): string[] => ['--target', `pid:${proxy.pid}`];
/** `T`: stopped. */
const stateOf = (pid: number): string => / ([A-Z]) /.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))![1]!;

test('a replica is killed, or stopped, and the fleet is watched until it is well again', async () => {
  const [a, b] = [await startReplica('a'), await startReplica('b')];
  const always = ['--replicas', `${a.url},${b.url}`];
  const chaos = (...args: string[]) => script('chaos', [...args, ...always]);

  for (const args of [
    ['kill', ...target(a)],
    ['kill', '--target', 'a; reboot', '--confirm'],
    ['kill', '--confirm'],
    ['pause', '--target', 'pod:a/b', '--confirm'],
  ]) {
    expect((await chaos(...args)).code, args.join(' ')).toBe(64);
  }
  const both = ['kill', ...target(a), ...target(b), '--dry-run', '--seed'];
  const chosen = await Promise.all(
    [1, 1, 2, 3, 4, 5].map(async (seed) => /chooses (\S+)/.exec((await chaos(...both, String(seed))).stdout)![1]),
  );
  expect(chosen[0]).toBe(chosen[1]);
  expect(new Set(chosen).size).toBe(2);
  const stranger = spawn('sleep', ['60']);
  onTestFinished(() => void stranger.kill());
  const spared = await chaos('kill', '--target', `pid:${stranger.pid}`, '--confirm');
  expect([spared.code, spared.output]).toEqual([1, expect.stringContaining('does not look like a replica: sleep 60')]);
  expect((await chaos('kill', '--target', 'pid:999999999', '--confirm')).output).toContain('there is no process');

  const paused = await chaos('pause', ...target(a), '--for', '3', '--confirm');
  expect([paused.code, paused.stdout], paused.output).toEqual([
    0,
    expect.stringMatching(/pause of .*: noticed after \d+ s, 1 not healthy at once at most/),
  ]);
  expect(stateOf(a.proxy.pid)).not.toBe('T');
  // Interrupted, it is put right, too.
  const interrupted = spawn(
    'bash',
    [join(SCRIPTS, 'chaos.sh'), 'pause', ...target(a), ...always, '--for', '60', '--confirm'],
    { env: { PATH }, stdio: 'ignore' },
  );
  await expect.poll(() => stateOf(a.proxy.pid), { timeout: 20_000 }).toBe('T');
  interrupted.kill('SIGTERM');
  expect(await once(interrupted, 'exit')).toEqual([130, null]);
  expect(stateOf(a.proxy.pid)).not.toBe('T');

  // As whatever runs it would do.
  const again = a.proxy.exited.then(() => startReplica('a', { REDUCTRAI_PORT: String(a.port) }));
  const killed = await chaos('kill', ...target(a), '--confirm', '--within', '60');
  expect([killed.code, killed.stdout], killed.output).toEqual([
    0,
    expect.stringMatching(/kill of pid:\d+: noticed .*2 of 2 healthy/s),
  ]);
  const revived = await again;
  const gone = await chaos('kill', ...target(b), '--confirm', '--within', '1');
  expect([gone.code, gone.output]).toEqual([2, expect.stringContaining('1 replicas are not healthy after 1 s')]);
  const refused = await chaos('pause', ...target(revived), '--confirm');
  expect([refused.code, refused.output]).toEqual([1, expect.stringContaining('nothing was done')]);
}, 180_000);

test('a replica is cut off by iptables, and reached again', async () => {
  const holder = await startHolder('net', 'ip link set lo up && iptables -w 5 -S >/dev/null');
  if (!holder) {
    // The rules alone, as they would be set and taken away.
    const { env, calls } = await standIns({ iptables: '' });
    const { proxy, url, port } = await startReplica('a');
    await script(
      'chaos',
      ['partition', ...target({ proxy }), '--port', String(port), '--for', '1', '--replicas', url, '--confirm'],
      { env },
    );
    expect(await calls()).toEqual(
      ['-I', '-D'].map((does) => `iptables -w 5 ${does} INPUT -p tcp --dport ${port} -j DROP`),
    );
    console.log('no network namespaces here: iptables was a stand-in');
    return;
  }
  onTestFinished(() => holder.close());
  const port = await freePort();
  const proxy = await startProxy({
    dataFolder: await temporaryFolder(),
    env: { REDUCTRAI_PORT: String(port) },
    prefix: holder.prefix,
  });
  onTestFinished(() => proxy.kill());
  const [nsenter, ...into] = holder.prefix;
  const inside = (...command: string[]) =>
    run(findProgram(nsenter!)!, [...into, ...command], { env: { PATH, HTTP_SECONDS: '1' } });
  const args = [
    '--target',
    `pid:${proxy.pid}`,
    '--port',
    String(port),
    '--for',
    '4',
    '--replicas',
    `http://127.0.0.1:${port}`,
    '--confirm',
  ];
  const cut = await inside('bash', join(SCRIPTS, 'chaos.sh'), 'partition', ...args);
  expect([cut.code, cut.stdout], cut.output).toEqual([
    0,
    expect.stringMatching(/partition of .*: noticed after \d+ s/),
  ]);
  expect((await inside('iptables', '-S', 'INPUT')).stdout).toBe('-P INPUT ACCEPT\n');
}, 120_000);

test('containers and pods: what is done, and what undoes it', async () => {
  const { url } = await startReplica('a');
  const chaos = async (...args: string[]) => {
    const { env, calls } = await standIns({ docker: '[ $1 != inspect ] || echo 172.30.85.12', kubectl: '' });
    const outcome = await script('chaos', [...args, '--replicas', url, '--for', '1', '--confirm'], { env });
    return { ...outcome, calls: await calls() };
  };
  const container = ['--target', 'container:proxy-2', '--network', 'ha_default'];
  const struck = await Promise.all([
    chaos('kill', ...container),
    chaos('pause', ...container),
    chaos('partition', ...container),
    chaos('kill', '--target', 'pod:reductrai/proxy-0'),
  ]);
  for (const { code, output } of struck) expect(code, output).toBe(0);
  expect(struck.map(({ calls }) => calls)).toEqual([
    ['docker kill --signal KILL proxy-2'],
    ['docker pause proxy-2', 'docker unpause proxy-2'],
    [
      'docker inspect --format {{(index .NetworkSettings.Networks "ha_default").IPAddress}} proxy-2',
      'docker network disconnect ha_default proxy-2',
      'docker network connect --ip 172.30.85.12 ha_default proxy-2',
    ],
    ['kubectl --namespace reductrai delete pod proxy-0 --grace-period 0 --force'],
  ]);
  const dry = await chaos('pause', '--target', 'container:proxy-2', '--dry-run');
  expect([dry.code, dry.stdout]).toEqual([0, expect.stringContaining('would run: docker pause proxy-2')]);
  expect(dry.calls).toEqual([]);
}, 120_000);

/** Among the tools, or on the PATH. */
function folderOfHey(): string {
  const tool = join(TOOLS_FOLDER, 'bin', 'hey');
  return dirname(installed(existsSync(tool) ? tool : (findProgram('hey') ?? tool)));
}

test('load: figures and an even spread; an uneven one, errors and refusals are failures', async () => {
  const replicas = await Promise.all(['a', 'b', 'c'].map((name) => startReplica(name)));
  const { url, sockets } = await startBalancer(replicas.map(({ port }) => port));
  const urls = replicas.map((one) => one.url).join(',');
  const env = { PATH: [folderOfHey(), PATH].join(delimiter) };
  const load = (...args: string[]) =>
    script('load-test', ['--replicas', urls, '--seconds', '2', '--connections', '10', ...args], { env });
  const dry = await load('--url', url, '--dry-run');
  expect([dry.code, dry.stdout]).toEqual([
    0,
    expect.stringMatching(
      /^would run: hey -z 2s -c 10 -m POST -T application\/json -D \S+ http:\S+\/api\/v2\/series\n$/,
    ),
  ]);
  expect(await metricOf(replicas[0]!, 'envelopes_accepted_total')).toBe(0);

  for (const generator of ['hey', 'own']) {
    // Wider than its default: two seconds on a busy machine.
    const { code, output, stdout } = await load('--url', url, '--generator', generator, '--tolerance', '60');
    expect(code, output).toBe(0);
    const [, accepted] = /^(?:hey|own): (\d+) requests were accepted, [\d.]+ a second, 99 % within [\d.]+ m?s$/m.exec(
      stdout,
    )!;
    expect(Number(accepted)).toBeGreaterThan(30);
    expect(stdout.match(/ [1-5]\d\.\d %$/gm)).toHaveLength(3);
    console.log(
      stdout
        .split('\n')
        .filter((line) => /accepted|%$/.test(line))
        .join('\n'),
    );
  }

  expect((await script('drain', ['drain', '--socket', sockets.path, '--server', 'r2'])).code).toBe(0);
  const uneven = await load('--url', url, '--generator', 'hey', '--seconds', '1');
  expect([uneven.code, uneven.stdout]).toEqual([
    1,
    expect.stringMatching(new RegExp(`^${replicas[1]!.url} +0 +0\\.0 % {2}uneven$`, 'm')),
  ]);

  let count = 0;
  const faulty = createServer((incoming, outgoing) => {
    incoming.resume().on('end', () => outgoing.writeHead(count++ % 2 ? 500 : 202, { 'content-length': 0 }).end());
  });
  await new Promise<void>((resolve) => faulty.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => faulty.closeAllConnections());
  onTestFinished(() => void faulty.close());
  const at = `http://127.0.0.1:${(faulty.address() as AddressInfo).port}`;
  const failing = await load('--url', at, '--generator', 'own', '--tolerance', '100', '--seconds', '1');
  expect([failing.code, failing.stdout], failing.output).toEqual([1, expect.stringMatching(/errors:\n *500 +\d+$/m)]);
  const half = await load('--url', at, '--generator', 'hey', '--tolerance', '100', '--seconds', '1');
  expect([half.code, half.stdout], half.output).toEqual([1, expect.stringMatching(/errors:\n500 +\d+$/m)]);
  const nobody = await load('--url', NOWHERE, '--generator', 'hey', '--seconds', '1');
  expect([nobody.code, nobody.output]).toEqual([1, expect.stringMatching(/nothing was accepted\n.*refused/)]);
  await replicas[2]!.proxy.kill();
  const incomplete = await load('--url', url);
  expect([incomplete.code, incomplete.output]).toEqual([1, expect.stringContaining('nothing was sent')]);
}, 180_000);
