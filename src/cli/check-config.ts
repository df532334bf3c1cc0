/** `reductrai check-config`: loads the configuration, shows what is in force and where it came from, secrets as fingerprints. */
import { describeSettings } from '../config/help.ts';
import { effectiveMode } from '../config/load.ts';
import { configPathOf, load, type ServeDeps } from './serve.ts';

/** Exit code: 0 usable, 2 not. */
export function runCheckConfig(args: string[], deps: ServeDeps): number {
  const loaded = load(deps.env, configPathOf(args));
  if (!loaded.ok) {
    process.stderr.write(
      `The configuration cannot be used:\n${loaded.problems.map((line) => `  - ${line}\n`).join('')}`,
    );
    return 2;
  }
  const { settings, warnings, sources } = loaded;
  process.stdout.write(
    `${describeSettings(settings, sources).join('\n')}\n\nmode: ${effectiveMode(settings, sources)}\n`,
  );
  for (const warning of warnings) process.stderr.write(`warning: ${warning}\n`);
  process.stdout.write('The configuration is fine.\n');
  return 0;
}
