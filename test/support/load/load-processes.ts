/** The crowd and the prober as objects: processes of their own, on the project's Node. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { PROJECT } from '../proxy-process.ts';
import type { CrowdOrder, CrowdReport } from './crowd.ts';
import type { ProbeReport } from './prober.ts';

const NODE = join(PROJECT, 'node_modules', 'node', 'bin', 'node');

interface Running {
  child: ChildProcess;
  /** The line after `ready`. */
  report: Promise<string>;
}

/** Resolves once it says `ready`. */
async function start(script: string, args: string[]): Promise<Running> {
  const child = spawn(NODE, [join(PROJECT, 'test/support/load', script), ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { PATH: process.env.PATH ?? '' },
  });
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`${script} ended with ${code}`);
  });
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const { done, value } = await lines.next();
    return done ? ended : value;
  };
  ended.catch(() => {});
  if ((await next()) !== 'ready') throw new Error(`${script} did not get ready`);
  return { child, report: next() };
}

export interface RunningCrowd {
  pid: number;
  report: Promise<CrowdReport>;
  kill(): void;
}

/** The bodies are made when it resolves, and the senders begin. */
export async function startCrowd(order: CrowdOrder): Promise<RunningCrowd> {
  const { child, report } = await start('crowd.ts', [JSON.stringify(order)]);
  return {
    pid: child.pid!,
    report: report.then((line) => JSON.parse(line) as CrowdReport),
    kill: () => child.kill('SIGKILL'),
  };
}

export interface RunningProber {
  finish(): Promise<ProbeReport>;
  kill(): void;
}

export async function startProber(url: string, everyMs: number): Promise<RunningProber> {
  const { child, report } = await start('prober.ts', [url, String(everyMs)]);
  return {
    finish: async () => {
      child.stdin!.end();
      return JSON.parse(await report) as ProbeReport;
    },
    kill: () => child.kill('SIGKILL'),
  };
}
