/**
 * The image, made and run as far as that can be done without Docker (image/build-image.ts, image/container.ts): what is in its root, and the process
 * in it as user 1000 with a read-only root: it serves, its health check passes and fails when it should, it keeps what it acknowledged when it
 * is told to stop, and finds it again.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { PROJECT } from '../support/proxy-process.ts';
import { buildImage, type Image, run } from './image/build-image.ts';
import { type Container, type RunOptions, runImage, untilPasses } from './image/container.ts';
import { pairsOf, stagesOf } from './image/dockerfile.ts';

const isRoot = process.getuid?.() === 0;
const title = isRoot ? 'the image' : 'the image (only root may put a root directory together)';
const HEALTH = ['curl', '-f', 'http://localhost:8080/health'];
/** Of the image without Node, which has 120 MB. */
const ADDED_MAX_BYTES = 100 * 1024 * 1024;

/** Where no balancer has to notice that it stops. */
const AT_ONCE = { REDUCTRAI_DRAIN_NOTICE: '0ms' };

const logOf = (message: string): string => JSON.stringify([{ message, service: 'image' }]);
const post = (container: Container, message: string) =>
  container.exec(
    [
      ...['curl', '-sS', '-o', '/dev/null', '-w', '%{http_code}', '--data-binary', '@-'],
      ...['-H', 'content-type: application/json', 'http://localhost:8080/api/v2/logs'],
    ],
    logOf(message),
  );
const QUERY = ['query', 'SELECT message FROM logs ORDER BY message'];
const rows = (output: string): string[] =>
  [...output.matchAll(/^\{"message":"(.*)"\}$/gm)].map(([, message]) => message!);

describe.skipIf(!isRoot)(title, () => {
  let folder: string;
  let image: Image;

  beforeAll(async () => {
    const cache = join(PROJECT, '.cache');
    mkdirSync(cache, { recursive: true });
    folder = await mkdtemp(join(cache, 'image-'));
    image = buildImage(folder);
  }, 240_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const found = (...conditions: string[]): string[] =>
    run(['find', image.root, '-xdev', ...conditions])
      .split('\n')
      .filter((path) => path !== '')
      .map((path) => path.slice(image.root.length) || '/')
      .sort();

  async function start(options: RunOptions): Promise<Container> {
    const container = await runImage(image, options);
    onTestFinished(() => container.kill());
    await untilPasses(container, image.healthcheck);
    return container;
  }

  test('has no compiler, no package manager of Node, and no sources', () => {
    const programs = found('-path', '*/bin/*', '-printf', '%p\\n').map((path) => path.slice(path.lastIndexOf('/') + 1));
    expect(programs).toEqual(expect.arrayContaining(['node', 'curl', 'reductrai', 'sh']));
    expect(
      programs.filter((name) => /^(gcc|cc|g\+\+|c\+\+|cpp|ld|as|make|python.*|npm|npx|go|rustc)$/.test(name)),
    ).toEqual([]);
    expect(found('-path', '*/app/*', '(', '-name', '*.ts', '-not', '-name', '*.d.ts', ')')).toEqual([]);
    const names = ['LICENSE', 'bin', 'data', 'decode-worker.js', 'encode-worker.js', 'licenses.txt', 'main.js'];
    expect(found('-path', `${image.root}/app/*`, '-maxdepth', '2')).toEqual(
      expect.arrayContaining([...names, 'node_modules', 'package.json', 'sbom.cdx.json'].map((name) => `/app/${name}`)),
    );
  });

  test('nothing in it belongs to its user but the volume, and the home that the base image gives', () => {
    const owned = found('(', '-uid', '1000', '-o', '-gid', '1000', ')');
    expect(owned.filter((path) => path !== '/home/node' && !path.startsWith('/home/node/'))).toEqual(['/app/data']);
    const writable = found('-perm', '-o+w', '-not', '-type', 'l', '-not', '-path', `${image.root}/dev/*`);
    // Sticky, and read-only once it runs.
    expect(writable).toEqual(['/run/lock', '/tmp', '/var/tmp']);
  });

  test('is small', () => {
    const bytesOf = (path: string): number => Number(run(['du', '-sxb', path]).split('\t')[0]);
    const [root, app, node] = ['', 'app', 'usr/local/bin/node'].map((path) => bytesOf(join(image.root, path)));
    const mb = (bytes: number): number => Math.round(bytes / 1e6);
    console.log(`the image's root: ${mb(root!)} MB, of these ${mb(app!)} MB in /app, ${mb(node!)} MB Node`);
    expect(app!).toBeLessThan(ADDED_MAX_BYTES);
  });

  test('serves, checks itself and answers queries as user 1000 with a read-only root', async () => {
    const container = await start({
      data: join(folder, 'data-serves'),
      env: { ...AT_ONCE, REDUCTRAI_ARCHIVE_FLUSH_AFTER: '1s' },
    });
    expect(await container.exec(HEALTH)).toMatchObject({ code: 0, output: expect.stringContaining('"status":"ok"') });
    const status = await container.exec(['cat', '/proc/1/status']);
    expect(status.output).toMatch(/^Uid:\t1000\t1000\t1000\t1000$/m);
    expect(status.output).toMatch(/^Gid:\t1000\t1000\t1000\t1000$/m);
    expect(status.output).toMatch(/^Groups:\t *$/m);
    for (const name of ['CapEff', 'CapPrm', 'CapBnd']) expect(status.output).toMatch(new RegExp(`^${name}:\t0+$`, 'm'));
    // Nobody in between.
    const command = await container.exec(['cat', '/proc/1/cmdline']);
    expect(command.output.split('\0').filter((word) => word !== '')).toEqual([...image.entrypoint, ...image.cmd]);
    const writable =
      'find / -path /proc -prune -o -path /dev -prune -o -path /app/data -prune -o ! -type l -writable -print 2>/dev/null || true';
    expect(await container.exec(['sh', '-c', writable])).toEqual({ code: 0, output: '' });
    expect((await container.exec(['touch', '/app/data/.probe'])).code).toBe(0);
    for (const path of ['/tmp/x', '/var/tmp/x', '/home/node/x', '/run/lock/x']) {
      expect((await container.exec(['touch', path])).output).toContain('Read-only file system');
    }
    expect((await post(container, 'hello')).output).toBe('202');
    await expect
      .poll(async () => rows((await container.exec(['reductrai', ...QUERY])).output), {
        timeout: 30_000,
        interval: 500,
      })
      .toEqual(['hello']);
    expect((await container.stop('SIGTERM')).code).toBe(0);
  });

  test('told to stop, it says so to its health check, serves on for a moment, keeps what it took, and ends by itself', async () => {
    const data = join(folder, 'data-stops');
    const first = await start({ data });
    expect((await post(first, 'a: before')).output).toBe('202');
    const ended = first.stop(image.stopSignal as NodeJS.Signals);
    await expect
      .poll(async () => (await first.exec(image.healthcheck)).code, { timeout: 4_000, interval: 50 })
      .not.toBe(0);
    expect((await post(first, 'b: while it drains')).output).toBe('202');
    const { code, output } = await ended;
    expect(code, output).toBe(0);
    // Nothing but the image's command reads it: all was flushed.
    const reader = await runImage(image, { data, cmd: QUERY });
    const read = await reader.ended;
    expect(read.code, read.output).toBe(0);
    expect(rows(read.output)).toEqual(['a: before', 'b: while it drains']);
    const second = await start({ data, env: AT_ONCE });
    expect((await post(second, 'c: after')).output).toBe('202');
    expect((await second.stop('SIGTERM')).code).toBe(0);
    const again = await runImage(image, { data, cmd: QUERY });
    expect(rows((await again.ended).output)).toEqual(['a: before', 'b: while it drains', 'c: after']);
  });

  test('killed, it has what it acknowledged when it comes back', async () => {
    const data = join(folder, 'data-killed');
    const first = await start({ data });
    expect((await post(first, 'kept')).output).toBe('202');
    await first.kill();
    const second = await start({ data, env: AT_ONCE });
    expect((await second.stop('SIGTERM')).code).toBe(0);
    const reader = await runImage(image, { data, cmd: QUERY });
    expect(rows((await reader.ended).output)).toEqual(['kept']);
  });
});

test('a Dockerfile that is not understood is an error', () => {
  expect(() => stagesOf('RUN true')).toThrow('before the first FROM');
  expect(() => stagesOf('FROM a AS b\nrun true')).toThrow('not understood');
  const [stage] = stagesOf('FROM a AS b\n# a comment\nRUN x \\\n # another\n && y\n');
  expect(stage).toEqual({ from: 'a', as: 'b', instructions: [{ name: 'RUN', text: 'x && y' }] });
  expect(pairsOf('A=1 B="2 3" C=$A', { A: '0' })).toEqual({ A: '1', B: '2 3', C: '0' });
  expect(() => pairsOf('A=$B', {})).toThrow('B is not known');
  expect(() => pairsOf('A 1', {})).toThrow('not understood');
});
