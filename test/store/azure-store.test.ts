import { writeFile } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { seededRandom, systemRandom } from '../../src/core/random.ts';
import { azureErrorOf } from '../../src/store/azure-errors.ts';
import { type AzureStoreSettings, openAzureStore } from '../../src/store/azure-store.ts';
import type { ByteSource, ObjectStore } from '../../src/store/object-store.ts';
import { withRetry } from '../../src/store/with-retry.ts';
import { storeSuite } from '../contract/store-suite.ts';
import { startRecordingServer } from '../support/recording-server.ts';
import { type AzureServer, findAzureServer, startAzureServer } from '../support/servers/azurite.ts';
import { HOW_TO_INSTALL } from '../support/servers/server-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { createTlsCertificate } from '../support/tls-certificate.ts';

const MIB = 1024 * 1024;
const clock = systemClock;
/** As in the product: Azurite now and then resets a connection that was kept alive. */
const patient = (store: ObjectStore): ObjectStore =>
  withRetry(store, { clock, random: systemRandom, attemptsMax: 5, firstDelayMs: 5, delayMaxMs: 50 });
const isThere = findAzureServer() !== undefined;

describe.skipIf(!isThere)(`Azure on Azurite${isThere ? '' : ` (not installed: ${HOW_TO_INSTALL})`}`, () => {
  let server: AzureServer;
  beforeAll(async () => {
    server = await startAzureServer();
  });
  afterAll(() => server?.close());

  const settingsOf = async (more: Partial<AzureStoreSettings> = {}): Promise<AzureStoreSettings> => ({
    account: server.account,
    container: await server.container(),
    endpoint: server.endpoint,
    accountKey: server.accountKey,
    ...more,
  });
  const opened = async (more?: Partial<AzureStoreSettings>): Promise<ObjectStore> =>
    patient(await openAzureStore(await settingsOf(more), { clock }));

  storeSuite(
    'Azure on Azurite',
    async () => {
      const settings = await settingsOf();
      const open = async () => patient(await openAzureStore(settings, { clock }));
      return { store: await open(), other: await open() };
    },
    { listedObjects: 1100, isUtf16Order: true },
  );

  it('puts large bodies in blocks, under conditions, and gives back ranges of them', async () => {
    const store = await opened({ partBytes: MIB });
    const bytes = seededRandom(1).bytes(5 * MIB + 7);
    const source: ByteSource = { sizeBytes: bytes.byteLength, read: async (at, n) => bytes.subarray(at, at + n) };
    const put = await store.put('big', source, { condition: { kind: 'absent' }, writer: 'w1' });
    expect(await store.head('big')).toMatchObject({ sizeBytes: bytes.byteLength, version: put.version, writer: 'w1' });
    expect(Buffer.compare((await store.get('big')).bytes, bytes)).toBe(0);
    const part = await store.get('big', { offset: MIB - 3, length: 10 });
    expect(Buffer.compare(part.bytes, bytes.subarray(MIB - 3, MIB + 7))).toBe(0);
    await expect(store.put('big', source, { condition: { kind: 'absent' } })).rejects.toMatchObject({
      code: 'STORE_EXISTS',
    });
    await store.put('big', bytes, { condition: { kind: 'unchanged', version: put.version } });
    expect(Buffer.compare((await store.get('big')).bytes, bytes)).toBe(0);
  });

  it('has one winner among creators of a large object, whole', async () => {
    const store = await opened({ partBytes: MIB });
    const outcomes = await Promise.allSettled(
      Array.from({ length: 4 }, (_, n) =>
        store.put('big', Buffer.alloc(3 * MIB, n), { condition: { kind: 'absent' }, writer: `w${n}` }),
      ),
    );
    const codes = outcomes.map((outcome) => (outcome.status === 'fulfilled' ? 'ok' : outcome.reason.code));
    expect(codes.filter((code) => code === 'ok')).toHaveLength(1);
    const { bytes } = await store.get('big');
    expect(bytes.every((byte) => byte === codes.indexOf('ok'))).toBe(true);
  });

  it('leaves nothing visible of an upload that fails', async () => {
    const store = await opened({ partBytes: MIB });
    const source: ByteSource = {
      sizeBytes: 6 * MIB,
      read: async (offset, length) => {
        if (offset >= 3 * MIB) throw new Error('the disk failed');
        return new Uint8Array(length);
      },
    };
    await expect(store.put('big', source)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(await store.head('big')).toBeUndefined();
    for await (const { key } of store.list('')) expect.unreachable(key);
  });

  it('takes a connection string and a shared access signature', async () => {
    const settings = await settingsOf();
    const connectionString = `DefaultEndpointsProtocol=http;AccountName=${server.account};AccountKey=${server.accountKey};BlobEndpoint=${server.endpoint};`;
    const byString = await openAzureStore(
      { account: server.account, container: settings.container, connectionString },
      { clock },
    );
    await byString.put('k', Buffer.from('x'));
    const { ContainerSASPermissions } = await import('@azure/storage-blob');
    const signed = await server.service.getContainerClient(settings.container).generateSasUrl({
      permissions: ContainerSASPermissions.parse('rl'),
      expiresOn: new Date(Date.now() + 3_600_000),
    });
    const { accountKey: _, ...rest } = settings;
    const bySas = await openAzureStore({ ...rest, sasToken: new URL(signed).search }, { clock });
    expect((await bySas.get('k')).bytes.byteLength).toBe(1);
    await expect(bySas.put('k', Buffer.from('y'))).rejects.toMatchObject({ code: 'STORE_DENIED' });
  });

  it('writes large objects over each other, whole, also when one commit drops the blocks of the others', async () => {
    const bare = await openAzureStore(await settingsOf({ partBytes: 64 * 1024 }), { clock });
    const outcomes = await Promise.allSettled(
      Array.from({ length: 8 }, (_, n) => bare.put('big', Buffer.alloc(512 * 1024, n), { writer: `w${n}` })),
    );
    const codes = outcomes.map((outcome) => (outcome.status === 'fulfilled' ? 'ok' : outcome.reason.code));
    expect(codes).toContain('ok');
    expect(codes.filter((code) => code !== 'ok' && code !== 'STORE_CONFLICT')).toEqual([]);
    const { bytes } = await bare.get('big');
    expect(codes[bytes[0]!]).toBe('ok');
    expect(bytes.every((byte) => byte === bytes[0])).toBe(true);
  });

  it('does not take a lease for a condition', async () => {
    const settings = await settingsOf();
    const store = await openAzureStore(settings, { clock });
    await store.put('k', Buffer.from('x'));
    const lease = server.service.getContainerClient(settings.container).getBlobClient('k').getBlobLeaseClient();
    await lease.acquireLease(15);
    await expect(store.put('k', Buffer.from('y'))).rejects.toMatchObject({ code: 'STORE_CONFLICT' });
    await expect(store.delete('k')).rejects.toMatchObject({ code: 'STORE_CONFLICT' });
    await lease.releaseLease();
    await store.delete('k');
  });

  it('tells a wrong key from a missing container', async () => {
    const denied = await opened({ accountKey: Buffer.alloc(64).toString('base64') });
    await expect(denied.put('k', Buffer.from('x'))).rejects.toMatchObject({ code: 'STORE_DENIED' });
    const lost = await opened({ container: 'no-such-container' });
    await expect(lost.put('k', Buffer.from('x'))).rejects.toMatchObject({ code: 'STORE_INVALID' });
    await expect(lost.get('k')).rejects.toMatchObject({ code: 'STORE_INVALID' });
    await expect(lost.head('k')).rejects.toMatchObject({ code: 'STORE_INVALID' });
    await expect(lost.delete('k')).rejects.toMatchObject({ code: 'STORE_INVALID' });
  });

  it('says of an archived blob to rehydrate it first', async () => {
    const settings = await settingsOf();
    const store = await openAzureStore(settings, { clock });
    await store.put('k', Buffer.from('x'));
    const blob = server.service.getContainerClient(settings.container).getBlobClient('k');
    await blob.setAccessTier('Archive');
    await expect(store.get('k')).rejects.toMatchObject({
      code: 'STORE_INVALID',
      message: expect.stringMatching(/rehydrate it first/),
    });
  });
});

describe('what Azure is asked', () => {
  it('how an object rests: tier, scope, checksum, writer, condition', async () => {
    const server = await startRecordingServer(() => ({ status: 201, headers: { etag: '"0x1"' } }));
    const store = await openAzureStore(
      {
        account: 'acct',
        container: 'c',
        endpoint: server.url,
        accountKey: Buffer.alloc(64).toString('base64'),
        accessTier: 'Cool',
        encryptionScope: 'scope-1',
      },
      { clock },
    );
    const put = await store.put('k', Buffer.from('hello'), { condition: { kind: 'absent' }, writer: 'w' });
    expect(put.version).toBe('0x1');
    expect(server.requests[0]!.headers).toMatchObject({
      'if-none-match': '*',
      'x-ms-access-tier': 'Cool',
      'x-ms-encryption-scope': 'scope-1',
      'content-md5': 'XUFAKrxLKna5cZ2REBfFkg==',
      'x-ms-meta-reductrai_crc32': '3610a686',
      'x-ms-meta-reductrai_writer': 'w',
    });
    await store.put('k', Buffer.from('hello'), { condition: { kind: 'unchanged', version: '0x1' } });
    expect(server.requests[1]!.headers['if-match']).toBe('"0x1"');
    await store.put('k', Buffer.from('hello'), { storageClass: 'Cold' });
    expect(server.requests[2]!.headers['x-ms-access-tier']).toBe('Cold');
    await server.close();
  });

  it('once: the SDK itself does not repeat', async () => {
    const server = await startRecordingServer(() => ({ status: 503, headers: { 'x-ms-error-code': 'ServerBusy' } }));
    const accountKey = Buffer.alloc(64).toString('base64');
    const store = await openAzureStore({ account: 'a', container: 'c', endpoint: server.url, accountKey }, { clock });
    await expect(store.put('k', Buffer.from('x'))).rejects.toMatchObject({ code: 'STORE_THROTTLED' });
    expect(server.requests).toHaveLength(1);
    await server.close();
  });

  it('nobody there: unavailable', async () => {
    const accountKey = Buffer.alloc(64).toString('base64');
    const settings = { account: 'a', container: 'c', endpoint: 'http://127.0.0.1:9', accountKey };
    const store = await openAzureStore(settings, { clock });
    await expect(store.get('k')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  });

  it.each([
    [{ statusCode: 412, code: 'ConditionNotMet' }, 'STORE_EXISTS'],
    [{ statusCode: 409, code: 'BlobAlreadyExists' }, 'STORE_EXISTS'],
    [{ statusCode: 412, code: 'LeaseIdMissing' }, 'STORE_CONFLICT'],
    [{ statusCode: 400, code: 'InvalidBlockList' }, 'STORE_CONFLICT'],
    [{ statusCode: 409, code: 'SnapshotsPresent' }, 'STORE_INVALID'],
    [{ statusCode: 409, code: 'BlobImmutableDueToPolicy' }, 'STORE_DENIED'],
    [{ statusCode: 409, code: 'BlobArchived' }, 'STORE_INVALID'],
    [{ statusCode: 403, code: 'AuthorizationPermissionMismatch' }, 'STORE_DENIED'],
    [{ statusCode: 503, code: 'ServerBusy' }, 'STORE_THROTTLED'],
    [{ statusCode: 500, code: 'InternalError' }, 'STORE_UNAVAILABLE'],
    [{ code: 'ECONNRESET' }, 'STORE_UNAVAILABLE'],
    [{ statusCode: 400, code: 'Md5Mismatch' }, 'STORE_UNAVAILABLE'],
    [{ statusCode: 400, code: 'InvalidHeaderValue' }, 'STORE_INVALID'],
  ])('%j is %s', (failure, code) => {
    expect(azureErrorOf(Object.assign(new Error('said'), failure), 'put', 'k').code).toBe(code);
  });

  /** As the service puts it: every such answer bears a time. */
  const refused = (reason: string) =>
    '<?xml version="1.0" encoding="utf-8"?><Error><Code>AuthenticationFailed</Code><Message>Server failed to authenticate ' +
    'the request. Make sure the value of Authorization header is formed correctly including the signature.\n' +
    'RequestId:r-1\nTime:2026-01-01T00:00:00.0000000Z</Message>' +
    `<AuthenticationErrorDetail>${reason}</AuthenticationErrorDetail></Error>`;

  it.each([
    ['a wrong key', 'The MAC signature is not the same as any computed signature.', 0, /^(?!.*(clock|expired))/],
    ['a clock that is off', "Request date header too old: 'Thu, 01 Jan 2026 00:00:00 GMT'", 0, /clock .* is off/],
    ['a clock that is ahead', 'other', 3_600_000, /clock .* 60 minutes ahead/],
    ['a clock that is behind', 'other', -3_600_000, /clock .* 60 minutes behind/],
    ['an expired signature', 'Signature not valid in the specified time frame: Start [x]', 0, /expired/],
  ])('tells %s', async (_name, reason, aheadMs, said) => {
    const headers = { 'x-ms-error-code': 'AuthenticationFailed', 'x-ms-request-id': 'r-1' };
    const body = refused(reason);
    const server = await startRecordingServer(() => ({
      status: 403,
      headers: { ...headers, 'content-type': 'application/xml' },
      body,
    }));
    const ahead = { ...clock, nowMs: () => clock.nowMs() + aheadMs };
    const accountKey = Buffer.alloc(64).toString('base64');
    const store = await openAzureStore(
      { account: 'a', container: 'c', endpoint: server.url, accountKey },
      { clock: ahead },
    );
    const failure = await store.put('k', Buffer.from('x')).catch((error: Error) => error);
    expect(failure).toMatchObject({ code: 'STORE_DENIED', message: expect.stringMatching(said) });
    expect(failure).toMatchObject({ message: expect.stringMatching(/AuthenticationFailed \(403\).*\[request r-1\]$/) });
    // The answer to a HEAD has no reason, but a date.
    if (aheadMs !== 0) {
      await expect(store.head('k')).rejects.toMatchObject({ message: expect.stringMatching(said) });
    }
    await server.close();
  });

  it('blocks with the scope of the blob, and with ids of their own in each upload', async () => {
    const server = await startRecordingServer(() => ({ status: 201, headers: { etag: '"0x1"' } }));
    const accountKey = Buffer.alloc(64).toString('base64');
    const settings = { account: 'a', container: 'c', endpoint: server.url, accountKey, partBytes: 10 };
    const instant = { ...clock, nowMs: () => 1, monotonicMs: () => 1 };
    const store = await openAzureStore({ ...settings, encryptionScope: 'scope-1' }, { clock: instant });
    await Promise.all([store.put('k', Buffer.alloc(25, 1)), store.put('k', Buffer.alloc(25, 2))]);
    const blocks = server.requests.filter((request) => request.query.get('comp') === 'block');
    expect(new Set(blocks.map((request) => request.query.get('blockid'))).size).toBe(6);
    expect(server.requests).toHaveLength(8);
    for (const { headers } of server.requests) expect(headers['x-ms-encryption-scope']).toBe('scope-1');
    for (const { headers } of blocks) expect(headers['content-md5']).toBeDefined();
    await server.close();
  });

  it('resumes a listing on the server only within its prefix', async () => {
    const body =
      '<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs /><NextMarker /></EnumerationResults>';
    const headers = { 'content-type': 'application/xml' };
    const server = await startRecordingServer(() => ({ status: 200, headers, body }));
    const accountKey = Buffer.alloc(64).toString('base64');
    const store = await openAzureStore({ account: 'a', container: 'c', endpoint: server.url, accountKey }, { clock });
    for (const startAfter of ['seg/1', 'a', 'zzz']) {
      for await (const { key } of store.list('seg/', { startAfter })) expect.unreachable(key);
    }
    expect(server.requests.map((request) => request.query.get('startFrom'))).toEqual(['seg/1', null, null]);
    await server.close();
  });
});

describe('a server that does not answer', () => {
  const given = async (answer: (outgoing: ServerResponse) => void, requestTimeoutMs = 200) => {
    const server = createServer((incoming, outgoing) => {
      incoming.resume();
      answer(outgoing);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const accountKey = Buffer.alloc(64).toString('base64');
    const settings = { account: 'a', container: 'c', endpoint, accountKey, partBytes: 10, requestTimeoutMs };
    const store = await openAzureStore(settings, { clock });
    const close = () => {
      server.closeAllConnections();
      server.close();
    };
    return { store, close };
  };
  const listed = async (store: ObjectStore): Promise<void> => {
    for await (const { key } of store.list('')) expect.unreachable(key);
  };

  it('is given up, whatever is asked', async () => {
    const { store, close } = await given(() => {});
    const late = { code: 'STORE_UNAVAILABLE', message: expect.stringMatching(/no answer within 20\d ms/) };
    await Promise.all([
      expect(store.put('k', Buffer.from('x'))).rejects.toMatchObject(late),
      expect(store.put('k', Buffer.alloc(50))).rejects.toMatchObject(late),
      expect(store.get('k')).rejects.toMatchObject(late),
      expect(store.head('k')).rejects.toMatchObject(late),
      expect(store.delete('k')).rejects.toMatchObject(late),
      expect(listed(store)).rejects.toMatchObject(late),
    ]);
    close();
  });

  it('is given up in the middle of a body, too, and a body that is cut is none', async () => {
    const head = { 'content-length': '100', etag: '"1"' };
    const stalled = await given((outgoing) => outgoing.writeHead(200, head).write('x'.repeat(10)));
    await expect(stalled.store.get('k')).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: expect.stringMatching(/nothing for 200 ms after 10 of 100 bytes/),
    });
    stalled.close();
    const cut = await given((outgoing) => {
      outgoing.writeHead(200, head).write('x'.repeat(10), () => outgoing.destroy());
    });
    await expect(cut.store.get('k')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    cut.close();
  });

  it('may take its time between pieces', async () => {
    const { store, close } = await given(async (outgoing) => {
      outgoing.writeHead(200, { 'content-length': '5', etag: '"1"' });
      for (let piece = 0; piece < 5; piece++) {
        outgoing.write('x');
        await clock.sleep(600);
      }
      outgoing.end();
    }, 2_500);
    expect((await store.get('k')).bytes.byteLength).toBe(5);
    close();
  });
});

describe('the identity of the machine or workload', () => {
  const { key, cert } = createTlsCertificate(new Date(clock.nowMs()));
  const trusted = getCACertificates('default');
  let server: Server;
  let host: string;
  const requests: { url: string; headers: IncomingHttpHeaders; body: string }[] = [];
  const token = { access_token: 'token-1', token_type: 'Bearer', expires_in: 3600, expires_on: 4102444800 };

  beforeAll(async () => {
    setDefaultCACertificates([...trusted, cert]);
    server = createTlsServer({ key, cert }, async (incoming, outgoing) => {
      let body = '';
      for await (const chunk of incoming) body += String(chunk);
      const url = incoming.url ?? '';
      requests.push({ url, headers: incoming.headers, body });
      const json = (value: unknown) =>
        outgoing.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
      if (url.includes('openid-configuration')) {
        const authority = `${host}/adfs`;
        return json({
          issuer: authority,
          authorization_endpoint: `${authority}/authorize`,
          token_endpoint: `${authority}/token`,
          jwks_uri: `${authority}/keys`,
        });
      }
      if (url.includes('/token')) return json(token);
      outgoing.writeHead(201, { etag: '"0x1"' }).end();
    });
    await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve));
    host = `https://localhost:${(server.address() as AddressInfo).port}`;
  });
  beforeEach(() => {
    requests.length = 0;
    // What the machine at hand is must not matter.
    for (const name of Object.keys(process.env)) {
      if (/^(AZURE|IDENTITY|MSI)_/.test(name)) vi.stubEnv(name, undefined);
    }
  });
  afterEach(() => vi.unstubAllEnvs());
  afterAll(() => {
    setDefaultCACertificates(trusted);
    server.closeAllConnections();
    server.close();
  });

  const putOne = async (): Promise<void> => {
    const store = await openAzureStore({ account: 'a', container: 'c', endpoint: host }, { clock });
    await store.put('k', Buffer.from('x'));
    const written = requests.find(({ url }) => url.startsWith('/c/k'));
    expect(written?.headers.authorization).toBe('Bearer token-1');
  };

  it('federated: the token in the file is exchanged for one of the storage', async () => {
    const file = join(await temporaryFolder(), 'token');
    await writeFile(file, 'assertion-1');
    // The one tenant for which the SDK asks no public cloud whether it knows the authority.
    for (const [name, value] of Object.entries({
      AZURE_TENANT_ID: 'adfs',
      AZURE_CLIENT_ID: 'client-1',
      AZURE_FEDERATED_TOKEN_FILE: file,
      AZURE_AUTHORITY_HOST: host,
    })) {
      vi.stubEnv(name, value);
    }
    await putOne();
    const asked = new URLSearchParams(requests.find(({ url }) => url.includes('/token'))!.body);
    expect(Object.fromEntries(asked)).toMatchObject({
      grant_type: 'client_credentials',
      client_id: 'client-1',
      client_assertion: 'assertion-1',
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      scope: expect.stringContaining('https://storage.azure.com/.default'),
    });
  });

  it('managed: the machine is asked for a token of the storage', async () => {
    vi.stubEnv('IDENTITY_ENDPOINT', `${host}/msi/token`);
    vi.stubEnv('IDENTITY_HEADER', 'header-1');
    await putOne();
    const { url, headers } = requests.find((request) => request.url.startsWith('/msi/token'))!;
    expect(new URL(url, host).searchParams.get('resource')).toMatch(/^https:\/\/storage\.azure\.com\/?$/);
    expect(headers['x-identity-header']).toBe('header-1');
  });
});
