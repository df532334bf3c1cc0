/**
 * A real S3 server for tests: MinIO where there is one (its build takes half an hour of processor time), else the Versity gateway over
 * a temporary folder. Both check signatures, checksums and conditions.
 */
import { mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { findProgram, freePort, startServer } from './server-process.ts';

export interface S3Server {
  kind: 'minio' | 'versitygw';
  endpoint: string;
  accessKeyId: string;
  secretAccessKey: string;
  /** Makes a bucket that was not there. */
  bucket(): Promise<string>;
  /** For looking at the server past our own store. */
  client: S3Client;
  close(): Promise<void>;
}

const ACCESS_KEY = 'reductrai';
const SECRET_KEY = 'reductrai-secret';

export function findS3Server(kind?: S3Server['kind']): { kind: S3Server['kind']; path: string } | undefined {
  for (const name of kind ? [kind] : (['minio', 'versitygw'] as const)) {
    const path = (name === 'minio' ? process.env.REDUCTRAI_MINIO : undefined) ?? findProgram(name);
    if (path) return { kind: name, path };
  }
  return undefined;
}

export async function startS3Server(kind?: S3Server['kind']): Promise<S3Server> {
  const found = findS3Server(kind);
  if (!found) throw new Error('BUG: looked for no S3 server before');
  const folder = await mkdtemp(join(tmpdir(), 'reductrai-s3-'));
  const data = join(folder, 'data');
  mkdirSync(data);
  const port = await freePort();
  const endpoint = `http://127.0.0.1:${port}`;
  const server = await startServer({
    command: found.path,
    args:
      found.kind === 'minio'
        ? ['server', '--quiet', '--address', `127.0.0.1:${port}`, data]
        : ['--port', `127.0.0.1:${port}`, '--access', ACCESS_KEY, '--secret', SECRET_KEY, '--quiet', 'posix', data],
    env: {
      MINIO_ROOT_USER: ACCESS_KEY,
      MINIO_ROOT_PASSWORD: SECRET_KEY,
      MINIO_BROWSER: 'off',
      MINIO_CI_CD: '1',
    },
    isReady: async () => (await fetch(`${endpoint}/`)).status < 500,
  });
  const client = new S3Client({
    endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId: ACCESS_KEY, secretAccessKey: SECRET_KEY },
  });
  let buckets = 0;
  return {
    kind: found.kind,
    endpoint,
    accessKeyId: ACCESS_KEY,
    secretAccessKey: SECRET_KEY,
    client,
    bucket: async () => {
      const name = `bucket-${++buckets}`;
      await client.send(new CreateBucketCommand({ Bucket: name }));
      return name;
    },
    close: async () => {
      client.destroy();
      await server.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
