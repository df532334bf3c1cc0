import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ListMultipartUploadsCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { seededRandom, systemRandom } from '../../src/core/random.ts';
import type { ByteSource, ObjectStore } from '../../src/store/object-store.ts';
import { openS3Store, type S3StoreSettings } from '../../src/store/s3-store.ts';
import { withRetry } from '../../src/store/with-retry.ts';
import { storeSuite } from '../contract/store-suite.ts';
import { startRecordingServer } from '../support/recording-server.ts';
import { findS3Server, type S3Server, startS3Server } from '../support/servers/s3-server.ts';
import { HOW_TO_INSTALL } from '../support/servers/server-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const MIB = 1024 * 1024;
const clock = systemClock;

const kinds = (['minio', 'versitygw'] as const).filter((kind) => findS3Server(kind));

if (kinds.length === 0) {
  // skipped: no server is installed
  describe.skip(`S3 on a real server (none is installed: ${HOW_TO_INSTALL})`, () => {
    it('is not run', () => {});
  });
}

describe.each(kinds)('S3 on %s', (kind) => {
  let server: S3Server;
  beforeAll(async () => {
    server = await startS3Server(kind);
  });
  afterAll(() => server?.close());

  const settingsOf = async (more: Partial<S3StoreSettings> = {}): Promise<S3StoreSettings> => ({
    bucket: await server.bucket(),
    endpoint: server.endpoint,
    pathStyle: true,
    accessKeyId: server.accessKeyId,
    secretAccessKey: server.secretAccessKey,
    ...more,
  });
  const opened = async (more?: Partial<S3StoreSettings>): Promise<ObjectStore> =>
    openS3Store(await settingsOf(more), { clock });

  storeSuite(
    `S3 on ${kind}`,
    async () => {
      const settings = await settingsOf();
      return { store: await openS3Store(settings, { clock }), other: await openS3Store(settings, { clock }) };
    },
    { listedObjects: 1100 },
  );

  it('puts large bodies in parts, under conditions, and gives back ranges of them', async () => {
    const settings = await settingsOf({ partBytes: 5 * MIB });
    const store = await openS3Store(settings, { clock });
    const bytes = seededRandom(1).bytes(12 * MIB + 7);
    let readsAtOnce = 0;
    let readsPeak = 0;
    const source: ByteSource = {
      sizeBytes: bytes.byteLength,
      read: async (at, length) => {
        readsPeak = Math.max(readsPeak, ++readsAtOnce);
        await new Promise((resolve) => setTimeout(resolve, 5));
        readsAtOnce -= 1;
        return bytes.subarray(at, at + length);
      },
    };
    const put = await store.put('big', source, { condition: { kind: 'absent' }, writer: 'w1' });
    expect(readsPeak).toBeLessThanOrEqual(3);
    expect(await store.head('big')).toMatchObject({ sizeBytes: bytes.byteLength, version: put.version, writer: 'w1' });
    expect(Buffer.compare((await store.get('big')).bytes, bytes)).toBe(0);
    const part = await store.get('big', { offset: 5 * MIB - 3, length: 10 });
    expect(Buffer.compare(part.bytes, bytes.subarray(5 * MIB - 3, 5 * MIB + 7))).toBe(0);
    await expect(store.put('big', source, { condition: { kind: 'absent' } })).rejects.toMatchObject({
      code: 'STORE_EXISTS',
    });
    await expect(store.put('big', source, { condition: { kind: 'unchanged', version: '"0"' } })).rejects.toMatchObject({
      code: 'STORE_EXISTS',
    });
    await store.put('big', bytes, { condition: { kind: 'unchanged', version: put.version } });
    expect(Buffer.compare((await store.get('big')).bytes, bytes)).toBe(0);
  });

  it('has one winner among creators of a large object', async () => {
    const store = await opened({ partBytes: 5 * MIB });
    const outcomes = await Promise.allSettled(
      Array.from({ length: 4 }, (_, n) =>
        store.put('big', Buffer.alloc(6 * MIB, n), { condition: { kind: 'absent' } }),
      ),
    );
    const codes = outcomes.map((outcome) => (outcome.status === 'fulfilled' ? 'ok' : outcome.reason.code));
    expect(codes.filter((code) => code === 'ok')).toHaveLength(1);
    expect(codes.filter((code) => !['ok', 'STORE_EXISTS', 'STORE_CONFLICT'].includes(code))).toEqual([]);
    const winner = codes.indexOf('ok');
    expect((await store.get('big', { offset: 0, length: 1 })).bytes[0]).toBe(winner);
  });

  it('leaves nothing visible, and nothing to pay for, of an upload that fails', async () => {
    const settings = await settingsOf({ partBytes: 5 * MIB });
    const store = await openS3Store(settings, { clock });
    const source: ByteSource = {
      sizeBytes: 20 * MIB,
      read: async (offset, length) => {
        if (offset >= 10 * MIB) throw new Error('the disk failed');
        return new Uint8Array(length);
      },
    };
    await expect(store.put('big', source)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(await store.head('big')).toBeUndefined();
    const { Uploads = [] } = await server.client.send(new ListMultipartUploadsCommand({ Bucket: settings.bucket }));
    expect(Uploads).toEqual([]);
  });

  it('keeps who wrote', async () => {
    const store = await opened();
    await store.put('k', Buffer.from('x'), { writer: 'me-1' });
    expect((await store.head('k'))?.writer).toBe('me-1');
    await store.put('k', Buffer.from('x'));
    expect((await store.head('k'))?.writer).toBeUndefined();
  });

  it('tells a wrong key from a missing bucket', async () => {
    const denied = await opened({ secretAccessKey: 'wrong' });
    await expect(denied.put('k', Buffer.from('x'))).rejects.toMatchObject({ code: 'STORE_DENIED' });
    await expect(denied.get('k')).rejects.toMatchObject({ code: 'STORE_DENIED' });
    const lost = await opened({ bucket: 'no-such-bucket' });
    await expect(lost.put('k', Buffer.from('x'))).rejects.toMatchObject({ code: 'STORE_INVALID' });
    await expect(lost.get('k')).rejects.toMatchObject({ code: 'STORE_INVALID' });
  });

  it('tells bytes that rest altered', async () => {
    const settings = await settingsOf();
    const store = await openS3Store(settings, { clock });
    await store.put('k', Buffer.from('as written'));
    const { PutObjectCommand } = await import('@aws-sdk/client-s3');
    await server.client.send(
      new PutObjectCommand({
        Bucket: settings.bucket,
        Key: 'k',
        Body: 'as altered',
        Metadata: { 'reductrai-crc32': 'deadbeef' },
      }),
    );
    await expect(store.get('k')).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
  });
});

describe('what S3 is asked', () => {
  const settings = { bucket: 'b', pathStyle: true, accessKeyId: 'id', secretAccessKey: 'secret' };
  const fine = { status: 200, headers: { etag: '"e"' } };

  it('how an object rests: class, encryption, checksum, writer', async () => {
    const server = await startRecordingServer(() => fine);
    const store = await openS3Store(
      { ...settings, endpoint: server.url, storageClass: 'GLACIER_IR', encryption: 'kms', kmsKeyId: 'key-1' },
      { clock },
    );
    await store.put('k', Buffer.from('hello'), { condition: { kind: 'absent' }, writer: 'w' });
    await store.put('k', Buffer.from('hello'), { condition: { kind: 'unchanged', version: '"v"' } });
    const [first, second] = server.requests;
    expect(first!.headers).toMatchObject({
      'if-none-match': '*',
      'x-amz-storage-class': 'GLACIER_IR',
      'x-amz-server-side-encryption': 'aws:kms',
      'x-amz-server-side-encryption-aws-kms-key-id': 'key-1',
      'x-amz-checksum-crc32': 'NhCmhg==',
      'x-amz-meta-reductrai-crc32': '3610a686',
      'x-amz-meta-reductrai-writer': 'w',
    });
    expect(second!.headers['if-match']).toBe('"v"');
    const plain = await openS3Store({ ...settings, endpoint: server.url, encryption: 's3' }, { clock });
    await plain.put('k', Buffer.from('hello'));
    expect(server.requests.at(-1)!.headers['x-amz-server-side-encryption']).toBe('AES256');
    await store.put('k', Buffer.from('hello'), { storageClass: 'STANDARD_IA' });
    expect(server.requests.at(-1)!.headers['x-amz-storage-class']).toBe('STANDARD_IA');
    await server.close();
  });

  it('with temporary keys', async () => {
    const server = await startRecordingServer(() => fine);
    const store = await openS3Store({ ...settings, endpoint: server.url, sessionToken: 'token' }, { clock });
    await store.put('k', Buffer.from('x'));
    expect(server.requests[0]!.headers['x-amz-security-token']).toBe('token');
    await server.close();
  });

  it('with a web identity, as IRSA gives it to a pod', async () => {
    const server = await startRecordingServer(({ body }) =>
      body.includes('AssumeRoleWithWebIdentity')
        ? { status: 200, headers: { 'content-type': 'text/xml' }, body: ASSUMED }
        : fine,
    );
    const tokenFile = join(await temporaryFolder(), 'token');
    await writeFile(tokenFile, 'the-web-identity-token');
    vi.stubEnv('AWS_WEB_IDENTITY_TOKEN_FILE', tokenFile);
    vi.stubEnv('AWS_ROLE_ARN', 'arn:aws:iam::123456789012:role/reductrai');
    vi.stubEnv('AWS_ENDPOINT_URL_STS', server.url);
    vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
    try {
      const store = await openS3Store({ bucket: 'b', pathStyle: true, endpoint: server.url }, { clock });
      await store.put('k', Buffer.from('x'));
    } finally {
      vi.unstubAllEnvs();
    }
    const [assume, put] = server.requests;
    const asked = new URLSearchParams(assume!.body.toString());
    expect(asked.get('RoleArn')).toBe('arn:aws:iam::123456789012:role/reductrai');
    expect(asked.get('WebIdentityToken')).toBe('the-web-identity-token');
    expect(put!.headers['x-amz-security-token']).toBe('assumed-token');
    expect(put!.headers.authorization).toContain('Credential=ASIAASSUMED/');
    await server.close();
  });

  it.each([
    [403, 'RequestTimeTooSkewed', 'STORE_DENIED', /clock of this machine/],
    [403, 'AccessDenied', 'STORE_DENIED', /AccessDenied/],
    [503, 'SlowDown', 'STORE_THROTTLED', /SlowDown/],
    [500, 'InternalError', 'STORE_UNAVAILABLE', /InternalError/],
    [409, 'ConditionalRequestConflict', 'STORE_CONFLICT', /Conditional/],
    [412, 'PreconditionFailed', 'STORE_EXISTS', /Precondition/],
    [400, 'BadDigest', 'STORE_UNAVAILABLE', /BadDigest/],
    [400, 'InvalidArgument', 'STORE_INVALID', /InvalidArgument/],
  ])('%i %s is %s', async (status, code, expected, text) => {
    const body = `<?xml version="1.0"?><Error><Code>${code}</Code><Message>said</Message><RequestId>R1</RequestId></Error>`;
    const server = await startRecordingServer(() => ({ status, headers: { 'content-type': 'application/xml' }, body }));
    const store = await openS3Store({ ...settings, endpoint: server.url }, { clock });
    const failure = await store.put('k', Buffer.from('x')).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: expected, message: expect.stringMatching(text) });
    expect(String((failure as Error).message)).not.toContain('secret');
    // The SDK itself must not repeat.
    expect(server.requests).toHaveLength(1);
    await server.close();
  });

  it('an answer cut short is no object', async () => {
    const server = await startRecordingServer(() => ({
      status: 200,
      headers: { etag: '"e"', 'content-length': '100', connection: 'close' },
      body: 'only this',
    }));
    const store = await openS3Store({ ...settings, endpoint: server.url, requestTimeoutMs: 300 }, { clock });
    await expect(store.get('k')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    await server.close();
  });

  it('nobody there, and no answer: unavailable, in time', async () => {
    const gone = await openS3Store({ ...settings, endpoint: 'http://127.0.0.1:9' }, { clock });
    await expect(gone.get('k')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  });

  it('a write whose answer was lost is found to be our own; a foreign one is not', async () => {
    let writer = '';
    let foreign: string | undefined;
    let puts = 0;
    const server = await startRecordingServer(({ method, headers }) => {
      if (method === 'HEAD') {
        return { status: 200, headers: { etag: '"e"', 'content-length': '1', 'x-amz-meta-reductrai-writer': writer } };
      }
      puts += 1;
      if (puts === 1) {
        writer = foreign ?? String(headers['x-amz-meta-reductrai-writer']);
        return { status: 500 };
      }
      return { status: 412 };
    });
    const base = await openS3Store({ ...settings, endpoint: server.url }, { clock });
    const store = withRetry(base, { clock, random: systemRandom, attemptsMax: 3, firstDelayMs: 1, delayMaxMs: 2 });
    const put = await store.put('k', Buffer.from('x'), { condition: { kind: 'absent' } });
    expect(put.version).toBe('"e"');
    // Now someone else was first, though an attempt of ours had failed too.
    foreign = 'someone-else';
    puts = 0;
    await expect(store.put('k', Buffer.from('x'), { condition: { kind: 'absent' } })).rejects.toMatchObject({
      code: 'STORE_EXISTS',
    });
    await server.close();
  });
});

const ASSUMED = `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>ASIAASSUMED</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>assumed-token</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`;
