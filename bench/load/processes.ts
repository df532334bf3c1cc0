/** The processes of a load case as objects. Each is ended by its own handle. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { spawnScript } from '../script.ts';
import type { GeneratorOrder, GeneratorReport } from './generator.ts';
import type { PlainMode } from './plain-server.ts';

const FOLDER = dirname(fileURLToPath(import.meta.url));

interface Script {
  child: ChildProcess;
  /** The next line of its output; throws when it has ended. */
  line(): Promise<string>;
}

function start(script: string, argument: string): Script {
  const child = spawnScript(join(FOLDER, script), argument);
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  return {
    child,
    line: async () => {
      const { done, value } = await lines.next();
      if (done) throw new Error(`${script} ended early (${child.exitCode ?? child.signalCode})`);
      return value as string;
    },
  };
}

export interface PlainServer {
  url: string;
  pid: number;
  stop(): Promise<void>;
}

export async function startPlainServer(mode: PlainMode): Promise<PlainServer> {
  const { child, line } = start('plain-server.ts', mode);
  const url = await line();
  return { url, pid: child.pid!, stop: () => end(child) };
}

export interface Generator {
  /** Resolves when the warm-up is over. */
  begun: Promise<void>;
  report: Promise<GeneratorReport>;
  stop(): Promise<void>;
}

/** Resolves when its bodies are made and it begins to send. */
export async function startGenerator(order: GeneratorOrder): Promise<Generator> {
  const { child, line } = start('generator.ts', JSON.stringify(order));
  await line();
  const begun = line().then(() => {});
  const report = begun.then(async () => JSON.parse(await line()) as GeneratorReport);
  // Whoever waits for it sees the failure; until then it is no unhandled one.
  report.catch(() => {});
  begun.catch(() => {});
  return { begun, report, stop: () => end(child) };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}
