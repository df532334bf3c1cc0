/** What the documents name is there: files, links, sections, commands and their options, metrics, settings, codes of errors. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { KNOWN_ENV, KNOWN_SETTINGS } from '../../src/config/registry.ts';
import { ERROR_CATALOGUE } from '../../src/core/errors.ts';
import { declaredMetrics } from '../deploy/support/known-metrics.ts';
import { PROJECT, runCli } from '../support/proxy-process.ts';
import { documentPages, readPage } from './support/blocks.ts';

const PAGES = documentPages();
/** Of Compose files and scripts, of tests, of senders. */
const OTHER_VARIABLES = [
  ...['REDUCTRAI_VERSION', 'REDUCTRAI_CORPUS', 'REDUCTRAI_DEPLOY_TOOLS', 'REDUCTRAI_MINIO', 'DATADOG_HOST'],
  // Of the balancers' files.
  ...['REPLICA_1', 'REPLICA_3'],
  // Misspelt on purpose.
  'REDUCTRAI_PROT',
];
/** Placeholders of the form `STORAGE_{HOT,WARM}_PATH` and `NAME_*` are looked up without what is open. */
const VARIABLE =
  /\b(?:REDUCTRAI|STORAGE|S3|GCS|AZURE|DATADOG|SEAL|CLEANUP|COLD|AUTO_CLEANUP|FORWARD|PROXY|AGENT|REPLICA|DATA)_[A-Z0-9_]*[A-Z0-9]\b(?![{*…])/g;

let metrics: string[];
/** By command (`tier`, `storage copy`): its help. */
const help = new Map<string, string>();
let commands: string;

beforeAll(async () => {
  const declared = [...(await declaredMetrics()).keys()];
  // A histogram goes by its own name, too.
  metrics = [...declared, ...declared.map((name) => name.replace(/_(bucket|sum|count)$/, ''))];
  commands = (await runCli(['--help'])).stdout;
  for (const [, name] of commands.matchAll(/^ {2}([a-z-]+(?: (?:status|copy))?)\b/gm)) {
    help.set(name!, (await runCli([...name!.split(' '), '--help'])).stdout);
  }
});

/** As GitHub makes them. */
function anchorsOf(page: string): string[] {
  const text = readPage(page).replace(/^```[\s\S]*?^```$/gm, '');
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, title]) =>
    title!
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

describe.each(PAGES)('%s', (page) => {
  const text = readPage(page);

  test('links lead somewhere', () => {
    for (const [, target, section] of text.matchAll(/\]\(([^)#\s]*)(?:#([^)]*))?\)/g)) {
      if (/^https?:/.test(target!)) continue;
      const path = target === '' ? page : join(dirname(page), target!);
      expect(existsSync(join(PROJECT, path)), path).toBe(true);
      if (section !== undefined) expect(anchorsOf(path), `${path}#${section}`).toContain(section);
    }
  });

  test('files that it names are there', () => {
    for (const [, path] of text.matchAll(/`((?:deploy|docs|test|scripts|src|bench)\/[\w./-]+)`/g)) {
      // A tree that has none of them yet.
      expect(existsSync(join(PROJECT, path!)), path).toBe(true);
    }
  });

  test('metrics that it names are declared', () => {
    for (const [name] of text.matchAll(/\breductrai_[a-z0-9_]*[a-z0-9]\b(?!_?[*])/g))
      expect(metrics, name).toContain(name);
  });

  test('settings that it names are known', () => {
    const keys = KNOWN_SETTINGS.map(({ path }) => path);
    const groups = new Set(keys.map((key) => key.split('.')[0]));
    for (const [, key] of text.matchAll(/`([a-z][a-z0-9_]*\.[a-z_]+)`/g)) {
      if (groups.has(key!.split('.')[0]!) && !/\.(md|json)$/.test(key!)) expect(keys, key).toContain(key);
    }
    const known = [...KNOWN_ENV, ...OTHER_VARIABLES, ...Object.keys(ERROR_CATALOGUE)];
    for (const [name] of text.matchAll(VARIABLE)) {
      expect(known, name).toContain(name.replace(/_FILE$/, ''));
    }
  });

  test('commands that it names are commands, with these options', () => {
    for (const [, words, rest] of text.matchAll(/(?:`|^|-- |bin\/)reductrai ([a-z][a-z-]*(?: [a-z]+)?)\b([^`\n]*)/gm)) {
      const [name, sub] = words!.split(' ');
      const own = help.get(words!) ?? help.get(name!) ?? help.get(`${name} ${sub}`);
      expect(own, `reductrai ${words}`).toBeDefined();
      for (const [option] of rest!.replace(/"[^"]*"/g, '').matchAll(/(?<= )--[a-z][a-z-]*/g)) {
        if (option !== '--config' && option !== '--help') expect(own, `reductrai ${words} ${option}`).toContain(option);
      }
    }
  });
});

test('every code of an error is explained', () => {
  const text = readPage('docs/troubleshooting.md');
  for (const code of Object.keys(ERROR_CATALOGUE)) expect(text, code).toContain(`\`${code}\``);
});

test('every document is linked from README.md or from another one', () => {
  const targets = new Set(
    PAGES.flatMap((page) =>
      [...readPage(page).matchAll(/\]\(([^)#\s]+)/g)].map(([, target]) => join(dirname(page), target!)),
    ),
  );
  const lonely = PAGES.filter((page) => /^docs\/[^/]+\.md$/.test(page) && !targets.has(page));
  expect(lonely).toEqual([]);
});
