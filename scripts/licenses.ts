/** The licence texts of packages, in one text: a bundle drops the files that they stand in, and most licences ask that they go along. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const NAMES = /^(licen[cs]e|notice|copying)/i;

export function licensesOf(project: string, folders: readonly string[]): string {
  return folders
    .map((folder) => {
      const { name, version, license } = JSON.parse(readFileSync(join(project, folder, 'package.json'), 'utf8'));
      const texts = readdirSync(join(project, folder))
        .filter((file) => NAMES.test(file))
        .map((file) => readFileSync(join(project, folder, file), 'utf8').trim());
      return [`${'='.repeat(80)}\n${name} ${version} (${license})`, ...texts].join('\n\n');
    })
    .join('\n\n')
    .concat('\n');
}
