/** Scripts of the benchmarks as processes of their own, on the Node that runs this one. */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { PROJECT } from '../test/support/proxy-process.ts';

/** Compiled code is shared by all processes of a run: they start many times faster. */
const COMPILE_CACHE = join(PROJECT, 'node_modules', '.cache', 'compile');

/** Output is piped, errors are shown. */
export function spawnScript(path: string, argument: string): ChildProcess {
  return spawn(process.execPath, [path, argument], {
    cwd: PROJECT,
    env: { ...process.env, NODE_COMPILE_CACHE: COMPILE_CACHE },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}
