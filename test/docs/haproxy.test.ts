/** Parts of HAProxy's configuration that documents show: HAProxy takes them, with a certificate made for the test. */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { findProgram, HOW_TO_INSTALL } from '../support/servers/server-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { createTlsCertificate } from '../support/tls-certificate.ts';
import { allBlocks } from './support/blocks.ts';

/** What the shown part refers to. */
const BACKEND = `
backend replicas
    mode http
    timeout connect 2s
    timeout server 60s
    server r1 127.0.0.1:1
`;

const haproxy = findProgram('haproxy');
const parts = allBlocks().filter(({ markers }) => markers.includes('haproxy'));

test.skipIf(!haproxy)(
  `HAProxy takes what docs/security.md shows${haproxy ? '' : ` (no haproxy: ${HOW_TO_INSTALL})`}`,
  async () => {
    const folder = await temporaryFolder();
    const { key, cert } = createTlsCertificate(new Date());
    await writeFile(join(folder, 'server.pem'), cert + key);
    await writeFile(join(folder, 'clients.pem'), cert);
    const check = async (text: string): Promise<void> => {
      const file = join(folder, 'haproxy.cfg');
      await writeFile(file, text.replaceAll('/etc/haproxy/', `${folder}/`) + BACKEND);
      await promisify(execFile)(haproxy!, ['-c', '-f', file]);
    };
    expect(parts.length).toBeGreaterThan(0);
    for (const { text } of parts) {
      await check(`${text}\n`);
      await expect(check(`${text}\n    bind nowhere\n`)).rejects.toThrow();
    }
  },
);
