/** health-check.sh and verify-deployment.sh on real replicas: well, degraded, down, refusing, miscounting, behind a balancer. */
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { startFakeVendor } from '../../support/fake-vendor.ts';
import { metricOf } from '../../support/proxy-process.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';
import { NOWHERE, script, startBalancer, startReplica, VERSION } from '../support/scripts.ts';

const FAST = { REDUCTRAI_ARCHIVE_FLUSH_AFTER: '300ms' };

/** Something that answers in a replica's place. */
async function answering(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Passes on to a replica, with its answers changed. */
function changed(
  url: string,
  change: (path: string, body: string) => { status?: number; body?: string } | undefined,
): Promise<string> {
  return answering(async (incoming, outgoing) => {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const { method = 'GET' } = incoming;
    const answer = await fetch(`${url}${incoming.url}`, {
      method,
      headers: { 'content-type': 'application/json' },
      ...(method === 'GET' ? {} : { body: Buffer.concat(chunks) }),
    });
    const body = await answer.text();
    const other = change(incoming.url ?? '', body);
    outgoing.writeHead(other?.status ?? answer.status, { 'content-type': 'application/json' }).end(other?.body ?? body);
  });
}

test('health of all, of some, of none; another version; as JSON; again and again', async () => {
  const [a, b] = [(await startReplica('a')).url, (await startReplica('b')).url];
  const all = await script('health-check', ['--replicas', `${a}, ${b}/`]);
  expect(all.code, all.output).toBe(0);
  expect(all.stdout).toMatch(new RegExp(`^${a} +ok +${VERSION} +\\d+  connected$`, 'm'));
  expect(all.stdout).toContain('2 of 2 healthy');
  const some = await script('health-check', ['--json', '--replicas', `${a},${NOWHERE}`]);
  expect(some.code, some.output).toBe(1);
  expect(
    some.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toMatchObject([
    { replica: a, healthy: true, health: 'ok', version: VERSION, storage: 'connected' },
    { replica: NOWHERE, healthy: false, health: 'unreachable', uptime: null },
  ]);
  expect((await script('health-check', ['--replicas', NOWHERE])).code).toBe(2);
  expect((await script('health-check', ['--replicas', a, '--version', '9.9.9'])).code).toBe(2);
  const watched = await script('health-check', ['--watch', '1', '--times', '2'], { env: { REPLICAS: a } });
  expect(watched.stdout.match(/1 of 1 healthy/g)).toHaveLength(2);
  const stranger = await answering((_, answer) => answer.end('{"status":"fine"}'));
  expect((await script('health-check', ['--replicas', stranger])).stdout).toMatch(/unreachable .*0 of 1 healthy/s);
  // What it says may become part of a command.
  const sly = await answering((_, answer) =>
    answer.end('{"status":"ok","uptime":1,"version":"$(reboot)","storage":"connected"}'),
  );
  expect((await script('health-check', ['--replicas', sly])).stdout).toMatch(/ ok +- +1 {2}connected\n/);
  const dry = await script('health-check', ['--replicas', NOWHERE, '--dry-run']);
  expect([dry.code, dry.stdout]).toEqual([0, `would ask ${NOWHERE}/health\n`]);
});

test('a marked log, metric and span go through, are counted, and come back from the store', async () => {
  const folder = await temporaryFolder();
  const { url, proxy } = await startReplica('a', { ...FAST, DATA_DIR: folder });
  const before = await metricOf(proxy, 'envelopes_accepted_total');
  const dry = await script('verify-deployment', ['--url', url, '--dry-run']);
  expect([dry.code, await metricOf(proxy, 'envelopes_accepted_total')], dry.output).toEqual([0, before]);
  for (const where of [
    ['--data-dir', folder],
    ['--store', join(folder, 'store')],
  ]) {
    const { code, stdout, output } = await script('verify-deployment', [
      '--url',
      url,
      ...where,
      '--stored-within',
      '60',
    ]);
    expect(code, output).toBe(0);
    expect(stdout).toContain('ok      they come back from the store\nall is well');
  }
  expect(await metricOf(proxy, 'envelopes_accepted_total')).toBe(before + 6);
  // In another store they are not.
  const elsewhere = await script('verify-deployment', [
    '--url',
    url,
    '--store',
    `${folder}/other`,
    '--stored-within',
    '0',
  ]);
  expect(elsewhere.code).toBe(1);
  expect(elsewhere.stdout).toMatch(/^FAILED {2}they come back from the store/m);
});

test('through a balancer the replicas have to be named, and one that is down is told', async () => {
  const replicas = await Promise.all(['a', 'b', 'c'].map((name) => startReplica(name)));
  const balancer = await startBalancer(replicas.map(({ port }) => port));
  const urls = replicas.map(({ url }) => url).join(',');
  const alone = await script('verify-deployment', ['--url', balancer.url]);
  expect([alone.code, alone.output]).toEqual([64, expect.stringContaining('name them with --replicas')]);
  const named = await script('verify-deployment', ['--url', balancer.url, '--replicas', urls]);
  expect(named.code, named.output).toBe(0);
  // Those that were not reached have counted nothing.
  const other = await startReplica('other');
  const wrong = await script('verify-deployment', ['--url', balancer.url, '--replicas', other.url]);
  expect([wrong.code, wrong.stdout]).toEqual([
    1,
    expect.stringContaining('FAILED  they were counted: these replicas have not counted: logs metrics spans'),
  ]);
  await replicas[1]!.proxy.kill();
  const down = await script('verify-deployment', ['--url', balancer.url, '--replicas', urls, '--within', '1']);
  expect(down.code).toBe(1);
  expect(down.stdout).toMatch(new RegExp(`^FAILED {2}health of ${replicas[1]!.url}: unreachable`, 'm'));
  expect(down.stdout).toMatch(/^ok {6}a log is accepted/m);

  for (const socket of Object.values(balancer.sockets)) {
    await expect
      .poll(
        async () =>
          (await script('health-check', ['--from-haproxy', socket, '--json'])).stdout
            .trim()
            .split('\n')
            .map((line) => JSON.parse(line)),
        { timeout: 20_000 },
      )
      .toMatchObject([
        { replica: 'r1', healthy: true, health: 'UP', check: 'L7OK' },
        { replica: 'r2', healthy: false, health: 'DOWN' },
        { replica: 'r3', healthy: true },
      ]);
    expect((await script('health-check', ['--from-haproxy', socket])).code).toBe(1);
  }
  expect(await script('health-check', ['--from-haproxy', `${balancer.sockets.path}x`])).toMatchObject({
    code: 1,
    output: expect.stringContaining('HAProxy does not answer'),
  });
});

test('keys that are not allowed, books that do not balance, new dead letters are failures', async () => {
  const folder = await temporaryFolder();
  const vendor = await startFakeVendor({ apiKeys: ['allowed-key'] });
  onTestFinished(() => vendor.close());
  const { url } = await startReplica('a', { ...FAST, DATA_DIR: folder, API_KEYS_ALLOWED: 'allowed-key' });
  const refused = await script('verify-deployment', ['--url', url]);
  expect(refused.code).toBe(1);
  expect(refused.stdout).toMatch(/^FAILED {2}a log is accepted: status 403/m);
  expect(refused.output).not.toContain('allowed-key');
  const withKey = await script('verify-deployment', ['--url', url], { env: { DD_API_KEY: 'allowed-key' } });
  expect(withKey.code, withKey.output).toBe(0);

  const { url: open } = await startReplica('b', FAST);
  const unbalanced = await changed(open, (path, body) =>
    path === '/status' ? { body: body.replace('"balance":0', '"balance":-3') } : undefined,
  );
  const books = await script('verify-deployment', ['--url', unbalanced, '--within', '1']);
  expect([books.code, books.stdout]).toEqual([
    1,
    expect.stringMatching(/^FAILED {2}books of .*: left over after 1 s: -3 0$/m),
  ]);
  expect((await script('verify-deployment', ['--url', unbalanced, '--within', '1', '--in-flight', '3'])).code).toBe(0);

  let asked = 0;
  const dying = await changed(open, (path, body) =>
    path === '/metrics'
      ? { body: `${body}reductrai_forward_dead_letters_total{upstream="x",reason="y"} ${asked++}\n` }
      : undefined,
  );
  const dead = await script('verify-deployment', ['--url', dying]);
  expect([dead.code, dead.stdout]).toEqual([1, expect.stringMatching(/^FAILED {2}no more dead letters: \d+ more$/m)]);
});
