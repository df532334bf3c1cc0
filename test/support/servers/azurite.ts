/** A real server of the Blob Storage API for tests: Azurite, blobs in its memory, with its well-known account. */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BlobServiceClient, StorageSharedKeyCredential } from '@azure/storage-blob';
import { PROJECT } from '../proxy-process.ts';
import { freePort, SERVERS_FOLDER, startServer } from './server-process.ts';

export interface AzureServer {
  endpoint: string;
  account: string;
  accountKey: string;
  /** Makes a container that was not there. */
  container(): Promise<string>;
  /** For looking at the server past our own store. */
  service: BlobServiceClient;
  close(): Promise<void>;
}

/** Azurite's documented account and key: no secret. */
const ACCOUNT = 'devstoreaccount1';
const ACCOUNT_KEY = 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==';

export function findAzureServer(): string | undefined {
  const path = join(SERVERS_FOLDER, 'azurite', 'node_modules', 'azurite', 'dist', 'src', 'blob', 'main.js');
  return existsSync(path) ? path : undefined;
}

export async function startAzureServer(): Promise<AzureServer> {
  const script = findAzureServer();
  if (!script) throw new Error('BUG: looked for no Azurite before');
  const folder = await mkdtemp(join(tmpdir(), 'reductrai-azurite-'));
  const port = await freePort();
  const endpoint = `http://127.0.0.1:${port}/${ACCOUNT}`;
  const server = await startServer({
    // It writes a log of its own where it is started.
    cwd: folder,
    command: join(PROJECT, 'node_modules', 'node', 'bin', 'node'),
    args: [
      script,
      '--blobHost',
      '127.0.0.1',
      '--blobPort',
      String(port),
      '--inMemoryPersistence',
      '--skipApiVersionCheck',
      '--disableTelemetry',
      '--silent',
    ],
    isReady: async () => (await fetch(endpoint)).status > 0,
  });
  const service = new BlobServiceClient(endpoint, new StorageSharedKeyCredential(ACCOUNT, ACCOUNT_KEY));
  let containers = 0;
  return {
    endpoint,
    account: ACCOUNT,
    accountKey: ACCOUNT_KEY,
    service,
    container: async () => {
      const name = `container-${++containers}`;
      await service.createContainer(name);
      return name;
    },
    close: async () => {
      await server.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
