/** What a process says until it ends, for those who wait for its end anyway. */
import type { ChildProcessByStdio } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';

export interface ChildOutput {
  code: number;
  stdout: string;
  /** Both streams, as they came. */
  output: string;
}

/** -1 for a process that a signal ended. Rejects where it cannot be started. */
export function outputOf(child: ChildProcessByStdio<Writable | null, Readable, Readable>): Promise<ChildOutput> {
  let stdout = '';
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    output += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status) => resolve({ code: status ?? -1, stdout, output }));
  });
}
