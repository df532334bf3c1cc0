/** A real server of the Cloud Storage API for tests: fake-gcs-server, objects in its memory. */
import { findProgram, freePort, startServer } from './server-process.ts';

export interface GcsServer {
  endpoint: string;
  /** Makes a bucket that was not there. */
  bucket(): Promise<string>;
  close(): Promise<void>;
}

export function findGcsServer(): string | undefined {
  return findProgram('fake-gcs-server');
}

export async function startGcsServer(): Promise<GcsServer> {
  const command = findGcsServer();
  if (!command) throw new Error('BUG: looked for no GCS server before');
  const port = await freePort();
  const endpoint = `http://127.0.0.1:${port}`;
  const server = await startServer({
    command,
    args: [
      '-backend=memory',
      '-scheme=http',
      '-host=127.0.0.1',
      `-port=${port}`,
      `-public-host=127.0.0.1:${port}`,
      `-external-url=${endpoint}`,
      '-log-level=error',
    ],
    isReady: async () => (await fetch(`${endpoint}/storage/v1/b`)).ok,
  });
  let buckets = 0;
  return {
    endpoint,
    bucket: async () => {
      const name = `bucket-${++buckets}`;
      const answer = await fetch(`${endpoint}/storage/v1/b?project=none`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ name }),
      });
      if (!answer.ok) throw new Error(`no bucket: ${answer.status} ${await answer.text()}`);
      return name;
    },
    close: () => server.close(),
  };
}
