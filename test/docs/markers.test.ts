/** Every documented block of commands or SQL is run by a test, or says why not; every block of settings or data is what its label says. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { loadSettings } from '../../src/config/load.ts';
import { PROJECT } from '../support/proxy-process.ts';
import {
  allBlocks,
  type Block,
  blocksOf,
  documentPages,
  holdsCommands,
  isOutput,
  notRunReason,
  placeOf,
  runMarkerOf,
} from './support/blocks.ts';
import { SETUPS } from './support/checkout.ts';
import { missingLine, shapeOf } from './support/outputs.ts';

const blocks = allBlocks();
const toRun = (block: Block): boolean => holdsCommands(block) || block.language === 'sql';

/** Pages of which every block without a reason is run by a test of its own, which reads the page. */
const RUN_ELSEWHERE: Readonly<Record<string, string>> = { 'docs/scripts.md': 'test/deploy/scripts/docs.test.ts' };

function isRunElsewhere({ page }: Block): boolean {
  const file = join(PROJECT, RUN_ELSEWHERE[page] ?? '');
  return page in RUN_ELSEWHERE && existsSync(file) && readFileSync(file, 'utf8').includes(page);
}

test('the documents are found', () => {
  const pages = documentPages();
  for (const page of ['README.md', 'bench/README.md', 'docs/storage.md', 'docs/formats/segments.md']) {
    expect(pages).toContain(page);
  }
  expect(blocks.filter(toRun).length).toBeGreaterThan(30);
});

test('commands and SQL are run, or say why not', () => {
  const silent = blocks
    .filter((block) => toRun(block) && !runMarkerOf(block) && !notRunReason(block) && !isRunElsewhere(block))
    .map(placeOf);
  expect(silent).toEqual([]);
  const both = blocks.filter((block) => runMarkerOf(block) && notRunReason(block)).map(placeOf);
  expect(both).toEqual([]);
});

test('set-ups are known, and outputs stand behind what is run', () => {
  for (const [i, block] of blocks.entries()) {
    const marker = runMarkerOf(block);
    if (marker) expect(SETUPS, placeOf(block)).toContain(marker.setup);
    if (isOutput(block)) {
      const before = blocks[i - 1];
      expect(before?.page === block.page && runMarkerOf(before) !== undefined, placeOf(block)).toBe(true);
    }
  }
});

test('a good part of them is run', () => {
  expect(blocks.filter(runMarkerOf).length).toBeGreaterThan(30);
});

test.each(blocks.filter(({ language }) => language === 'json').map((block) => [placeOf(block), block] as const))(
  '%s is JSON',
  (_, block) => {
    expect(() => JSON.parse(block.text)).not.toThrow();
  },
);

const yaml = blocks.filter(({ language }) => language === 'yaml');
test.each(yaml.map((block) => [placeOf(block), block] as const))('%s is YAML', (_, block) => {
  for (const document of parseAllDocuments(block.text)) {
    expect('errors' in document ? document.errors : []).toEqual([]);
  }
});

describe('settings in documents are taken by the loader', () => {
  const settings = blocks.filter(({ markers }) => markers.includes('settings'));
  test('there are some', () => expect(settings.length).toBeGreaterThan(1));
  test.each(settings.map((block) => [placeOf(block), block] as const))('%s', (_, block) => {
    const loaded = loadSettings({
      env: {},
      configPath: '/etc/reductrai/proxy.yml',
      hostname: 'proxy-0',
      cpuCount: 4,
      readText: (path) => (path.endsWith('.yml') ? block.text : KEY_OF_32_BYTES),
    });
    expect(loaded.ok ? [] : loaded.problems).toEqual([]);
    expect(loaded.ok && loaded.warnings).toEqual([]);
  });
});

/** What every file of a secret holds here. */
const KEY_OF_32_BYTES = Buffer.alloc(32, 7).toString('base64');

describe('the checks find what they look for', () => {
  const one = (text: string): Block => blocksOf('page.md', text)[0]!;

  test('blocks and their markers', () => {
    const block = one('Text.\n\n<!-- run: proxy, exit 1 -->\n\n```sh\nreductrai ls\n```\n');
    expect(block).toMatchObject({ line: 5, language: 'sh', text: 'reductrai ls' });
    expect(runMarkerOf(block)).toEqual({ setup: 'proxy', exitCode: 1, withQuery: false });
    expect(runMarkerOf(one('<!-- run: a -->\nText.\n```sh\nls\n```'))).toBeUndefined();
    expect(() => runMarkerOf(one('<!-- run: proxy exit=1 -->\n```sh\nls\n```'))).toThrow('marker');
    expect(notRunReason(one('<!-- not run by tests: needs Docker -->\n```sh\nls\n```'))).toBe('needs Docker');
    expect(notRunReason(one('<!-- not run by tests:  -->\n```sh\nls\n```'))).toBeUndefined();
    expect(() => blocksOf('page.md', '```sh\nls\n')).toThrow('not closed');
  });

  test('commands without a label', () => {
    for (const line of [
      '$ reductrai check-config',
      'gcloud iam roles create',
      'npm run bench  # all',
      'A=1 B=2 curl x',
      'deploy/scripts/x.sh --help',
    ]) {
      expect(holdsCommands(one(`\`\`\`\n${line}\n\`\`\``)), line).toBe(true);
    }
    for (const line of ['offset  bytes', 'journal/<replica>/', '{"a":1}', 'object  magic', 'signal requests']) {
      expect(holdsCommands(one(`\`\`\`\n${line}\n\`\`\``)), line).toBe(false);
    }
  });

  test('outputs, loosely', () => {
    const printed = '{"signal":"logs","rows":17}\nmetrics   311  2.9 MiB\nstore: file:///tmp/x\n';
    expect(missingLine('{"signal":"logs","rows":1}\n…\nmetrics  1  88 KiB', printed)).toBeUndefined();
    expect(missingLine('{"signal":"logs","lines":1}', printed)).toBe('{"signal":"logs","lines":1}');
    expect(missingLine('{"signal":"traces","rows":1}', printed)).toBeDefined();
    expect(missingLine('metrics 1 2 MiB\n{"signal":"logs","rows":1}', printed)).toBe('{"signal":"logs","rows":1}');
    expect(missingLine('store: …', printed)).toBeUndefined();
    expect(missingLine('stores: …', printed)).toBe('stores: …');
    expect(missingLine('metrics 311 2.9 MiB', printed, true)).toBeUndefined();
    expect(missingLine('metrics 311 2.8 MiB', printed, true)).toBeDefined();
    expect(shapeOf('  ok      read it back')).toBe('ok read it back');
  });
});
