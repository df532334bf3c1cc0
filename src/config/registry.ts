/** The declared settings as a list, with the names they go by; and the type of what loading yields. */
import { SETTINGS } from './declaration.ts';
import type { Setting } from './kinds.ts';

type Value<S> = S extends Setting<infer T> ? T : never;
type Groups = typeof SETTINGS;

/** `settings.archive.flushAfterMs`: groups and names as declared, values as parsed. */
export type Settings = { [G in keyof Groups]: { [N in keyof Groups[G]]: Value<Groups[G][N]> } };

export interface KnownSetting {
  group: string;
  name: string;
  /** `archive.flush_after`. */
  path: string;
  env: readonly string[];
  setting: Setting<unknown>;
}

/** Names the file to read besides the environment. */
export const CONFIG_FILE_ENV = 'REDUCTRAI_CONFIG';

const snake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

export const KNOWN_SETTINGS: readonly KnownSetting[] = Object.entries(SETTINGS).flatMap(([group, members]) =>
  Object.entries(members).map(([name, setting]) => {
    const path = `${snake(group)}.${snake(name).replace(/_ms$/, '')}`;
    const env = setting.env ?? [`REDUCTRAI_${path.replace('.', '_').toUpperCase()}`];
    return { group, name, path, env, setting: setting as Setting<unknown> };
  }),
);

/** Every variable that is read: each secret's `_FILE` form too. */
export const KNOWN_ENV: ReadonlySet<string> = new Set([
  CONFIG_FILE_ENV,
  ...KNOWN_SETTINGS.flatMap(({ env, setting }) =>
    setting.isSecret ? env.flatMap((name) => [name, `${name}_FILE`]) : env,
  ),
]);
