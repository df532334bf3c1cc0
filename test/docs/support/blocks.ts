/**
 * The fenced blocks of the documents, and what their markers say. A marker is a comment on a line of its own above a block:
 *
 *   <!-- run: SETUP -->                a block of commands or SQL is run in that set-up (support/checkout.ts); blocks of one page share it
 *   <!-- run: SETUP, exit 1 -->        and ends with this code
 *   <!-- run: SETUP, with query -->    SQL is run by `reductrai query` instead of DuckDB itself
 *   <!-- output -->                    what the block before printed, compared loosely (support/outputs.ts)
 *   <!-- exact output -->              the same, figures and all
 *   <!-- not run by tests: WHY -->
 *   <!-- file: NAME -->                the block is saved under this name, for the commands behind it
 *   <!-- haproxy -->                   a part of a configuration that HAProxy itself checks
 *   <!-- settings -->                  YAML that the proxy's own loader takes
 *   <!-- client: NAME -->              settings of a client, checked by migration.test.ts
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PROJECT } from '../../support/proxy-process.ts';

export interface Block {
  page: string;
  /** Of its fence, from 1. */
  line: number;
  language: string;
  text: string;
  markers: string[];
}

const FOLDERS_LEFT_OUT = new Set(['node_modules', '.git', '.cache', 'dist', 'data']);

/** README.md and its like, all of docs/, the READMEs of deploy/ and bench/. */
export function documentPages(): string[] {
  const below = (folder: string): string[] =>
    readdirSync(join(PROJECT, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.md'))
      .map((entry) => join(entry.parentPath, entry.name).slice(PROJECT.length + 1))
      .filter((path) => !path.split('/').some((part) => FOLDERS_LEFT_OUT.has(part)));
  return ['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', ...below('docs'), ...below('deploy'), ...below('bench')];
}

export const readPage = (page: string): string => readFileSync(join(PROJECT, page), 'utf8');

/** Throws where a fence is left open. */
export function blocksOf(page: string, text: string): Block[] {
  const lines = text.split('\n');
  const blocks: Block[] = [];
  for (let i = 0; i < lines.length; i++) {
    const fence = /^(\s*)(```+)\s*(\w*)\s*$/.exec(lines[i]!);
    if (!fence) continue;
    const [, indent, ticks, language] = fence;
    const end = lines.findIndex((line, at) => at > i && line === `${indent}${ticks}`);
    if (end === -1) throw new Error(`${page}:${i + 1}: a block is not closed`);
    const body = lines.slice(i + 1, end).map((line) => (line.startsWith(indent!) ? line.slice(indent!.length) : line));
    blocks.push({ page, line: i + 1, language: language!, text: body.join('\n'), markers: markersAbove(lines, i) });
    i = end;
  }
  return blocks;
}

function markersAbove(lines: readonly string[], at: number): string[] {
  const markers: string[] = [];
  for (let i = at - 1; i >= 0; i--) {
    const line = lines[i]!.trim();
    const marker = /^<!-- (.+) -->$/.exec(line)?.[1];
    if (marker !== undefined) markers.unshift(marker);
    else if (line !== '') break;
  }
  return markers;
}

export const allBlocks = (): Block[] => documentPages().flatMap((page) => blocksOf(page, readPage(page)));

const SHELLS = new Set(['sh', 'bash', 'shell', 'console', 'zsh']);
/** How a line of commands begins in these documents. */
const COMMAND =
  /^(\$ |(sudo |\w+=\S* )*(npm|npx|node|curl|docker|kubectl|helm|kustomize|(bin\/)?reductrai|gcloud|gsutil|az|aws|git|systemctl|haproxy|nginx|promtool|pip|apt-get|export|cd|make|terraform|nomad|hey|openssl|(deploy|test|scripts)\/\S+) )/;

/** By its label; without one, by how its first line reads. */
export function holdsCommands({ language, text }: Block): boolean {
  if (SHELLS.has(language)) return true;
  return language === '' && COMMAND.test(`${text.trimStart().split('\n')[0]} `);
}

export interface RunMarker {
  setup: string;
  exitCode: number;
  withQuery: boolean;
}

/** Undefined where the block is not to be run. */
export function runMarkerOf({ page, line, markers }: Block): RunMarker | undefined {
  const text = markers.find((marker) => marker.startsWith('run:'));
  if (text === undefined) return undefined;
  const found = /^run: ([a-z-]+)(?:, exit (\d+))?(, with query)?$/.exec(text);
  if (!found) throw new Error(`${page}:${line}: the marker says ${JSON.stringify(text)}`);
  return { setup: found[1]!, exitCode: Number(found[2] ?? 0), withQuery: found[3] !== undefined };
}

export const notRunReason = ({ markers }: Block): string | undefined =>
  markers.map((marker) => /^not run by tests: (\S.{3,})$/.exec(marker)?.[1]).find((reason) => reason !== undefined);

/** The name that a block is saved under. */
export const fileNameOf = ({ markers }: Block): string | undefined =>
  markers.map((marker) => /^file: ([\w.-]+)$/.exec(marker)?.[1]).find((name) => name !== undefined);

export const isExactOutput = ({ markers }: Block): boolean => markers.includes('exact output');
export const isOutput = (block: Block): boolean => block.markers.includes('output') || isExactOutput(block);

export const placeOf = ({ page, line }: Block): string => `${page}:${line}`;
