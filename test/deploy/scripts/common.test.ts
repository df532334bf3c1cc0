/** What all scripts of deploy/scripts have in common: help, wrong options, what is missing, a name in docs/scripts.md. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { PROJECT } from '../../support/proxy-process.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';
import { SCRIPTS, script } from '../support/scripts.ts';
import { run } from '../support/tools.ts';

const NAMES = readdirSync(SCRIPTS).flatMap((file) =>
  file.endsWith('.sh') && file !== 'lib.sh' ? file.slice(0, -3) : [],
);

test('they are all there, and can be run', () => {
  expect(NAMES.sort()).toEqual(
    'backup blue-green chaos deploy drain health-check load-test region-failover restore rolling-update verify-deployment'.split(
      ' ',
    ),
  );
  for (const name of NAMES) expect(statSync(join(SCRIPTS, `${name}.sh`)).mode & 0o111, name).toBe(0o111);
});

describe.each(NAMES)('%s', (name) => {
  test('says how it is used, and that it has a dry run', async () => {
    const { code, stdout } = await script(name, ['--help']);
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`^Usage: ${name}\\.sh `));
    expect(stdout).toContain('--dry-run');
    expect(stdout).toMatch(/^.*Exit code: 0 /m);
  });

  test('tells wrong and missing options', async () => {
    expect(await script(name, ['--wrong'])).toEqual({
      code: 64,
      stdout: '',
      output: `${name}.sh: unknown option: --wrong (see --help)\n`,
    });
    const { code, output } = await script(name, []);
    expect([code, output]).toEqual([64, expect.stringMatching(/missing: --|what is to be done|--to blue or/)]);
  });

  test('tells which program is missing', async () => {
    const { code, output } = await run('bash', [join(SCRIPTS, `${name}.sh`), '--help'], {
      env: { PATH: await withoutCurl() },
    });
    expect([code, output]).toEqual([69, `${name}.sh: curl is not installed\n`]);
  });

  test('is in docs/scripts.md', () => {
    expect(readFileSync(join(PROJECT, 'docs/scripts.md'), 'utf8')).toContain(`\`${name}.sh\``);
  });
});

async function withoutCurl(): Promise<string> {
  const folder = await temporaryFolder();
  await run('bash', [
    '-c',
    `for one in bash dirname readlink sed awk timeout cat; do ln -s "$(command -v $one)" "$1"; done`,
    '_',
    folder,
  ]);
  return folder;
}

test('through a link it finds what it needs', async () => {
  const link = join(await temporaryFolder(), 'reductrai-health');
  await symlink(join(SCRIPTS, 'health-check.sh'), link);
  expect((await run('bash', [link, '--help'])).code).toBe(0);
});

test('an option without its value is no crash without words', async () => {
  const { code, output } = await script('health-check', ['--replicas']);
  expect(code).not.toBe(0);
  expect(output).toMatch(/parameter null or not set/);
});

test('a number that is none is told', async () => {
  expect(await script('health-check', ['--replicas', 'http://a', '--watch', 'soon'])).toMatchObject({
    code: 64,
    output: expect.stringContaining("--watch is a whole number, not 'soon'"),
  });
});
