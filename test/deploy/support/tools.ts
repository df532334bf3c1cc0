/** The programs that check what is in deploy/, as test/deploy/tools/install.sh puts them down. One that is absent is a failure, never a skip. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { outputOf } from '../../support/child-output.ts';
import { PROJECT } from '../../support/proxy-process.ts';

export const DEPLOY = join(PROJECT, 'deploy');
export const TOOLS_FOLDER = process.env.REDUCTRAI_DEPLOY_TOOLS ?? join(PROJECT, '.cache', 'deploy-tools');
export const SCHEMAS = join(TOOLS_FOLDER, 'schemas');

/** .ci/run: a file that is there while install.sh is at work beside the tests. What needs a tool waits for its end. */
const installing = process.env.DEPLOY_TOOLS_INSTALLING;
while (installing && existsSync(installing)) await new Promise((resolve) => setTimeout(resolve, 500));

export interface Outcome {
  code: number;
  stdout: string;
  /** Both streams, as a person would see them. */
  output: string;
}

export interface RunOptions {
  env?: Record<string, string>;
  cwd?: string;
  input?: string;
}

/** The path, if there is something: what is absent is said by its name, with what to do. */
export function installed(path: string): string {
  if (!existsSync(path)) throw new Error(`${path} is not installed: run test/deploy/tools/install.sh`);
  return path;
}

/** Runs a tool by its name, or any program by its path. */
export async function run(name: string, args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const command = name.includes('/') || SYSTEM_TOOLS.has(name) ? name : join(TOOLS_FOLDER, 'bin', name);
  if (command.includes('/')) installed(command);
  const child = spawn(command, args, {
    cwd: options.cwd ?? PROJECT,
    env: { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '', ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  // A tool that ends before it has read all of it says why by its exit code.
  child.stdin.on('error', () => {});
  child.stdin.end(options.input ?? '');
  try {
    return await outputOf(child);
  } catch (cause) {
    throw new Error(`${name} cannot be run`, { cause });
  }
}

/** Of Debian, on the PATH: test/servers/install.sh and test/deploy/tools/install.sh see to them. */
const SYSTEM_TOOLS = new Set(['haproxy', 'nginx', 'systemd-analyze', 'bash']);

/** Runs a tool that must be content; resolves with what it printed. */
export async function pass(name: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { code, stdout, output } = await run(name, args, options);
  if (code !== 0) throw new Error(`${name} ${args.join(' ')} ended with ${code}:\n${output}`);
  return stdout;
}
