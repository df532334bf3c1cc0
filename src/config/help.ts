/** The declaration as text: for `--help`, for docs/reference/configuration.md, and as the effective settings that `check-config` prints. */
import { CONFIG_FILE_ENV, KNOWN_SETTINGS, type KnownSetting, type Settings } from './registry.ts';

function groups(): Map<string, KnownSetting[]> {
  return Map.groupBy(KNOWN_SETTINGS, ({ path }) => path.split('.')[0]!);
}

const WIDTH_CHARS = 100;
const INDENT = '      ';

/** Every setting with its variable, default and meaning, for a terminal. */
export function settingsHelp(): string {
  const lines = [
    'Settings come from the environment, or from a YAML file named by --config or',
    `${CONFIG_FILE_ENV}; the environment wins. Each secret can be given as NAME_FILE too.`,
  ];
  for (const [group, members] of groups()) {
    lines.push('', `${group}:`);
    for (const { path, env, setting } of members) {
      const facts = [
        setting.bounds || setting.kind,
        setting.defaultText === '' ? '' : `default ${setting.defaultText}`,
      ];
      lines.push(`  ${env.join(', ')}  (${path})`);
      lines.push(...wrap(`${setting.help}${statusText(setting.status)} [${facts.filter(Boolean).join('; ')}]`));
    }
  }
  return `${lines.join('\n')}\n`;
}

function statusText(status: string): string {
  return status === 'accepted' ? ' No effect in this version.' : '';
}

function wrap(text: string): string[] {
  const lines: string[] = [];
  let line = INDENT;
  for (const word of text.split(' ')) {
    if (line.length + word.length + 1 > WIDTH_CHARS && line !== INDENT) {
      lines.push(line);
      line = INDENT;
    }
    line += line === INDENT ? word : ` ${word}`;
  }
  return [...lines, line];
}

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
const code = (text: string): string => (text === '' ? '' : `\`${text}\``);

/** docs/reference/configuration.md. */
export function configurationPage(): string {
  const lines = [
    '# Configuration',
    '',
    '<!-- Generated from src/config/declaration.ts by `npm run docs`. Do not edit. -->',
    '',
    `Settings come from environment variables, or from a YAML file named by \`--config\` or \`${CONFIG_FILE_ENV}\`; the environment wins.`,
    'An empty variable counts as not set. Each secret can also be given as `NAME_FILE` (in YAML `name_file`): the path of a file that holds it.',
    'Unknown keys of the file are errors, and so are variables that look like a misspelt one. `reductrai check-config` shows what is in effect.',
    '',
    'Sizes are written as `64MiB` or `1GB`, durations as `250ms`, `30s`, `5m`, `1h30m` or `7d`.',
  ];
  for (const [group, members] of groups()) {
    lines.push('', `## \`${group}\``, '', '| key | variable | kind | default | meaning |', '|---|---|---|---|---|');
    for (const { path, env, setting } of members) {
      const kind =
        setting.bounds === '' || setting.bounds === 'true or false'
          ? setting.kind
          : `${setting.kind}: ${setting.bounds}`;
      const isWords = setting.defaultText.includes(' ') && setting.kind !== 'text';
      const byDefault = isWords || path === 'server.replica_id' ? setting.defaultText : code(setting.defaultText);
      lines.push(
        `| ${code(path)} | ${env.map(code).join(' ')} | ${cell(kind)} | ${cell(byDefault)} | ${cell(setting.help)}${statusText(setting.status)} |`,
      );
    }
  }
  return `${lines.join('\n')}\n`;
}

/** One line per setting that is in effect: path, value, where it is from. Secrets as fingerprints. */
export function describeSettings(settings: Settings, sources: Readonly<Record<string, string>>): string[] {
  const values = settings as unknown as Record<string, Record<string, unknown>>;
  return KNOWN_SETTINGS.map(({ group, name, path, setting }) => {
    const shown = setting.show(values[group]![name]);
    return `${path} = ${shown === '' ? '(not set)' : shown}  (${sources[path]})`;
  });
}
