/**
 * The folder that the image has, away from the project's node_modules: what is not in it is not there. Its commands reach real servers of each
 * store, and find credentials by themselves as in the clouds: a role by web identity (AWS), the metadata server (Google), a managed identity
 * (Azure), each played by a server here.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { build, pack } from '../../scripts/build.ts';
import { nativePackages } from '../../scripts/native-modules.ts';
import { PROJECT } from '../support/proxy-process.ts';
import { findAzureServer, startAzureServer } from '../support/servers/azurite.ts';
import { findGcsServer, startGcsServer } from '../support/servers/gcs-server.ts';
import { findS3Server, startS3Server } from '../support/servers/s3-server.ts';
import { HOW_TO_INSTALL } from '../support/servers/server-process.ts';
import { createTlsCertificate } from '../support/tls-certificate.ts';

const NODE = join(PROJECT, 'node_modules', 'node', 'bin', 'node');
/** A bundle of all that `npm ci --omit=dev` brings would be thrice as large. */
const SIZE_MAX_BYTES = 100 * 1024 * 1024;

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'reductrai-bundle-'));
  await pack(folder, await build(folder));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function checkOnline(env: Record<string, string>): Promise<{ code: number; output: string }> {
  const child = spawn(NODE, ['main.js', 'check-config', '--online'], {
    cwd: folder,
    env: { PATH: process.env.PATH ?? '', HOME: folder, DATA_DIR: join(folder, 'data'), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (text) => {
      output += String(text);
    });
  }
  const [code] = await once(child, 'close');
  return { code, output };
}

async function listen(server: ReturnType<typeof createHttpServer>): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as { port: number }).port;
}

const titled = (name: string, server: unknown): string => (server ? name : `${name} (no server: ${HOW_TO_INSTALL})`);

describe('what ships', () => {
  test('is small, and holds nothing that its natives were compiled with', async () => {
    let bytes = 0;
    const files = await readdir(folder, { recursive: true, withFileTypes: true });
    for (const file of files) {
      if (file.isFile()) bytes += (await readFile(join(file.parentPath, file.name))).byteLength;
    }
    expect(bytes).toBeLessThan(SIZE_MAX_BYTES);
    const names = files.map(({ name }) => name).filter((name) => /\.(a|o|gyp|gypi|c|cc|cpp|h)$/.test(name));
    expect(names).toEqual([]);
    expect(existsSync(join(folder, 'node_modules', '@types'))).toBe(false);
  });

  test('a package that the bundle imports and nobody has looked at is an error', () => {
    const read = (): object => ({});
    expect(() => nativePackages(['left-pad/lib.js'], read)).toThrow('does not know the package left-pad');
    expect(nativePackages(['zstd-napi/binding.js'], read)).toEqual(['zstd-napi']);
  });

  test('the licences of all its parts go along', async () => {
    const text = await readFile(join(folder, 'licenses.txt'), 'utf8');
    const { components } = JSON.parse(await readFile(join(folder, 'sbom.cdx.json'), 'utf8'));
    expect(components.length).toBeGreaterThan(100);
    for (const { name, version } of components) expect(text).toContain(`\n${name} ${version} (`);
  });
});

describe('with keys', () => {
  test.skipIf(!findS3Server())(titled('S3', findS3Server()), async () => {
    const server = await startS3Server();
    onTestFinished(() => server.close());
    const { code, output } = await checkOnline({
      STORAGE_URL: `s3://${await server.bucket()}/kept?endpoint=${server.endpoint}`,
      S3_ACCESS_KEY: server.accessKeyId,
      S3_SECRET_KEY: server.secretAccessKey,
    });
    expect(code, output).toBe(0);
    expect(output).toContain('ok      create an object');
  });

  test.skipIf(!findGcsServer())(titled('Google Cloud Storage', findGcsServer()), async () => {
    const server = await startGcsServer();
    onTestFinished(() => server.close());
    const { output } = await checkOnline({
      STORAGE_URL: `gs://${await server.bucket()}/kept`,
      GCS_ENDPOINT: server.endpoint,
    });
    expect(output).toContain('ok      create an object');
    expect(output).toContain('ok      read it back');
  });

  test.skipIf(!findAzureServer())(titled('Azure', findAzureServer()), async () => {
    const server = await startAzureServer();
    onTestFinished(() => server.close());
    const { code, output } = await checkOnline({
      STORAGE_URL: `azblob://${server.account}/${await server.container()}/kept`,
      AZURE_ENDPOINT: server.endpoint,
      AZURE_STORAGE_KEY: server.accountKey,
    });
    expect(code, output).toBe(0);
  });
});

describe('with credentials that it finds by itself', () => {
  /** Notes who asks, and refuses: that it came with the right token is the point. */
  async function startRefusing(): Promise<{ url: string; tokens: string[]; env: Record<string, string> }> {
    const tokens: string[] = [];
    const { key, cert } = createTlsCertificate(new Date());
    const server = createHttpsServer({ key, cert }, (request, response) => {
      tokens.push(String(request.headers.authorization));
      response.writeHead(403, { 'content-type': 'application/json' }).end('{}');
    });
    const ca = join(folder, 'ca.pem');
    await writeFile(ca, cert);
    return { url: `https://localhost:${await listen(server)}`, tokens, env: { NODE_EXTRA_CA_CERTS: ca } };
  }

  async function startTokens(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
    return `127.0.0.1:${await listen(createHttpServer(answer))}`;
  }

  test.skipIf(!findS3Server())(titled('AWS: a role by web identity', findS3Server()), async () => {
    const server = await startS3Server();
    onTestFinished(() => server.close());
    let asked = 0;
    const sts = await startTokens((_, response) => {
      asked += 1;
      response.setHeader('content-type', 'text/xml').end(`<AssumeRoleWithWebIdentityResponse
 xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>${server.accessKeyId}</AccessKeyId><SecretAccessKey>${server.secretAccessKey}</SecretAccessKey>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`);
    });
    const token = join(folder, 'token');
    await writeFile(token, 'signed-by-the-cluster');
    const { code, output } = await checkOnline({
      STORAGE_URL: `s3://${await server.bucket()}/kept?endpoint=${server.endpoint}`,
      AWS_WEB_IDENTITY_TOKEN_FILE: token,
      AWS_ROLE_ARN: 'arn:aws:iam::123456789012:role/reductrai',
      AWS_ENDPOINT_URL_STS: `http://${sts}`,
      AWS_REGION: 'us-east-1',
    });
    expect(code, output).toBe(0);
    expect(asked).toBeGreaterThan(0);
  });

  test('Google: the metadata server', async () => {
    const refusing = await startRefusing();
    const metadata = await startTokens((request, response) => {
      response.setHeader('metadata-flavor', 'Google');
      if (request.url?.includes('/token')) {
        response.setHeader('content-type', 'application/json');
        response.end('{"access_token":"of-google","expires_in":3600,"token_type":"Bearer"}');
      } else response.end('made-up');
    });
    const { code, output } = await checkOnline({
      ...refusing.env,
      STORAGE_URL: 'gs://bucket/kept',
      GCS_ENDPOINT: refusing.url,
      GCE_METADATA_HOST: metadata,
      METADATA_SERVER_DETECTION: 'assume-present',
    });
    expect(code, output).not.toBe(0);
    expect(new Set(refusing.tokens), output).toEqual(new Set(['Bearer of-google']));
  });

  test('Azure: a managed identity', async () => {
    const refusing = await startRefusing();
    const identity = await startTokens((_, response) => {
      response.setHeader('content-type', 'application/json');
      response.end(
        '{"access_token":"of-azure","expires_on":"4070908800","resource":"https://storage.azure.com","token_type":"Bearer"}',
      );
    });
    const { code, output } = await checkOnline({
      ...refusing.env,
      STORAGE_URL: 'azblob://account/container/kept',
      AZURE_ENDPOINT: refusing.url,
      IDENTITY_ENDPOINT: `http://${identity}/msi/token`,
      IDENTITY_HEADER: 'made-up',
    });
    expect(code, output).not.toBe(0);
    expect(new Set(refusing.tokens), output).toEqual(new Set(['Bearer of-azure']));
  });
});
