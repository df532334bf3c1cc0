import { afterAll, beforeAll, describe, expect, it } from 'vitest';
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

  it('tells a wrong key from a missing container', async () => {
    const denied = await opened({ accountKey: Buffer.alloc(64).toString('base64') });
    await expect(denied.put('k', Buffer.from('x'))).rejects.toMatchObject({ code: 'STORE_DENIED' });
    const lost = await opened({ container: 'no-such-container' });
    await expect(lost.put('k', Buffer.from('x'))).rejects.toMatchObject({ code: 'STORE_INVALID' });
    await expect(lost.get('k')).rejects.toMatchObject({ code: 'STORE_INVALID' });
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
    [{ statusCode: 409, code: 'LeaseIdMissing' }, 'STORE_CONFLICT'],
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

  it('tells a clock that is off', () => {
    const message = 'AuthenticationFailed\nRequest date header too old: x';
    const error = Object.assign(new Error(message), { statusCode: 403, code: 'AuthenticationFailed' });
    expect(azureErrorOf(error, 'put', 'k')).toMatchObject({
      code: 'STORE_DENIED',
      message: expect.stringMatching(/clock/),
    });
  });
});
