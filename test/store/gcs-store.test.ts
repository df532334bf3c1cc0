import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { seededRandom } from '../../src/core/random.ts';
import { gcsErrorOf } from '../../src/store/gcs-errors.ts';
import { type GcsStoreSettings, openGcsStore } from '../../src/store/gcs-store.ts';
import type { ByteSource, ObjectStore } from '../../src/store/object-store.ts';
import { storeSuite } from '../contract/store-suite.ts';
import { startRecordingServer } from '../support/recording-server.ts';
import { findGcsServer, type GcsServer, startGcsServer } from '../support/servers/gcs-server.ts';
import { HOW_TO_INSTALL } from '../support/servers/server-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { createTlsCertificate } from '../support/tls-certificate.ts';

const MIB = 1024 * 1024;
const clock = systemClock;
const isThere = findGcsServer() !== undefined;

describe.skipIf(!isThere)(`GCS on fake-gcs-server${isThere ? '' : ` (not installed: ${HOW_TO_INSTALL})`}`, () => {
  let server: GcsServer;
  beforeAll(async () => {
    server = await startGcsServer();
  });
  afterAll(() => server?.close());

  const opened = async (more: Partial<GcsStoreSettings> = {}): Promise<ObjectStore> =>
    openGcsStore({ bucket: await server.bucket(), endpoint: server.endpoint, ...more }, { clock });

  storeSuite(
    'GCS on fake-gcs-server',
    async () => {
      const settings = { bucket: await server.bucket(), endpoint: server.endpoint };
      return { store: await openGcsStore(settings, { clock }), other: await openGcsStore(settings, { clock }) };
    },
    { listedObjects: 1100 },
  );

  it('puts large bodies in chunks, under conditions, and gives back ranges of them', async () => {
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
  });

  it('tells a missing bucket from a missing object', async () => {
    const store = await opened({ bucket: 'no-such-bucket' });
    await expect(store.put('k', Buffer.from('x'))).rejects.toMatchObject({ code: 'STORE_INVALID' });
  });

  it('keeps who wrote', async () => {
    const store = await opened();
    await store.put('k', Buffer.from('x'), { writer: 'me-1' });
    expect((await store.head('k'))?.writer).toBe('me-1');
  });
});

describe('what GCS is asked', () => {
  it('how an object rests: class, key, checksum, writer, condition', async () => {
    const answer = { name: 'k', size: '5', generation: '7', updated: '2026-01-01T00:00:00Z' };
    const server = await startRecordingServer(() => ({
      status: 200,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(answer),
    }));
    const store = await openGcsStore(
      { bucket: 'b', endpoint: server.url, storageClass: 'COLDLINE', kmsKeyName: 'projects/p/key' },
      { clock },
    );
    const put = await store.put('k', Buffer.from('hello'), { condition: { kind: 'absent' }, writer: 'w' });
    expect(put).toMatchObject({ version: '7', sizeBytes: 5 });
    const [request] = server.requests;
    expect(request!.query.get('ifGenerationMatch')).toBe('0');
    expect(request!.query.get('kmsKeyName')).toBe('projects/p/key');
    const text = request!.body.toString();
    expect(text).toContain('"storageClass":"COLDLINE"');
    expect(text).toContain('"md5Hash":"XUFAKrxLKna5cZ2REBfFkg=="');
    expect(text).toContain('"reductrai-writer":"w"');
    expect(text).toContain('"reductrai-crc32":"3610a686"');
    await store.put('k', Buffer.from('hello'), { condition: { kind: 'unchanged', version: '7' } });
    expect(server.requests[1]!.query.get('ifGenerationMatch')).toBe('7');
    await store.put('k', Buffer.from('hello'), { storageClass: 'ARCHIVE' });
    expect(server.requests[2]!.body.toString()).toContain('"storageClass":"ARCHIVE"');
    await server.close();
  });

  it('once: the library itself does not repeat', async () => {
    const server = await startRecordingServer(() => ({ status: 503, body: 'backendError' }));
    const store = await openGcsStore({ bucket: 'b', endpoint: server.url }, { clock });
    await expect(store.put('k', Buffer.from('x'))).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    await expect(store.get('k')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(server.requests).toHaveLength(2);
    await server.close();
  });

  it('nobody there: unavailable', async () => {
    const store = await openGcsStore({ bucket: 'b', endpoint: 'http://127.0.0.1:9' }, { clock });
    await expect(store.get('k')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  });

  it.each([
    [{ code: 412 }, 'STORE_EXISTS'],
    [{ code: 409 }, 'STORE_CONFLICT'],
    [{ code: 403, errors: [{ reason: 'forbidden' }] }, 'STORE_DENIED'],
    [{ code: 401 }, 'STORE_DENIED'],
    [{ code: 429, errors: [{ reason: 'rateLimitExceeded' }] }, 'STORE_THROTTLED'],
    [{ code: 500 }, 'STORE_UNAVAILABLE'],
    [{ code: 'ECONNRESET' }, 'STORE_UNAVAILABLE'],
    [{ code: 400 }, 'STORE_INVALID'],
    [{ code: 404 }, 'STORE_ABSENT'],
    [{ code: 404, message: 'No such object: my-bucket/k' }, 'STORE_ABSENT'],
    [{ code: 404, message: 'The specified bucket does not exist.' }, 'STORE_INVALID'],
  ])('%j is %s', (failure, code) => {
    expect(gcsErrorOf(Object.assign(new Error('said'), failure), 'get', 'k').code).toBe(code);
  });

  it('tells a clock that is off', () => {
    const error = Object.assign(new Error('invalid_grant: Token must be a short-lived token; check your iat'), {
      code: 400,
    });
    expect(gcsErrorOf(error, 'put', 'k')).toMatchObject({
      code: 'STORE_DENIED',
      message: expect.stringMatching(/clock/),
    });
  });
});

describe('the identity of a workload', () => {
  const tls = createTlsCertificate(new Date(clock.nowMs()));
  const trusted = getCACertificates('default');
  beforeAll(() => setDefaultCACertificates([...trusted, tls.cert]));
  afterAll(() => setDefaultCACertificates(trusted));
  afterEach(() => vi.unstubAllEnvs());

  it('the token in the file is exchanged for one of the storage, and every request bears that', async () => {
    const server = await startRecordingServer(({ path }) => {
      const said = path.endsWith('/token')
        ? { access_token: 'token-1', issued_token_type: 'x', token_type: 'Bearer', expires_in: 3600 }
        : { name: 'k', size: '5', generation: '7', updated: '2026-01-01T00:00:00Z' };
      return { status: 200, headers: { 'content-type': 'application/json' }, body: JSON.stringify(said) };
    }, tls);
    const folder = await temporaryFolder();
    const token = join(folder, 'token');
    const credentials = join(folder, 'credentials.json');
    await writeFile(token, 'assertion-1');
    await writeFile(
      credentials,
      JSON.stringify({
        type: 'external_account',
        audience: '//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q',
        subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
        token_url: `${server.url}/v1/token`,
        credential_source: { file: token },
      }),
    );
    vi.stubEnv('GOOGLE_APPLICATION_CREDENTIALS', credentials);
    vi.stubEnv('GOOGLE_CLOUD_PROJECT', 'project-1');
    const store = await openGcsStore({ bucket: 'b', endpoint: server.url }, { clock });
    await store.put('k', Buffer.from('hello'));
    await store.get('k', { offset: 0, length: 1 }).catch(() => {});
    const [exchange, ...asked] = server.requests;
    expect(Object.fromEntries(new URLSearchParams(exchange!.body.toString()))).toMatchObject({
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      audience: expect.stringContaining('/workloadIdentityPools/p/providers/q'),
      scope: expect.stringContaining('devstorage'),
      subject_token: 'assertion-1',
    });
    expect(asked.map(({ method, path }) => `${method} ${path}`)).toEqual([
      'POST /upload/storage/v1/b/b/o',
      'GET /storage/v1/b/b/o/k',
    ]);
    for (const { headers } of asked) expect(headers.authorization).toBe('Bearer token-1');
    await server.close();
  });
});
