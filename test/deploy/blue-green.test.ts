/**
 * deploy/compose/blue-green/haproxy.cfg in a real HAProxy, with servers that tell their colour: the traffic goes over by a changed map and a
 * reload, as the file says, under load and without an error; and where the chosen colour is gone the other one is asked.
 */
import { cp, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { findProgram, freePort, type ServerProcess, startServer } from '../support/servers/server-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { DEPLOY } from './support/tools.ts';

const COLOURS = ['blue', 'green'] as const;
type Colour = (typeof COLOURS)[number];
const EACH = [1, 2, 3];
const CLIENTS = 4;

const servers: Server[] = [];
let haproxy: ServerProcess | undefined;

afterEach(async () => {
  await haproxy?.close();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function startColour(colour: Colour): Promise<number> {
  const server = createServer((request, response) => {
    request.resume().on('end', () => response.writeHead(request.method === 'POST' ? 202 : 200).end(colour));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

function haproxyProgram(): string {
  const path = findProgram('haproxy');
  if (!path) throw new Error('haproxy is not installed: run test/servers/install.sh');
  return path;
}

async function until(what: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!what()) {
    if (performance.now() > deadline) throw new Error(`it did not happen: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test('blue, then green by a reload under load, then blue again because no green is left', async () => {
  const folder = await temporaryFolder();
  await cp(join(DEPLOY, 'compose/blue-green'), folder, { recursive: true });
  const env: Record<string, string> = { MAP: join(folder, 'active.map') };
  for (const colour of COLOURS) {
    for (const n of EACH) env[`${colour.toUpperCase()}_${n}`] = `127.0.0.1:${await startColour(colour)}`;
  }
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  haproxy = await startServer({
    command: haproxyProgram(),
    // As the official image starts it.
    args: ['-W', '-db', '-f', join(folder, 'haproxy.cfg')],
    env: { ...env, LISTEN: `127.0.0.1:${port}` },
    isReady: async () => (await fetch(url)).status === 200,
  });
  const seen: Colour[] = [];
  const troubles: string[] = [];
  let isOver = false;
  const clients = Array.from({ length: CLIENTS }, async () => {
    while (!isOver) {
      try {
        const answer = await fetch(`${url}/api/v2/series`, { method: 'POST', body: '{"series":[]}' });
        if (answer.status !== 202) troubles.push(`status ${answer.status}`);
        seen.push((await answer.text()) as Colour);
      } catch (error) {
        troubles.push(String((error as Error).cause ?? error));
      }
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  });
  const recently = (colour: Colour): boolean => seen.length > 100 && seen.slice(-50).every((one) => one === colour);
  try {
    await until(() => recently('blue'));
    expect(new Set(seen)).toEqual(new Set(['blue']));
    await writeFile(env.MAP!, 'active green\n');
    haproxy.child.kill('SIGHUP');
    await until(() => recently('green'));
    expect(troubles).toEqual([]);
    for (const server of servers.slice(EACH.length)) {
      server.closeAllConnections();
      server.close();
    }
    await until(() => recently('blue'));
  } finally {
    isOver = true;
    await Promise.all(clients);
  }
});
