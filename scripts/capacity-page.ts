/** docs/capacity-planning.md is written by hand, but for what `reductrai plan` prints there: it follows from the measured figures. */
import { Writable } from 'node:stream';
import { runPlan } from '../src/cli/plan.ts';

/** A command, and behind it the block with what it prints: all but the notes, or only the lines that are there. */
const SHOWN = /(^reductrai plan (?<options>[^\n|]*)\n```\n\n<!-- exact output -->\n```\n)(?<output>[^`]*\n)(?=```)/gm;

export async function capacityPage(current: string | undefined): Promise<string> {
  const page = current ?? '# Capacity planning\n';
  const parts: string[] = [];
  let from = 0;
  for (const found of page.matchAll(SHOWN)) {
    const { options, output } = found.groups as { options: string; output: string };
    const printed = (await outputOf(options.split(' '))).split('\n\n- ')[0]!.split('\n');
    const wanted = new Set(output.trim().split('\n').map(firstWord));
    const shown = wanted.has('load') ? printed : printed.filter((line) => wanted.has(firstWord(line)));
    parts.push(page.slice(from, found.index), found[1]!, shown.map((line) => `${line}\n`).join(''));
    from = found.index + found[0].length;
  }
  return parts.join('') + page.slice(from);
}

const firstWord = (line: string): string => line.split(' ')[0]!;

async function outputOf(args: string[]): Promise<string> {
  let text = '';
  const stdout = new Writable({
    decodeStrings: false,
    write: (part: string, _, done) => {
      text += part;
      done();
    },
  });
  const terminal = { stdoutIsTerminal: false, stderrIsTerminal: false, columns: 120 };
  const code = await runPlan(args, args, { env: {} }, { stdout, stderr: process.stderr, ...terminal });
  if (code !== 0) throw new Error(`reductrai plan ${args.join(' ')} ended with ${code}`);
  return text;
}
