/**
 * The entry: picks the command, and loads no other: serving must not wait for the query engine to load. Everything else is in cli/
 * (one file per command) and app.ts.
 */
import type { CliIo, OpenedStore } from './cli/io.ts';
import { configPathOf, load, runServe } from './cli/serve.ts';
import type { Settings } from './config/registry.ts';
import { VERSION } from './version.ts';

const HELP = `reductrai ${VERSION}: keeps every metric, log and span in storage you own, and forwards them to Datadog

Usage: reductrai <command> [options]

  serve           run the proxy (the default); --help lists all settings
  check-config    check the configuration and show what is in force; --online tries the store too
  query "SQL"     ask what was kept: views metrics, logs, spans, events, rollups
  export          give items back exactly as they were sent, one JSON text a line
  ls              list what is kept, per signal and day
  verify          walk the store: checksums, footers, coverage, orphans
  tier            how data ages: status, plan, run
  ha status       leases and journals of the replicas that share this store
  plan            what a fleet for a given load needs: replicas, CPU, memory, disk, requests, bytes, money
  storage copy    copy everything to another store, resumable and verified
  demo            see it all at once: made-up traffic through a proxy to a stand-in for Datadog

Every command takes --help.
`;

const io: CliIo = {
  stdout: process.stdout,
  stderr: process.stderr,
  stdoutIsTerminal: process.stdout.isTTY === true,
  stderrIsTerminal: process.stderr.isTTY === true,
  columns: process.stdout.columns ?? 120,
};

/** The store of the configuration in force, for reading. */
async function openToRead(args: readonly string[]): Promise<OpenedStore> {
  return (await import('./cli/open-store.ts')).openStoreToRead(settingsIn(args));
}

function settingsIn(args: readonly string[]): Settings {
  const loaded = load(process.env, configPathOf(args));
  if (!loaded.ok) throw new Error(loaded.problems.join('\n'));
  return loaded.settings;
}

async function main(argv: string[]): Promise<number> {
  const [command = 'serve', ...args] = argv;
  const open = (): Promise<OpenedStore> => openToRead(args);
  const own = args.filter((arg, index) => !arg.startsWith('--config') && args[index - 1] !== '--config');
  switch (command) {
    case 'serve':
      return runServe(args, { env: process.env });
    case 'check-config':
      return (await import('./cli/check-config.ts')).runCheckConfig(args, { env: process.env }, io);
    case 'query':
      return (await import('./cli/query.ts')).runQuery(own, io, open);
    case 'export':
      return (await import('./cli/export.ts')).runExport(own, io, open);
    case 'ls':
      return (await import('./cli/ls.ts')).runLs(own, io, open);
    case 'verify':
      return (await import('./cli/verify.ts')).runVerify(own, io, open);
    case 'ha':
      return (await import('./cli/ha-status.ts')).runHa(own, io, open);
    case 'tier':
      return (await import('./cli/tier.ts')).runTier(own, io, () => settingsIn(args));
    case 'storage':
      return (await import('./cli/storage-copy.ts')).runStorage(own, io, () => settingsIn(args));
    case 'plan':
      return (await import('./cli/plan.ts')).runPlan(args, own, { env: process.env }, io);
    case 'demo':
      return (await import('./cli/demo/demo.ts')).runDemo(args, io);
    case '--version':
    case '-v':
      process.stdout.write(`${VERSION}\n`);
      return 0;
    case 'help':
    case '--help':
    case '-h':
      process.stdout.write(HELP);
      return 0;
    default:
      process.stderr.write(`unknown command ${JSON.stringify(command)}\n\n${HELP}`);
      return 2;
  }
}

process.exitCode = await main(process.argv.slice(2));
