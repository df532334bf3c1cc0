/** The product as a real process: started with real settings, spoken to over real sockets, killed for real. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { request } from 'undici';
import type { SmallDisk } from './small-disk.ts';

export const PROJECT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
/** The bundled product, as it ships; made by warm-up.ts. Elsewhere than there (a benchmark) the sources are run. */
export const BUNDLE = join(PROJECT, '.cache', 'bundle');
/** Compiled code is shared by all processes of a run: they start many times faster. */
const COMPILE_CACHE = join(PROJECT, 'node_modules', '.cache', 'compile');
const NODE_FOLDER = join(PROJECT, 'node_modules', 'node', 'bin');

export interface ProxyProcess {
  url: string;
  pid: number;
  child: ChildProcess;
  /** All log lines so far (bounded: the last 2,000). */
  lines: string[];
  exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  kill(signal?: NodeJS.Signals): Promise<void>;
}

export interface ProxyOptions {
  dataFolder?: string;
  env?: Record<string, string>;
  /** Ends the process at a named point (test/support/killing-file-system.ts). */
  killAt?: string;
  /** Holds how far its wall clock is off, ms; SIGUSR2 has it read again (test/support/struck-main.ts). */
  clockFile?: string;
  /** A disk that can be full (small-disk.ts); its data folder is used instead. */
  disk?: SmallDisk;
  /** What the command starts with, to run in namespaces of its own (holder-process.ts). */
  prefix?: readonly string[];
  startWithinMs?: number;
}

const LINES_KEPT = 2000;

const running = new Set<ChildProcess>();

/** Ends what a failed test has left: it would take processor time from all that follow (leftovers.ts). */
export function killLeftovers(): void {
  for (const child of running) child.kill('SIGKILL');
}
process.once('exit', killLeftovers);

/** Resolves once it listens; rejects with its output when it ends before that. */
export async function startProxy(options: ProxyOptions): Promise<ProxyProcess> {
  const { disk } = options;
  const main = options.killAt ? 'killing-main.js' : options.clockFile || disk ? 'struck-main.js' : undefined;
  const program = main
    ? [join(NODE_FOLDER, 'node'), join(BUNDLE, main)]
    : [join(process.env.VITEST ? BUNDLE : PROJECT, 'bin', 'reductrai')];
  const command = [...(options.prefix ?? []), ...(disk?.prefix ?? []), ...program];
  const dataFolder = disk?.dataFolder ?? options.dataFolder;
  if (dataFolder === undefined) throw new Error('BUG: neither a data folder nor a disk');
  const child = spawn(command[0]!, [...command.slice(1), 'serve'], {
    cwd: PROJECT,
    env: {
      PATH: `${NODE_FOLDER}:${process.env.PATH ?? ''}`,
      HOME: process.env.HOME ?? '',
      NODE_COMPILE_CACHE: COMPILE_CACHE,
      REDUCTRAI_HOST: '127.0.0.1',
      REDUCTRAI_PORT: '0',
      REPLICA_ID: 'test-replica',
      REDUCTRAI_DRAIN_NOTICE: '0ms',
      DATA_DIR: dataFolder,
      ...disk?.env,
      ...(options.killAt ? { TEST_KILL_AT: options.killAt } : {}),
      ...(options.clockFile ? { TEST_CLOCK_FILE: options.clockFile } : {}),
      ...options.env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(child);
  const lines: string[] = [];
  const exited = once(child, 'exit').then(([code, signal]) => {
    running.delete(child);
    return { code, signal };
  });
  const listening = new Promise<string>((resolve, reject) => {
    for (const stream of [child.stdout!, child.stderr!]) {
      createInterface({ input: stream }).on('line', (line) => {
        lines.push(line);
        if (lines.length > LINES_KEPT) lines.shift();
        const found = /"address":"(http:[^"]+)".*"msg":"listening"/.exec(line);
        if (found) resolve(found[1]!);
      });
    }
    exited.then(({ code, signal }) =>
      reject(new Error(`proxy ended (${code ?? signal}):\n${lines.slice(-30).join('\n')}`)),
    );
    setTimeout(
      () => reject(new Error(`proxy did not listen:\n${lines.join('\n')}`)),
      options.startWithinMs ?? 60_000,
    ).unref();
  });
  let url: string;
  try {
    url = await listening;
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
  return {
    url,
    pid: child.pid!,
    child,
    lines,
    exited,
    kill: async (signal = 'SIGKILL') => {
      child.kill(signal);
      await exited;
    },
  };
}

/** Runs a CLI command to its end; resolves with its output. */
export async function runCli(
  args: string[],
  env: Record<string, string> = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const main = process.env.VITEST ? join(BUNDLE, 'main.js') : join(PROJECT, 'src', 'main.ts');
  const child = spawn(join(NODE_FOLDER, 'node'), [main, ...args], {
    cwd: PROJECT,
    env: {
      PATH: process.env.PATH ?? '',
      HOME: process.env.HOME ?? '',
      NODE_COMPILE_CACHE: COMPILE_CACHE,
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on('data', (chunk) => out.push(chunk));
  child.stderr.on('data', (chunk) => err.push(chunk));
  const [code] = await once(child, 'close');
  return { code: code ?? -1, stdout: Buffer.concat(out).toString('utf8'), stderr: Buffer.concat(err).toString('utf8') };
}

/** A metric of /metrics, summed over its labels. */
export async function metricOf({ url }: Pick<ProxyProcess, 'url'>, name: string): Promise<number> {
  const text = await (await request(`${url}/metrics`)).body.text();
  let sum = 0;
  for (const [, value] of text.matchAll(new RegExp(`^reductrai_${name}(?:\\{[^}]*\\})? (\\S+)`, 'gm')))
    sum += Number(value);
  return sum;
}
