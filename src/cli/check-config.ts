/**
 * `reductrai check-config`: loads the configuration, shows what is in force and where it came from, secrets as fingerprints. With
 * `--online` it also tries the store: writes, reads, writes conditionally, lists and deletes a probe object.
 */
import { availableParallelism } from 'node:os';
import { costsOf, durabilityOf } from '../config/durability.ts';
import { describeSettings } from '../config/help.ts';
import { effectiveMode } from '../config/load.ts';
import type { Settings } from '../config/registry.ts';
import { storeSettingsOf } from '../config/storage.ts';
import { tierStoreSettingsOf } from '../config/tier-stores.ts';
import { workerCountOf } from '../config/workers.ts';
import { messageOf } from '../core/errors.ts';
import { systemRandom } from '../core/random.ts';
import type { StoreSettings } from '../store/open.ts';
import type { CliIo } from './io.ts';
import { configPathOf, load, type ServeDeps } from './serve.ts';

const USAGE = `Usage: reductrai check-config [--online] [--config FILE]

  --online    also try the store with a probe object, and say which permission is missing
`;

/** Exit code: 0 usable, 1 the store is not, 2 the configuration is not. */
export async function runCheckConfig(args: string[], deps: ServeDeps, io: CliIo): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) {
    io.stdout.write(USAGE);
    return 0;
  }
  const loaded = load(deps.env, configPathOf(args));
  if (!loaded.ok) {
    io.stderr.write(`The configuration cannot be used:\n${loaded.problems.map((line) => `  - ${line}\n`).join('')}`);
    return 2;
  }
  const { settings, warnings, sources } = loaded;
  const mode = effectiveMode(settings, sources);
  io.stdout.write(
    `${describeSettings(settings, sources).join('\n')}\n\nmode: ${mode}\n${durabilityText(settings, mode)}`,
  );
  for (const warning of warnings) io.stderr.write(`warning: ${warning}\n`);
  io.stdout.write('The configuration is fine.\n');
  return args.includes('--online') ? checkOnline(settings, io) : 0;
}

function durabilityText(settings: Settings, mode: Settings['forward']['mode']): string {
  let text: string;
  try {
    const { durability, problem } = durabilityOf(settings, mode);
    text = `durability: ${durability}${problem ? ` (${problem})` : ''}\n`;
    if (durability !== 'store') return text;
  } catch (error) {
    return `durability: ${messageOf(error)}\n`;
  }
  const { chunksPerMonth, leasesPerMonth, listsPerMonth, waitMsMax } = costsOf(
    settings,
    workerCountOf(settings, availableParallelism()),
  );
  const millions = (count: number): string => `${(count / 1e6).toFixed(1)} million`;
  return `${text}  a replica that is never idle puts at most ${millions(chunksPerMonth)} journal chunks and ${millions(leasesPerMonth)} leases a month,
  and asks for ${millions(listsPerMonth)} listings;
  callers wait up to ${waitMsMax} ms more than a write to the store takes
`;
}

async function checkOnline(settings: Settings, io: CliIo): Promise<number> {
  let isFine = true;
  try {
    const stores = [['', storeSettingsOf(settings)] as const, ...tierStoreSettingsOf(settings)];
    for (const [tier, storeSettings] of stores) {
      if (!(await checkOne(`${tier}${tier === '' ? '' : ' '}store`, storeSettings, io))) isFine = false;
    }
    return isFine ? 0 : 1;
  } catch (error) {
    io.stderr.write(`The store cannot be opened: ${messageOf(error)}\n`);
    return 1;
  }
}

async function checkOne(name: string, storeSettings: StoreSettings, io: CliIo): Promise<boolean> {
  const { openStoreOf } = await import('./open-store.ts');
  const { checkStore } = await import('../store/online-check.ts');
  const { parseStoreUrl } = await import('../store/store-url.ts');
  const { target } = storeSettings;
  const { kind } = typeof target === 'string' ? parseStoreUrl(target) : target;
  const { store } = await openStoreOf({ ...storeSettings, attemptsMax: 2 });
  io.stdout.write(`\n${name}: ${store.url}\n`);
  const steps = await checkStore(store, kind, systemRandom);
  for (const { step, outcome, reason } of steps) {
    io.stdout.write(`  ${outcome.padEnd(7)} ${step}${reason === undefined ? '' : `: ${reason}`}\n`);
  }
  await store.close();
  const isFine = steps.every(({ outcome }) => outcome === 'ok');
  io.stdout.write(isFine ? `The ${name} is fine.\n` : `The ${name} cannot be used as it is.\n`);
  return isFine;
}
