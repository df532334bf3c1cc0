/** Nginx with the project's own configuration in front of replicas. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { request } from 'undici';
import { PROJECT } from '../proxy-process.ts';
import { temporaryFolder } from '../temp-folder.ts';
import { findProgram, keptPort, startServer } from './server-process.ts';

export interface NginxServer {
  url: string;
  close(): Promise<void>;
}

/** `replicas`: `host:port` of each. */
export async function startNginx(replicas: readonly string[]): Promise<NginxServer> {
  const folder = await temporaryFolder();
  const listen = `127.0.0.1:${await keptPort()}`;
  const template = await readFile(join(PROJECT, 'deploy/nginx/reductrai.conf.template'), 'utf8');
  // What the official image does with envsubst.
  const server = template.replace(/\$\{(LISTEN|REPLICA_\d)\}/g, (_, name: string) =>
    name === 'LISTEN' ? listen : replicas[Number(name.at(-1)) - 1]!,
  );
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (of) => `${of}_temp_path ${folder}/${of};`,
  );
  const config = join(folder, 'nginx.conf');
  await writeFile(
    config,
    `daemon off; master_process off; pid ${folder}/pid; error_log stderr;
     events {}
     http { access_log off; ${temporary.join(' ')}
     ${server} }`,
  );
  const { close } = await startServer({
    command: findProgram('nginx')!,
    args: ['-c', config, '-e', 'stderr'],
    isReady: async () => {
      const answer = await request(`http://${listen}/livez`);
      await answer.body.dump();
      return true;
    },
  });
  return { url: `http://${listen}`, close };
}
