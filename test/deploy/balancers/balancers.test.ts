/**
 * HAProxy and Nginx as shipped in front of three real replicas, with what their files offer: large bodies in every form, TLS with and without
 * certificates of the clients, consistent hashing; and of HAProxy its rate limit and its page. Restarts under load: test/e2e/balancers.test.ts.
 */
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { seededRandom } from '../../../src/core/random.ts';
import { startHaproxy } from '../../support/servers/haproxy-server.ts';
import { type NginxOptions, startNginx } from '../../support/servers/nginx-server.ts';
import { findProgram, HOW_TO_INSTALL, keptPort } from '../../support/servers/server-process.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';
import { createTlsCertificate } from '../../support/tls-certificate.ts';
import { acknowledged, type Fleet, queried, REPLICAS, startFleet } from './fleet.ts';
import { send } from './sender.ts';

type Name = 'haproxy' | 'nginx';

const NAMES: readonly Name[] = ['haproxy', 'nginx'];
const missing = NAMES.filter((name) => !findProgram(name)).map((name) => `no ${name}`);
const title = missing.length > 0 ? `balancers (${missing.join(', ')}: ${HOW_TO_INSTALL})` : 'balancers';
const MIB = 1024 * 1024;
const SENDERS = 24;
/** A dead replica is out of HAProxy's rotation after 2 s, and Nginx tries it again every 2 s. */
const OUT_AFTER_MS = 3_000;

const log = (message: string): string => JSON.stringify([{ message, service: 'balancers' }]);

describe.skipIf(missing.length > 0)(title, () => {
  let fleet: Fleet;

  beforeAll(async () => {
    fleet = await startFleet();
  });
  afterAll(() => fleet.close());

  /** With what the file of each takes for the same thing. */
  async function start(
    name: Name,
    { haproxy = {}, nginx = {} }: { haproxy?: Record<string, string>; nginx?: NginxOptions } = {},
  ): Promise<string> {
    const started =
      name === 'haproxy' ? await startHaproxy(fleet.addresses, haproxy) : await startNginx(fleet.addresses, nginx);
    onTestFinished(() => started.close());
    return started.url;
  }

  test.each(NAMES)('%s: bodies of 5 MB pass, whole, in chunks, compressed, and after asking', async (name) => {
    const url = await start(name);
    const random = seededRandom(name.length).bytes;
    // Hexadecimal: twice the bytes, so that compressed they are still as many as in a large body.
    const messages = (kind: string, bytes: number): { body: Buffer; hash: string } => {
      const text = `${name} ${kind} ${Buffer.from(random(bytes / 2)).toString('hex')}`;
      return { body: Buffer.from(log(text)), hash: createHash('sha256').update(text).digest('hex') };
    };
    const whole = messages('whole', 5 * MIB);
    const chunked = messages('chunked', 5 * MIB);
    const asked = messages('asked', 5 * MIB);
    const compressed = messages('compressed', 10 * MIB);
    const both = messages('compressed in chunks', 10 * MIB);
    const gzip = { 'content-encoding': 'gzip' };
    const zipped = [compressed, both].map(({ body }) => gzipSync(body, { level: 1 }));
    for (const { byteLength } of zipped) expect(byteLength).toBeGreaterThan(5 * MIB);
    const answers = [
      await send(url, { body: whole.body }),
      await send(url, { body: chunked.body, chunked: true }),
      await send(url, { body: asked.body, asksFirst: true }),
      await send(url, { body: zipped[0]!, headers: gzip }),
      await send(url, { body: zipped[1]!, headers: gzip, chunked: true }),
    ];
    expect(answers.map(({ status }) => status)).toEqual([202, 202, 202, 202, 202]);
    await fleet.settled();
    const sql = `SELECT sha256(message) AS hash FROM logs WHERE starts_with(message, '${name} ')`;
    const kept = (await queried<{ hash: string }>(fleet, sql)).map(({ hash }) => hash);
    expect(kept.sort()).toEqual([whole, chunked, asked, compressed, both].map(({ hash }) => hash).sort());
  });

  test.each(NAMES)('%s: TLS, and only for clients with a certificate where that is asked for', async (name) => {
    const folder = await temporaryFolder();
    const own = createTlsCertificate(new Date());
    const client = createTlsCertificate(new Date());
    const stranger = createTlsCertificate(new Date());
    const file = async (of: string, text: string): Promise<string> => {
      await writeFile(join(folder, of), text, { mode: 0o600 });
      return join(folder, of);
    };
    const files = {
      both: await file('both.pem', own.cert + own.key),
      cert: await file('cert.pem', own.cert),
      key: await file('key.pem', own.key),
      clients: await file('clients.pem', client.cert),
    };
    const starts = async (isStrict: boolean): Promise<{ url: string; secure: string }> => {
      const port = await keptPort();
      const tls = { TLS_LISTEN: `127.0.0.1:${port}` };
      const clients = isStrict ? { TLS_CLIENT_CA: files.clients } : {};
      const url = await start(name, {
        haproxy: { ...tls, TLS_CERT: files.both, ...clients },
        nginx: {
          parts: ['tls', ...(isStrict ? ['client-certificates'] : [])],
          env: { ...tls, TLS_CERT: files.cert, TLS_KEY: files.key, ...clients },
        },
      });
      return { url, secure: `https://localhost:${port}` };
    };
    const body = log(`${name} over TLS`);
    const open = await starts(false);
    expect((await send(open.secure, { body, tls: { ca: own.cert } })).status).toBe(202);
    // Of nobody that this client trusts.
    await expect(send(open.secure, { body, tls: { ca: client.cert } })).rejects.toThrow(/certificate/);
    expect((await send(open.url, { body })).status).toBe(202);

    const strict = await starts(true);
    expect((await send(strict.secure, { body, tls: { ca: own.cert, ...client } })).status).toBe(202);
    for (const wrong of [{}, stranger]) {
      const sent = send(strict.secure, { body, tls: { ca: own.cert, ...wrong } });
      // HAProxy ends the handshake; Nginx answers, with what agents send again after.
      if (name === 'haproxy') await expect(sent).rejects.toThrow(/alert|ECONNRESET|EPIPE|hang up/);
      else expect(await sent).toMatchObject({ status: 503, headers: { 'retry-after': '30' } });
    }
    expect((await send(strict.url, { body })).status).toBe(202);
  });

  /** Which replica answers each of many senders; every one of them is always at the same. */
  async function placesOf(url: string): Promise<number[]> {
    const places: number[] = [];
    let before = await acknowledged(fleet);
    for (let n = 1; n <= SENDERS; n++) {
      for (let times = 1; times <= 2; times++) {
        expect((await send(url, { body: log('hashed'), from: `127.0.1.${n}` })).status).toBe(202);
      }
      const after = await acknowledged(fleet);
      const rises = after.map((count, index) => count - before[index]!);
      expect(rises.filter((rise) => rise > 0)).toEqual([2]);
      places.push(rises.indexOf(2));
      before = after;
    }
    return places;
  }

  test.each(NAMES)(
    '%s: with consistent hashing a sender has one replica, and only those of a dead one move',
    { timeout: 120_000 },
    async (name) => {
      const url = await start(name, {
        haproxy: { BALANCE: 'hash' },
        nginx: { balance: 'hash $remote_addr consistent' },
      });
      const before = await placesOf(url);
      expect([...new Set(before)].sort()).toEqual([0, 1, 2]);
      await fleet.replicas[1]!.kill('SIGKILL');
      try {
        await new Promise((resolve) => setTimeout(resolve, OUT_AFTER_MS));
        const without = await placesOf(url);
        for (const [sender, place] of without.entries()) {
          if (before[sender] === 1) expect(place).not.toBe(1);
          else expect(place).toBe(before[sender]);
        }
      } finally {
        await fleet.start(1);
      }
      const from = `127.0.1.${before.indexOf(1) + 1}`;
      const isBack = async (): Promise<boolean> => {
        await send(url, { body: log('back'), from });
        return (await acknowledged(fleet))[1]! > 0;
      };
      await expect.poll(isBack, { timeout: 30_000, interval: 250 }).toBe(true);
      expect(await placesOf(url)).toEqual(before);
      console.log(
        `${name}: senders of each replica ${REPLICAS.map((_, at) => before.filter((one) => one === at).length)}`,
      );
    },
  );

  test('haproxy: no rate limit unless it is asked for', async () => {
    const url = await start('haproxy', { haproxy: { RATE_LIMIT: '' } });
    for (let n = 0; n < 60; n++) expect((await send(url, { body: log('unlimited') })).status).toBe(202);
  });

  test('haproxy: above the rate of one sender 503 and Retry-After, for that sender only, and not for ever', async () => {
    const rate = 2;
    const counted = 10 * rate;
    const url = await start('haproxy', { haproxy: { RATE_LIMIT: String(rate) } });
    const statuses: number[] = [];
    const from = '127.0.2.1';
    for (let n = 0; n < 2 * counted; n++) {
      const { status, headers } = await send(url, { body: log('limited'), from });
      statuses.push(status);
      if (status === 202) continue;
      expect(status).toBe(503);
      expect(Number(headers['retry-after'])).toBeGreaterThanOrEqual(5);
    }
    expect(statuses.slice(0, counted)).toEqual(Array(counted).fill(202));
    expect(statuses).toContain(503);
    // A body that is refused is not what HAProxy waits for.
    const large = await send(url, { body: log('x'.repeat(5 * MIB)), from }).catch(({ code }) => code);
    expect([503, 'EPIPE', 'ECONNRESET']).toContain(large.status ?? large);
    // Others are not refused, and to ask for its health is not to send.
    expect((await send(url, { body: log('another'), from: '127.0.2.2' })).status).toBe(202);
    const health = await request(`${url}/health`);
    await health.body.dump();
    expect(health.statusCode).toBe(200);
    // What was refused did not count.
    await expect
      .poll(async () => (await send(url, { body: log('later'), from })).status, { timeout: 30_000, interval: 500 })
      .toBe(202);
  });

  test('haproxy: where no replica is left, 503 with Retry-After as well', async () => {
    const haproxy = await startHaproxy([]).catch((error: unknown) => String(error));
    // Without addresses the file is not even taken.
    expect(haproxy).toContain('ended with 1');
    const port = await keptPort();
    const nobody = await startHaproxy(REPLICAS.map(() => `127.0.0.1:${port}`));
    onTestFinished(() => nobody.close());
    await expect
      .poll(() => send(nobody.url, { body: log('nobody') }), { timeout: 20_000 })
      .toMatchObject({ status: 503, headers: { 'retry-after': '5' } });
  });

  test('haproxy: its page shows each replica, its metrics are those of Prometheus, and neither changes anything', async () => {
    const stats = `http://127.0.0.1:${await keptPort()}`;
    await start('haproxy', { haproxy: { STATS_LISTEN: new URL(stats).host } });
    const page = await (await request(`${stats}/`)).body.text();
    for (const server of REPLICAS) expect(page).toContain(`replicas/${server}`);
    expect(page).not.toContain('<form method="post"');
    const metrics = await (await request(`${stats}/metrics`)).body.text();
    for (const server of REPLICAS)
      expect(metrics).toContain(`haproxy_server_status{proxy="replicas",server="${server}"`);
  });
});
