/**
 * HAProxy with the project's own configuration in front of replicas, on a port of its own that it keeps. It can be killed, started again, and
 * told to reload as a package does without a master process: a new one takes the port over and lets the old one finish (`-sf`).
 */
import { connect } from 'node:net';
import { join } from 'node:path';
import { request } from 'undici';
import { expect } from 'vitest';
import { PROJECT } from '../proxy-process.ts';
import { findProgram, keptPort, type ServerProcess, startServer } from './server-process.ts';

export interface HaproxyServer {
  url: string;
  output(): string;
  /** SIGKILL: connections break, and nobody listens until it is started again. */
  kill(): Promise<void>;
  start(): Promise<void>;
  reload(): Promise<void>;
  close(): Promise<void>;
}

/** Says a command to a runtime socket (ADMIN_SOCKET, a path); resolves with the answer. */
export function tellHaproxy(socket: string, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const connection = connect(socket);
    let answer = '';
    connection.setEncoding('utf8').on('data', (text) => {
      answer += text;
    });
    connection.once('error', reject);
    connection.once('end', () => resolve(answer));
    connection.end(`${command}\n`);
  });
}

/** `replicas`: `host:port` of each. `more`: what the file takes beside them. */
export async function startHaproxy(
  replicas: readonly string[],
  more: Readonly<Record<string, string>> = {},
): Promise<HaproxyServer> {
  const port = await keptPort();
  const url = `http://127.0.0.1:${port}`;
  const isReady = async (): Promise<boolean> => {
    const answer = await request(`${url}/livez`);
    await answer.body.dump();
    return true;
  };
  const begin = (...args: string[]): Promise<ServerProcess> =>
    startServer({
      command: findProgram('haproxy')!,
      args: ['-db', '-f', join(PROJECT, 'deploy/haproxy/haproxy.cfg'), ...args],
      env: {
        ...more,
        LISTEN: `127.0.0.1:${port}`,
        ...Object.fromEntries(replicas.map((replica, index) => [`REPLICA_${index + 1}`, replica])),
      },
      isReady,
    });
  /** Those before a reload, while they finish what they had taken. */
  const leaving = new Set<ServerProcess>();
  let running = await begin();
  return {
    url,
    output: () => running.output(),
    kill: () => running.close(),
    start: async () => {
      running = await begin();
    },
    reload: async () => {
      const old = running;
      running = await begin('-sf', String(old.child.pid));
      leaving.add(old);
      old.child.once('exit', () => {
        leaving.delete(old);
        void old.close();
      });
      // Told by the new one, once that listens.
      await expect.poll(() => old.output(), { timeout: 10_000 }).toContain('Proxy datadog stopped');
    },
    close: async () => {
      await Promise.all([running, ...leaving].map((one) => one.close()));
    },
  };
}
