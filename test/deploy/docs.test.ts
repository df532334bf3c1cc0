/** What docs/deployment.md, the runbooks and the chart's README name is there: files, links, commands, metrics, settings; blocks say if they are run. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { KNOWN_SETTINGS } from '../../src/config/registry.ts';
import { PROJECT, runCli } from '../support/proxy-process.ts';
import { declaredMetrics } from './support/known-metrics.ts';

const PAGES = [
  'docs/deployment.md',
  'deploy/helm/reductrai-proxy/README.md',
  ...readdirSync(join(PROJECT, 'docs/runbooks')).map((name) => `docs/runbooks/${name}`),
];
/** Variables of the Compose files and of scripts, not of the proxy. */
const OTHER_VARIABLES = ['REDUCTRAI_VERSION'];

const read = (page: string): string => readFileSync(join(PROJECT, page), 'utf8');

describe.each(PAGES)('%s', (page) => {
  test('links lead somewhere', () => {
    for (const [, target] of read(page).matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g)) {
      if (!/^https?:/.test(target!)) expect(existsSync(join(PROJECT, dirname(page), target!)), target).toBe(true);
    }
  });

  test('files that it names are there', () => {
    for (const [, path] of read(page).matchAll(/`((?:deploy|docs|test|scripts)\/[\w./-]+)`/g)) {
      expect(existsSync(join(PROJECT, path!)), path).toBe(true);
    }
  });

  test('metrics that it names are declared', async () => {
    const declared = [...(await declaredMetrics()).keys()];
    // A histogram goes by its own name, too.
    const known = [...declared, ...declared.map((name) => name.replace(/_(bucket|sum|count)$/, ''))];
    for (const [name] of read(page).matchAll(/\breductrai_[a-z0-9_]+/g)) expect(known, name).toContain(name);
  });

  test('settings that it names are known', () => {
    const keys = KNOWN_SETTINGS.map(({ path }) => path);
    const groups = new Set(keys.map((key) => key.split('.')[0]));
    for (const [, key] of read(page).matchAll(/`([a-z][a-z0-9_]*\.[a-z_]+)`/g)) {
      if (groups.has(key!.split('.')[0]!)) expect(keys, key).toContain(key);
    }
    const variables = KNOWN_SETTINGS.flatMap(({ env }) => [...env]);
    for (const [name] of read(page).matchAll(/\bREDUCTRAI_[A-Z_]+\b/g)) {
      expect([...variables, ...OTHER_VARIABLES], name).toContain(name);
    }
  });

  test('every block of commands says that it is not run here, and why', () => {
    const text = read(page);
    for (const { index } of text.matchAll(/^```sh$/gm)) {
      expect(text.slice(0, index), page).toMatch(/<!-- not run by tests: .+ -->\n$/);
    }
  });
});

test('commands that the pages name are commands', async () => {
  const { stdout } = await runCli(['--help']);
  for (const page of PAGES) {
    for (const [, words] of read(page).matchAll(/(?:`|-- )reductrai ([a-z][a-z -]*)/g)) {
      const [command, sub] = words!.trim().split(' ');
      expect(stdout, `${page}: reductrai ${words}`).toMatch(new RegExp(`^  ${command}(?: ${sub})?\\b`, 'm'));
    }
  }
});
