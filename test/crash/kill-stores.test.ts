/** The same kills with the archive in a bucket: each cloud's protocol, on a real server; and once with the journal there, too. */
import { describe, test } from 'vitest';
import type { KillPoint } from '../support/killing-file-system.ts';
import { findAzureServer, startAzureServer } from '../support/servers/azurite.ts';
import { findGcsServer, startGcsServer } from '../support/servers/gcs-server.ts';
import { findS3Server, startS3Server } from '../support/servers/s3-server.ts';
import { HOW_TO_INSTALL } from '../support/servers/server-process.ts';
import { runKills } from './kill-run.ts';

const KILLS = Number(process.env.STORE_KILLS ?? 4);
/** Those of the journal and its positions; what the bucket does in between is hit at random. */
const POINTS: readonly KillPoint[] = [
  'journal-append',
  'journal-sync',
  'confirm-write',
  'position-rename',
  'journal-delete',
];

interface RunningStore {
  env: Record<string, string>;
  close(): Promise<void>;
}

const STORES: { name: string; isThere: boolean; start: () => Promise<RunningStore> }[] = [
  {
    name: 'S3',
    isThere: findS3Server() !== undefined,
    start: async () => {
      const server = await startS3Server();
      const url = `s3://${await server.bucket()}/kept?endpoint=${server.endpoint}`;
      return {
        env: { STORAGE_URL: url, S3_ACCESS_KEY: server.accessKeyId, S3_SECRET_KEY: server.secretAccessKey },
        close: () => server.close(),
      };
    },
  },
  {
    name: 'GCS',
    isThere: findGcsServer() !== undefined,
    start: async () => {
      const server = await startGcsServer();
      const url = `gs://${await server.bucket()}/kept?endpoint=${server.endpoint}`;
      return { env: { STORAGE_URL: url }, close: () => server.close() };
    },
  },
  {
    name: 'Azure',
    isThere: findAzureServer() !== undefined,
    start: async () => {
      const server = await startAzureServer();
      const url = `azblob://${server.account}/${await server.container()}/kept?endpoint=${server.endpoint}`;
      return { env: { STORAGE_URL: url, AZURE_STORAGE_KEY: server.accountKey }, close: () => server.close() };
    },
  },
];

describe.each(STORES)('$name', ({ name, isThere, start }) => {
  test.skipIf(!isThere)(
    `nothing is lost or doubled over ${KILLS} kills, archive in ${name}${isThere ? '' : ` (no server: ${HOW_TO_INSTALL})`}`,
    { timeout: 900_000, retry: 0 },
    async () => {
      const store = await start();
      try {
        const storeEnv = { ...store.env, DURABILITY: 'disk' };
        console.log(name, await runKills({ kills: KILLS, storeEnv, points: POINTS }));
      } finally {
        await store.close();
      }
    },
  );
});

const s3 = STORES[0]!;
test.skipIf(!s3.isThere)(
  `nothing is lost or doubled over ${KILLS * 2} kills, archive and journal in S3${s3.isThere ? '' : ` (no server: ${HOW_TO_INSTALL})`}`,
  { timeout: 900_000, retry: 0 },
  async () => {
    const store = await s3.start();
    try {
      const storeEnv = {
        ...store.env,
        DURABILITY: 'store',
        REDUCTRAI_JOURNAL_CHUNK_AFTER: '50ms',
        REDUCTRAI_JOURNAL_LEASE: '5s',
      };
      console.log('journal in S3', await runKills({ kills: KILLS * 2, storeEnv, points: [], journalInStore: true }));
    } finally {
      await store.close();
    }
  },
);
