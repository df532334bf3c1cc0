/** Nginx with the project's own configuration in front of replicas. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { request } from 'undici';
import { PROJECT } from '../proxy-process.ts';
import { temporaryFolder } from '../temp-folder.ts';
import { findProgram, keptPort, startServer } from './server-process.ts';

export interface NginxServer {
  url: string;
  output(): string;
  close(): Promise<void>;
}

export interface NginxOptions {
  balance?: string;
  /** Which templates of deploy/nginx/reductrai are there, too. */
  parts?: readonly string[];
  env?: Record<string, string>;
}

const TEMPLATES = join(PROJECT, 'deploy/nginx');

/** Writes what Nginx is started with below a folder; resolves with the path of the first file. `replicas`: `host:port` of each. */
export async function writeNginx(
  folder: string,
  listen: string,
  replicas: readonly string[],
  { balance = 'least_conn', parts = [], env = {} }: NginxOptions = {},
): Promise<string> {
  const known: Record<string, string> = { LISTEN: listen, BALANCE: balance, ...env };
  for (const [index, replica] of replicas.entries()) known[`REPLICA_${index + 1}`] = replica;
  // What the official image does with envsubst: folders stay, and what is not set stays as it is written.
  await mkdir(join(folder, 'conf.d/reductrai'), { recursive: true });
  for (const name of ['reductrai.conf', ...parts.map((part) => `reductrai/${part}.conf`)]) {
    const template = await readFile(join(TEMPLATES, `${name}.template`), 'utf8');
    const text = template.replace(/\$\{(\w+)\}/g, (written, name: string) => known[name] ?? written);
    await writeFile(join(folder, 'conf.d', name), text);
  }
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (of) => `${of}_temp_path ${folder}/${of};`,
  );
  const config = join(folder, 'nginx.conf');
  // Two worker processes, as an image has one for each processor; they run as whoever runs the tests.
  await writeFile(
    config,
    `${process.getuid?.() === 0 ? 'user root;' : ''} daemon off; worker_processes 2; pid ${folder}/pid; error_log stderr;
     events { worker_connections 1024; }
     http { access_log off; ${temporary.join(' ')}
     include conf.d/*.conf; }`,
  );
  return config;
}

export async function startNginx(replicas: readonly string[], options: NginxOptions = {}): Promise<NginxServer> {
  const listen = `127.0.0.1:${await keptPort()}`;
  const config = await writeNginx(await temporaryFolder(), listen, replicas, options);
  const { output, close } = await startServer({
    command: findProgram('nginx')!,
    args: ['-c', config, '-e', 'stderr'],
    endsWith: 'SIGTERM',
    isReady: async () => {
      const answer = await request(`http://${listen}/livez`);
      await answer.body.dump();
      return true;
    },
  });
  return { url: `http://${listen}`, output, close };
}
