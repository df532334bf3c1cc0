/**
 * A process that does nothing but hold namespaces of its own (unshare(1)), which others enter (nsenter(1)). It reads its standard input and so
 * ends with us, however we end, and what it held goes with it: no mount and no network is left behind.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';

export interface Holder {
  pid: number;
  /** What a command starts with to run in there; the process keeps its id. */
  prefix: readonly string[];
  close(): Promise<void>;
}

const READY = 'ready';

/** Undefined where this machine does not allow it. `script` runs inside first. */
export async function startHolder(kind: 'mount' | 'net', script: string): Promise<Holder | undefined> {
  if (process.platform !== 'linux') return undefined;
  // Whoever is not root is so in a user namespace of their own. (In a container root may not either: then that is tried, too.)
  for (const user of process.getuid?.() === 0 ? [false, true] : [true]) {
    const child = spawn(
      'unshare',
      [
        ...(user ? ['--user', '--map-root-user'] : []),
        `--${kind}`,
        'sh',
        '-c',
        `${script} && echo ${READY} && exec cat`,
      ],
      { stdio: ['pipe', 'pipe', 'ignore'] },
    );
    if (!(await isReady(child))) continue;
    const pid = child.pid!;
    const own = user ? ['--user', '--preserve-credentials'] : [];
    return {
      pid,
      prefix: ['nsenter', '--target', String(pid), ...own, `--${kind}`, '--'],
      close: async () => {
        if (child.exitCode !== null || child.signalCode !== null) return;
        const exited = once(child, 'exit');
        child.kill('SIGKILL');
        await exited;
      },
    };
  }
  return undefined;
}

function isReady(child: ChildProcess): Promise<boolean> {
  return new Promise((resolve) => {
    child.once('error', () => resolve(false));
    child.once('exit', () => resolve(false));
    child.stdout!.once('data', (text) => resolve(String(text).includes(READY)));
  });
}

/** Throws with what the command said when it fails. */
export function runOrThrow(command: readonly string[]): void {
  const { status, stderr, error } = spawnSync(command[0]!, command.slice(1), { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command.join(' ')}: ${error ?? stderr}`);
}
