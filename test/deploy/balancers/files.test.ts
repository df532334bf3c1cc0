/** The files of the balancers by the programs' own checks (`haproxy -c`, `nginx -t`): as they are, with each thing that they offer, and with what is wrong. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { writeNginx } from '../../support/servers/nginx-server.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';
import { createTlsCertificate } from '../../support/tls-certificate.ts';
import { DEPLOY, type Outcome, run } from '../support/tools.ts';

const REPLICAS = ['127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3'];

async function certificates(): Promise<Record<'both' | 'cert' | 'key', string>> {
  const folder = await temporaryFolder();
  const { cert, key } = createTlsCertificate(new Date());
  const files = { both: cert + key, cert, key };
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text, { mode: 0o600 });
  return { both: join(folder, 'both'), cert: join(folder, 'cert'), key: join(folder, 'key') };
}

describe('haproxy -c', () => {
  const check = (more: Record<string, string> = {}): Promise<Outcome> => {
    const replicas = Object.fromEntries(REPLICAS.map((replica, index) => [`REPLICA_${index + 1}`, replica]));
    const env = { LISTEN: '127.0.0.1:9', ...replicas, ...more };
    return run('haproxy', ['-c', '-f', join(DEPLOY, 'haproxy/haproxy.cfg')], { env });
  };

  test('as it is, and with everything empty that may be', async () => {
    expect(await check()).toMatchObject({ code: 0 });
    const names = ['TLS_LISTEN', 'TLS_CERT', 'TLS_CLIENT_CA', 'RATE_LIMIT', 'BALANCE', 'STATS_LISTEN', 'ADMIN_SOCKET'];
    expect(await check(Object.fromEntries(names.map((name) => [name, ''])))).toMatchObject({ code: 0 });
  });

  test('with everything that it offers, also without the plain port', async () => {
    const { both, cert } = await certificates();
    const tls = { TLS_LISTEN: '127.0.0.1:10', TLS_CERT: both };
    const more = { RATE_LIMIT: '50', BALANCE: 'hash', STATS_LISTEN: '127.0.0.1:11', ADMIN_SOCKET: '/tmp/admin.sock' };
    expect(await check(tls)).toMatchObject({ code: 0 });
    expect(await check({ ...tls, ...more, TLS_CLIENT_CA: cert })).toMatchObject({ code: 0 });
    expect(await check({ ...tls, LISTEN: '' })).toMatchObject({ code: 0 });
    expect(await check({ BALANCE: 'hash', HASH_KEY: 'req.hdr_ip(x-forwarded-for,-1)' })).toMatchObject({ code: 0 });
    expect(await check({ ADMIN_SOCKET: 'ipv4@127.0.0.1:9999' })).toMatchObject({ code: 0 });
  });

  test('what is wrong is not taken', async () => {
    const wrong = [
      { TLS_LISTEN: '127.0.0.1:10' },
      { TLS_LISTEN: '127.0.0.1:10', TLS_CERT: '/absent' },
      { RATE_LIMIT: 'many' },
      { BALANCE: 'hash', HASH_KEY: 'nonsense' },
      { REPLICA_2: '' },
    ];
    for (const env of wrong) expect((await check(env)).code, JSON.stringify(env)).toBe(1);
  });
});

describe('nginx -t', () => {
  const check = async (options: Parameters<typeof writeNginx>[3] = {}): Promise<Outcome> => {
    const config = await writeNginx(await temporaryFolder(), '127.0.0.1:9', REPLICAS, options);
    return run('nginx', ['-t', '-c', config, '-e', 'stderr']);
  };

  test('as it is, and with everything that it offers', async () => {
    const { cert, key } = await certificates();
    const env = { TLS_LISTEN: '127.0.0.1:10', TLS_CERT: cert, TLS_KEY: key, TLS_CLIENT_CA: cert };
    const all = [
      {},
      { balance: 'hash $remote_addr consistent' },
      { balance: 'hash $http_x_forwarded_for consistent' },
      { parts: ['tls'], env },
      { parts: ['tls', 'client-certificates'], env },
    ];
    for (const options of all) {
      const { code, output } = await check(options);
      expect(code, output).toBe(0);
      expect(output).not.toContain('[warn]');
    }
  });

  test('what is wrong is not taken', async () => {
    const wrong = [
      { balance: 'nonsense' },
      { parts: ['tls'] },
      { parts: ['tls'], env: { TLS_LISTEN: '127.0.0.1:10', TLS_CERT: '/absent', TLS_KEY: '/absent' } },
    ];
    for (const options of wrong) expect((await check(options)).code, JSON.stringify(options)).toBe(1);
  });
});
