/**
 * The YAML file: two levels, group and name. Yields texts by path, as the environment does, so that one parser per kind serves both.
 * A secret may be given as `name_file: /path` too. Everything wrong is reported with line and column; no value is repeated.
 */
import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { nearestOf } from './nearest.ts';
import { KNOWN_SETTINGS } from './registry.ts';

export interface FileValue {
  text: string;
  /** `config.yaml:12:3`. */
  place: string;
  /** The text is the path of a file that holds the value. */
  isPath: boolean;
}

export interface FileValues {
  values: Map<string, FileValue>;
  problems: string[];
}

/** YAML's own guard against bombs; a configuration has no use for aliases. */
const ALIASES_MAX = 10;

export function readYaml(source: string, fileName: string): FileValues {
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines, prettyErrors: false, logLevel: 'error' });
  const placeAt = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${fileName}:${line}:${col}`;
  };
  const result: FileValues = { values: new Map(), problems: [] };
  for (const error of document.errors) result.problems.push(`${placeAt(error.pos[0])}: ${yamlReason(error.code)}`);
  if (result.problems.length > 0 || document.contents === null) return result;
  const placeOf = (node: unknown): string => placeAt((node as Node | null)?.range?.[0] ?? 0);
  if (!isMap(document.contents)) {
    if (!(isScalar(document.contents) && document.contents.value === null)) {
      result.problems.push(`${placeOf(document.contents)}: the file must be a map of groups`);
    }
    return result;
  }
  const resolve = (node: unknown): unknown =>
    node !== null && typeof node === 'object' && 'source' in node && 'resolve' in node
      ? (node as { resolve: (doc: unknown, context?: unknown) => unknown }).resolve(document, {
          maxAliasCount: ALIASES_MAX,
        })
      : node;
  const groups = new Set(KNOWN_SETTINGS.map(({ path }) => path.split('.')[0]!));
  for (const { key, value: groupNode } of document.contents.items) {
    const group = keyText(key);
    const value = resolve(groupNode);
    if (!groups.has(group)) {
      result.problems.push(`${placeOf(key)}: unknown key ${unknownKey(group, groups)}`);
    } else if (isMap(value)) {
      for (const member of value.items) readMember(group, member.key, resolve(member.value), placeOf, result);
    } else if (!isEmpty(value)) {
      result.problems.push(`${placeOf(key)}: ${group} must be a map of settings`);
    }
  }
  return result;
}

function readMember(
  group: string,
  key: unknown,
  value: unknown,
  placeOf: (node: unknown) => string,
  result: FileValues,
): void {
  const path = `${group}.${keyText(key)}`;
  const place = placeOf(key);
  const direct = KNOWN_SETTINGS.find((known) => known.path === path);
  const byFile = KNOWN_SETTINGS.find((known) => known.setting.isSecret && `${known.path}_file` === path);
  const known = direct ?? byFile;
  if (!known) {
    const paths = KNOWN_SETTINGS.map((setting) => setting.path);
    result.problems.push(`${place}: unknown key ${unknownKey(path, paths)}`);
    return;
  }
  if (isEmpty(value)) return;
  const text = textOf(value, known.setting.isList && direct !== undefined);
  if (text === undefined)
    result.problems.push(`${place}: ${path} must be ${known.setting.isList ? 'a list' : 'a single value'}`);
  else if (text !== '') result.values.set(known.path, { text, place, isPath: direct === undefined });
}

function unknownKey(name: string, known: Iterable<string>): string {
  const nearest = nearestOf(name, known);
  return nearest
    ? `${JSON.stringify(name)}; the nearest known one is ${JSON.stringify(nearest.name)}`
    : JSON.stringify(name);
}

function keyText(key: unknown): string {
  return isScalar(key) ? String(key.value) : '?';
}

function isEmpty(node: unknown): boolean {
  return node === null || node === undefined || (isScalar(node) && node.value === null);
}

/** As written: `012` stays so, and a list becomes what the environment would have. */
function textOf(node: unknown, asList: boolean): string | undefined {
  if (isScalar(node)) return typeof node.value === 'string' ? node.value : (node.source ?? String(node.value));
  if (!asList || !isSeq(node)) return undefined;
  const parts = node.items.map((item) => textOf(item, false));
  return parts.includes(undefined) ? undefined : parts.join(',');
}

/** The library's own messages quote the source, which may hold a secret. */
function yamlReason(code: string): string {
  return code === 'DUPLICATE_KEY'
    ? 'the key is there twice'
    : `not valid YAML (${code.toLowerCase().replaceAll('_', ' ')})`;
}
