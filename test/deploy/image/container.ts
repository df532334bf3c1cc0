/**
 * Runs an image's root as a container: mount, process, network, IPC and host name namespaces of its own, the root read-only, its volume the only
 * place that can be written, the image's user without any rights, the image's command as process 1. Needs to be root.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, mkdirSync, readFileSync } from 'node:fs';
import { expect } from 'vitest';
import type { Image } from './build-image.ts';

export interface Ended {
  code: number;
  output: string;
}

export interface Container {
  /** As this machine numbers it; inside it is 1. */
  pid: number;
  output(): string;
  /** Runs a command in there as the image's user, with its environment: what `docker exec` does. */
  exec(command: readonly string[], input?: string): Promise<Ended>;
  ended: Promise<Ended>;
  stop(signal: NodeJS.Signals): Promise<Ended>;
  kill(): Promise<void>;
}

export interface RunOptions {
  /** What is mounted at the image's volume; made, as Docker does, with the owner that the folder has in the image. */
  data: string;
  env?: Record<string, string>;
  /** Instead of the image's CMD. */
  cmd?: readonly string[];
}

const DEVICES = ['null', 'zero', 'full', 'random', 'urandom', 'tty'];
const OUTPUT_CHARACTERS_MAX = 50_000;
const START_MAX_MS = 30_000;

/** $1 the root, $2 the volume, $3 where it goes; the rest is what runs. */
const PREPARE = `
ip link set lo up
root=$1; volume=$2; to=$3; shift 3
mount --bind "$root" "$root"
mount --bind "$volume" "$root$to"
mount -t tmpfs -o mode=755,size=64k,nosuid dev "$root/dev"
for name in ${DEVICES.join(' ')}; do : >"$root/dev/$name"; mount --bind "/dev/$name" "$root/dev/$name"; done
ln -s /proc/self/fd "$root/dev/fd"
mount -o remount,ro "$root/dev"
mount -o remount,bind,ro "$root"
exec "$@"`;

const pairs = (env: Readonly<Record<string, string>>): string[] =>
  Object.entries(env).map(([name, value]) => `${name}=${value}`);

function collect(child: ChildProcess): () => string {
  let output = '';
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.on('data', (text) => {
      output = (output + String(text)).slice(-OUTPUT_CHARACTERS_MAX);
    });
  }
  return () => output;
}

export async function runImage(image: Image, { data, env = {}, cmd }: RunOptions): Promise<Container> {
  const { root, user, workdir, volumes } = image;
  const [volume] = volumes;
  if (volumes.length !== 1 || volume === undefined) throw new Error('one volume was expected');
  mkdirSync(data, { recursive: true });
  chownSync(data, user.uid, user.gid);
  const environment = ['env', '-i', ...pairs({ ...image.env, HOSTNAME: 'container', ...env })];
  // As `cap_drop: [ALL]` and `no-new-privileges` have it. It ends with the process that waits for it, however that ends.
  const as = [
    ...['setpriv', `--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups'],
    ...['--bounding-set=-all', '--inh-caps=-all', '--no-new-privs', '--pdeathsig=KILL'],
  ];
  const child = spawn(
    'unshare',
    [
      ...['--mount', '--propagation', 'private', '--net', '--ipc', '--uts'],
      ...['sh', '-euc', PREPARE, 'sh', root, data, volume],
      // The parent of process 1 waits outside for it, and hands its exit code on.
      ...['unshare', '--pid', '--fork', '--mount-proc', `--root=${root}`, `--wd=${workdir}`],
      ...as,
      ...environment,
      ...image.entrypoint,
      ...(cmd ?? image.cmd),
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const output = collect(child);
  const ended = once(child, 'close').then(([code]): Ended => ({ code: code ?? -1, output: output() }));
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  const killWithUs = (): void => {
    child.kill('SIGKILL');
  };
  process.once('exit', killWithUs);
  void ended.then(() => process.off('exit', killWithUs));
  const pid = await firstProcess(child, image.entrypoint[0]!).catch(async (error) => {
    await kill();
    throw new Error(`${error}\n${output()}`);
  });
  return {
    pid,
    output,
    ended,
    exec: async (command, input = '') => {
      const inside = spawn(
        'nsenter',
        [
          ...['--target', String(pid), '--mount', '--pid', '--net', '--ipc', '--uts', '--root', '--wd'],
          ...[...as, ...environment, ...command],
        ],
        { stdio: ['pipe', 'pipe', 'pipe'] },
      );
      const said = collect(inside);
      inside.stdin.on('error', () => {});
      inside.stdin.end(input);
      const [code] = await once(inside, 'close');
      return { code: code ?? -1, output: said() };
    },
    stop: (signal) => {
      process.kill(pid, signal);
      return ended;
    },
    kill,
  };
}

/** Once it runs the image's program. */
async function firstProcess(child: ChildProcess, program: string): Promise<number> {
  const found = (): number | undefined => {
    const [pid] = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim().split(' ');
    if (!pid) return undefined;
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith(`${program}\0`) ? Number(pid) : undefined;
  };
  const deadline = performance.now() + START_MAX_MS;
  while (performance.now() < deadline && child.exitCode === null) {
    try {
      const pid = found();
      if (pid !== undefined) return pid;
    } catch (error) {
      if (!['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error('the container did not start');
}

/** Until a command in it succeeds. */
export async function untilPasses(container: Container, command: readonly string[]): Promise<void> {
  await expect.poll(async () => (await container.exec(command)).code, { timeout: 60_000, interval: 200 }).toBe(0);
}
