/** The reference pages say what the code says. `npm run docs` brings them up to date. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { REFERENCE_PAGES, segmentsPage } from '../../scripts/reference-pages.ts';
import { ROOT } from './source-tree.ts';

test.each(REFERENCE_PAGES)('$path is up to date (npm run docs)', async ({ path, content }) => {
  const file = join(ROOT, path);
  const current = existsSync(file) ? readFileSync(file, 'utf8') : undefined;
  expect(current === (await content(current)), `${path} is out of date: npm run docs`).toBe(true);
});

test('text around the column tables stays', () => {
  const page = segmentsPage('# Segments\n\nBefore.\n');
  expect(page).toContain('Before.');
  const edited = page.replace('| `message` |', '| `massage` |').concat('\nAfter.\n');
  expect(segmentsPage(edited)).toBe(page.concat('\nAfter.\n'));
});
