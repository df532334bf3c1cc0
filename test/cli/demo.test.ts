/** The demo, whole: made-up traffic and bodies from files come out at the sink and in the archive, and nothing is left behind. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { runDemo } from '../../src/cli/demo/demo.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

async function demo(...args: string[]) {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const io = { stdout, stderr, stdoutIsTerminal: false, stderrIsTerminal: false, columns: 200 };
  const code = await runDemo(args, io);
  const textOf = (stream: PassThrough): string => String(stream.read() ?? '');
  return { code, out: textOf(stdout), err: textOf(stderr) };
}

test('all that is sent is kept and forwarded', { timeout: 120_000 }, async () => {
  const { code, out, err } = await demo('--requests', '30', '--seed', '5');
  expect({ code, err }).toEqual({ code: 0, err: '' });
  for (const name of ['metrics', 'logs', 'traces', 'events', 'all'])
    expect(out).toMatch(new RegExp(`^${name} +\\d`, 'm'));
  expect(out).toMatch(/^all +30 /m);
  expect(out).toContain('FROM logs');
});

test('bodies from files; an equal body that is sent again after its answer is kept again', {
  timeout: 120_000,
}, async () => {
  const folder = await temporaryFolder();
  await mkdir(join(folder, 'logs'));
  const line = JSON.stringify([
    { message: 'one', service: 'from-file' },
    { message: 'two', service: 'from-file' },
  ]);
  await writeFile(join(folder, 'logs', 'a.ndjson'), `${line}\n\n${line}\n${line.replace('two', 'three')}\n`);
  const { code, out, err } = await demo('--payloads', folder);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(out).toMatch(/^from-file +6 +0$/m);
});

test('wrong usage and files that hold something else are said', { timeout: 120_000 }, async () => {
  expect(await demo('--requests', 'many')).toMatchObject({ code: 2, err: expect.stringContaining('--requests') });
  const folder = await temporaryFolder();
  expect(await demo('--payloads', folder)).toMatchObject({ code: 1, err: expect.stringContaining('ndjson') });
  await mkdir(join(folder, 'metrics'));
  await writeFile(join(folder, 'metrics', 'a.ndjson'), '{"series":[]}\n[1]\n');
  expect(await demo('--payloads', folder)).toMatchObject({ code: 1, err: expect.stringContaining('a.ndjson:2') });
});
