/**
 * docs/scripts.md: its commands are run as they stand there, over three real replicas and a real HAProxy that stand in the places of its names; those that are
 * not say why. Options that it names are options.
 */
import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { BUNDLE, PROJECT } from '../../support/proxy-process.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';
import { PATH, script, sendLog, startBalancer, startReplica } from '../support/scripts.ts';
import { run } from '../support/tools.ts';

const PAGE = readFileSync(join(PROJECT, 'docs/scripts.md'), 'utf8');
const NOT_RUN = /<!-- not run by tests: .+ -->\n$/;
const blocks = [...PAGE.matchAll(/^```sh\n(.*?)^```$/gms)].map(({ 1: text, index }) => ({
  text: text!,
  isRun: !NOT_RUN.test(PAGE.slice(0, index)),
}));

test('its commands do what it says', async () => {
  const folder = await temporaryFolder();
  const replicas = await Promise.all(
    ['a', 'b', 'c'].map((name) =>
      startReplica(name, {
        ...(name === 'a' ? { DATA_DIR: join(folder, 'a') } : {}),
        REDUCTRAI_ARCHIVE_FLUSH_AFTER: '300ms',
      }),
    ),
  );
  const { url, sockets } = await startBalancer(replicas.map(({ port }) => port));
  await mkdir(join(folder, 'backup'));
  await sendLog(replicas[0]!.url, { message: 'hello' });
  const places: [string, string][] = [
    ...replicas.map((one, index): [string, string] => [`http://proxy-${index + 1}:8080`, one.url]),
    ['http://proxy:8080', url],
    ['/run/haproxy/admin.sock', sockets.path],
    ['/var/lib/reductrai/store', join(folder, 'a', 'store')],
    ['/var/lib/reductrai/restored', join(folder, 'restored')],
    ['/backup/reductrai', join(folder, 'backup')],
    ['pid:4711', `pid:${replicas[1]!.proxy.pid}`],
    // What is even on a machine with nothing else to do.
    ['--seconds 2', '--seconds 2 --generator own --tolerance 70'],
  ];
  const commands = blocks
    .filter(({ isRun }) => isRun)
    .flatMap(({ text }) => text.replaceAll('\\\n', '').trim().split('\n'));
  expect(commands.length).toBeGreaterThanOrEqual(9);
  for (const command of commands) {
    const placed = places.reduce((text, [name, place]) => text.replaceAll(name, place), command);
    const { code, output } = await run('bash', ['-c', placed], {
      env: { PATH, REDUCTRAI: join(BUNDLE, 'bin/reductrai') },
    });
    expect(code, `${command}\n${output}`).toBe(0);
  }
}, 180_000);

test('options in its commands are options', async () => {
  for (const { text } of blocks) {
    for (const [, name, rest] of text.replaceAll('\\\n', '').matchAll(/deploy\/scripts\/([a-z-]+)\.sh(.*)/g)) {
      const { stdout } = await script(name!, ['--help']);
      const own = rest!.replace(/'.*?'/g, '').replace(/#.*/, '');
      for (const [option] of own.matchAll(/--[a-z-]+/g))
        expect(stdout, `${name} ${option}`).toMatch(new RegExp(`${option}\\b`));
    }
  }
});
