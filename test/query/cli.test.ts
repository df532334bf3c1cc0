import { readFile } from 'node:fs/promises';
import { Writable } from 'node:stream';
import { expect, test } from 'vitest';
import { runExport } from '../../src/cli/export.ts';
import { runLs } from '../../src/cli/ls.ts';
import { runQuery } from '../../src/cli/query.ts';
import type { ByteRange } from '../../src/store/object-store.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { createArchiveFolder } from './archive-folder.ts';

const NOW = Date.UTC(2026, 0, 1, 12, 30);
function io(isTerminal: boolean) {
  const out = { stdout: '', stderr: '' };
  const sink = (name: 'stdout' | 'stderr') =>
    new Writable({
      write(chunk, _e, done) {
        out[name] += String(chunk);
        done();
      },
    });
  return {
    out,
    io: {
      stdout: sink('stdout'),
      stderr: sink('stderr'),
      stdoutIsTerminal: isTerminal,
      stderrIsTerminal: false,
      columns: 100,
    },
  };
}
test('commands', async () => {
  const archive = createArchiveFolder(await temporaryFolder());
  const span = `{"trace_id":1,"span_id":2,"parent_id":0,"start":${BigInt(NOW) * 1000000n + 123456789n},"duration":1,"name":"a","service":"s","resource":"r","type":"t","error":0}`;
  await archive.flush([
    { signal: 'traces', protocol: 'traces-v04-json', body: `[[${span}]]`, receivedAtMs: NOW },
    { signal: 'logs', protocol: 'logs-json', body: '[{"message":"a"},{"message":"b"}]', receivedAtMs: NOW },
  ]);
  const open = async () => ({
    store: archive.store,
    pathOf: archive.pathOf,
    peek: async (key: string, { offset, length }: ByteRange) =>
      (await readFile(archive.pathOf(key))).subarray(offset, offset + length),
    close: async () => {},
    tempFolder: archive.tempFolder,
    memoryLimit: '300MB',
  });
  const run = async (f: typeof runQuery, args: string[], tty = false) => {
    const w = io(tty);
    const code = await f(args, w.io as never, open as never);
    return [code, w.out.stdout, w.out.stderr] as const;
  };
  expect(await run(runExport, ['--signal', 'traces'])).toEqual([0, `${span}\n`, '']);
  expect(await run(runQuery, ['SELECT message FROM logs'])).toEqual([0, '{"message":"a"}\n{"message":"b"}\n', '']);
  expect(JSON.parse((await run(runQuery, ['SELECT message FROM logs', '--format', 'json']))[1])).toEqual([
    { message: 'a' },
    { message: 'b' },
  ]);
  expect((await run(runQuery, ['SELECT message FROM logs', '--format', 'csv']))[1]).toBe('message\na\nb\n');
  expect((await run(runQuery, ['SELECT message FROM logs'], true))[1]).toBe('message\n───────\na\nb\n');
  const traced = async (id: string) => (await run(runQuery, ['SELECT name FROM spans', '--trace', id]))[1];
  expect(await traced('1')).toBe('{"name":"a"}\n');
  expect(await traced(`${'0'.repeat(31)}1`)).toBe('{"name":"a"}\n');
  expect(await traced('2')).toBe('');
  expect(await run(runQuery, ['SELECT count(*) AS n FROM logs', '--trace', '1'])).toEqual([0, '{"n":0}\n', '']);
  const refused = await run(runQuery, ['SELECT 1', '--trace', 'x']);
  expect([refused[0], refused[2]]).toEqual([2, expect.stringContaining('--trace: no trace id: x')]);
  expect((await run(runQuery, ['SELECT nope FROM logs']))[0]).toBe(1);
  expect((await run(runQuery, ['SELECT 1', '--format', 'x']))[0]).toBe(2);
  const ls = await run(runLs, [], true);
  console.log(ls[1]);
  expect(ls[0]).toBe(0);
});
