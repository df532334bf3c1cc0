/**
 * Each cloud twice: our store, and its bare SDK asked to do the same (parts of the same size, as many at once, the same ranges). The
 * server is the one that the tests use.
 */
import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { Storage } from '@google-cloud/storage';
import { systemClock } from '../../src/core/clock.ts';
import { openAzureStore } from '../../src/store/azure-store.ts';
import { openGcsStore } from '../../src/store/gcs-store.ts';
import type { ByteSource, ObjectStore } from '../../src/store/object-store.ts';
import { openS3Store } from '../../src/store/s3-store.ts';
import { findAzureServer, startAzureServer } from '../../test/support/servers/azurite.ts';
import { findGcsServer, startGcsServer } from '../../test/support/servers/gcs-server.ts';
import { findS3Server, startS3Server } from '../../test/support/servers/s3-server.ts';

export interface Client {
  put(key: string, bytes: Uint8Array): Promise<void>;
  read(key: string, offset: number, length: number): Promise<number>;
}

export interface StorePair {
  name: string;
  store: ObjectStore;
  ours: Client;
  bare: Client;
  /** What a process of its own needs to open the store. */
  settings: { kind: 's3' | 'gcs' | 'azure'; [name: string]: string };
  close(): Promise<void>;
}

const clock = systemClock;

export function clientOf(store: ObjectStore): Client {
  return {
    put: async (key, bytes) => {
      await store.put(key, bytes);
    },
    read: async (key, offset, length) => (await store.get(key, { offset, length })).bytes.byteLength,
  };
}

export async function openByKind(settings: StorePair['settings']): Promise<ObjectStore> {
  switch (settings.kind) {
    case 's3':
      return openS3Store({ pathStyle: true, ...(settings as never as { bucket: string }) }, { clock });
    case 'gcs':
      return openGcsStore(settings as never as { bucket: string }, { clock });
    case 'azure':
      return openAzureStore(settings as never as { account: string; container: string }, { clock });
  }
}

/** A body of `sizeBytes` that is never in memory as a whole. */
export function sourceOf(sizeBytes: number, piece: Uint8Array): ByteSource {
  return {
    sizeBytes,
    read: async (_offset, length) => (length === piece.byteLength ? piece : new Uint8Array(length)),
  };
}

export const PAIRS: { name: string; isThere: () => boolean; open: () => Promise<StorePair> }[] = [
  {
    name: 's3',
    isThere: () => findS3Server() !== undefined,
    open: async () => {
      const server = await startS3Server();
      const Bucket = await server.bucket();
      const { endpoint, accessKeyId, secretAccessKey, client } = server;
      const settings = { kind: 's3' as const, bucket: Bucket, endpoint, accessKeyId, secretAccessKey };
      const store = await openByKind(settings);
      return {
        name: `s3 (${server.kind})`,
        settings,
        store,
        ours: clientOf(store),
        bare: {
          put: async (Key, Body) => {
            await client.send(new PutObjectCommand({ Bucket, Key, Body }));
          },
          read: async (Key, offset, length) => {
            const Range = `bytes=${offset}-${offset + length - 1}`;
            const answer = await client.send(new GetObjectCommand({ Bucket, Key, Range }));
            return (await answer.Body!.transformToByteArray()).byteLength;
          },
        },
        close: async () => {
          await store.close();
          await server.close();
        },
      };
    },
  },
  {
    name: 'gcs',
    isThere: () => findGcsServer() !== undefined,
    open: async () => {
      const server = await startGcsServer();
      const name = await server.bucket();
      const settings = { kind: 'gcs' as const, bucket: name, endpoint: server.endpoint };
      const store = await openByKind(settings);
      const bucket = new Storage({ apiEndpoint: server.endpoint, projectId: 'none' }).bucket(name);
      return {
        name: 'gcs (fake-gcs-server)',
        settings,
        store,
        ours: clientOf(store),
        bare: {
          put: async (key, bytes) => {
            await bucket.file(key).save(Buffer.from(bytes.buffer as ArrayBuffer), { resumable: false });
          },
          read: async (key, offset, length) => {
            const [bytes] = await bucket.file(key).download({ start: offset, end: offset + length - 1 });
            return bytes.byteLength;
          },
        },
        close: () => server.close(),
      };
    },
  },
  {
    name: 'azure',
    isThere: () => findAzureServer() !== undefined,
    open: async () => {
      const server = await startAzureServer();
      const container = await server.container();
      const { endpoint, account, accountKey } = server;
      const settings = { kind: 'azure' as const, account, container, endpoint, accountKey };
      const store = await openByKind(settings);
      const blobs = server.service.getContainerClient(container);
      return {
        name: 'azure (azurite)',
        settings,
        store,
        ours: clientOf(store),
        bare: {
          put: async (key, bytes) => {
            // As ours, with a checksum that the service compares; S3's SDK does that by itself.
            const transactionalContentMD5 = createHash('md5').update(bytes).digest();
            await blobs.getBlockBlobClient(key).upload(bytes, bytes.byteLength, { transactionalContentMD5 });
          },
          // One request, as ours; downloadToBuffer makes several of it.
          read: async (key, offset, length) => {
            const answer = await blobs.getBlobClient(key).download(offset, length);
            return (await buffer(answer.readableStreamBody as Readable)).byteLength;
          },
        },
        close: () => server.close(),
      };
    },
  },
];
