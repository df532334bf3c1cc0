/**
 * Manifests in use today keep working: the environment, ports, health checks and volumes of a standard deployment of three replicas, given to
 * the real process as those manifests give it. What is local to a container there (port 8080, /app/data) is a free port and a folder here.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type FakeVendor, startFakeVendor } from '../support/fake-vendor.ts';
import { KEY } from '../support/fleet-load.ts';
import { type ProxyProcess, runCli, startProxy } from '../support/proxy-process.ts';
import { findS3Server, type S3Server, startS3Server } from '../support/servers/s3-server.ts';
import { freePort } from '../support/servers/server-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { run } from './support/tools.ts';

const REPLICAS = ['reductrai-proxy-1', 'reductrai-proxy-2', 'reductrai-proxy-3'];
const LOG = { message: 'still here', service: 'checkout', ddsource: 'test' };

const running: ProxyProcess[] = [];
let vendor: FakeVendor | undefined;

afterEach(async () => {
  await Promise.all(running.splice(0).map((proxy) => proxy.kill()));
  await vendor?.close();
  vendor = undefined;
});

/** What such manifests set whatever the platform; the vendor is the stand-in. */
async function commonEnv(): Promise<Record<string, string>> {
  vendor = await startFakeVendor({ apiKeys: [KEY] });
  return {
    REDUCTRAI_LICENSE_KEY: 'a-licence-key',
    DATADOG_API_KEY: KEY,
    DATADOG_ENDPOINT: vendor.url,
    PROXY_MODE: 'all',
    REDUCTRAI_HOST: '0.0.0.0',
    REDUCTRAI_COMPRESSION_LEVEL: 'heavy',
    STORAGE_HOT_ENABLED: 'true',
    STORAGE_HOT_RETENTION_DAYS: '7',
    STORAGE_WARM_ENABLED: 'true',
    STORAGE_WARM_RETENTION_DAYS: '30',
    STORAGE_COLD_ENABLED: 'true',
    STORAGE_COLD_RETENTION_DAYS: '365',
    STORAGE_COLD_TYPE: 'local',
    AUTO_CLEANUP_ENABLED: 'true',
    CLEANUP_SCHEDULE: '0 2 * * *',
    NODE_ENV: 'production',
    LOG_LEVEL: 'info',
  };
}

async function startReplica(name: string, dataFolder: string, env: Record<string, string>): Promise<string> {
  const port = await freePort();
  // By its host name in a container, which is the same here for all of them.
  const proxy = await startProxy({ dataFolder, env: { ...env, REDUCTRAI_PORT: String(port), REPLICA_ID: name } });
  running.push(proxy);
  return `http://localhost:${port}`;
}

/** As a load balancer and an agent would. */
async function expectServing(url: string): Promise<void> {
  const health = await fetch(`${url}/health`);
  expect(health.status).toBe(200);
  expect(await health.json()).toMatchObject({ status: 'ok', storage: 'connected', datadog: 'connected' });
  const metrics = await (await fetch(`${url}/metrics`)).text();
  for (const name of ['requests_total', 'requests_errors_total', 'compression_ratio', 'storage_bytes_total']) {
    expect(metrics).toContain(`# TYPE reductrai_${name} `);
  }
  for (const line of ['reductrai_health_status 1', 'reductrai_storage_connected 1']) expect(metrics).toContain(line);
  const answer = await fetch(`${url}/api/v2/logs`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'dd-api-key': KEY },
    body: JSON.stringify([LOG]),
  });
  expect(answer.status).toBe(202);
}

/** All replicas stop as the platform stops them; each of their logs must be in the store and at the vendor. */
async function expectKeptAndForwarded(env: Record<string, string>): Promise<void> {
  for (const proxy of running) proxy.child.kill('SIGTERM');
  for (const proxy of running)
    expect(await proxy.exited, proxy.lines.slice(-10).join('\n')).toEqual({ code: 0, signal: null });
  expect(vendor!.requests.filter(({ path }) => path.startsWith('/api/v2/logs'))).toHaveLength(running.length);
  const { stdout, stderr } = await runCli(['export', '--signal', 'logs'], env);
  expect(
    stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
    stderr,
  ).toEqual(running.map(() => LOG));
}

describe('a bucket for the cold tier only', () => {
  let server: S3Server;
  beforeAll(async () => {
    if (!findS3Server()) throw new Error('no S3 server is installed: run test/servers/install.sh');
    server = await startS3Server();
    return () => server.close();
  });

  const bucketEnv = async (): Promise<Record<string, string>> => ({
    ...(await commonEnv()),
    STORAGE_COLD_TYPE: 's3',
    S3_BUCKET: await server.bucket(),
    S3_ENDPOINT: server.endpoint,
    S3_ACCESS_KEY: server.accessKeyId,
    S3_SECRET_KEY: server.secretAccessKey,
  });

  test('Compose: STORAGE_COLD_TYPE=s3 and no region, a volume of its own for each of three', async () => {
    const env = await bucketEnv();
    const folders = await Promise.all(REPLICAS.map(() => temporaryFolder()));
    const urls = await Promise.all(REPLICAS.map((name, index) => startReplica(name, folders[index]!, env)));
    await Promise.all(urls.map(expectServing));
    await expectKeptAndForwarded({ ...env, DATA_DIR: folders[0]! });
  });

  test('AWS_REGION, another one for each region', async () => {
    for (const region of ['us-east-1', 'eu-west-1']) {
      // The test server checks signatures, and knows one region; the setting is what counts.
      const env = { ...(await bucketEnv()), AWS_REGION: region };
      const { code, stdout } = await runCli(['check-config'], { ...env, DATA_DIR: await temporaryFolder() });
      expect(code).toBe(0);
      expect(stdout).toMatch(new RegExp(`s3\\.region\\s.*${region}.*AWS_REGION`));
    }
    const env = { ...(await bucketEnv()), AWS_REGION: 'us-east-1' };
    const folder = await temporaryFolder();
    await expectServing(await startReplica(REPLICAS[0]!, folder, env));
    await expectKeptAndForwarded({ ...env, DATA_DIR: folder });
  });
});

test('Swarm: the health check that runs curl in the container', async () => {
  const env = await commonEnv();
  const folder = await temporaryFolder();
  const url = await startReplica(REPLICAS[0]!, folder, env);
  await expectServing(url);
  expect(await run('bash', ['-c', `curl -f ${url}/health`])).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('"ok"'),
  });
  await expectKeptAndForwarded({ ...env, DATA_DIR: folder });
  expect((await run('bash', ['-c', `curl -f ${url}/health`])).code).not.toBe(0);
});

test('Kubernetes: /health for both probes is 200 with the vendor away, and 503 as soon as it drains', async () => {
  const env = { ...(await commonEnv()), REDUCTRAI_DRAIN_NOTICE: '2s' };
  await vendor!.close();
  const url = await startReplica(REPLICAS[0]!, await temporaryFolder(), env);
  const probe = async (): Promise<number> => (await fetch(`${url}/health`)).status;
  for (const kind of ['liveness', 'readiness']) expect(await probe(), kind).toBe(200);
  running[0]!.child.kill('SIGTERM');
  const deadline = performance.now() + 10_000;
  while ((await probe()) !== 503) expect(performance.now()).toBeLessThan(deadline);
  vendor = undefined;
});

test('NFS: one volume, mounted at /app/data in all three replicas', async () => {
  const env = await commonEnv();
  const shared = await temporaryFolder();
  const urls = await Promise.all(REPLICAS.map((name) => startReplica(name, shared, env)));
  await Promise.all(urls.map(expectServing));
  expect((await readdir(join(shared, 'journal'))).sort()).toEqual(REPLICAS);
  await expectKeptAndForwarded({ ...env, DATA_DIR: shared });
});
